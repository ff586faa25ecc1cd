"""Crops AffectNet's faces and writes them into the folders that `AffectNetCategorical` and `AffectNetDimensional` read."""

from __future__ import annotations

import csv
import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from emotion_perception.engine.datasets.affectnet import SIDE
from emotion_perception.engine.datasets.base import Pixels
from emotion_perception.engine.errors import DatasetError, InputError, StorageError, UsageError
from emotion_perception.engine.labels import AFFECTNET8
from emotion_perception.engine.vision.opencv import opencv

logger = logging.getLogger(__name__)

PER_FOLDER = 500
_COLUMNS = ("subDirectory_filePath", "face_x", "face_y", "face_width", "face_height", "expression", "valence", "arousal")
# Here the published numbering differs from the loader's: 0 is the automatically annotated set, 1 the manual one.
_FOLDERS = ("Training_Unlabeled", "Training_Labeled", "Validation")
_TABLES = (
    ("automatically_annotated.csv", "Automatically_annotated_file_list.csv", "automatically_annotated_file_list.csv"),
    ("training.csv", "Manually_training.csv"),
    ("validation.csv", "Manually_validation.csv"),
)
_AUTOMATIC = ("", "Automatically_Annotated_Images", "Automatically_Annotated_extracted")
_MANUAL = ("", "Manually_Annotated_Images", "Manually_Annotated_extracted")
_PICTURES = (_AUTOMATIC, _MANUAL, _MANUAL)


@dataclass
class PreparationReport:
    """What `pre_process_affect_net` did.

    Attributes:
        folder: Where the pictures are.
        rows: Rows in the table.
        written: Pictures written by this call.
        kept: Pictures that were there already.
        without_expression: Rows outside the eight classes (none, uncertain, no face); no picture is made of them.
        failures: ``(row number, file, reason)`` of each bad row.
    """

    folder: Path
    rows: int = 0
    written: int = 0
    kept: int = 0
    without_expression: int = 0
    failures: list[tuple[int, str, str]] = field(default_factory=list)

    def __str__(self) -> str:
        """Sums up in one line; the counts add up to the rows."""
        first = f", the first is row {self.failures[0][0]} ({self.failures[0][1]}: {self.failures[0][2]})" if self.failures else ""
        return (
            f"{self.rows} rows: {self.written} pictures written to {str(self.folder)!r}, {self.kept} already there, "
            f"{self.without_expression} rows without one of the eight expressions, {len(self.failures)} bad rows{first}"
        )


def pre_process_affect_net(
    base_path_to_images: str | Path,
    base_path_to_annotations: str | Path,
    base_destination_path: str | Path,
    set_index: int,
    *,
    workers: int | None = None,
    on_progress: Callable[[PreparationReport], None] | None = None,
) -> PreparationReport:
    """Cuts out the annotated face of each picture, scales it to 96 x 96 and stores it, 500 to a folder.

    A picture is named ``<row, 7 digits>s<expression>s<1000 valence>s<1000 arousal>.jpg``. An interrupted run goes on where it stopped
    when it is called again: finished pictures are kept, and none is ever half-written. A bad row is counted and never ends the run.

    Args:
        base_path_to_images: Folder the paths in the table are relative to, or its parent as AffectNet unpacks it; pictures may also
            lie flat in it.
        base_path_to_annotations: Folder of AffectNet's tables, or the table itself.
        base_destination_path: Folder for the result; its sub folder follows from ``set_index``.
        set_index: 0 = automatically annotated -> ``Training_Unlabeled``, 1 = manual training part -> ``Training_Labeled``, 2 = manual
            validation part -> ``Validation``.
        workers: Threads; as many as there are cores if None.
        on_progress: Called after every 500 rows with the report so far.

    Returns:
        The counts, and every bad row with its reason.

    Raises:
        DatasetError: A folder, table or column is missing, or no row could be used.
        StorageError: A picture could not be written.
    """
    if set_index not in range(len(_FOLDERS)):
        raise UsageError(f"set_index is {set_index!r}, expected 0 ({_FOLDERS[0]}), 1 ({_FOLDERS[1]}) or 2 ({_FOLDERS[2]})")
    images = Path(base_path_to_images)
    if not images.is_dir():
        raise DatasetError(f"there is no folder {str(images)!r}; expected AffectNet's unpacked pictures")
    table = _find_table(Path(base_path_to_annotations), set_index)
    report = PreparationReport(Path(base_destination_path) / _FOLDERS[set_index])
    job = _Job([images / folder for folder in _PICTURES[set_index]], report.folder)
    with table.open(newline="", encoding="utf-8-sig") as file, ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        rows = enumerate(_rows(file, table))
        # One folder's worth at a time, so that memory stays flat and the report is never far behind.
        while chunk := list(islice(rows, PER_FOLDER)):
            for (number, row), outcome in zip(chunk, pool.map(job, chunk), strict=True):
                report.rows += 1
                if outcome in ("written", "kept", "without_expression"):
                    setattr(report, outcome, getattr(report, outcome) + 1)
                else:
                    report.failures.append((number, row["subDirectory_filePath"] or "", outcome))
            if on_progress:
                on_progress(report)
    if not report.written + report.kept:
        raise DatasetError(f"no row of {str(table)!r} gave a picture; {report}")
    (logger.warning if report.failures else logger.info)("%s", report)
    return report


