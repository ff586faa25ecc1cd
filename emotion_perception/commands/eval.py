"""``emotion-perception eval``."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from emotion_perception.commands._common import (
    BackendOption,
    DeviceOption,
    JsonOption,
    SetOption,
    WeightsOption,
    fail,
    note,
    open_learner,
    print_json,
    waiting,
)
from emotion_perception.commands._configured import check_kind, list_skipped, refuse, split_named
from emotion_perception.commands._datasets import KINDS, open_part, part_of

EXAMPLES = (
    "emotion-perception eval esr --dataset ferplus --data FERPlus --split FER2013Valid",
    "emotion-perception eval esr --dataset folder --data my_pictures --report out --json",
    "emotion-perception eval emonet --weights runs/emonet/weights --dataset videos --data Cowen2017 --split test --rows frames.csv",
    "emotion-perception eval emotx --weights runs/emotx/weights --data data --split test --report runs/emotx/test",
)


def run(
    learner: Annotated[str, typer.Argument(metavar="LEARNER", help="Registered name of the learner.")],
    dataset: Annotated[str | None, typer.Option("--dataset", metavar="KIND", help=f"{KINDS}.")] = None,
    data: Annotated[Path | None, typer.Option("--data", metavar="PATH", help="Where the data set lies: folder, zip file or table.")] = None,
    split: Annotated[str | None, typer.Option("--split", metavar="PART", help="Part to measure on; valid where a set has parts.")] = None,
    weights: WeightsOption = None,
    device: DeviceOption = "auto",
    backend: BackendOption = "auto",
    settings: SetOption = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", metavar="N", min=1, help="Pictures or clips per step; the learner's own if not given.")
    ] = None,
    crop_scale: Annotated[
        float | None,
        typer.Option(
            "--crop-scale",
            metavar="S",
            min=0.1,
            help="Crop of S times the face's box instead of the card's, where the pictures reach so far.",
        ),
    ] = None,
    rows: Annotated[
        Path | None,
        typer.Option("--rows", metavar="FILE", help="Write a row per picture or frame: CSV, or Parquet if FILE ends in .parquet."),
    ] = None,
    report: Annotated[Path | None, typer.Option("--report", metavar="DIR", help="Write numbers and plots into this folder.")] = None,
    json: JsonOption = False,
) -> None:
    """Measures a learner on a labelled data set: accuracy, F1, recall per class, calibration, affect errors."""
    from emotion_perception.engine.errors import UsageError
    from emotion_perception.engine.evaluation.measuring import kept_outputs, row_columns, rows_of
    from emotion_perception.engine.registry import learner_class
    from emotion_perception.engine.rows import RowWriter

    cls = learner_class(learner)
    sized: dict[str, Any] = {} if batch_size is None else {"batch_size": batch_size}
    if cls.settings_class is not None:
        refuse(cls, {"crop-scale": crop_scale, "rows": rows})
        check_kind(cls, [dataset] if dataset else [])
        part = split_named(split, "val")
        words = [*([f"data_path={data}"] if data else []), *(settings or [])]
        model: Any = open_learner(learner, weights, device, backend, words, **sized)
        clips = model.settings.open(part)  # as the weights want them
        with waiting(f"measuring {learner} on {len(clips)} clips"):
            scores = model.eval(clips)
        facts: dict[str, Any] = {"learner": learner, "dataset": cls.settings_class.data_set, "split": part}
        _show(facts, scores, f"{model.card.title} on {part}", report, json)
        list_skipped(clips.skipped)
        return
    if dataset is None or data is None:
        raise UsageError("got no data set; give --dataset KIND and --data PATH")
    split = part_of(dataset, split, "valid")
    pictures = open_part(dataset, data, split, cls.card.label_set)
    model = open_learner(learner, weights, device, backend, settings, **sized)
    if crop_scale is not None:
        if model.card.crop is None:
            raise UsageError(f"--crop-scale is for face models; {learner!r} judges whole pictures")
        model.card = model.card.with_(crop=replace(model.card.crop, scale=crop_scale))
    with ExitStack() as stack:
        # Opened first: what cannot be written is said before the work, not after it.
        writer = None if rows is None else stack.enter_context(RowWriter(rows, row_columns(pictures.labels)))
        kept = stack.enter_context(kept_outputs())
        stack.enter_context(waiting(f"measuring {learner} on {len(pictures)} pictures"))
        scores = model.eval(pictures)
        if writer is not None:
            if not kept:
                raise UsageError(f"--rows: eval of {learner!r} does not go over the pictures by outputs_over; leave --rows out")
            writer.write(rows_of(model.emotions(kept[-1]), pictures))
    if rows is not None:
        note(f"wrote {rows}")
    facts = {"learner": learner, "dataset": dataset, "split": split, "crop_scale": model.card.crop.scale if model.card.crop else None}
    _show(facts, scores, f"{model.card.title} on {dataset} {split or ''}".strip(), report, json)
    for failure in pictures.failures:
        note(f"failed: {failure}")
    if pictures.failures:
        raise fail(f"videos that could not be read and were left out: {len(pictures.failures)}; they are listed above")


def _show(facts: dict[str, Any], scores: dict[str, Any], title: str, report: Path | None, json: bool) -> None:
    """Writes the report, where one is wanted, and prints the numbers."""
    if report is not None:
        from emotion_perception.engine.evaluation.report import write_report

        for file in write_report(facts | scores, report, title):
            note(f"wrote {file}")
    if json:
        print_json(facts | scores)
        return
    from rich.console import Console

    from emotion_perception.engine.evaluation.report import tables

    for table in tables(scores, title):
        Console().print(table)
