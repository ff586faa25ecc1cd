"""``emotion-perception eval``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from emotion_perception.commands._common import (
    BackendOption,
    DeviceOption,
    JsonOption,
    SetOption,
    WeightsOption,
    note,
    open_learner,
    print_json,
    waiting,
)
from emotion_perception.commands._datasets import KINDS, open_part, part_of

EXAMPLES = (
    "emotion-perception eval esr --dataset ferplus --data FERPlus --split FER2013Valid",
    "emotion-perception eval esr --dataset folder --data my_pictures --report out --json",
)


def run(
    learner: Annotated[str, typer.Argument(metavar="LEARNER", help="Registered name of the learner.")],
    dataset: Annotated[str, typer.Option("--dataset", metavar="KIND", help=f"{KINDS}.")],
    data: Annotated[Path, typer.Option("--data", metavar="PATH", help="Where the data set lies: folder, zip file or table.")],
    split: Annotated[str | None, typer.Option("--split", metavar="PART", help="Part to measure on; valid where a set has parts.")] = None,
    weights: WeightsOption = None,
    device: DeviceOption = "auto",
    backend: BackendOption = "auto",
    settings: SetOption = None,
    batch_size: Annotated[int, typer.Option("--batch-size", metavar="N", min=1, help="Pictures per step.")] = 32,
    crop_scale: Annotated[
        float | None,
        typer.Option(
            "--crop-scale",
            metavar="S",
            min=0.1,
            help="Crop of S times the face's box instead of the card's, where the pictures reach so far.",
        ),
    ] = None,
    report: Annotated[Path | None, typer.Option("--report", metavar="DIR", help="Write numbers and plots into this folder.")] = None,
    json: JsonOption = False,
) -> None:
    """Measures a learner on a labelled data set: accuracy, F1, recall per class, calibration, affect errors."""
    from emotion_perception.engine.errors import UsageError
    from emotion_perception.engine.registry import learner_class

    split = part_of(dataset, split, "valid")
    pictures = open_part(dataset, data, split, learner_class(learner).card.label_set)
    model = open_learner(learner, weights, device, backend, settings, batch_size=batch_size)
    if crop_scale is not None:
        if model.card.crop is None:
            raise UsageError(f"--crop-scale is for face models; {learner!r} judges whole pictures")
        model.card = model.card.with_(crop=replace(model.card.crop, scale=crop_scale))
    with waiting(f"measuring {learner} on {len(pictures)} pictures"):
        scores = model.eval(pictures)
    facts = {"learner": learner, "dataset": dataset, "split": split, "crop_scale": model.card.crop.scale if model.card.crop else None}
    if report is not None:
        from emotion_perception.engine.evaluation.report import write_report

        for file in write_report(facts | scores, report, f"{model.card.title} on {dataset}"):
            note(f"wrote {file}")
    if json:
        print_json(facts | scores)
        return
    from rich.console import Console

    from emotion_perception.engine.evaluation.report import tables

    for table in tables(scores, f"{model.card.title} on {dataset} {split or ''}"):
        Console().print(table)
