"""A frame in, a result out: detect, crop, infer in one batch, track, smooth. Commands, video and nodes all use this one path."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from emotion_perception.engine.data import Image
from emotion_perception.engine.errors import UsageError
from emotion_perception.engine.target import Category, Emotions, FaceEmotion, FrameResult
from emotion_perception.engine.vision.crops import face_crop
from emotion_perception.engine.vision.faces import Face, FaceDetector, create_detector
from emotion_perception.engine.vision.smoothing import Smoother
from emotion_perception.engine.vision.stream import FaceStream, whole

if TYPE_CHECKING:
    from emotion_perception.engine.learners import Learner

# Longer side of the copy that faces are searched in: a video repeats itself, so speed counts more than the smallest face.
_VIDEO_SIDE_PX = 320


class Pipeline:
    """Judges the emotions in pictures or in the frames of one stream, with any learner for faces or scenes.

    What is cut out and how is read from the learner's card. A pipeline keeps state over time, so each stream needs its own, used from one
    thread; several may share a learner.

    Attributes:
        learner: Who judges.
        max_faces: Most faces judged per frame; it may be changed between frames.
    """

    def __init__(
        self,
        learner: Learner,
        detector: FaceDetector | None = None,
        *,
        max_faces: int = 16,
        smoothing_s: float = 0.3,
        search_interval_s: float = 0.25,
        track: bool = True,
    ) -> None:
        """Makes a pipeline.

        Args:
            learner: A learner with weights whose card perceives ``face`` or ``scene``.
            detector: A face detector; by default YuNet, on a copy of at most 320 pixels when tracking and of 640 otherwise.
            max_faces: Most faces judged per frame; those with the best scores are kept.
            smoothing_s: Time constant of the smoothing, in seconds; 0 is off.
            search_interval_s: Longest time between two searches for faces, in seconds, between which they are followed; 0 searches
                every frame.
            track: Whether the pictures are frames of one stream, with ids and smoothing; False for single pictures.

        Raises:
            UsageError: A learner for clips, or an argument out of range.
        """
        if learner.card.perceives not in ("face", "scene"):
            raise UsageError(f"{learner.name} perceives a {learner.card.perceives}, a pipeline takes learners for a face or a scene")
        if max_faces < 1:
            raise UsageError(f"max_faces is {max_faces}, expected at least 1")
        self.learner = learner
        if detector is None and learner.card.perceives == "face":
            detector = create_detector(max_side=_VIDEO_SIDE_PX if track else None)
        # Single pictures are all searched: none follows from another.
        self._faces = FaceStream(None if learner.card.perceives == "scene" else detector, search_interval_s if track else 0.0)
        self.max_faces = max_faces
        self._smoother = Smoother(smoothing_s) if track else None
        self._index = 0

    @property
    def detector(self) -> FaceDetector | None:
        """Who finds the faces; None for a learner that judges whole pictures."""
        return self._faces.detector

    @property
    def search_interval_s(self) -> float:
        """Longest time between two searches, in seconds; it may be changed between frames. Single pictures always have 0."""
        return self._faces.search_interval_s

    @search_interval_s.setter
    def search_interval_s(self, value: float) -> None:
        if self._smoother is not None:
            self._faces.search_interval_s = value

    @property
    def searched(self) -> bool:
        """Whether faces were searched in the last frame, and not followed from the one before."""
        return self._faces.searched

    @property
    def smoothing_s(self) -> float:
        """Time constant of the smoothing, in seconds; it may be changed between frames. 0 is off, as it always is for single pictures."""
        return 0.0 if self._smoother is None else self._smoother.time_constant_s

    @smoothing_s.setter
    def smoothing_s(self, value: float) -> None:
        if self._smoother is not None and value != self._smoother.time_constant_s:
            self._smoother = Smoother(value)

    @property
    def track_ids(self) -> frozenset[int]:
        """The ids that may still come back: those of the last frame and of faces unseen for a short time."""
        return self._faces.track_ids

    def reset(self) -> None:
        """Forgets faces, ids, smoothing and the frame count, and what the learner keeps over time."""
        for part in (self.learner, self._faces, self._smoother):
            if part is not None:
                part.reset()
        self._index = 0

    def warm_up(self, size_hw: tuple[int, int] = (480, 640)) -> None:
        """Does everything once with a black picture, so that the first frame takes no longer than the next; ids stay as they are.

        Args:
            size_hw: Height and width of the frames to come, in pixels.

        Raises:
            NotLoadedError: The learner has no weights.
        """
        image = Image(np.zeros((*size_hw, 3), np.uint8))
        self._faces.warm_up(image)
        self._judge(image, [whole(image)])

    def __call__(self, image: Image) -> FrameResult:
        """Judges one picture.

        Args:
            image: The picture; it is not changed. Without a stamp, ids and smoothing go by the clock.

        Returns:
            The faces, left to right; for a scene learner one entry whose box is the whole picture. When smoothing, the class is the one
            with the largest smoothed probability, else the one the learner judged.

        Raises:
            NotLoadedError: The learner has no weights.
        """
        start = time.perf_counter()
        stamp_s = time.monotonic() if image.stamp_s is None else image.stamp_s
        faces = self._find(image, stamp_s)
        found = time.perf_counter()
        emotions = self._judge(image, [face for _, face in faces])
        judged = time.perf_counter()
        entries = tuple(_entry(face, emotions, i, track_id, self._smoother, stamp_s) for i, (track_id, face) in enumerate(faces))
        end = time.perf_counter()
        latency_ms = {"detect": (found - start) * 1e3, "infer": (judged - found) * 1e3, "total": (end - start) * 1e3}
        result = FrameResult(
            entries,
            self.learner.name,
            emotions.labels,
            image.width,
            image.height,
            self._index,
            image.stamp_s,
            image.frame_id,
            latency_ms,
        )
        self._index += 1
        return result

    def _find(self, image: Image, stamp_s: float) -> list[tuple[int | None, Face]]:
        """Returns the best faces with their ids, left to right, or the whole picture; single pictures' faces have no ids."""
        if self._smoother is None:
            return [(None, face) for face in self._faces.find(image, stamp_s, self.max_faces)]
        return [*self._faces(image, stamp_s, self.max_faces)]

    def _judge(self, image: Image, faces: list[Face]) -> Emotions:
        """Judges all faces in one batch; an empty batch too, so that missing weights show at the first frame."""
        card = self.learner.card
        if card.crop is None or card.perceives == "scene":
            return self.learner.infer([image])
        size_hw = card.input.height, card.input.width
        crops = np.empty((len(faces), *size_hw, 3), np.uint8)
        for crop, face in zip(crops, faces, strict=True):
            crop[:] = face_crop(image, face.box, card.crop, size_hw)
        return self.learner.infer(crops)


