"""AffectNet, cropped and sorted into folders as the published ESR training reads it (Mollahosseini et al. 2017)."""

from __future__ import annotations

import os
import re
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from emotion_perception.engine.datasets.base import Targets
from emotion_perception.engine.datasets.files import Files, FilesDataset
from emotion_perception.engine.errors import DatasetError, UsageError
from emotion_perception.engine.labels import AFFECTNET8
from emotion_perception.engine.vision.opencv import opencv

if TYPE_CHECKING:
    import torch

SIDE = 96
# Index of a set -> its folder: annotated by hand for training, annotated by a network, annotated by hand for validation.
SETS = ("Training_Labeled", "Training_Unlabeled", "Validation")
# Statistics of the training pictures, red first, as the published loader has them. The published weights were trained without.
MEAN = (149.35457 / 255, 117.06477 / 255, 102.67609 / 255)
STD = (69.18084 / 255, 61.907074 / 255, 60.435623 / 255)
_NOT_ANNOTATED = -2.0
_FILE = re.compile(r"(\d+)s(\d+)s(-?\d+)s(-?\d+)\.jpe?g", re.IGNORECASE)


class _AffectNet(FilesDataset):
    """What both views of AffectNet share: listing, sampling and decoding."""

    labels = AFFECTNET8

    def __init__(
        self,
        idx_set: int = 0,
        max_loaded_images_per_label: int | None = 1000,
        transforms: Callable[[Any], Any] | None = None,
        is_norm_by_mean_std: bool = False,
        base_path_to_affectnet: str | Path = "./data/AffectNet",
        seed: int = 0,
    ) -> None:
        """Lists the pictures and draws a sample of them; pixels are read when asked for.

        Args:
            idx_set: 0 = ``Training_Labeled``, 1 = ``Training_Unlabeled``, 2 = ``Validation``; the label is in the file's name for all.
            max_loaded_images_per_label: How many pictures of each class (or quadrant) to draw; None for all.
            transforms: Takes and returns a Pillow picture (or returns an array or tensor); applied before the conversion to float.
            is_norm_by_mean_std: Subtract the training pictures' mean and divide by their deviation.
            base_path_to_affectnet: Folder that holds the three folders, made by `pre_process_affect_net`.
            seed: Another seed draws another sample.

        Raises:
            DatasetError: The folder is missing or has no picture named in the pattern ``0000000s7s-653s653.jpg``.
        """
        if idx_set not in range(len(SETS)):
            raise UsageError(f"idx_set is {idx_set!r}, expected 0 ({SETS[0]}), 1 ({SETS[1]}) or 2 ({SETS[2]})")
        if max_loaded_images_per_label is not None and max_loaded_images_per_label < 1:
            raise UsageError(f"max_loaded_images_per_label is {max_loaded_images_per_label}, expected at least 1, or None for all")
        self.idx_set = idx_set
        self.transforms = transforms
        self.is_norm_by_mean_std = is_norm_by_mean_std
        root = Path(base_path_to_affectnet) / SETS[idx_set]
        if not root.is_dir():
            raise DatasetError(f"there is no folder {str(root)!r}; make it from AffectNet with pre_process_affect_net")
        names, index, affect = _listed(root)
        # -1: not a picture of the eight classes, or not annotated.
        group = self._group(index, affect)
        kept = _sample(group, max_loaded_images_per_label, seed)
        if not len(kept):
            raise DatasetError(f"{str(root)!r} has no usable picture; expected folders 0, 1, ... of files such as 0000000s7s-653s653.jpg")
        affect[(affect <= _NOT_ANNOTATED).any(axis=1)] = np.nan
        targets = Targets(index[kept], affect=None if np.isnan(affect[kept]).all() else affect[kept])
        self._keep_whole(f"AffectNet {SETS[idx_set]}", Files(root), [names[i] for i in kept], targets)

    @staticmethod
    @abstractmethod
    def _group(index: NDArray[np.int64], affect: NDArray[np.float32]) -> NDArray[np.int64]:
        """Returns what the sample is balanced over, ``(n,)``, -1 for the pictures to leave out."""

    @abstractmethod
    def _target(self, index: int) -> Any:
        """Returns the target of one picture in the published form."""

    def __getitem__(self, index: int) -> tuple[torch.Tensor, Any]:
        """Returns the picture, ``(3, 96, 96)`` float32 RGB in [0, 1] (unless normalised), and its target."""
        import torch

        index = self._checked(index)
        x = torch.from_numpy(_channels_first(self._transformed(index)))
        if self.is_norm_by_mean_std:
            x = (x - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
        return x, self._target(index)

    def _transformed(self, index: int) -> Any:
        pixels = self.picture(index)
        if pixels.shape[:2] != (SIDE, SIDE):
            pixels = np.asarray(opencv("scaling pictures").resize(pixels, (SIDE, SIDE)), dtype=np.uint8)
        if self.transforms is None:
            return pixels
        from PIL import Image as PillowImage

        return self.transforms(PillowImage.fromarray(pixels))


class AffectNetCategorical(_AffectNet):
    """AffectNet with class labels; a sample is ``(tensor, int)``, at most so many pictures of each of the eight classes."""

    @staticmethod
    def _group(index: NDArray[np.int64], affect: NDArray[np.float32]) -> NDArray[np.int64]:
        return index

    def _target(self, index: int) -> int:
        return int(self.targets.index[index])


class AffectNetDimensional(_AffectNet):
    """AffectNet with valence and arousal; a sample is ``(tensor, float32 [valence, arousal])``, at most so many pictures of each quadrant.

    Pictures without annotation (-2) or outside the eight classes are left out. Quadrants: both positive, valence negative, both
    negative, arousal negative; zero counts as positive.
    """

    @staticmethod
    def _group(index: NDArray[np.int64], affect: NDArray[np.float32]) -> NDArray[np.int64]:
        valence, arousal = affect.T
        quadrant = np.select([(valence >= 0) & (arousal >= 0), (valence < 0) & (arousal >= 0), (valence < 0) & (arousal < 0)], [0, 1, 2], 3)
        return np.where((index < 0) | (affect <= _NOT_ANNOTATED).any(axis=1), -1, quadrant).astype(np.int64)

    def _target(self, index: int) -> NDArray[np.float32]:
        affect = self.targets.affect
        assert affect is not None  # a picture without is left out above
        row: NDArray[np.float32] = affect[index]
        return row


def _listed(root: Path) -> tuple[list[str], NDArray[np.int64], NDArray[np.float32]]:
    """Lists the pictures of a set by their number: paths, class (-1 above the eight), [valence, arousal] as written."""
    found = []
    for folder in os.scandir(root):
        if folder.is_dir():
            with os.scandir(folder.path) as entries:
                for entry in entries:
                    fields = _FILE.fullmatch(entry.name)
                    if fields:
                        number, expression, valence, arousal = map(int, fields.groups())
                        found.append((number, f"{folder.name}/{entry.name}", expression, valence, arousal))
    found.sort()
    index = np.array([row[2] if row[2] < len(AFFECTNET8) else -1 for row in found], dtype=np.int64)
    affect = np.array([row[3:] for row in found], dtype=np.float32).reshape(-1, 2) / np.float32(1000)
    return [row[1] for row in found], index, affect


def _sample(group: NDArray[np.int64], cap: int | None, seed: int) -> NDArray[np.int64]:
    """Draws at most `cap` members of each group, in their old order."""
    random = np.random.default_rng(seed)
    drawn = []
    for value in np.unique(group[group >= 0]):
        members = np.flatnonzero(group == value)
        drawn.append(members if cap is None or len(members) <= cap else random.choice(members, cap, replace=False))
    return np.sort(np.concatenate(drawn)) if drawn else np.zeros(0, np.int64)


def _channels_first(picture: Any) -> NDArray[np.float32]:
    """Turns what a transform returned, or uint8 pixels, into ``(3, h, w)`` float32 in [0, 1]."""
    from emotion_perception.engine.data import to_pixels

    pixels = to_pixels(picture if hasattr(picture, "shape") else np.asarray(picture.convert("RGB")))
    scaled = pixels.astype(np.float32) / np.float32(255) if pixels.dtype == np.uint8 else pixels
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))
