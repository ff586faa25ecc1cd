"""Finds pictures that lie on both sides of a split: copies of one source, and near-copies by perceptual hash."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotion_perception.engine.datasets.base import EmotionDataset, Pixels
from emotion_perception.engine.datasets.sources import source_of
from emotion_perception.engine.errors import DatasetError, UsageError
from emotion_perception.engine.vision.opencv import opencv

BITS = 64
_SIDE = 32  # of the copy whose frequencies are compared, in pixels
_LOW = 8  # frequencies per axis that make up the hash
_ROWS = 2048  # of validation, compared with all of training at once
MAX_EXAMPLES = 20
# Of FER+'s validation pictures 374 have a training picture this near, and all but 3 of those correlate with it above 0.9; of the pairs that
# are 8 bits apart more than half are other pictures.
RADIUS = 4


@dataclass(frozen=True)
class Leak:
    """A validation picture and a training picture that show the same.

    Attributes:
        validation, train: Their names.
        source: The source they share; empty for near-copies of different sources.
        distance: Bits in which their hashes differ; None where hashes were not compared.
    """

    validation: str
    train: str
    source: str = ""
    distance: int | None = None


@dataclass(frozen=True, eq=False)
class Leaks:
    """What two sides of a split share.

    Attributes:
        train, validation: Number of pictures on each side.
        radius: Most bits in which the hashes of near-copies differ; None where no pictures were compared, only names.
        by_source: ``(m,)`` int64, validation pictures whose source is in training.
        by_hash: ``(k,)`` int64, validation pictures with a near-copy in training; empty where no pictures were compared.
        examples: Some of them.
    """

    train: int
    validation: int
    radius: int | None
    by_source: NDArray[np.int64]
    by_hash: NDArray[np.int64]
    examples: tuple[Leak, ...]

    @property
    def leaked(self) -> NDArray[np.int64]:
        """Validation pictures that leak in either way, in rising order; without them the validation part is clean."""
        return np.union1d(self.by_source, self.by_hash)

    @property
    def share(self) -> float:
        """Share of the validation pictures that leak in either way, in [0, 1]."""
        return len(self.leaked) / self.validation

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values, ready for JSON; ``near_copies`` is None where no pictures were compared."""
        return {
            "train": self.train,
            "validation": self.validation,
            "leaked": len(self.leaked),
            "share": self.share,
            "same_source": len(self.by_source),
            "near_copies": None if self.radius is None else len(self.by_hash),
            "radius": self.radius,
            "examples": [vars(example) for example in self.examples],
        }

    def __str__(self) -> str:
        """Says in one line how many pictures leak, and how."""
        near = "pictures were not compared" if self.radius is None else f"{len(self.by_hash)} near-copies within {self.radius} bits"
        return (
            f"{len(self.leaked)} of {self.validation} validation pictures ({self.share:.1%}) are in the training part too: "
            f"{len(self.by_source)} share a source, {near}"
        )


def find_leaks(train: EmotionDataset | Sequence[str], validation: EmotionDataset | Sequence[str], *, radius: int = RADIUS) -> Leaks:
    """Looks for what training and validation have in common.

    Args:
        train: What is trained on: a data set, or names of pictures, of which only the sources can be compared.
        validation: What is validated on, likewise.
        radius: Most bits, of 64, in which the hashes of near-copies differ. Mirrored copies are found as well.

    Raises:
        DatasetError: A side without pictures.
        UsageError: A radius outside 0 to 64.
    """
    if not 0 <= radius <= BITS:
        raise UsageError(f"radius is {radius}, expected 0 to {BITS} bits")
    for side, given in (("training", train), ("validation", validation)):
        if not len(given):
            raise DatasetError(f"the {side} part has no pictures; a leak is looked for between two parts that have some")
    first_of: dict[str, int] = {}
    for number, source in enumerate(_sources(train)):
        first_of.setdefault(source, number)
    sources = _sources(validation)
    by_source = np.array([n for n, source in enumerate(sources) if source in first_of], np.int64)
    examples = [Leak(_name(validation, n), _name(train, first_of[sources[n]]), sources[n]) for n in by_source[:MAX_EXAMPLES].tolist()]
    if not (isinstance(train, EmotionDataset) and isinstance(validation, EmotionDataset)):
        return Leaks(len(train), len(validation), None, by_source, np.array([], np.int64), tuple(examples))
    known = hashes(train.picture(n) for n in range(len(train)))
    nearest, distance = nearest_copies(known, hashes(validation.picture(n) for n in range(len(validation))))
    mirrored = nearest_copies(known, hashes(validation.picture(n)[:, ::-1] for n in range(len(validation))))
    nearest, distance = np.where(mirrored[1] < distance, mirrored[0], nearest), np.minimum(mirrored[1], distance)
    by_hash = np.flatnonzero(distance <= radius)
    for number in by_hash[:MAX_EXAMPLES].tolist():
        other = int(nearest[number])
        source = sources[number] if first_of.get(sources[number]) == other else ""
        examples.append(Leak(validation.name(number), train.name(other), source, int(distance[number])))
    return Leaks(len(train), len(validation), radius, by_source, by_hash, tuple(examples))