def judge_crops(
    learner: Learner, crops: Sequence[Image], track_ids: Sequence[int | None] = (), smoothers: Sequence[Smoother | None] = ()
) -> list[FrameResult]:
    """Judges pictures that are face crops already, as they are: cutting them once more would add a border.

    Args:
        learner: A learner with weights, for faces.
        crops: The crops, of any size; they are judged in one batch.
        track_ids: One id per crop, or None, where it is known whose face it is.
        smoothers: What smooths each crop's face over time, one per crop; None judges a crop alone.

    Returns:
        A result per crop, in their order, with one face whose box is the whole crop.

    Raises:
        NotLoadedError: The learner has no weights.
    """
    start = time.perf_counter()
    emotions = learner.infer(list(crops))
    ms = (time.perf_counter() - start) * 1e3
    results = []
    for i, crop in enumerate(crops):
        stamp_s = time.monotonic() if crop.stamp_s is None else crop.stamp_s
        track_id, smoother = (track_ids[i] if track_ids else None), (smoothers[i] if smoothers else None)
        entry = _entry(whole(crop), emotions, i, track_id, smoother, stamp_s)
        latency_ms = {"detect": 0.0, "infer": ms, "total": ms}
        size = crop.width, crop.height
        results.append(FrameResult((entry,), learner.name, emotions.labels, *size, 0, crop.stamp_s, crop.frame_id, latency_ms))
    return results


def _entry(face: Face, emotions: Emotions, i: int, track_id: int | None, smoother: Smoother | None, stamp_s: float) -> FaceEmotion:
    """Joins a face with row i of what was judged, smoothed where it is known whose face it is."""
    index, probabilities = int(emotions.index[i]), emotions.probabilities[i]
    affect = None if emotions.affect is None else emotions.affect[i]
    if smoother is not None and smoother.time_constant_s > 0.0 and track_id is not None:
        probabilities, affect = smoother.update(track_id, probabilities, affect, stamp_s)
        index = int(probabilities.argmax())
    category = Category(index, emotions.labels.words[index], float(probabilities[index]), probabilities)
    valence, arousal = (None, None) if affect is None else (float(affect[0]), float(affect[1]))
    extras = {name: values[i] for name, values in emotions.extras.items()}
    return FaceEmotion(face.box, category, valence, arousal, track_id, face.landmarks, extras)
