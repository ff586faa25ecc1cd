"""What several commands share: their common options, tables, JSON, progress, and the way from a learner's name to a loaded learner."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emotion_perception.engine.devices import BACKENDS
from emotion_perception.engine.errors import UsageError, unknown_name
from emotion_perception.engine.plain import plain, shown

if TYPE_CHECKING:
    from emotion_perception.engine.learners import Learner
    from emotion_perception.engine.vision.faces import FaceDetector

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of text.")]
LearnerOption = Annotated[
    str, typer.Option("--learner", metavar="NAME", help="Registered name of the learner (see: emotion-perception list).")
]
WeightsOption = Annotated[
    Path | None, typer.Option("--weights", metavar="DIR", help="Folder of weights; without it, the learner's default weights.")
]
DeviceOption = Annotated[str, typer.Option("--device", metavar="auto|cpu|cuda", help="Where the network runs.")]
BackendOption = Annotated[
    str,
    typer.Option("--backend", metavar="|".join(BACKENDS), help="What runs the network; auto: the fastest that is known here."),
]
DetectorOption = Annotated[
    str, typer.Option("--detector", metavar="auto|yunet|haar|none", help="Face detector; none: a picture is a face crop.")
]
SmoothingOption = Annotated[
    float, typer.Option("--smoothing", metavar="SECONDS", min=0.0, help="Time constant of smoothing per face; 0 = off.")
]
MaxFacesOption = Annotated[int, typer.Option("--max-faces", metavar="N", min=1, help="Most faces judged in one frame.")]
StreamDetectorOption = Annotated[str, typer.Option("--detector", metavar="auto|yunet|haar", help="Face detector.")]
SearchOption = Annotated[
    int,
    typer.Option("--search-size", metavar="PX", min=64, help="Longer side of the copy searched for faces; more finds smaller faces."),
]
SearchIntervalOption = Annotated[
    float,
    typer.Option("--search-interval", metavar="SECONDS", min=0.0, help="Search faces at least so often and follow them in between."),
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Any other option of the learner; see: emotion-perception info.")
]
DETECTORS = ("auto", "yunet", "haar")
DIGITS = 6  # decimals of what is printed


def print_json(value: Any) -> None:
    """Prints a value as indented JSON; numbers that JSON does not know become null, other things their text."""
    typer.echo(json.dumps(plain(value, DIGITS), indent=2, ensure_ascii=False, default=shown))


def print_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Prints aligned columns, numbers to the right; plain text, so that it can be cut and searched when piped."""
    cells = [[_cell(value) for value in row] for row in rows]
    numbers = [all(_is_number(row[i]) for row in cells) and bool(cells) for i in range(len(header))]
    widths = [max(len(row[i]) for row in [list(header), *cells]) for i in range(len(header))]
    for n, row in enumerate([list(header), *cells]):
        line = "  ".join(text.rjust(width) if right else text.ljust(width) for text, width, right in zip(row, widths, numbers, strict=True))
        typer.secho(line.rstrip(), bold=True if n == 0 else None)


def print_fields(values: Mapping[str, Any]) -> None:
    """Prints names and values, one per line, values aligned; a list takes a line per entry, nothing is printed for an empty value."""
    width = max((len(name) for name in values), default=0)
    for name, value in values.items():
        entries = value if isinstance(value, (list, tuple)) else [value]
        for n, entry in enumerate(entry for entry in entries if entry not in (None, "")):
            typer.echo(f"{typer.style((name if n == 0 else '').ljust(width), bold=True)}  {_cell(entry)}")


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3f}" if isinstance(value, float) else shown(value)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text == "-"
    return True


