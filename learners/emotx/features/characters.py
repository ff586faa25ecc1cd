"""Who is seen when: face tracks, detected or given, and the characters they belong to, named by a file or found by likeness."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from emotion_perception.engine.data import Image
from emotion_perception.engine.errors import InputError, MissingDependencyError
from emotion_perception.engine.target import BoundingBox, FloatArray
from emotion_perception.engine.vision.faces import FaceDetector, create_detector
from emotion_perception.engine.vision.stream import FaceStream
from emotion_perception.learners.emotx.clips import FPS
from emotion_perception.learners.emotx.features.subtitles import decoded
from emotion_perception.learners.emotx.moviegraphs.tracks import face_rows

Found = list[tuple[int, BoundingBox]]
Names = str | Path | Mapping[str, str] | None

# Cosine distance up to which two tracks may be one person. Of Inception-ResNet-V1's embeddings, pairs of one person lie below about 0.5.
SAME_PERSON = 0.4
_MOST_FACES = 16
_COLUMNS = ("track", "left", "top", "right", "bottom")


class Tracks(Protocol):
    """Says whose face is where."""

    def __call__(self, number: int, index: int, image: Image) -> Found:
        """Returns track and box of each face in a frame.

        Args:
            number: Of the frame, counted at the rate of films.
            index: Of the frame in the video.
            image: The frame.
        """


class DetectedTracks:
    """Faces from the engine's detector and tracker; where the picture cuts to another shot, every face starts a new track."""

    def __init__(self, detector: FaceDetector | None = None) -> None:
        """Makes a tracker that has seen nothing; without a detector it takes the engine's own."""
        self._faces = FaceStream(detector or create_detector())

    def __call__(self, number: int, index: int, image: Image) -> Found:
        """Returns track and box of each face; tracks count from 1."""
        return [(track, face.box) for track, face in self._faces(image, number / FPS, _MOST_FACES)]


class GivenTracks:
    """Faces from a table (CSV): a row per face with the columns ``track, left, top, right, bottom`` and ``frame`` or ``time_s``.

    Tracks are numbers from 1, boxes are pixels of the video, frames count from 0, times are seconds from the video's start. A ``.pkl``
    file of MovieGraphs' tracks is taken too; its frames count at the rate of films.
    """

    def __init__(self, file: str | Path) -> None:
        """Reads the file.

        Raises:
            InputError: A table that cannot be read, lacks a column, or has a row that is no face.
            DatasetError: A ``.pkl`` file that is not one of MovieGraphs' tracks.
        """
        self._faces: dict[int, Found] = {}
        if Path(file).suffix == ".pkl":
            self._by_time = True
            for *box, frame, _, track in face_rows(Path(file)).tolist():
                self._faces.setdefault(int(frame), []).append((int(track), BoundingBox(*box)))
        else:
            self._read_table(Path(file))

    def _read_table(self, file: Path) -> None:
        rows = _table(file)
        missing = [column for column in _COLUMNS if column not in rows[0]]
        if missing or not {"frame", "time_s"} & rows[0].keys():
            given = f"face tracks {str(file)!r} have the columns {', '.join(rows[0])}"
            raise InputError(f"{given}; expected {', '.join(_COLUMNS)} and frame or time_s")
        self._by_time = "frame" not in rows[0]
        for line, row in enumerate(rows, 2):
            try:
                track = int(row["track"])
                left, top, right, bottom = (float(row[column]) for column in _COLUMNS[1:])
                at = round(float(row["time_s"]) * FPS) if self._by_time else int(row["frame"])
            except (TypeError, ValueError):
                raise InputError(f"face tracks {str(file)!r}, line {line}: {list(row.values())} is not a row of numbers") from None
            if track < 1 or at < 0 or not (left < right < np.inf and top < bottom < np.inf and min(left, top) > -np.inf):
                raise InputError(f"face tracks {str(file)!r}, line {line}: expected a track from 1 and left < right, top < bottom")
            self._faces.setdefault(at, []).append((track, BoundingBox(left, top, right, bottom)))

    def __call__(self, number: int, index: int, image: Image) -> Found:
        """Returns track and box of each face in the table."""
        return self._faces.get(number if self._by_time else index, [])


