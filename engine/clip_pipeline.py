"""A stream in, judgements of its last seconds out: find and follow the faces, fill a learner's window, have it judged now and then."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from emotion_perception.engine.clips import ClipResult, Window
from emotion_perception.engine.data import Image
from emotion_perception.engine.target import BoundingBox, Category, FaceEmotion, FrameResult
from emotion_perception.engine.vision.faces import Face, FaceDetector
from emotion_perception.engine.vision.stream import FaceStream

if TYPE_CHECKING:
    from emotion_perception.engine.learners import Learner

# Where nobody says when an utterance began: the usual length of a spoken word.
_WORD_S = 0.4
# Stamps of speech that are further from the frames' are of another clock.
_SAME_CLOCK_S = 60.0


@dataclass(frozen=True, eq=False)
class Watched:
    """What came of one frame.

    Attributes:
        frame: The faces in it and, as an entry that is the whole picture, the scene, each with the likeliest class of the last judgement;
            who was not in that one is not listed.
        clip: The judgement, when one was due.
    """

    frame: FrameResult
    clip: ClipResult | None


class ClipPipeline:
    """Watches one stream: finds the faces, follows them with ids, fills a learner's window and has it judged now and then.

    Attributes:
        learner: Who judges.
        window: What is judged.
        judge_every_s: Least time between two judgements, in seconds; like `max_faces`, it may be changed between frames.
        max_faces: Most faces looked at per frame.
    """

    def __init__(
        self,
        learner: Learner,
        window: Window,
        detector: FaceDetector,
        *,
        judge_every_s: float = 1.0,
        max_faces: int = 16,
        search_interval_s: float = 0.25,
        name: Callable[[int], str] = "person {}".format,
    ) -> None:
        """Makes a pipeline.

        Args:
            learner: Who judges.
            window: What its ``watch`` returned.
            detector: A face detector.
            judge_every_s: Least time between two judgements, in seconds.
            max_faces: Most faces looked at per frame; those with the best scores are kept.
            search_interval_s: Longest time between two searches for faces, in seconds, between which they are followed.
            name: What a face is called, by its id.
        """
        self.learner, self.window = learner, window
        self.judge_every_s = judge_every_s
        self.max_faces = max_faces
        self._faces = FaceStream(detector, search_interval_s)
        self._name = name
        self._utterances: list[tuple[str, float | None]] = []
        self.reset()

    @property
    def detector(self) -> FaceDetector | None:
        """Who finds the faces."""
        return self._faces.detector

    @property
    def search_interval_s(self) -> float:
        """Longest time between two searches, in seconds; it may be changed between frames."""
        return self._faces.search_interval_s

    @search_interval_s.setter
    def search_interval_s(self, value: float) -> None:
        self._faces.search_interval_s = value

    def reset(self) -> None:
        """Forgets faces, ids, everything in the window and the last judgement."""
        for part in (self.window, self._faces):
            part.reset()
        self._utterances.clear()
        self._last: ClipResult | None = None
        self._now_s = self._judged_s = -math.inf
        self._index = 0

    def warm_up(self, size_hw: tuple[int, int] = (480, 640)) -> None:
        """Does everything once with a black picture; nothing of it is kept."""
        self._faces.warm_up(Image(np.zeros((*size_hw, 3), np.uint8)))
        self.window.warm_up()

    def speech(self, text: str, end_s: float | None = None) -> None:
        """Takes what somebody said; it becomes part of the window with the next frame.

        Args:
            text: The words; blank ones are left out.
            end_s: When it ended, on the clock of the frames; with the next frame if None, or if it can only be of another clock.
        """
        if text.strip():
            self._utterances.append((text.strip(), end_s))

    def __call__(self, image: Image) -> Watched:
        """Takes the next frame, and judges if that is due.

        Args:
            image: The frame; it is not changed. Without a stamp it goes by the clock.
        """
        start = time.perf_counter()
        now_s = time.monotonic() if image.stamp_s is None else image.stamp_s
        if now_s < self._now_s:
            self._last, self._judged_s = None, -math.inf
        self._now_s = now_s
        faces = dict(self._faces(image, now_s, self.max_faces))
        found = time.perf_counter()
        self.window.frame(replace(image, stamp_s=now_s), {self._name(track_id): face for track_id, face in faces.items()})
        self._hand_on_speech(now_s)
        seen = time.perf_counter()
        clip = None
        if now_s - self._judged_s >= self.judge_every_s:
            clip = self.window.judge()
        end = time.perf_counter()
        stages = {"detect": found - start, "features": seen - found, "judge": end - seen, "total": end - start}
        latency_ms = {stage: seconds * 1e3 for stage, seconds in stages.items()}
        if clip is not None:
            self._judged_s = now_s
            boxes = {self._name(track_id): face.box for track_id, face in faces.items()}
            boxes = {name: box for name, box in boxes.items() if name in clip.characters}
            clip = self._last = replace(clip, boxes=boxes, frame_id=image.frame_id, latency_ms=latency_ms)
        return Watched(self._frame(image, faces, latency_ms), clip)

    def _hand_on_speech(self, now_s: float) -> None:
        for text, end_s in self._utterances:
            ended_s = min(end_s, now_s) if end_s is not None and abs(now_s - end_s) <= _SAME_CLOCK_S else now_s
            self.window.speech(text, ended_s - _WORD_S * len(text.split()), ended_s)
        self._utterances.clear()

    def _frame(self, image: Image, faces: Mapping[int, Face], latency_ms: Mapping[str, float]) -> FrameResult:
        """Returns the frame with what was last said of those in it."""
        judged: list[tuple[BoundingBox, int | None, Category | None]] = []
        if self._last is not None:
            judged = [(BoundingBox(0.0, 0.0, float(image.width), float(image.height)), None, self._last.category())]
            judged += [(face.box, track_id, self._last.category(self._name(track_id))) for track_id, face in faces.items()]
        entries = tuple(FaceEmotion(box, category, track_id=track_id) for box, track_id, category in judged if category is not None)
        index, self._index = self._index, self._index + 1
        card, size = self.learner.card, (image.width, image.height)
        return FrameResult(entries, card.learner, card.label_set, *size, index, image.stamp_s, image.frame_id, latency_ms)
