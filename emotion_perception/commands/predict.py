"""``emotion-perception predict``."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emotion_perception.commands._common import (
    DETECTORS,
    BackendOption,
    DetectorOption,
    DeviceOption,
    JsonOption,
    LearnerOption,
    SetOption,
    WeightsOption,
    choice,
    fail,
    note,
    open_detector,
    open_learner,
    print_json,
    print_table,
    progress,
    refuse_clips,
)
from emotion_perception.commands._results import CsvOption, JsonlOption, ResultFiles
from emotion_perception.engine.data import Image
from emotion_perception.engine.errors import InputError, UsageError

if TYPE_CHECKING:
    from emotion_perception.engine.learners import Learner
    from emotion_perception.engine.target import FrameResult

EXAMPLES = (
    "emotion-perception predict photo.jpg --save out",
    "emotion-perception predict photos/ 'more/*.png' --csv faces.csv",
    "emotion-perception predict crops/ --detector none --json",
)


def run(
    pictures: Annotated[list[str], typer.Argument(metavar="PICTURES", help="Files, folders (with their sub-folders) and globs.")],
    learner: LearnerOption = "esr",
    weights: WeightsOption = None,
    device: DeviceOption = "auto",
    backend: BackendOption = "auto",
    settings: SetOption = None,
    detector: DetectorOption = "auto",
    save: Annotated[Path | None, typer.Option("--save", metavar="DIR", help="Write annotated pictures into this folder.")] = None,
    csv: CsvOption = None,
    jsonl: JsonlOption = None,
    json: JsonOption = False,
) -> None:
    """Perceives emotions in pictures and prints a row per face: file, face, box, emotion, confidence, valence and arousal."""
    refuse_clips(learner)
    choice("--detector", detector, (*DETECTORS, "none"))
    files = find_pictures(pictures)
    targets = save_targets(files, save) if save else []
    # A single picture that cannot be read is said at once, not after the seconds that loading a network takes.
    only = Image.open(files[0][0]) if len(files) == 1 else None
    model = open_learner(learner, weights, device, backend, settings)
    judge = make_judge(model, detector)
    failures: list[str] = []
    found: list[dict[str, Any]] = []
    rows: list[list[Any]] = []
    with ResultFiles(csv, jsonl, model.card.label_set, "file") as sinks, progress("pictures", len(files)) as advance:
        for n, (file, _) in enumerate(files):
            try:
                image = only or Image.open(file)
                result = judge(image)
                if save:
                    save_annotated(image, result, targets[n])
            except InputError as error:
                if len(files) == 1:
                    raise
                failures.append(str(error))
                continue
            finally:
                advance(1)
            sinks.write(result, str(file))
            if json:
                found.append({"file": str(file)} | result.to_dict())
            else:
                rows += table_rows(str(file), result)
    if json:
        print_json(found)
    elif rows:
        print_table(("file", model.card.perceives, "box", "emotion", "confidence", "valence", "arousal"), rows)
    if save and len(failures) < len(files):
        note(f"annotated pictures are in {save}")
    for failure in failures:
        note(f"failed: {failure}")
    if failures:
        raise fail(f"{len(failures)} of {len(files)} pictures failed; they are listed above")


def find_pictures(words: Sequence[str]) -> list[tuple[Path, Path]]:
    """Returns every picture that files, folders and globs name, once, each with its path below the folder it was found in.

    Raises:
        UsageError: A folder without pictures, or a glob that matches nothing. A missing file fails later, when it is read.
    """
    from emotion_perception.engine.datasets.files import SUFFIXES

    known = SUFFIXES | {".gif"}  # pictures of a data set are read by OpenCV, which knows no GIF before 4.11
    found: dict[Path, Path] = {}
    for word in words:
        path = Path(word)
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in known and p.is_file())
            if not inside:
                raise UsageError(
                    f"folder {word!r} has no pictures; expected files that end in {', '.join(sorted(known))}; name another folder or a file"
                )
            found |= {p: p.relative_to(path) for p in inside if p not in found}
        elif not path.exists() and glob.has_magic(word):
            matches = [Path(p) for p in sorted(glob.glob(word, recursive=True)) if Path(p).is_file()]  # noqa: PTH207  # absolute ones too
            if not matches:
                raise UsageError(f"nothing matches {word!r}; name a file, a folder or another glob")
            found |= {p: Path(p.name) for p in matches if p not in found}
        else:
            found.setdefault(path, Path(path.name))
    return list(found.items())


def save_targets(files: Sequence[tuple[Path, Path]], folder: Path) -> list[Path]:
    """Returns where each annotated picture goes; names that meet are numbered, and no source is overwritten."""
    sources = {file.resolve() for file, _ in files}
    targets: dict[Path, None] = {}
    for _, name in files:
        wanted = folder / (name if name.suffix.lower() in (".jpg", ".jpeg", ".png") else name.with_name(name.name + ".png"))
        target, n = wanted, 1
        while target in targets:
            n += 1
            target = wanted.with_name(f"{wanted.stem}_{n}{wanted.suffix}")
        if target.resolve() in sources:
            raise UsageError(f"--save {str(folder)!r} would overwrite {str(target)!r}; give another folder")
        targets[target] = None
    return list(targets)


def make_judge(model: Learner, detector: str) -> Callable[[Image], FrameResult]:
    """Returns what turns one picture into a `FrameResult`: the pipeline, or for face crops the learner alone."""
    from emotion_perception.engine.pipeline import Pipeline, judge_crops

    if detector != "none" or model.card.perceives != "face":
        return Pipeline(model, open_detector(detector, model), track=False)
    return lambda image: judge_crops(model, [image])[0]


def table_rows(file: str, result: FrameResult) -> Iterator[list[Any]]:
    """Yields the table's rows of one picture; a picture without a face has one that says so."""
    if not result.faces:
        yield [file, "-", "-", "no face found", None, None, None]
    for n, face in enumerate(result.faces, 1):
        box = ",".join(f"{v:.0f}" for v in face.box.xyxy)
        yield [file, n, box, face.category.description, face.category.confidence, face.valence, face.arousal]


def save_annotated(image: Image, result: FrameResult, target: Path) -> None:
    """Writes a copy of a picture with its result drawn on it."""
    from PIL import Image as PillowImage

    from emotion_perception.engine.storage import atomic_write
    from emotion_perception.engine.vision.drawing import draw

    pixels = image.numpy()
    draw(pixels, result)
    with atomic_write(target) as part:
        PillowImage.fromarray(pixels).save(part, quality=92)  # JPEG only; other formats have no such thing