def read_names(file: str | Path) -> dict[str, str]:
    """Reads who is who: a table (CSV) with the columns ``track`` and ``name``, or a JSON object.

    Raises:
        InputError: It cannot be read, or is neither.
    """
    path = Path(file)
    if path.suffix.lower() == ".json":
        try:
            content = json.loads(_text(path))
        except json.JSONDecodeError as error:
            raise InputError(f"names {str(path)!r} are not JSON ({error.msg}, line {error.lineno}); check the file") from None
        if not isinstance(content, dict) or not all(isinstance(value, str) for value in content.values()):
            raise InputError(f'names {str(path)!r} are not a JSON object of texts, e.g. {{"1": "Anna"}}')
        return content
    rows = _table(path)
    if not {"track", "name"} <= rows[0].keys():
        raise InputError(f"names {str(path)!r} have the columns {', '.join(rows[0])}; expected track and name")
    return {row["track"].strip(): row["name"].strip() for row in rows}


def name_tracks(
    features: Mapping[int, FloatArray],
    seen: Mapping[int, NDArray[np.int64]],
    names: Names = None,
    same_person: float = SAME_PERSON,
) -> dict[str, list[int]]:
    """Says which tracks are which character.

    A track whose number has a name is that character. The others are put together by likeness (agglomerative clustering, complete
    linkage, of the cosine distance of the tracks' mean features), never two that are seen in the same frame, and called
    ``person 1``, ``person 2``, ... by the time on screen; these names can be renamed in the same way.

    Args:
        features: Track -> ``(n, width)`` features.
        seen: Track -> numbers of the frames that show it.
        names: File (`read_names`) or mapping: track or ``person N`` -> name.
        same_person: Largest cosine distance between two tracks of one person, in [0, 2).

    Returns:
        Name -> tracks, the character longest on screen first.

    Raises:
        InputError: The names cannot be read, or name a track that is not there.
    """
    known = read_names(names) if isinstance(names, (str, Path)) else dict(names or {})
    groups: dict[str, list[int]] = {}
    unnamed = []
    for track in features:
        if str(track) in known:
            groups.setdefault(known[str(track)], []).append(track)
        else:
            unnamed.append(track)
    found = sorted(_alike(unnamed, features, seen, same_person), key=lambda tracks: -_on_screen(tracks, seen))
    for number, tracks in enumerate(found, 1):
        person = f"person {number}"
        groups.setdefault(known.get(person, person), []).extend(tracks)
    used = {*map(str, features), *(f"person {number}" for number in range(1, len(found) + 1))}
    wrong = sorted(known.keys() - used)
    if wrong:
        there = f"there are tracks {min(features)} to {max(features)} and {len(found)} unnamed persons" if features else "there is no face"
        raise InputError(f"names are given for {wrong[0]!r}, but {there}; correct the names")
    order = sorted(groups, key=lambda name: -_on_screen(groups[name], seen))
    return {name: sorted(groups[name]) for name in order}


def _alike(
    tracks: Sequence[int], features: Mapping[int, FloatArray], seen: Mapping[int, NDArray[np.int64]], same_person: float
) -> list[list[int]]:
    """Puts tracks together that may be one person."""
    if len(tracks) < 2:
        return [[track] for track in tracks]
    try:
        from sklearn.cluster import AgglomerativeClustering
    except ImportError:
        raise MissingDependencyError("scikit-learn", "telling characters apart", "emotx") from None
    means = np.stack([features[track].astype(np.float64).mean(axis=0) for track in tracks])
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    distance = np.clip(1.0 - means @ means.T, 0.0, 2.0)
    for i, one in enumerate(tracks):
        for j, other in enumerate(tracks[:i]):
            if np.intersect1d(seen[one], seen[other]).size:
                distance[i, j] = distance[j, i] = 1e3  # above any threshold; with complete linkage no detour leads around it
    clustering = AgglomerativeClustering(None, metric="precomputed", linkage="complete", distance_threshold=same_person)
    groups: dict[int, list[int]] = {}
    for track, label in zip(tracks, clustering.fit_predict(distance), strict=True):
        groups.setdefault(int(label), []).append(track)
    return list(groups.values())


def _on_screen(tracks: Sequence[int], seen: Mapping[int, NDArray[np.int64]]) -> int:
    return sum(len(seen[track]) for track in tracks)


def _table(path: Path) -> list[dict[str, str]]:
    rows = list(csv.DictReader(_text(path).splitlines(), skipinitialspace=True))
    if not rows:
        raise InputError(f"table {str(path)!r} has no rows; give a CSV file with a header")
    return rows


def _text(path: Path) -> str:
    try:
        return decoded(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r}: {error.strerror}; give a file") from None
