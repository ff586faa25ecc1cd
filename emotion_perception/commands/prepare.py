"""``emotion-perception prepare``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emotion_perception.commands._common import JsonOption, choice, note, print_json, progress

if TYPE_CHECKING:
    from emotion_perception.engine.datasets import PreparationReport

EXAMPLES = (
    "emotion-perception prepare AffectNet/images AffectNet/lists --part train --output AffectNet_prepared",
    "emotion-perception prepare AffectNet/images AffectNet/lists/validation.csv --part valid --output AffectNet_prepared",
)
PARTS = ("unlabeled", "train", "valid")
_SHOWN = 10


def run(
    images: Annotated[Path, typer.Argument(metavar="IMAGES", help="Folder of AffectNet's unpacked pictures.")],
    annotations: Annotated[Path, typer.Argument(metavar="TABLE", help="AffectNet's table of annotations, or the folder of its tables.")],
    output: Annotated[Path, typer.Option("--output", metavar="DIR", help="Folder for the crops; train and eval read it.")],
    part: Annotated[str, typer.Option("--part", metavar="train|valid|unlabeled", help="Part of AffectNet.")] = "train",
    workers: Annotated[int | None, typer.Option("--workers", metavar="N", min=1, help="Threads; as many as cores by default.")] = None,
    json: JsonOption = False,
) -> None:
    """Cuts the faces out of AffectNet's pictures, 96 x 96, in the folders that train and eval read; goes on where it was interrupted."""
    from emotion_perception.engine.datasets import pre_process_affect_net

    number = PARTS.index(choice("--part", part, PARTS))
    with progress("rows", unit="rows") as advance:
        done = 0

        def on_progress(report: PreparationReport) -> None:
            nonlocal done
            advance(report.rows - done)
            done = report.rows

        report = pre_process_affect_net(images, annotations, output, number, workers=workers, on_progress=on_progress)
    if json:
        print_json(asdict(report))
        return
    typer.echo(str(report))
    for row, file, reason in report.failures[:_SHOWN]:
        note(f"bad row {row}: {file}: {reason}")
    if len(report.failures) > _SHOWN:
        note(f"and {len(report.failures) - _SHOWN} more; --json lists them all")
