"""A frame in, a result out: detect, crop, infer in one batch, track, smooth. Commands, video and nodes all use this one path."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from emotion_perception.engine.errors import UsageError
from emotion_perception.engine.target import BoundingBox, Category, Emotions, FaceEmotion, FrameResult
from emotion_perception.engine.vision.crops import face_crop
from emotion_perception.engine.vision.faces import Face, FaceDetector, create_detector
from emotion_perception.engine.vision.smoothing import Smoother
from emotion_perception.engine.vision.tracking import Tracker

if TYPE_CHECKING:
    from emotion_perception.engine.data import Image
    from emotion_perception.engine.learners import Learner

# Longer side of the copy that faces are searched in: a video repeats itself, so speed counts more than the smallest face.
_VIDEO_SIDE_PX = 320


class Pipeline:
    """Judges the emotions in pictures or in the frames of one stream, with any learner for faces or scenes.

    What is cut out and how is read from the learner's card. A pipeline keeps state over time, so each stream needs its own, used from one
    thread; several may share a learner.

    Attributes:
        learner: Who judges.
        detector: Who finds the faces; None for a learner that judges whole pictures.
    """

    def __init__(
        self, learner: Learner, detector: FaceDetector | None = None, *, max_faces: int = 16, smoothing_s: float = 0.3, track: bool = True
    ) -> None:
        """Makes a pipeline.

        Args:
            learner: A learner with weights whose card perceives ``face`` or ``scene``.
            detector: A face detector; by default YuNet, on a copy of at most 320 pixels when tracking and of 640 otherwise.
            max_faces: Most faces judged per frame; those with the best scores are kept.
            smoothing_s: Time constant of the smoothing, in seconds; 0 is off.
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
        self.detector = detector
        self.max_faces = max_faces
        self._tracker = Tracker() if track else None
        self._smoother = Smoother(smoothing_s) if track and smoothing_s else None
        self._index = 0

    def reset(self) -> None:
        """Forgets ids, smoothing and the frame count, and what the learner keeps over time."""
        for part in (self.learner, self._tracker, self._smoother):
            if part is not None:
                part.reset()
        self._index = 0

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
        faces = self._find(image)
        found = time.perf_counter()
        emotions = self._judge(image, faces)
        judged = time.perf_counter()
        entries = self._entries(faces, emotions, time.monotonic() if image.stamp_s is None else image.stamp_s)
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

    def _find(self, image: Image) -> list[Face]:
        """Returns the best faces, left to right, or the whole picture."""
        if self.learner.card.perceives == "scene" or self.detector is None:
            return [Face(BoundingBox(0.0, 0.0, float(image.width), float(image.height)))]
        return sorted(self.detector(image)[: self.max_faces], key=lambda face: face.box.center_xy)

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

    def _entries(self, faces: list[Face], emotions: Emotions, stamp_s: float) -> tuple[FaceEmotion, ...]:
        """Joins what was found and judged, with ids and smoothing."""
        ids = self._tracker.update([face.box for face in faces], stamp_s) if self._tracker else [None] * len(faces)
        entries = []
        for i, (face, track_id) in enumerate(zip(faces, ids, strict=True)):
            index, probabilities = int(emotions.index[i]), emotions.probabilities[i]
            affect = None if emotions.affect is None else emotions.affect[i]
            if self._smoother is not None and track_id is not None:
                probabilities, affect = self._smoother.update(track_id, probabilities, affect, stamp_s)
                index = int(probabilities.argmax())
            category = Category(index, emotions.labels.words[index], float(probabilities[index]), probabilities)
            valence, arousal = (None, None) if affect is None else (float(affect[0]), float(affect[1]))
            extras = {name: values[i] for name, values in emotions.extras.items()}
            entries.append(FaceEmotion(face.box, category, valence, arousal, track_id, face.landmarks, extras))
        return tuple(entries)
