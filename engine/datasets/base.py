"""What every data set offers: pictures one by one, and all targets as arrays."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from emotion_perception.engine.data import Image
from emotion_perception.engine.errors import DatasetError
from emotion_perception.engine.labels import LabelSet
from emotion_perception.engine.target import Category

if TYPE_CHECKING:
    from emotion_perception.engine.cards import ModelCard

Pixels = NDArray[np.uint8]


class DatasetIterator(ABC):
    """Base of all data sets: a length, and samples by index."""

    @abstractmethod
    def __len__(self) -> int:
        """Returns the number of samples."""

    @abstractmethod
    def __getitem__(self, index: int) -> Any:
        """Returns one sample: what goes in and what should come out."""


class ExternalDataset:
    """Names a data set on disk without reading it, as OpenDR passes them around; `open_dataset` accepts it.

    Attributes:
        path: Folder or file.
        dataset_type: Kind, as `open_dataset` takes it ("ferplus", "affectnet", "folder", "csv").
    """

    def __init__(self, path: str, dataset_type: str) -> None:
        """Stores the arguments; values that are not strings raise `DatasetError`."""
        for name, value in (("path", path), ("dataset_type", dataset_type)):
            if not isinstance(value, str):
                raise DatasetError(f"ExternalDataset.{name} is a {type(value).__name__}, expected a string")
        self.path = path
        self.dataset_type = dataset_type

    def __repr__(self) -> str:
        """Rebuilds the object."""
        return f"ExternalDataset(path={self.path!r}, dataset_type={self.dataset_type!r})"


@dataclass(frozen=True, eq=False)
class Targets:
    """The targets of n pictures.

    Attributes:
        index: ``(n,)`` int64 class index, -1 where a picture has no single class.
        distribution: ``(n, classes)`` float32, how the raters' votes spread over the classes; rows sum to 1, a row of NaN where a
            picture has none. None where no picture has one.
        affect: ``(n, 2)`` float32 [valence, arousal] in [-1, 1], NaN where unknown. None where no picture has any.
    """

    index: NDArray[np.int64]
    distribution: NDArray[np.float32] | None = None
    affect: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        """Refuses arrays that do not fit each other."""
        n = len(self.index)
        if self.index.ndim != 1 or self.index.dtype != np.int64:
            raise DatasetError(f"Targets.index has shape {self.index.shape} and type {self.index.dtype}, expected (n,) int64")
        if self.distribution is not None:
            if self.distribution.ndim != 2 or len(self.distribution) != n:
                raise DatasetError(f"Targets.distribution has shape {self.distribution.shape}, expected ({n}, classes)")
            sums = self.distribution.sum(axis=1)
            if not np.all(np.isnan(sums) | (np.abs(sums - 1.0) < 1e-4)):
                raise DatasetError("Targets.distribution has rows that do not sum to 1; divide the counts of each picture by their sum")
        if self.affect is not None and self.affect.shape != (n, 2):
            raise DatasetError(f"Targets.affect has shape {self.affect.shape}, expected ({n}, 2): valence and arousal")

    def __len__(self) -> int:
        """Returns the number of pictures."""
        return len(self.index)

    def digest(self) -> str:
        """Returns eight letters that are others where any target is another."""
        parts = (self.index, self.distribution, self.affect)
        return f"{zlib.crc32(b'|'.join(b'' if part is None else np.ascontiguousarray(part).tobytes() for part in parts)):08x}"

    def take(self, indices: NDArray[np.int64]) -> Targets:
        """Returns the targets of some pictures, in the order given."""
        return Targets(
            self.index[indices],
            None if self.distribution is None else self.distribution[indices],
            None if self.affect is None else self.affect[indices],
        )

    def soft(self, classes: int) -> NDArray[np.float32]:
        """Returns ``(n, classes)`` float32 soft labels: the distribution, else the single class; a row of NaN where there is neither."""
        soft = np.full((len(self), classes), np.nan, np.float32)
        known = self.index >= 0
        soft[known] = np.eye(classes, dtype=np.float32)[self.index[known]]
        if self.distribution is not None:
            voted = ~np.isnan(self.distribution).any(axis=1)
            soft[voted] = self.distribution[voted]
        return soft


def chosen_indices(indices: Any, n: int) -> NDArray[np.int64]:
    """Returns ``(m,)`` which of n samples are meant by indices or by a mask ``(n,)`` of bool; anything else raises `DatasetError`."""
    chosen = np.asarray(indices)
    chosen = np.flatnonzero(chosen) if chosen.dtype == np.bool_ and chosen.shape == (n,) else chosen
    if chosen.ndim != 1 or (chosen.size and (chosen.dtype.kind not in "iu" or chosen.min() < 0 or chosen.max() >= n)):
        kinds = f"indices in 0..{n - 1} or a mask ({n},)"
        raise DatasetError(f"a subset takes {kinds}, got shape {chosen.shape} of {chosen.dtype}")
    return chosen.astype(np.int64)


class EmotionDataset(DatasetIterator):
    """Pictures of faces or scenes with emotion targets.

    A reader sets `labels` and `targets` and brings `picture`; everything else is here. Reading is safe from several threads
    and from forked worker processes.

    Attributes:
        labels: The label set that `targets` counts in.
        targets: The targets of all pictures.
        skipped: How many pictures, or videos, were left out because they could not be read.
        failures: What was left out and why, a line each, where the data set keeps that.
    """

    labels: LabelSet
    targets: Targets
    skipped: int = 0
    failures: Sequence[str] = ()

    @abstractmethod
    def picture(self, index: int) -> Pixels:
        """Returns one picture: ``(height, width, 3)`` RGB or ``(height, width)`` grey, uint8; treat it as read-only."""

    def name(self, index: int) -> str:
        """Returns what a person would call the picture: its file, where it has one."""
        return str(index)

    def frame(self, index: int) -> tuple[str, int] | None:
        """Returns the video that a picture is a frame of, and the frame's number in it, from 0; None for a picture that is none."""
        return None

    def source(self, index: int) -> str:
        """Returns what a picture comes from, the same for all that a split must not divide, in any data set.

        That is its person, where the data set knows who it is, else the picture that it is an altered copy of, else itself.
        """
        return f"{id(self)}/{index}"

    def crop_scale(self, index: int) -> float:
        """Returns the side of a picture in units of the longer side of the face's box, as `CropSpec.scale` counts; 1 = a tight one."""
        return 1.0

    def as_cropped(self, index: int, card: ModelCard) -> Pixels:
        """Returns a picture as the crop that a card asks for would show it; as it is where that is what it shows."""
        from emotion_perception.engine.vision.crops import central_crop

        picture = self.picture(index)
        zoom = card.crop.scale / self.crop_scale(index) if card.crop else 1.0
        return picture if zoom == 1.0 else central_crop(picture, card.input.height, zoom, card.input.interpolation)

    def __len__(self) -> int:
        """Returns the number of pictures."""
        return len(self.targets)

    def __getitem__(self, index: int) -> Any:
        """Returns the picture as an `Image` and its `Category` (None where it has no single class)."""
        index = self._checked(index)
        return Image.from_array(self.picture(index)), self.category(index)

    def __iter__(self) -> Iterator[Any]:
        """Iterates over all samples."""
        return (self[i] for i in range(len(self)))

    def category(self, index: int) -> Category | None:
        """Returns the single class of a picture, with the raters' distribution as its probabilities; None where it has none."""
        label = int(self.targets.index[index])
        if label < 0:
            return None
        soft = self.targets.take(np.array([index])).soft(len(self.labels))[0]
        return Category(label, self.labels.words[label], float(soft[label]), soft)

    def subset(self, indices: Any) -> EmotionDataset:
        """Returns some pictures, in the order given, as a data set that reads from this one; takes indices or a mask ``(n,)``."""
        return SubsetDataset(self, indices)

    def counts(self) -> dict[str, int]:
        """Returns how many pictures each class has, by class word."""
        counts = np.bincount(self.targets.index[self.targets.index >= 0], minlength=len(self.labels))
        return dict(zip(self.labels.words, counts.tolist(), strict=True))

    def __repr__(self) -> str:
        """Says kind, size and label set."""
        return f"{type(self).__name__}({len(self)} pictures, {self.labels.name})"

    def _checked(self, index: int) -> int:
        """Returns the index counted from the front; beyond the ends raises `IndexError`, which also ends a plain loop."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} of a data set of {len(self)} pictures")
        return int(index) % len(self)


class HeldDataset(EmotionDataset):
    """Pictures that are all in memory.

    Attributes:
        pictures: ``(n, height, width)`` grey or ``(n, height, width, 3)`` RGB, uint8.
        names: What they are called.
    """

    pictures: Pixels
    names: list[str]

    def picture(self, index: int) -> Pixels:
        """Returns one picture."""
        out: Pixels = self.pictures[index]
        return out

    def name(self, index: int) -> str:
        """Returns what it is called."""
        return self.names[index]


class SubsetDataset(EmotionDataset):
    """Some pictures of another data set."""

    def __init__(self, dataset: EmotionDataset, indices: Any) -> None:
        """Keeps the data set and which pictures of it to show.

        Args:
            dataset: Where the pictures come from; it is not copied.
            indices: Integers ``(m,)``, or a mask ``(n,)`` of bool.
        """
        self.dataset = dataset
        self.indices = chosen_indices(indices, len(dataset))
        self.labels = dataset.labels
        self.targets = dataset.targets.take(self.indices)
        self.failures = dataset.failures

    def picture(self, index: int) -> Pixels:
        """Returns one picture of the data set beneath."""
        return self.dataset.picture(int(self.indices[index]))

    def name(self, index: int) -> str:
        """Returns the name the data set beneath gives the picture."""
        return self.dataset.name(int(self.indices[index]))

    def frame(self, index: int) -> tuple[str, int] | None:
        """Returns the video and frame that the data set beneath gives the picture."""
        return self.dataset.frame(int(self.indices[index]))

    def source(self, index: int) -> str:
        """Returns the source that the data set beneath gives the picture."""
        return self.dataset.source(int(self.indices[index]))

    def crop_scale(self, index: int) -> float:
        """Returns the crop scale that the data set beneath gives the picture."""
        return self.dataset.crop_scale(int(self.indices[index]))

    def __getitem__(self, index: int) -> Any:
        """Returns the sample as the data set beneath makes it."""
        return self.dataset[int(self.indices[self._checked(index)])]


class ConcatDataset(EmotionDataset):
    """Several data sets in one label set, one after the other."""

    def __init__(self, datasets: Sequence[EmotionDataset]) -> None:
        """Joins the targets; the pictures stay where they are.

        Args:
            datasets: At least one, all in the same label set. Where only some have distributions or affect, the rows of the others
                are their single class as a distribution, and NaN.
        """
        if not datasets:
            raise DatasetError("ConcatDataset got no data set, expected at least one")
        self.datasets = tuple(datasets)
        self.labels = datasets[0].labels
        for dataset in datasets:
            if dataset.labels != self.labels:
                raise DatasetError(f"cannot join data sets in {self.labels.name} and {dataset.labels.name}; open both with the same labels")
        parts = [dataset.targets for dataset in datasets]
        distribution = np.concatenate([part.soft(len(self.labels)) for part in parts])
        affect = np.concatenate([np.full((len(part), 2), np.nan, np.float32) if part.affect is None else part.affect for part in parts])
        self.targets = Targets(
            np.concatenate([part.index for part in parts]),
            distribution if any(part.distribution is not None for part in parts) else None,
            affect if any(part.affect is not None for part in parts) else None,
        )
        self.skipped = sum(dataset.skipped for dataset in datasets)
        self.failures = [line for dataset in datasets for line in dataset.failures]
        self._ends = np.cumsum([len(part) for part in parts])

    def picture(self, index: int) -> Pixels:
        """Returns one picture of the data set it belongs to."""
        dataset, own = self._find(index)
        return dataset.picture(own)

    def name(self, index: int) -> str:
        """Returns the name that the picture's own data set gives it."""
        dataset, own = self._find(index)
        return dataset.name(own)

    def frame(self, index: int) -> tuple[str, int] | None:
        """Returns the video and frame that the picture's own data set gives it."""
        dataset, own = self._find(index)
        return dataset.frame(own)

    def source(self, index: int) -> str:
        """Returns the source that the picture's own data set gives it."""
        dataset, own = self._find(index)
        return dataset.source(own)

    def crop_scale(self, index: int) -> float:
        """Returns the crop scale that the picture's own data set gives it."""
        dataset, own = self._find(index)
        return dataset.crop_scale(own)

    def __getitem__(self, index: int) -> Any:
        """Returns the sample as the picture's own data set makes it."""
        dataset, own = self._find(self._checked(index))
        return dataset[own]

    def _find(self, index: int) -> tuple[EmotionDataset, int]:
        part = int(np.searchsorted(self._ends, index, side="right"))
        dataset = self.datasets[part]
        return dataset, int(index - (self._ends[part] - len(dataset)))
