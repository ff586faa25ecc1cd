"""Pictures and targets of a data set as batches of tensors."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from emotion_perception.engine.datasets import EmotionDataset
from emotion_perception.engine.errors import DatasetError
from emotion_perception.engine.labels import AFFECTNET8, LabelSet
from emotion_perception.engine.training.loop import Batch
from emotion_perception.engine.vision.augment import Augmentation
from emotion_perception.engine.vision.crops import central_crop

# AffectNet's mean [valence, arousal] per class, measured on its manual validation list (500 rows per class), in affectnet8's order.
CLASS_AFFECT = np.array(
    [
        (-0.025, -0.019),
        (0.672, 0.081),
        (-0.628, -0.267),
        (0.183, 0.701),
        (-0.117, 0.760),
        (-0.684, 0.446),
        (-0.426, 0.554),
        (-0.511, 0.576),
    ],
    np.float32,
)


class Pictures:
    """Makes batches from a data set: cropped, augmented and scaled pictures with soft labels and affect.

    Where a set in the label set affectnet8 has no valence and arousal, the expectation of AffectNet's class means under the raters'
    distribution stands in.

    Attributes:
        soft: ``(n, classes)`` float32 soft labels, NaN where a picture has none.
        affect: ``(n, 2)`` float32 [valence, arousal], NaN where a picture has none.
        labelled, with_affect: Numbers of the pictures that have soft labels, and affect.
    """

    def __init__(
        self,
        dataset: EmotionDataset,
        batch_size: int,
        *,
        crop_scale: float = 1.0,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        labels: LabelSet = AFFECTNET8,
        interpolation: str = "area",
    ) -> None:
        """Prepares the targets; the pictures are read when asked for.

        Args:
            dataset: Where the pictures come from.
            batch_size: Pictures per batch when a caller goes over many.
            crop_scale: The crop that the network is meant for, in units of the detector's box.
            augmentation: Random changes to training pictures.
            seed: Seed of the augmentation.
            labels: The label set that the network counts in.
            interpolation: How pictures are scaled, as `InputSpec` says.
        """
        if dataset.labels != labels:
            raise DatasetError(f"the data set counts in {dataset.labels.name}, expected {labels.name}; open it with those labels")
        if not len(dataset):
            raise DatasetError(f"{dataset!r} is empty; give a data set with at least one picture")
        self.dataset, self.batch_size, self.crop_scale, self.augmentation, self.seed = dataset, batch_size, crop_scale, augmentation, seed
        self.interpolation = interpolation
        self.soft = dataset.targets.soft(len(dataset.labels))
        stand_in = self.soft @ CLASS_AFFECT if labels == AFFECTNET8 else np.full((len(dataset), 2), np.nan, np.float32)
        given = dataset.targets.affect
        self.affect: NDArray[np.float32] = stand_in if given is None else np.where(np.isnan(given), stand_in, given).astype(np.float32)
        self.labelled: NDArray[np.int64] = np.flatnonzero(~np.isnan(self.soft).any(axis=1))
        self.with_affect: NDArray[np.int64] = np.flatnonzero(~np.isnan(self.affect).any(axis=1))

    def batch(self, numbers: NDArray[np.int64], size: int, epoch: int | None = None) -> Batch:
        """Returns pictures ``(n, 3, size, size)`` float32 in [0, 1], soft labels ``(n, classes)`` and affect ``(n, 2)``.

        Args:
            numbers: Which pictures.
            size: Their side in pixels.
            epoch: Seeds the augmentation; None = pictures as inference sees them.
        """
        pixels = np.empty((len(numbers), size, size, 3), np.uint8)
        for row, number in enumerate(numbers.tolist()):
            picture = self.dataset.picture(number)
            zoom = self.crop_scale / self.dataset.crop_scale(number)
            if epoch is None or self.augmentation is None:
                pixels[row] = central_crop(picture, size, zoom, self.interpolation)
            else:
                pixels[row] = self.augmentation(picture, size, (self.seed, epoch, number), zoom)
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(255.0).contiguous(memory_format=torch.channels_last)
        return images, torch.from_numpy(self.soft[numbers]), torch.from_numpy(self.affect[numbers])
