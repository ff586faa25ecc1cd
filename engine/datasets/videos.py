"""Videos with one class each, as a data set of their frames: in class folders, or named in tables, as Kragel et al. 2019 publish them."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emotion_perception.engine.datasets.base import EmotionDataset, Pixels, Targets
from emotion_perception.engine.datasets.pictures import affect_cell
from emotion_perception.engine.datasets.tables import read_lines, read_table
from emotion_perception.engine.errors import DatasetError, InputError, UsageError, unknown_name
from emotion_perception.engine.labels import AFFECTNET8, LabelSet

logger = logging.getLogger(__name__)

SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi"})
# The second word of a part: without the videos that the list of censored ones names.
CENSORED = "-censored"
_UNKNOWN = float("nan")


@dataclass(frozen=True)
class Video:
    """A video that a table or folder names.

    Attributes:
        name: Its path below the folder; what the table says where it is not there.
        place: Where it is, or None.
        label: Class index.
        affect: Valence and arousal, NaN where there are none.
    """

    name: str
    place: Path | None
    label: int
    affect: tuple[float, float] = (_UNKNOWN, _UNKNOWN)


class VideoFolder(EmotionDataset):
    """Frames of videos, every so many. A video has one class, and one source: no split of the frames divides it.

    A frame is decoded when it is asked for, and with it its whole video, as much of which is kept as there is room for: going through
    the frames in order decodes every video once.
    """

    def __init__(
        self, path: str | Path, split: str | None = None, labels: LabelSet = AFFECTNET8, *, every: int = 5, cache_mb: int = 1024
    ) -> None:
        """Finds the videos and counts their frames, which decodes nothing but their first ones.

        Args:
            path: A folder that holds a table per part, a CSV file whose name contains the part's, with the columns ``video`` and
                ``emotion`` (and, if there, ``valence, arousal`` in [-1, 1]); videos lie beside it or in a folder per class. Without such
                tables: a folder per class, in the part's folder where a part is given.
            split: The part, as ``train`` or ``test``; ``train-censored`` leaves out the videos that ``*censored*.csv`` names in any column.
            labels: The label set of the targets; videos of other classes are left out, which is logged.
            every: Use every so many frames, from the first.
            cache_mb: Memory for decoded frames.

        Raises:
            DatasetError: Nothing usable at the path, or a table without a column.
            UsageError: A part that is not there, or ``every`` below 1.
            MissingDependencyError: PyAV is not installed.
        """
        if every < 1:
            raise UsageError(f"every is {every}, expected at least 1")
        self.labels, self.every = labels, every
        self.path = Path(path)
        listed = find_videos(self.path, split, labels)
        with ThreadPoolExecutor() as pool:
            counts = list(pool.map(_count, listed))
        self.failures = [count for count in counts if isinstance(count, str)]
        kept = [(video, count) for video, count in zip(listed, counts, strict=True) if isinstance(count, int)]
        if not kept:
            first = f"; the first of {len(self.failures)} failures: {self.failures[0]}" if self.failures else ""
            raise DatasetError(f"{str(self.path)!r} has no usable video of a class in {labels.name}{first}")
        self.skipped = len(self.failures)
        if self.failures:
            logger.warning("%s: left out %d of %d videos, the first: %s", self.path, self.skipped, len(listed), self.failures[0])
        self.videos = [video.name for video, _ in kept]
        self._places = [video.place for video, _ in kept]
        frames = [np.arange(0, count, every, dtype=np.int64) for _, count in kept]
        self._video = np.repeat(np.arange(len(kept), dtype=np.int64), [len(numbers) for numbers in frames])
        self._frame = np.concatenate(frames)
        index = np.array([video.label for video, _ in kept], np.int64)[self._video]
        affect = np.array([video.affect for video, _ in kept], np.float32)[self._video]
        self.targets = Targets(index, affect=None if np.isnan(affect).all() else affect)
        self._room = cache_mb << 20
        self._cache: OrderedDict[int, Sequence[Pixels]] = OrderedDict()
        self._lock = threading.Lock()

    def picture(self, index: int) -> Pixels:
        """Decodes one frame, ``(height, width, 3)`` RGB uint8; raises `InputError` if its video has become unreadable.

        Where a damaged video holds fewer frames than it claims, its last one stands for those that are missing.
        """
        frames = self._decoded(int(self._video[index]))
        return frames[min(int(self._frame[index]) // self.every, len(frames) - 1)]

    def name(self, index: int) -> str:
        """Returns the path of the video below the folder, and the number of the frame."""
        video, frame = self.frame(index)
        return f"{video}#{frame}"

    def frame(self, index: int) -> tuple[str, int]:
        """Returns the path of the video below the folder, and the number of the frame, from 0."""
        return self.videos[int(self._video[index])], int(self._frame[index])

    def source(self, index: int) -> str:
        """Returns the path of the video."""
        return str(self._places[int(self._video[index])])

    def __repr__(self) -> str:
        """Says how many frames there are, of how many videos."""
        return f"VideoFolder({len(self)} frames of {len(self.videos)} videos, {self.labels.name})"

    def _decoded(self, video: int) -> Sequence[Pixels]:
        from emotion_perception.engine.vision.video import read_video

        with self._lock:
            if video in self._cache:
                self._cache.move_to_end(video)
                return self._cache[video]
        place = self._places[video]
        assert place is not None  # those without a place are failures
        with read_video(place) as reader:
            frames = [image.rgb for number, image in enumerate(reader) if number % self.every == 0]
        with self._lock:
            self._cache[video] = frames
            while len(self._cache) > 1 and sum(each[0].nbytes * len(each) for each in self._cache.values()) > self._room:
                self._cache.popitem(last=False)
        return frames


def find_videos(path: Path, split: str | None, labels: LabelSet) -> list[Video]:
    """Lists the videos of a part, as `VideoFolder` takes it, without opening any; those of other classes are left out."""
    if not path.is_dir():
        raise DatasetError(f"there is no folder {str(path)!r} of videos; check the path")
    part = split.removesuffix(CENSORED) if split else None
    tables = sorted(file for file in path.glob("*.csv") if "censored" not in file.name.lower())
    listed = _of_table(path, tables, part, labels) if tables else _of_folders(path, part, labels)
    if part == split:
        return listed
    lists = sorted(path.glob("*censored*.csv"))
    if len(lists) != 1:
        raise DatasetError(f"{str(path)!r} should hold one *censored*.csv with the censored videos, it has {len(lists)}")
    censored = {cell for row in read_table(lists[0]) for cell in row.values() if cell}
    return [video for video in listed if video.name.rpartition("/")[2] not in censored]


def _of_table(path: Path, tables: Sequence[Path], part: str | None, labels: LabelSet) -> list[Video]:
    if part is None and len(tables) > 1:
        raise UsageError(f"{str(path)!r} has {len(tables)} tables; say which part, as train or test")
    fitting = [table for table in tables if part is None or part.lower() in table.name.lower()]
    if len(fitting) != 1:
        raise unknown_name(f"part of {str(path)!r}", str(part), [table.stem for table in tables])
    table = fitting[0]
    beside = {file.relative_to(path).as_posix() for file in path.rglob("*") if file.suffix.lower() in SUFFIXES}
    rows = read_lines(table, ("video", "emotion"))[1]
    classes = labels.index_of({row["emotion"] for _, row in rows})
    found = []
    for line, row in rows:
        if row["emotion"] not in classes:
            continue
        name = next((name for name in (f"{row['emotion']}/{row['video']}", row["video"]) if name in beside), None)
        cells = {key: row.get(key, "") for key in ("valence", "arousal")}
        affect = affect_cell(cells, "valence", line, str(table)), affect_cell(cells, "arousal", line, str(table))
        found.append(Video(name or row["video"], None if name is None else path / name, classes[row["emotion"]], affect))
    others = sorted({row["emotion"] for _, row in rows} - set(classes))
    if others:
        logger.info("%s: left out the videos of classes that %s lacks: %s", table, labels.name, ", ".join(others))
    return found


def _of_folders(path: Path, part: str | None, labels: LabelSet) -> list[Video]:
    root = path if part is None else path / part
    if not root.is_dir():
        raise unknown_name(f"part of {str(path)!r}", str(part), [entry.name for entry in path.iterdir() if entry.is_dir()])
    classes = labels.index_of([entry.name for entry in root.iterdir() if entry.is_dir()])
    return [
        Video(file.relative_to(path).as_posix(), file, classes[folder])
        for folder in sorted(classes)
        for file in sorted((root / folder).rglob("*"))
        if file.suffix.lower() in SUFFIXES
    ]


def _count(video: Video) -> int | str:
    """Returns the number of frames of a video, or what is wrong with it."""
    from emotion_perception.engine.vision.video import read_video

    if video.place is None:
        return f"video {video.name!r} is in the table but not in the folder"
    try:
        with read_video(video.place) as reader:
            return reader.count()
    except InputError as error:
        return str(error)
