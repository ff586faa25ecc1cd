"""FER2013 (Goodfellow et al. 2013) with its own labels, from Kaggle's table of pixels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from emotion_perception.engine.datasets.base import HeldDataset, Targets
from emotion_perception.engine.datasets.ferplus import SPLITS, pixels_of
from emotion_perception.engine.datasets.files import report_skipped
from emotion_perception.engine.datasets.tables import read_table
from emotion_perception.engine.errors import DatasetError, unknown_name
from emotion_perception.engine.labels import AFFECTNET8, LabelSet

WORDS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")  # code -> word
TABLE = "fer2013.csv"
_PARTS = {"train": "Training", "valid": "PublicTest", "test": "PrivateTest"} | {usage: usage for usage in SPLITS.values()}


class FER2013(HeldDataset):
    """One part of FER2013, or all of it, decoded into memory: pictures of the classes that the label set has."""

    def __init__(
        self, path: str | Path, split: str | None = None, labels: LabelSet = AFFECTNET8, also: Mapping[str, str] | None = None
    ) -> None:
        """Reads the table.

        Args:
            path: ``fer2013.csv`` (columns ``emotion, pixels, Usage``), or the folder it is in.
            split: ``train``, ``valid`` or ``test`` (``Training``, ``PublicTest``, ``PrivateTest``); all parts if None.
            labels: The label set of the targets; pictures of other classes are left out.
            also: Class word of FER2013 -> word in ``labels``, for classes that count as one they are not called after.

        Raises:
            DatasetError: Missing, malformed, or without a usable picture.
            UsageError: An unknown split.
        """
        if split is not None and split not in _PARTS:
            raise unknown_name("FER2013 split", split, _PARTS)
        table = Path(path) / TABLE if Path(path).is_dir() else Path(path)
        index_of = labels.index_of(WORDS, also)
        self.labels = labels
        self.names = []
        pictures, classes, skipped = [], [], []
        for number, row in enumerate(read_table(table, ("emotion", "pixels", "Usage"))):
            if split is not None and row["Usage"] != _PARTS[split]:
                continue
            if not row["emotion"].isdecimal() or int(row["emotion"]) >= len(WORDS):
                raise DatasetError(f"row {number + 1} of {str(table)!r}: emotion is {row['emotion']!r}, expected 0 to {len(WORDS) - 1}")
            word = WORDS[int(row["emotion"])]
            if word not in index_of:
                continue
            picture = pixels_of(row["pixels"])
            if picture is None:
                skipped.append(f"row {number + 1}")
                continue
            self.names.append(f"{word}/{number:05d}.png")
            pictures.append(picture)
            classes.append(index_of[word])
        report_skipped(f"FER2013 in {str(table)!r}", skipped, len(pictures))
        self.skipped = len(skipped)
        self.pictures = np.stack(pictures)
        self.targets = Targets(np.array(classes, np.int64))

    def source(self, index: int) -> str:
        """Returns the picture's row in the table, which no two of its parts share."""
        return f"fer2013/{self.names[index]}"