@dataclass(frozen=True)
class _Job:
    """Turns one row into one file."""

    places: list[Path]
    folder: Path

    def __call__(self, numbered: tuple[int, dict[str, str]]) -> str:
        """Returns `written`, `kept`, `without_expression`, or why the row is bad."""
        number, row = numbered
        try:
            expression = int(row["expression"])
            valence, arousal = (round(1000 * float(row[name])) for name in ("valence", "arousal"))
        except (TypeError, ValueError, OverflowError):
            return "expression, valence or arousal is not a number"
        if expression not in range(len(AFFECTNET8)):
            return "without_expression"
        file = self.folder / str(number // PER_FOLDER) / f"{number:07d}s{expression}s{valence}s{arousal}.jpg"
        if file.is_file():
            return "kept"
        try:
            box = [round(float(row[f"face_{name}"])) for name in ("x", "y", "width", "height")]
        except (TypeError, ValueError, OverflowError):
            return "the face box is not four numbers"
        source = self._find(row["subDirectory_filePath"] or "")
        if source is None:
            return "there is no such picture"
        try:
            face = _face(source, *box)
        except InputError as error:
            return str(error)
        _write(face, file)
        return "written"

    def _find(self, given: str) -> Path | None:
        path = given.replace("\\", "/").strip()
        if not path:
            return None
        for place in self.places:
            for candidate in (place / path, place / path.rpartition("/")[2]):
                if candidate.is_file():
                    return candidate
        return None


def _face(source: Path, x: int, y: int, width: int, height: int) -> Pixels:
    """Cuts the box out of a picture: y counts rows, x counts columns. Returns ``(96, 96, 3)`` BGR."""
    cv2 = opencv("cropping AffectNet")
    data = np.fromfile(source, np.uint8)
    # AffectNet's boxes belong to the stored pixels, whatever EXIF says of them.
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION) if data.size else None
    if picture is None:
        raise InputError("the picture cannot be read")
    face = picture[max(y, 0) : max(y + height, 0), max(x, 0) : max(x + width, 0)]
    if 0 in face.shape:
        raise InputError(f"the face box ({x}, {y}, {width}, {height}) lies outside the picture of {picture.shape[1]}x{picture.shape[0]}")
    smaller = min(face.shape[:2]) > SIDE
    return np.asarray(cv2.resize(face, (SIDE, SIDE), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR), dtype=np.uint8)


def _write(face: Pixels, file: Path) -> None:
    """Writes a JPEG under another name first, so that a kill leaves no half picture under the right one."""
    cv2 = opencv("cropping AffectNet")
    part = file.with_suffix(".part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tofile(part)
        part.replace(file)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise StorageError(f"cannot write {str(file)!r}: {error.strerror or error}; free some space or choose another folder") from None


def _find_table(given: Path, set_index: int) -> Path:
    if given.is_file():
        return given
    for name in _TABLES[set_index]:
        if (given / name).is_file():
            return given / name
    raise DatasetError(f"{str(given)!r} is neither AffectNet's table nor a folder that holds {' or '.join(_TABLES[set_index][:2])}")


def _rows(file: Iterator[str], table: Path) -> Iterator[dict[str, str]]:
    reader = csv.DictReader(file)
    missing = [column for column in _COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        raise DatasetError(f"table {str(table)!r} lacks the column {missing[0]!r}; expected {', '.join(_COLUMNS)}")
    yield from reader