def check_apart(train: EmotionDataset, validation: EmotionDataset) -> None:
    """Raises `DatasetError` where pictures of training and of validation have the same source; their pictures are not compared."""
    sources = set(_sources(train))
    shared = [number for number, source in enumerate(_sources(validation)) if source in sources]
    if shared:
        count = f"{len(shared)} of {len(validation)} validation pictures share their source or person with the training data"
        first = validation.name(shared[0])
        raise DatasetError(f"{count}, the first is {first!r}; part the data with split_by_source, or leave those out")


def copies_within(dataset: EmotionDataset, radius: int = RADIUS) -> NDArray[np.int64]:
    """Returns ``(m, 2)`` the numbers of all pairs of pictures of one data set whose hashes differ in at most so many bits."""
    own = hashes(dataset.picture(n) for n in range(len(dataset)))
    mirrored = hashes(dataset.picture(n)[:, ::-1] for n in range(len(dataset)))
    pairs = [np.zeros((0, 2), np.int64)]
    for start in range(0, len(own), _ROWS):
        rows = slice(start, start + _ROWS)
        agreement = np.maximum(own[rows] @ own.T, mirrored[rows] @ own.T)
        one, other = np.nonzero(agreement >= BITS - 2 * radius)
        one = one + start
        pairs.append(np.stack([one, other], 1)[one < other])
    return np.concatenate(pairs).astype(np.int64)


def perceptual_hash(picture: Pixels) -> NDArray[np.float32]:
    """Returns what 64 low spatial frequencies of a picture look like, as signs (pHash, Zauner 2010).

    Args:
        picture: ``(h, w, 3)`` RGB or ``(h, w)`` grey, uint8.

    Returns:
        ``(64,)`` float32, 1 where a frequency's strength lies above the median, else -1. Half the difference of the scalar product of
        two hashes from 64 is the number of bits in which they differ. A picture of one colour has no frequencies: zeros, far from all.
    """
    cv2 = opencv("comparing pictures")
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) if picture.ndim == 3 else picture
    small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    # The first row and column are left out: they tell of light from above or from the side, which all faces share.
    low = cv2.dct(small)[1 : _LOW + 1, 1 : _LOW + 1]
    if np.abs(low).max() < 1.0:
        return np.zeros(BITS, np.float32)
    return np.where(low > np.median(low), 1.0, -1.0).astype(np.float32).reshape(-1)


def hashes(pictures: Iterable[Pixels]) -> NDArray[np.float32]:
    """Returns the hashes of pictures, ``(n, 64)``; see `perceptual_hash`."""
    return np.array([perceptual_hash(picture) for picture in pictures], np.float32).reshape(-1, BITS)


def nearest_copies(train: NDArray[np.float32], validation: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Finds for every validation picture the training picture whose hash is nearest.

    Args:
        train: ``(n, 64)`` hashes.
        validation: ``(m, 64)`` hashes.

    Returns:
        ``(m,)`` number of the training picture and ``(m,)`` bits in which the hashes differ.
    """
    nearest, distance = [], []
    for start in range(0, len(validation), _ROWS):
        agreement = validation[start : start + _ROWS] @ train.T
        nearest.append(agreement.argmax(axis=1))
        distance.append(np.rint((BITS - agreement.max(axis=1)) / 2.0))
    return np.concatenate(nearest).astype(np.int64), np.concatenate(distance).astype(np.int64)


def _sources(side: EmotionDataset | Sequence[str]) -> list[str]:
    return [side.source(n) for n in range(len(side))] if isinstance(side, EmotionDataset) else [source_of(name) for name in side]


def _name(side: EmotionDataset | Sequence[str], number: int) -> str:
    return side.name(number) if isinstance(side, EmotionDataset) else side[number]