@contextmanager
def progress(title: str, total: float | None = None, unit: str = "") -> Iterator[Callable[[float], None]]:
    """Shows a bar with the time left on stderr while the block runs, on a terminal only; yields a function that adds finished steps."""
    if not sys.stderr.isatty():
        yield _ignore
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    known = (BarColumn(), MofNCompleteColumn(), TextColumn(unit), TextColumn("left"), TimeRemainingColumn())
    columns = known if total else (MofNCompleteColumn(), TextColumn(unit), TimeElapsedColumn())
    with Progress(SpinnerColumn(), TextColumn("{task.description}"), *columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total)

        def advance(steps: float) -> None:
            bar.advance(task, steps)

        yield advance


def _ignore(steps: float) -> None:
    """Adds nothing: there is no bar."""
    del steps


@contextmanager
def waiting(title: str) -> Iterator[None]:
    """Shows a spinner on stderr while the block runs, on a terminal only."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(title):
        yield


def note(text: str) -> None:
    """Prints a line for people on stderr, so that stdout stays readable by programs."""
    typer.echo(text, err=True)


def choice(option: str, given: str, known: Sequence[str]) -> str:
    """Returns a value that is one of the known ones, or raises `UsageError` with the nearest."""
    if given not in known:
        raise unknown_name(f"value of {option}:", given, known)
    return given


def default_weights(cls: type[Learner]) -> Path | None:
    """Returns the folder of weights that comes with a learner, or None where it has none or its folder is not there."""
    from emotion_perception.engine.cards import CARD_NAME

    folder = cls.default_weights
    return folder if folder is not None and (folder / CARD_NAME).is_file() else None


def open_learner(
    name: str,
    weights: Path | None = None,
    device: str = "auto",
    backend: str = "auto",
    settings: Sequence[str] | None = None,
    *,
    stream: bool = False,
    **arguments: Any,
) -> Learner:
    """Makes a learner and loads its weights.

    Args:
        name: Its registered name.
        weights: Folder of weights; those that come with it if None.
        device: Where it runs.
        backend: What runs it.
        settings: Further arguments of the learner, as ``name=value``.
        stream: Whether so many pictures will come that finding the fastest back end pays, which takes some seconds the first time.
        arguments: Further arguments of the learner, as they are.

    Raises:
        UsageError: Unknown learner, or no weights were given and it has none of its own.
        WeightsError: The folder is not one of this learner.
    """
    from emotion_perception.commands._settings import given_settings
    from emotion_perception.engine.registry import learner_class

    cls = learner_class(name)
    folder = weights or default_weights(cls)
    if folder is None:
        raise UsageError(
            f"learner {name!r} has no default weights; give --weights DIR (emotion-perception download {name} may bring published ones)"
        )
    with waiting(f"loading {name}"):
        learner = cls(**{"device": device, "backend": backend, **arguments, **given_settings(cls, settings or (), folder)})
        learner.load(folder)
    if stream:
        with waiting(f"finding the fastest way to run {name} here, once"):
            learner.tune()
    return learner


def refuse_clips(name: str) -> None:
    """Refuses a learner for clips where pictures are judged; the `UsageError` says which commands are for clips."""
    from emotion_perception.engine.registry import learner_class

    if learner_class(name).card.perceives == "clip":
        commands = f"timeline for a video, features for what {name} reads of it, or node {name} for a stream"
        raise UsageError(f"learner {name!r} judges clips and this command pictures; use emotion-perception {commands}")


def open_detector(name: str, learner: Learner, search_px: int | None = None) -> FaceDetector | None:
    """Makes the face detector for a learner, None where it judges whole pictures.

    Args:
        name: One of `DETECTORS`.
        learner: Who will judge the faces.
        search_px: Longer side of the copy that is searched; the detector's own default if None.
    """
    choice("--detector", name, DETECTORS)
    if learner.card.perceives != "face":
        return None
    from emotion_perception.engine.vision.faces import create_detector

    return create_detector(name, max_side=search_px)


def fail(message: str, status: int = 1) -> typer.Exit:
    """Prints one error line and returns the exception that ends the command."""
    note(f"emotion-perception: error: {message}")
    return typer.Exit(status)
