"""The index of one part of MovieGraphs: what every scene consists of and where each feature lies, made once and kept in the cache.

Scene and face features stay where they are and are mapped into memory. Text features are small but lie in pickles, so the index has
a copy of them. The index counts in MovieGraphs' own words: one index serves all label sets.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotion_perception.engine.downloads import cache_dir
from emotion_perception.engine.errors import DatasetError, StorageError
from emotion_perception.engine.storage import folder_reading, folder_update
from emotion_perception.engine.target import FloatArray
from emotion_perception.learners.emotx.moviegraphs.sources import Source

logger = logging.getLogger(__name__)

_VERSION = 2
_TABLE = "index.json"
_ARRAYS = ("face_rows", "face_clips", "face_times_s", "texts", "text_times_s")


@dataclass(frozen=True)
class FeatureFile:
    """An array in a ``.npy`` file, as its header describes it."""

    path: str
    dtype: str
    rows: int
    width: int
    offset: int
    is_fortran: bool

    @classmethod
    def of(cls, file: Path, width: int) -> FeatureFile:
        """Reads a header.

        Raises:
            DatasetError: Not there, damaged, or no features of that width.
        """
        try:
            found = np.load(file, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DatasetError(f"cannot read {str(file)!r}: {getattr(error, 'strerror', None) or error}") from None
        if not isinstance(found, np.memmap) or found.ndim != 2 or found.dtype.kind != "f":
            raise DatasetError(f"{str(file)!r} has shape {found.shape} of {found.dtype}, expected floats of shape (features, {width})")
        if found.shape[1] != width:
            raise DatasetError(f"{str(file)!r} has features {found.shape[1]} wide, expected {width}; check the kind of features")
        is_fortran = found.flags.f_contiguous and not found.flags.c_contiguous
        return cls(str(file), found.dtype.str, found.shape[0], width, found.offset, is_fortran)

    def take(self, rows: NDArray[np.integer[Any]]) -> FloatArray:
        """Returns some rows as ``(len(rows), width)`` float32.

        Raises:
            DatasetError: The file is no longer there, or shorter.
        """
        shape = self.rows, self.width
        try:
            mapped = np.memmap(self.path, np.dtype(self.dtype), "r", self.offset, shape, "F" if self.is_fortran else "C")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise DatasetError(f"cannot read {self.path!r}: {reason}; it changed after the data set was opened") from None
        out: FloatArray = np.asarray(mapped)[rows].astype(np.float32, copy=False)
        return out


@dataclass
class Scene:
    """One scene: where its features are.

    Attributes:
        name: Movie and first clip.
        emotions: [character, emotion] pairs.
        starts_s: When each of its clips starts, in seconds from the start of the scene.
        duration_s: Length of all clips.
        scene: Features of the scene by clip.
        faces: Features of the faces by clip; None where a clip has no named face.
        characters: Name -> [start, stop] among the faces of the index, which are in the order of time.
        dialogue: [start, stop] among the texts of the index.
        utterances: The words of each text, or nothing where they are not known.
    """

    name: str
    emotions: list[list[str]]
    starts_s: list[float] = field(default_factory=list)
    duration_s: float = 0.0
    scene: list[FeatureFile] = field(default_factory=list)
    faces: list[FeatureFile | None] = field(default_factory=list)
    characters: dict[str, list[int]] = field(default_factory=dict)
    dialogue: list[int] = field(default_factory=lambda: [0, 0])
    utterances: list[str] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Index:
    """All scenes of a part.

    Attributes:
        scenes: In the order of the graphs.
        skipped: A line for each thing left out or handled by a rule.
        face_rows, face_clips, face_times_s: ``(n,)`` of every face of a named character: row in the features of its clip, which clip of
            the scene, and seconds from the start of the scene.
        texts, text_times_s: ``(m, width)`` and ``(m,)`` float32 of every utterance.
    """

    scenes: Sequence[Scene]
    skipped: Sequence[str]
    face_rows: NDArray[np.int32]
    face_clips: NDArray[np.uint16]
    face_times_s: FloatArray
    texts: FloatArray
    text_times_s: FloatArray


def open_index(source: Source, split: str) -> Index:
    """Opens the index of a part; makes it if there is none, or if any file that it was made of has changed its size or date.

    It is written all or nothing, so that a kill leaves no half of it. Where the cache cannot be written, it is kept in memory.

    Raises:
        DatasetError: Nothing usable in the source.
        UsageError: No such part.
    """
    from emotion_perception.learners.emotx.moviegraphs.indexing import make_index

    movies = source.movies(split)
    folder = cache_dir() / "moviegraphs" / _digest([str(source.data_path.resolve()), repr(source), split])
    state = _digest([str(_VERSION), *_states(source.files(movies)), *movies])
    known = _read(folder, state)
    if known is not None:
        return known
    logger.info("indexing part %s of MovieGraphs in %s", split, source.data_path)
    made = make_index(source, movies)
    try:
        _write(folder, state, made)
    except StorageError as error:
        logger.warning("the index of MovieGraphs is not kept: %s", error)
        return made
    return _read(folder, state) or made


def _states(files: Iterator[Path]) -> Iterator[str]:
    for file in files:
        try:
            facts = file.stat()
        except OSError:
            yield f"{file}:-"
        else:
            yield f"{file}:{facts.st_size}:{facts.st_mtime_ns}:{facts.st_ctime_ns}"  # permissions change only the last


def _digest(words: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(words).encode(errors="surrogateescape")).hexdigest()[:24]


def _write(folder: Path, state: str, index: Index) -> None:
    table = {"state": state, "skipped": list(index.skipped), "scenes": [asdict(scene) for scene in index.scenes]}
    with folder_update(folder) as temporary:
        for name in _ARRAYS:
            np.save(temporary / f"{name}.npy", getattr(index, name))
        (temporary / _TABLE).write_text(json.dumps(table), encoding="utf-8")


def _read(folder: Path, state: str) -> Index | None:
    """Reads an index; None if there is none, it is damaged, or it was made of other files."""
    if not folder.is_dir():
        return None
    try:
        with folder_reading(folder):
            table = json.loads((folder / _TABLE).read_text(encoding="utf-8"))
            if table["state"] != state:
                return None
            arrays = {name: np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r")) for name in _ARRAYS}
        return Index([_scene(given) for given in table["scenes"]], table["skipped"], **arrays)
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None


def _scene(given: dict[str, Any]) -> Scene:
    scene = [FeatureFile(**file) for file in given.pop("scene")]
    faces = [None if file is None else FeatureFile(**file) for file in given.pop("faces")]
    return Scene(scene=scene, faces=faces, **given)
