"""``emotion-perception optimize``."""

from __future__ import annotations

import json as json_module
import logging
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from emotion_perception.commands._common import (
    DeviceOption,
    JsonOption,
    WeightsOption,
    choice,
    note,
    open_learner,
    print_fields,
    print_json,
)
from emotion_perception.commands._datasets import KINDS, open_optional
from emotion_perception.engine.inference.metadata import PRECISIONS

EXAMPLES = (
    "emotion-perception optimize esr --precision int8 --output esr_int8",
    "emotion-perception optimize esr --precision int8 --calibration faces/ --output esr_int8",
    "emotion-perception optimize esr --precision int8 --dataset ferplus --data FERPlus --output esr_int8 --json",
)


def run(
    learner: Annotated[str, typer.Argument(metavar="LEARNER", help="Registered name of the learner.")],
    output: Annotated[Path, typer.Option("--output", "--out", metavar="DIR", help="Folder for card, weights, optimised model and report.")],
    weights: WeightsOption = None,
    precision: Annotated[
        str, typer.Option("--precision", metavar="|".join(PRECISIONS), help="int8 is the fastest on a CPU; fp16 is for GPUs.")
    ] = "fp32",
    calibration: Annotated[
        Path | None,
        typer.Option(
            "--calibration",
            metavar="FOLDER",
            help="Pictures for the ranges of int8 (a face model: face crops), instead of the bundled ones; of clips, their data set.",
        ),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", metavar="KIND", help=f"Compare the accuracy, before and after, on: {KINDS}.")
    ] = None,
    data: Annotated[Path | None, typer.Option("--data", metavar="PATH", help="Where that data set lies.")] = None,
    split: Annotated[str | None, typer.Option("--split", metavar="PART", help="Part to compare on; valid where a set has parts.")] = None,
    device: DeviceOption = "auto",
    json: JsonOption = False,
) -> None:
    """Makes a learner's weights fast to run: exports them, checks the answers, and writes a folder that every --weights takes."""
    from emotion_perception.engine.weights import REPORT_NAME

    choice("--precision", precision, PRECISIONS)
    labelled = open_optional(learner, dataset, data, split)
    with TemporaryDirectory(prefix="emotion_perception.") as scratch:
        model = open_learner(learner, weights, device, temp_path=scratch, backend="torch")
        logging.getLogger("emotion_perception").setLevel(logging.INFO)  # progress comes through the log
        model.optimize(precision=precision, calibration=_calibration(model, calibration), labelled=labelled)
        folder = model.save(output)
    report = json_module.loads((folder / REPORT_NAME).read_text(encoding="utf-8"))
    if json:
        print_json({"folder": folder, **report})
        return
    clips = model.card.perceives == "clip"
    print_fields(_fields(report, "clips" if clips else "pictures"))
    note(f"run it with: emotion-perception {'timeline VIDEO' if clips else f'predict PICTURES --learner {learner}'} --weights {output}")


def _calibration(model: Any, folder: Path | None) -> Any:
    """Returns what the ranges of int8 are taken from: a folder of pictures, or the training clips in it."""
    if folder is None or model.settings_class is None:
        return folder
    return model.settings.with_(data_path=str(folder)).open("train")


def _fields(report: Mapping[str, Any], things: str) -> dict[str, Any]:
    """Returns what a person wants to know, in words; ``things`` are what the learner judges."""
    check, labelled, layers = report["check"], report["labelled"], report["layers"]
    fields: dict[str, Any] = {
        "model": report["title"],
        "precision": report["precision"],
        "runs on": report["runs_on"],
        "size": f"{report['bytes'] / 1e6:.1f} MB (fp32: {report['fp32_bytes'] / 1e6:.1f} MB)",
        "one input": [f"{value:.1f} ms on {name}" for name, value in report["milliseconds"].items()],
    }
    if layers is not None:
        fields["layers in int8"] = layers["int8"]
        fields["kept in fp32"] = [f"{entry['layer']}: {entry['why']}" for entry in layers["kept_in_fp32"]] or "none"
        fields["calibrated on"] = f"{report['calibration']['pictures']} {things}: {report['calibration']['source']}"
    fields["checked on"] = f"{check['pictures']} {things}: {check['source']}"
    fields["same class"] = f"{check['agreement']:.1%}"
    for name, difference in check.items():
        if isinstance(difference, dict):
            fields[name] = f"differ by {difference['mean']:.2g} on average, {difference['max']:.2g} at most"
    if labelled is not None:
        before, after = labelled["before"], labelled["after"]
        pictures = f" on {before['pictures']} pictures"
        fields["labelled"] = [
            f"{name} {before[name]:.4f} before, {after[name]:.4f} after{pictures}"
            for name in before
            if name != "pictures" and name in after
        ]
    fields["took"] = f"{report['seconds']:.0f} s"
    fields["note"] = report["notes"]
    return fields
