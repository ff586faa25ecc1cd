"""What comes out: categories, affect, boxes, and the result of one frame."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from emotion_perception.engine.errors import UsageError
from emotion_perception.engine.labels import LabelSet

FloatArray = NDArray[np.float32]

# Stands for the argmax of the probabilities until the object is made.
_ARGMAX = cast("NDArray[np.int64]", None)


@dataclass(frozen=True, eq=False)
class Category:
    """The class judged most likely for one input; of a multi-label set others may hold as well, see `Emotions.present`.

    Attributes:
        data: Class index.
        description: Class word.
        confidence: Probability of that class, in [0, 1].
        probabilities: ``(classes,)`` float32, sums to 1 (a multi-label set: each in [0, 1]).
    """

    data: int
    description: str
    confidence: float
    probabilities: FloatArray

    def __str__(self) -> str:
        """Returns word and confidence, e.g. ``Happy (0.93)``."""
        return f"{self.description} ({self.confidence:.2f})"


@dataclass(frozen=True)
class BoundingBox:
    """A box in pixels of the picture it was found in; corners may lie outside it.

    Attributes:
        left, top, right, bottom: Pixel coordinates, origin at the top left corner of the picture.
        score: The detector's confidence, in [0, 1].
    """

    left: float
    top: float
    right: float
    bottom: float
    score: float = 1.0

    @property
    def width(self) -> float:
        """Width in pixels."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Height in pixels."""
        return self.bottom - self.top

    @property
    def center_xy(self) -> tuple[float, float]:
        """Centre in pixels."""
        return (self.left + self.right) / 2.0, (self.top + self.bottom) / 2.0

    @property
    def xyxy(self) -> FloatArray:
        """``(4,)`` float32: left, top, right, bottom."""
        return np.array([self.left, self.top, self.right, self.bottom], dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Emotions:
    """The result of `Learner.infer` for n inputs, whatever the model.

    It unpacks into ``categories, affect``, as the published FacialEmotionLearner interface returns them; ``len`` is the number
    of inputs and indexing gives the `Emotions` of one input or a slice.

    Attributes:
        labels: The label set of the classes.
        probabilities: ``(n, classes)`` float32, rows sum to 1 (a multi-label set: each in [0, 1]).
        affect: ``(n, 2)`` float32 [valence, arousal] in [-1, 1], or None where a model has none.
        index: ``(n,)`` int64, the class judged. The argmax of the probabilities unless a learner votes.
        extras: What a model knows beyond that, by name; every array has n rows. ESR: ``votes`` (n, classes) int64, ``agreement``
            (n,) share of branches that voted for the class judged, ``affect_spread`` (n, 2) and ``probability_spread``
            (n, classes), standard deviations over the branches. EmoTx: ``characters`` (n, N, classes), ``names`` (n, N).
    """

    labels: LabelSet
    probabilities: FloatArray
    affect: FloatArray | None = None
    index: NDArray[np.int64] = _ARGMAX
    extras: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Checks that all arrays have a row per input and fills in the class index."""
        given: dict[str, NDArray[Any] | None] = {"probabilities": self.probabilities, "affect": self.affect, "index": self.index}
        shapes = {name: values.shape for name, values in {**given, **self.extras}.items() if values is not None}
        n = self.probabilities.shape[:1]
        if self.probabilities.shape[1:] != (len(self.labels),) or any(shape[:1] != n for shape in shapes.values()):
            raise UsageError(f"Emotions takes a row per input in every array and a column per class of {self.labels.name}, got {shapes}")
        if self.index is None:
            object.__setattr__(self, "index", self.probabilities.argmax(axis=1).astype(np.int64))

    @property
    def categories(self) -> list[Category]:
        """One `Category` per input."""
        return [Category(int(i), self.labels.words[i], float(p[i]), p) for i, p in zip(self.index, self.probabilities, strict=True)]

    def present(self, threshold: float = 0.5) -> NDArray[np.bool_]:
        """Returns ``(n, classes)``, which classes hold: of a multi-label set those with at least this probability, else the one judged."""
        judged: NDArray[np.bool_] = np.arange(len(self.labels)) == self.index[:, None]
        return self.probabilities >= threshold if self.labels.multi_label else judged

    def __iter__(self) -> Iterator[Any]:
        """Unpacks into ``categories, affect``."""
        return iter((self.categories, self.affect))

    def __len__(self) -> int:
        """Returns the number of inputs."""
        return len(self.probabilities)

    def __getitem__(self, which: int | slice) -> Emotions:
        """Returns the `Emotions` of one input or a slice of inputs."""
        rows = slice(which, which + 1 or None) if isinstance(which, int) else which
        if isinstance(which, int) and not -len(self) <= which < len(self):
            raise IndexError(f"input {which} of {len(self)}")
        affect = None if self.affect is None else self.affect[rows]
        return Emotions(self.labels, self.probabilities[rows], affect, self.index[rows], {k: v[rows] for k, v in self.extras.items()})


@dataclass(frozen=True, eq=False)
class FaceEmotion:
    """One face of a frame and the emotion in it.

    Attributes:
        box: Where the face is.
        category: The class judged, with all probabilities, after smoothing.
        valence, arousal: Affect in [-1, 1], or None where the model has none.
        track_id: Stays the same for one face over frames; None for a single picture.
        landmarks: ``(5, 2)`` float32 pixels (right eye, left eye, nose tip, right and left corner of the mouth; right and left are the
            person's), or None.
        extras: The row of `Emotions.extras` of this face.
    """

    box: BoundingBox
    category: Category
    valence: float | None = None
    arousal: float | None = None
    track_id: int | None = None
    landmarks: FloatArray | None = None
    extras: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self, words: tuple[str, ...]) -> dict[str, Any]:
        """Returns plain numbers and words, ready for JSON; ``words`` names the probabilities."""
        return {
            "track_id": self.track_id,
            "box_xyxy": [round(float(v), 2) for v in self.box.xyxy],
            "score": round(self.box.score, 4),
            "emotion": self.category.description,
            "confidence": round(self.category.confidence, 6),
            "valence": _rounded(self.valence),
            "arousal": _rounded(self.arousal),
            "probabilities": {word: round(float(p), 6) for word, p in zip(words, self.category.probabilities, strict=True)},
            "landmarks": None if self.landmarks is None else [[round(float(v), 2) for v in point] for point in self.landmarks],
            **{name: np.asarray(value).tolist() for name, value in self.extras.items()},
        }


@dataclass(frozen=True, eq=False)
class FrameResult:
    """Everything found in one frame.

    Attributes:
        faces: One entry per face, left to right.
        learner: Registered name of the learner that judged.
        labels: The label set of the probabilities.
        width, height: Size of the frame in pixels.
        index: Number of the frame in its stream, from 0.
        stamp_s, frame_id: Copied from the `Image`.
        latency_ms: Milliseconds per stage: ``detect``, ``infer``, ``total``.
    """

    faces: tuple[FaceEmotion, ...]
    learner: str
    labels: LabelSet
    width: int
    height: int
    index: int = 0
    stamp_s: float | None = None
    frame_id: str = ""
    latency_ms: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain numbers and words, ready for JSON."""
        return {
            "frame": self.index,
            "stamp_s": _rounded(self.stamp_s),
            "frame_id": self.frame_id,
            "width": self.width,
            "height": self.height,
            "learner": self.learner,
            "faces": [face.to_dict(self.labels.words) for face in self.faces],
            "latency_ms": {stage: round(ms, 3) for stage, ms in self.latency_ms.items()},
        }

    def to_json(self) -> str:
        """Returns one line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    def rows(self) -> list[dict[str, Any]]:
        """Returns one flat row per face, for CSV: frame, time, id, box corners, word, confidence, affect, one column per class."""
        rows = []
        for face in self.faces:
            plain = face.to_dict(self.labels.words)
            left, top, right, bottom = plain["box_xyxy"]
            row = {"frame": self.index, "stamp_s": _rounded(self.stamp_s), "track_id": plain["track_id"]}
            row |= {"left": left, "top": top, "right": right, "bottom": bottom, "score": plain["score"]}
            row |= {key: plain[key] for key in ("emotion", "confidence", "valence", "arousal")}
            row |= {column_of(word): p for word, p in plain["probabilities"].items()}
            rows.append(row)
        return rows


def column_of(word: str) -> str:
    """Returns the column of a class's probability in tables."""
    return f"p_{word.lower().replace(' ', '_')}"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 6)
