"""Clips with emotion targets: of the scene, and of each of its characters."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from emotion_perception.engine.datasets.base import DatasetIterator, chosen_indices
from emotion_perception.engine.errors import DatasetError
from emotion_perception.engine.labels import LabelSet
from emotion_perception.engine.target import FloatArray
from emotion_perception.learners.emotx.clips import ClipFeatures

if TYPE_CHECKING:
    from emotion_perception.learners.emotx.settings import Settings


@dataclass(frozen=True, eq=False)
class ClipTargets:
    """What is true of one clip, in a label set of K classes of which several may hold.

    Attributes:
        scene: ``(K,)`` float32, 1 where the class holds for the scene, else 0.
        characters: ``(n, K)`` float32 of 0 and 1, a row for each character of the clip, in their order.
    """

    scene: FloatArray
    characters: FloatArray

    def __post_init__(self) -> None:
        """Refuses arrays that do not fit each other."""
        if self.scene.ndim != 1 or self.characters.ndim != 2 or self.characters.shape[1] != len(self.scene):
            raise DatasetError(f"targets of a clip are (K,) and (n, K), got {self.scene.shape} and {self.characters.shape}")


class ClipDataset(DatasetIterator):
    """Clips with their targets.

    A reader sets `labels` and `skipped` and brings `clip`, `targets` and a length; everything else is here.

    Attributes:
        labels: The label set that targets count in.
        skipped: One line for each thing that was left out or handled by a rule.
    """

    labels: LabelSet
    skipped: Sequence[str] = ()

    @abstractmethod
    def clip(self, index: int, draw: np.random.Generator | None = None) -> ClipFeatures:
        """Returns the features of one clip.

        Args:
            index: From 0.
            draw: Takes a random subset of the features with it, as in training; None: every so many, as in evaluation.
        """

    @abstractmethod
    def targets(self, index: int) -> ClipTargets:
        """Returns what is true of one clip; its characters are those of `clip`, in the same order."""

    def name(self, index: int) -> str:
        """Returns what a person would call the clip."""
        return str(index)

    def __getitem__(self, index: int) -> tuple[ClipFeatures, ClipTargets]:
        """Returns features, taken as in evaluation, and targets; beyond the ends raises `IndexError`, which also ends a plain loop."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} of a data set of {len(self)} clips")
        index = int(index) % len(self)
        return self.clip(index), self.targets(index)

    def subset(self, indices: Any) -> ClipDataset:
        """Returns some clips, in the order given, as a data set that reads from this one; takes indices or a mask ``(n,)``."""
        return ClipSubset(self, indices)

    def __repr__(self) -> str:
        """Says kind, size and label set."""
        return f"{type(self).__name__}({len(self)} clips, {self.labels.name})"


class ClipSubset(ClipDataset):
    """Some clips of another data set."""

    def __init__(self, dataset: ClipDataset, indices: Any) -> None:
        """Keeps the data set and which clips of it to show.

        Args:
            dataset: Where the clips come from; it is not copied.
            indices: Integers ``(m,)``, or a mask ``(n,)`` of bool.

        Raises:
            DatasetError: Indices beyond the ends, or something that is neither.
        """
        self.dataset, self.indices = dataset, chosen_indices(indices, len(dataset))
        self.labels, self.skipped = dataset.labels, dataset.skipped

    def __len__(self) -> int:
        """Returns the number of clips."""
        return len(self.indices)

    def clip(self, index: int, draw: np.random.Generator | None = None) -> ClipFeatures:
        """Returns the features of a clip of the data set beneath."""
        return self.dataset.clip(int(self.indices[index]), draw)

    def targets(self, index: int) -> ClipTargets:
        """Returns the targets that the data set beneath gives the clip."""
        return self.dataset.targets(int(self.indices[index]))

    def name(self, index: int) -> str:
        """Returns the name that the data set beneath gives the clip."""
        return self.dataset.name(int(self.indices[index]))


def open_moviegraphs(settings: Settings, split: str) -> ClipDataset:
    """Opens a part of MovieGraphs as the settings say; see `MovieGraphs`.

    Args:
        settings: With a ``data_path``.
        split: ``train``, ``val`` or ``test``.

    Raises:
        DatasetError: Nothing usable there.
    """
    from emotion_perception.learners.emotx.moviegraphs import MovieGraphs

    return MovieGraphs.of_settings(settings, split)
