"""One pass over a video: its frames at the rate of films, its faces, its words, and the features of all three."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from emotion_perception.engine.data import Image
from emotion_perception.engine.target import BoundingBox, FloatArray
from emotion_perception.learners.emotx.clips import EVERY, FPS, ClipFeatures, Stream
from emotion_perception.learners.emotx.features.backbones.preparation import Pixels
from emotion_perception.learners.emotx.features.characters import SAME_PERSON, DetectedTracks, GivenTracks, Names, Tracks, name_tracks
from emotion_perception.learners.emotx.features.extractors import BATCH
from emotion_perception.learners.emotx.features.subtitles import Utterance, read_srt

if TYPE_CHECKING:
    from emotion_perception.engine.vision.faces import FaceDetector
    from emotion_perception.learners.emotx.features.extractors import Extractors, FaceExtractor, SceneExtractor


@dataclass(frozen=True, eq=False)
class Scenes:
    """Features of whole frames.

    Attributes:
        features: ``(n, width)`` float32.
        frames: ``(n,)`` int64, the frame that each stands for.
        every: Which of them the network takes: all (1), or of features of every frame every eighth.
    """

    features: FloatArray
    frames: NDArray[np.int64]
    every: int = 1

    def stream(self) -> Stream:
        """Returns what the network takes."""
        return Stream(self.features[:: self.every], (self.frames[:: self.every] / FPS).astype(np.float32))


@dataclass(frozen=True, eq=False)
class Faces:
    """Features of faces, in the order of the frames.

    Attributes:
        features: ``(n, width)`` float32.
        rows: ``(n, 8)`` float64: left, top, right, bottom, score, frame, person (-1) and track, as MovieGraphs' files have them.
        seen: Track -> numbers of all frames that show it.
        every: How many faces of a track one feature stands for.
    """

    features: FloatArray
    rows: NDArray[np.float64]
    seen: Mapping[int, NDArray[np.int64]]
    every: int

    def of(self, tracks: Sequence[int]) -> Stream:
        """Returns what the network takes of a character: of features of every face, every eighth."""
        at = np.flatnonzero(np.isin(self.rows[:, 7], tracks))[:: EVERY // self.every]
        return Stream(self.features[at], (self.rows[at, 5] / FPS).astype(np.float32))


@dataclass(frozen=True, eq=False)
class Recording:
    """What was extracted from a video. Frames are counted from 0 at the rate of films, `FPS`.

    Attributes:
        name: The video's name.
        frames: Number of frames.
        scenes, faces: Features; None without that stream.
        dialogue, utterances: ``(k, width)`` float32 and what was said; None and nothing without that stream.
    """

    name: str
    frames: int
    scenes: Scenes | None
    faces: Faces | None
    dialogue: FloatArray | None
    utterances: Sequence[Utterance] = ()

    def characters(self, names: Names = None, same_person: float = SAME_PERSON) -> dict[str, list[int]]:
        """Returns name -> tracks, the character longest on screen first; see `name_tracks`."""
        faces = self.faces
        if faces is None:
            return {}
        by_track = {track: faces.features[faces.rows[:, 7] == track] for track in faces.seen}
        return name_tracks(by_track, faces.seen, names, same_person)

    def clip(self, characters: Mapping[str, Sequence[int]]) -> ClipFeatures:
        """Returns what the network takes, with the characters given as name -> tracks."""
        faces, dialogue = self.faces, None
        if self.dialogue is not None:
            dialogue = Stream(self.dialogue, np.array([said.middle_s for said in self.utterances], np.float32))
        seen = {} if faces is None else {name: faces.of(tracks) for name, tracks in characters.items()}
        scene = None if self.scenes is None else self.scenes.stream()
        texts = tuple(said.text for said in self.utterances)
        return ClipFeatures(scene, seen, dialogue, self.name, texts, self.frames / FPS)


def record(
    extractors: Extractors,
    video: str | Path,
    subtitles: str | Path | Sequence[Utterance] | None = None,
    tracks: str | Path | None = None,
    *,
    detector: FaceDetector | None = None,
    dense: bool = False,
    progress: Callable[[float], None] | None = None,
) -> Recording:
    """Extracts features from a video; only what is in hand of its frames is kept.

    Args:
        extractors: The backbones, and which streams are wanted.
        video: A video file.
        subtitles: An .srt file, or what was said.
        tracks: A file of face tracks; None: they are detected.
        detector: Finds the faces; the engine's own if None.
        dense: A feature of every frame and every face, as MovieGraphs' files have them, not of every eighth.
        progress: Called with the number of frames of the video that were read.

    Raises:
        InputError: The video, the subtitles or the tracks cannot be read.
        WeightsError: A backbone's weights are missing.
    """
    from emotion_perception.engine.vision.video import read_video

    # Everything that can be refused is, before minutes of work.
    utterances = read_srt(subtitles) if isinstance(subtitles, (str, Path)) else list(subtitles or ())
    talks = "dialogue" in extractors.streams and subtitles is not None
    dialogue = extractors.text([said.text for said in utterances]) if talks else None
    faces = scenes = None
    if "characters" in extractors.streams:
        given = DetectedTracks(detector) if tracks is None else GivenTracks(tracks)
        faces = _FaceCollector(extractors.face, given, 1 if dense else EVERY)
    if "scene" in extractors.streams:
        scenes = _SceneCollector(extractors.scene, dense)
    count = 0
    with read_video(video) as reader:
        for number, index, image in at_film_rate(_counted(reader, progress)):
            if scenes is not None:
                scenes.add(image.rgb, number)
            if faces is not None:
                faces.add(image, number, index)
            count = number + 1
    return Recording(
        Path(video).stem,
        count,
        None if scenes is None else scenes.finished(),
        None if faces is None else faces.finished(),
        dialogue,
        utterances if talks else (),
    )


def at_film_rate(frames: Iterable[Image]) -> Iterator[tuple[int, int, Image]]:
    """Yields the frames of a video as a film shows them: 23.976 a second, by their own times.

    The published features count frames at that rate, and what a window of 32 frames shows depends on it. A frame that is shown for
    longer comes several times; where there are more, the first whose time has come.

    Args:
        frames: With ascending stamps from 0 on.

    Yields:
        Number of the frame at the rate of films, number in the video, and the frame.
    """
    last, before = -1, None
    for index, image in enumerate(frames):
        # A quarter of a frame early is in time: stamps are rounded, and half a frame would be a toss-up at twice the rate.
        number = math.floor((image.stamp_s or 0.0) * FPS + 0.25)
        if before is not None:
            for missing in range(last + 1, number):
                yield missing, *before
        if number > last:
            yield number, index, image
            last = number
        before = index, image


def _counted(frames: Iterable[Image], progress: Callable[[float], None] | None) -> Iterator[Image]:
    for image in frames:
        yield image
        if progress is not None:
            progress(1)


class _SceneCollector:
    """Collects scene features."""

    def __init__(self, extractor: SceneExtractor, dense: bool) -> None:
        self._extractor = extractor
        # Windows are as far apart in MovieGraphs' files as they are when judged; of single frames these files have every one.
        self._stride = 1 if dense and extractor.frames == 1 else extractor.stride
        self._frames: list[FloatArray] = []
        self._windows: list[FloatArray] = []
        self._rows = [np.zeros((0, extractor.width), np.float32)]
        self._numbers: list[int] = []
        self._next = 0

    def add(self, pixels: Pixels, number: int) -> None:
        """Takes the next frame."""
        extractor = self._extractor
        if extractor.frames == 1:
            if number % self._stride == 0:
                self._window([extractor.prepare(pixels)], number)
            return
        self._frames.append(extractor.prepare(pixels))
        if len(self._frames) == extractor.frames:
            self._step()

    def finished(self) -> Scenes:
        """Returns the features."""
        while self._frames:
            self._step()
        self._flush()
        return Scenes(np.concatenate(self._rows), np.array(self._numbers, np.int64), EVERY if self._stride == 1 else 1)

    def _step(self) -> None:
        """Makes a feature of the frames in hand, which stands for the frame a stride after the first, and goes on by a stride."""
        self._next += self._stride
        self._window(self._frames[: self._extractor.frames], self._next)
        del self._frames[: self._stride]

    def _window(self, prepared: Sequence[FloatArray], number: int) -> None:
        self._windows.append(self._extractor.window(prepared))
        self._numbers.append(number)
        if len(self._windows) * self._extractor.frames >= BATCH:
            self._flush()

    def _flush(self) -> None:
        self._rows.append(self._extractor.features(self._windows))
        self._windows = []


class _FaceCollector:
    """Collects features of faces."""

    def __init__(self, extractor: FaceExtractor, tracks: Tracks, every: int) -> None:
        self._extractor = extractor
        self._tracks = tracks
        self._every = every
        self._crops: list[FloatArray] = []
        self._features = [np.zeros((0, extractor.width), np.float32)]
        self._rows: list[tuple[float, ...]] = []
        self._seen: dict[int, list[int]] = {}

    def add(self, image: Image, number: int, index: int) -> None:
        """Takes the faces of the next frame; those that lie outside it are left out."""
        for track, box in self._tracks(number, index, image):
            crop = cut_face(image.rgb, box)
            if crop.size == 0:
                continue
            frames = self._seen.setdefault(track, [])
            frames.append(number)
            if (len(frames) - 1) % self._every == 0:
                self._crops.append(self._extractor.prepare(crop))
                self._rows.append((*box.xyxy.tolist(), box.score, number, -1, track))
        if len(self._crops) >= BATCH:
            self._flush()

    def finished(self) -> Faces:
        """Returns the features."""
        self._flush()
        rows = np.array(self._rows, np.float64).reshape(-1, 8)
        seen = {track: np.array(frames, np.int64) for track, frames in sorted(self._seen.items())}
        return Faces(np.concatenate(self._features), rows, seen, self._every)

    def _flush(self) -> None:
        self._features.append(self._extractor.features(self._crops))
        self._crops = []


def cut_face(pixels: Pixels, box: BoundingBox) -> Pixels:
    """Cuts a box out of a frame, without margin and to whole pixels, as it was done for the published features."""
    left, top, right, bottom = (int(corner) for corner in box.xyxy.tolist())
    return pixels[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
