"""Clips of a stream: a window over frames, faces and speech that slides along, and what a learner for clips says of it.

A learner whose card perceives a clip offers what `WatchesClips` says. Nodes and commands put a `ClipPipeline` around its window, which
finds and follows the faces.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import numpy as np

from emotion_perception.engine.data import Image
from emotion_perception.engine.errors import UsageError
from emotion_perception.engine.labels import LabelSet
from emotion_perception.engine.target import BoundingBox, Category, FloatArray
from emotion_perception.engine.vision.faces import Face

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class ClipResult:
    """What was found in one clip; several labels may hold at once.

    Attributes:
        learner: Registered name of the learner that judged.
        labels: The label set of the probabilities.
        span_s: First and last second of the clip, on the clock of its frames.
        scene: ``(classes,)`` float32, each in [0, 1]; None where the learner judges characters only.
        characters: Name -> ``(classes,)`` float32, most important character first.
        boxes: Name -> where a character is in the clip's last frame, for those that are seen in it.
        frame_id: Copied from the clip's last frame.
        latency_ms: Milliseconds per stage.
    """

    learner: str
    labels: LabelSet
    span_s: tuple[float, float]
    scene: FloatArray | None
    characters: Mapping[str, FloatArray] = field(default_factory=dict)
    boxes: Mapping[str, BoundingBox] = field(default_factory=dict)
    frame_id: str = ""
    latency_ms: Mapping[str, float] = field(default_factory=dict)

    def category(self, name: str | None = None) -> Category | None:
        """Returns the likeliest class of a character, of the scene if None; None where that was not judged."""
        probabilities = self.scene if name is None else self.characters.get(name)
        if probabilities is None:
            return None
        index = int(probabilities.argmax())
        return Category(index, self.labels.words[index], float(probabilities[index]), probabilities)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain numbers and words, ready for JSON."""
        characters = {}
        for name, probabilities in self.characters.items():
            box = self.boxes.get(name)
            corners = None if box is None else [round(float(v), 2) for v in box.xyxy]
            characters[name] = {"box_xyxy": corners, "probabilities": self._named(probabilities)}
        return {
            "span_s": [round(float(second), 6) for second in self.span_s],
            "frame_id": self.frame_id,
            "learner": self.learner,
            "labels": self.labels.name,
            "scene": None if self.scene is None else {"probabilities": self._named(self.scene)},
            "characters": characters,
            "latency_ms": {stage: round(ms, 3) for stage, ms in self.latency_ms.items()},
        }

    def to_json(self) -> str:
        """Returns one line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    def rows(self) -> list[dict[str, Any]]:
        """Returns one flat row for the scene and one per character, for CSV: time, who, likeliest word, one column per class."""
        rows = []
        for name in (None, *self.characters):
            category = self.category(name)
            if category is None:
                continue
            row = {"from_s": round(self.span_s[0], 6), "to_s": round(self.span_s[1], 6), "who": name or "scene"}
            row |= {"emotion": category.description, "confidence": round(category.confidence, 6)}
            row |= {f"p_{word.lower()}": p for word, p in self._named(category.probabilities).items()}
            rows.append(row)
        return rows

    def _named(self, probabilities: FloatArray) -> dict[str, float]:
        return {word: round(float(p), 6) for word, p in zip(self.labels.words, probabilities, strict=True)}


class Window(ABC):
    """The last seconds of a stream, as one learner needs them. One window belongs to one stream and one thread.

    Frames are turned into features as they come; neither frames nor features outlive their use, so memory stays flat.
    """

    @abstractmethod
    def frame(self, image: Image, faces: Mapping[str, Face]) -> None:
        """Takes the next frame.

        Args:
            image: The frame, with a stamp. One before the last one means that the stream started again: everything is forgotten.
            faces: The faces in it by the name of who they are of, which stays the same from frame to frame.
        """

    @abstractmethod
    def speech(self, text: str, start_s: float, end_s: float) -> None:
        """Takes an utterance, with its times on the clock of the frames; one before the window is left out."""

    @abstractmethod
    def judge(self) -> ClipResult | None:
        """Judges what the window shows now; None while that is nothing."""

    @abstractmethod
    def reset(self) -> None:
        """Forgets everything."""

    @abstractmethod
    def warm_up(self) -> None:
        """Runs everything once, so that the first clip takes no longer than the next and missing files show; keeps nothing of it."""


@runtime_checkable
class WatchesClips(Protocol):
    """A learner that perceives clips of a stream."""

    def watch(self, *, window_s: float, num_chars: int = 0, dialogue: bool = True, backbones: str | Path | None = None) -> Window:
        """Returns a window on a stream.

        Args:
            window_s: Its length in seconds.
            num_chars: Most characters judged at once; 0: as many as the network knows.
            dialogue: Whether there will be speech.
            backbones: Folder with the weights of what turns frames, faces and words into features; where the learner keeps them if None.

        Raises:
            EmotionPerceptionError: A file that is needed is missing; the message names it.
        """


class SlidingStream:
    """Features with times, of which the newest are kept."""

    def __init__(self, most: int) -> None:
        """Makes an empty stream.

        Args:
            most: Most features kept.
        """
        self._entries: deque[tuple[float, FloatArray]] = deque(maxlen=most)

    def __len__(self) -> int:
        """Returns the number of features."""
        return len(self._entries)

    def add(self, feature: FloatArray, time_s: float) -> None:
        """Adds a feature; it may be a little older than the last one."""
        self._entries.append((time_s, feature))

    def forget(self, before_s: float) -> None:
        """Drops what is older than a time."""
        if any(time_s < before_s for time_s, _ in self._entries):
            self._entries = deque((entry for entry in self._entries if entry[0] >= before_s), self._entries.maxlen)

    def arrays(self, start_s: float) -> tuple[FloatArray, FloatArray]:
        """Returns the features, ``(n, width)`` float32, and their seconds since ``start_s``, ``(n,)`` float32 ascending; n at least 1."""
        entries = sorted(self._entries, key=lambda entry: entry[0])
        times = np.array([time_s - start_s for time_s, _ in entries], np.float32)
        return np.stack([feature for _, feature in entries]).astype(np.float32, copy=False), times


class FrameGroups(Generic[T]):
    """Frames as they come in, groups of consecutive frames at a fixed rate out.

    Cameras have other rates than the films that a backbone learned from, and frames get lost. Each instant of the fixed rate is shown by
    the frame nearest to it. After a pause a new group begins: held that long, a frame would look like a standstill. Only the frames of
    the group in hand are kept.
    """

    def __init__(self, rate_hz: float, frames: int = 1, stride: int = 1, pause_s: float = 0.5) -> None:
        """Makes it without frames.

        Args:
            rate_hz: The fixed rate.
            frames: Frames in a group.
            stride: Frames from the start of a group to that of the next.
            pause_s: Longest time that a frame may stand for, in seconds.
        """
        if not (rate_hz > 0.0 and frames >= 1 and stride >= 1 and pause_s > 0.0):
            raise UsageError(f"groups of {frames} frames every {stride} at {rate_hz} Hz, pause {pause_s} s: expected positive numbers")
        self._rate_hz, self._frames, self._stride, self._pause_s = rate_hz, frames, stride, pause_s
        self.reset()

    def reset(self) -> None:
        """Forgets all frames."""
        self._kept: deque[T] = deque(maxlen=self._frames)
        self._start_s = self._last_s = -math.inf
        self._next = 0

    def add(self, frame: T, time_s: float) -> tuple[list[T], float] | None:
        """Takes a frame and returns the group that it completes with the time of the group's middle; None if it completes none.

        Where it completes several, only the newest is returned: whoever is slow must not fall behind further.
        """
        if not 0.0 <= time_s - self._last_s <= self._pause_s:
            self.reset()
            self._start_s = self._last_s = time_s
        middle_s = (self._last_s + time_s) / 2
        before = self._kept[-1] if self._kept else frame
        done = None
        # Half a step ahead: a camera at the very same rate is not a frame late because of its jitter.
        for n in range(self._next, math.floor((time_s - self._start_s) * self._rate_hz + 0.5) + 1):
            self._kept.append(before if self._start_s + n / self._rate_hz <= middle_s else frame)
            self._next = n + 1
            first = n + 1 - self._frames
            if first >= 0 and first % self._stride == 0:
                done = list(self._kept), self._start_s + (first + self._frames // 2) / self._rate_hz
        self._last_s = time_s
        return done
