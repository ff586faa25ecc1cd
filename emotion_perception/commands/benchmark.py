"""``emotion-perception benchmark``."""

from __future__ import annotations

import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from emotion_perception.commands._common import (
    DeviceOption,
    JsonOption,
    WeightsOption,
    note,
    print_json,
    print_table,
    refuse_clips,
    waiting,
)
from emotion_perception.commands._datasets import KINDS, open_optional
from emotion_perception.engine.errors import UsageError

EXAMPLES = (
    "emotion-perception benchmark",
    "emotion-perception benchmark esr --confidence 0.99 --output benchmarks/2026-11-25-fast",
    "emotion-perception benchmark esr --weights esr_int8 --backends onnxruntime --precisions int8 --no-reference",
    "emotion-perception benchmark esr --batches 1 --precisions int8 --video talk.mp4 --json",
)


def run(
    learner: Annotated[str, typer.Argument(metavar="LEARNER", help="Registered name of the learner.")] = "esr",
    weights: WeightsOption = None,
    backends: Annotated[str, typer.Option("--backends", metavar="NAMES", help="Of torch, onnxruntime, tensorrt.")] = "torch,onnxruntime",
    precisions: Annotated[
        str, typer.Option("--precisions", metavar="NAMES", help="Some of fp32, fp16, int8, and bf16, which is torch's.")
    ] = "fp32,int8",
    batches: Annotated[str, typer.Option("--batches", metavar="NUMBERS", help="Sizes of batches.")] = "1,2,4,8,16",
    confidence: Annotated[
        float | None, typer.Option("--confidence", metavar="C", help="Run each with an anytime ensemble of this confidence, too.")
    ] = None,
    input_size: Annotated[
        int | None, typer.Option("--input-size", metavar="PX", min=1, help="Side of the network's input instead of the card's.")
    ] = None,
    reference: Annotated[
        bool, typer.Option("--reference/--no-reference", help="Compare with the network as its authors' code runs it, in torch.")
    ] = True,
    pictures: Annotated[
        Path | None, typer.Option("--pictures", metavar="FOLDER", help="Pictures (face crops) to judge, instead of the bundled ones.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", metavar="KIND", help=f"Judge 384 pictures of a data set, and compare the accuracy: {KINDS}.")
    ] = None,
    data: Annotated[Path | None, typer.Option("--data", metavar="PATH", help="Where that data set lies.")] = None,
    split: Annotated[str | None, typer.Option("--split", metavar="PART", help="Part of it; valid where a set has parts.")] = None,
    video: Annotated[
        Path | None, typer.Option("--video", metavar="FILE", help="Time the whole pipeline on a video, stage by stage, too.")
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", metavar="S", min=0.1, help="Time for each variant and size of batch.")] = 3.0,
    device: DeviceOption = "auto",
    output: Annotated[Path | None, typer.Option("--output", "--out", metavar="STEM", help="Write STEM.json, STEM.md and STEM.png.")] = None,
    json: JsonOption = False,
) -> None:
    """Measures a learner's back ends and precisions in turns: speed by batch, memory, time to the first answer, and the machine's limit."""
    from emotion_perception.engine.evaluation.benchmark.report import footprint_table, notes, speed_table, video_table, write_benchmark
    from emotion_perception.engine.evaluation.benchmark.timing import benchmark
    from emotion_perception.engine.evaluation.benchmark.variants import prepare

    refuse_clips(learner)
    sizes = _numbers(batches)
    if pictures is not None and dataset is not None:
        raise UsageError("--dataset and --data go together, and --pictures without; give both, or one folder, or none")
    labelled = open_optional(learner, dataset, data, split)
    given: Any = pictures if labelled is None else labelled
    if video is not None and not video.is_file():
        raise UsageError(f"there is no video {str(video)!r}; give a file")
    logging.getLogger("emotion_perception").setLevel(logging.INFO)  # progress comes through the log
    with TemporaryDirectory(prefix="emotion_perception.") as folder, waiting(f"measuring {learner}"):
        variants = prepare(
            learner,
            weights,
            Path(folder),
            backends=_words(backends),
            precisions=_words(precisions),
            confidence=confidence,
            reference=reference,
            input_size=input_size,
            device=device,
        )
        result = benchmark(variants, Path(folder), given=given, batches=sizes, seconds=seconds, video=video)
    result["command"] = _shown(
        f"emotion-perception benchmark {learner}",
        {
            "backends": backends,
            "precisions": precisions,
            "batches": batches,
            "confidence": confidence,
            "input-size": input_size,
            "dataset": dataset,
            "split": split,
            "seconds": seconds,
            "device": device,
        },
    )
    if json:
        print_json(result)
    else:
        for table in [speed_table, footprint_table, *([video_table] if video else [])]:
            print_table(*table(result))
            typer.echo()
        for line in notes(result):
            typer.echo(line)
    if output is not None:
        for file in write_benchmark(result, output):
            note(f"wrote {file}")


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _numbers(text: str) -> list[int]:
    try:
        return [int(word) for word in _words(text)]
    except ValueError:
        raise UsageError(f"--batches is {text!r}, expected whole numbers with commas between them, as in 1,8") from None


def _shown(command: str, options: dict[str, Any]) -> str:
    """Returns the command line without what only this machine knows, its folders and files."""
    return " ".join([command, *(f"--{name} {value}" for name, value in options.items() if value is not None)])
