"""Reads who is seen when: face tracks, and the names that tracks have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotion_perception.engine.errors import DatasetError
from emotion_perception.learners.emotx.moviegraphs.pickles import read_pickles

# x1, y1, x2, y2, score, frame, number of the person in the frame, track
_COLUMNS = 8
_FRAME, _TRACK = 5, 7


@dataclass(frozen=True)
class Faces:
    """The faces of one video clip.

    Attributes:
        track: ``(n,)`` int64 number of the track that a face belongs to, counted from 1; a row per row of the face features.
        frame: ``(n,)`` int64 frame that it is in.
        frames: How many frames the clip has at least, as far as tracks tell.
    """

    track: NDArray[np.int64]
    frame: NDArray[np.int64]
    frames: int


def read_faces(file: Path) -> Faces:
    """Reads the tracks of a clip: two pickles, of persons and of faces, each frame -> rows.

    Raises:
        DatasetError: The file cannot be read, or has rows of another width.
    """
    persons, faces = _tracks(file)
    rows = _joined(file, faces)
    frame = rows[:, _FRAME].astype(np.int64)
    last = max([int(frame.max(initial=-1)), *(int(number) for number in persons)])
    return Faces(rows[:, _TRACK].astype(np.int64), frame, last + 1)


def face_rows(file: Path) -> NDArray[np.float64]:
    """Reads the rows of a clip's face tracks, ``(n, 8)``; errors are those of `read_faces`."""
    return _joined(file, _tracks(file)[1])


def _tracks(file: Path) -> tuple[Mapping[Any, Any], Mapping[Any, Any]]:
    persons, faces = read_pickles(file, 2)
    if not isinstance(persons, Mapping) or not isinstance(faces, Mapping):
        raise DatasetError(f"{str(file)!r} does not hold tracks by frame")
    return persons, faces


def _joined(file: Path, faces: Mapping[Any, Any]) -> NDArray[np.float64]:
    rows = np.concatenate([_rows(file, value) for value in faces.values()]) if faces else np.zeros((0, _COLUMNS))
    if not np.isfinite(rows[:, (_FRAME, _TRACK)]).all():
        raise DatasetError(f"{str(file)!r} has faces without frame or track")
    return rows


def _rows(file: Path, value: Any) -> NDArray[np.float64]:
    rows = np.asarray(value, np.float64)
    if rows.ndim != 2 or rows.shape[1] != _COLUMNS:
        raise DatasetError(f"{str(file)!r} has face tracks of shape {rows.shape}, expected (faces, {_COLUMNS})")
    return rows


def read_name_table(file: Path) -> dict[str, int]:
    """Reads which column of the tracks' names is whose: the first of two pickles."""
    names, _ = read_pickles(file, 2)
    if not isinstance(names, Mapping):
        raise DatasetError(f"{str(file)!r} does not hold names with columns")
    return {str(name).strip(): int(column) for name, column in names.items()}


def read_names(file: Path, columns: Mapping[str, int], threshold: float) -> dict[str, NDArray[np.int64]]:
    """Reads which tracks have which name.

    Args:
        file: Array of tracks x names, probabilities.
        columns: Name -> column.
        threshold: A track has a name where its probability is above this.

    Returns:
        Name -> numbers of its tracks, counted from 1; names without tracks are not there.

    Raises:
        DatasetError: The file cannot be read, or has fewer columns than names.
    """
    try:
        given = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DatasetError(f"cannot read {str(file)!r}: {_reason(error)}") from None
    if given.ndim != 2 or given.shape[1] <= max(columns.values(), default=-1):
        raise DatasetError(f"{str(file)!r} has shape {given.shape}, expected tracks x {len(columns)} names")
    named = {name: np.flatnonzero(given[:, column] > threshold) + 1 for name, column in columns.items()}
    return {name: tracks for name, tracks in named.items() if len(tracks)}


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
