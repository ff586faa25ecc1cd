"""Pictures that a small network tells apart at once, made by a formula."""

from __future__ import annotations

import numpy as np
import pytest

from emotion_perception.engine.datasets import EmotionDataset, Targets
from emotion_perception.engine.labels import AFFECTNET8


class Stripes(EmotionDataset):
    """Grey pictures of stripes, the direction and width of which tell the class, under noise."""

    labels = AFFECTNET8

    def __init__(self, index: list[int] | np.ndarray, distribution: np.ndarray | None = None, affect: np.ndarray | None = None) -> None:
        self.targets = Targets(np.asarray(index, np.int64), distribution, affect)

    def picture(self, index: int) -> np.ndarray:
        label = max(int(self.targets.index[index]), 0)
        y, x = np.mgrid[0:24, 0:24]
        angle, period = np.pi * (label % 4) / 4, 4 + 4 * (label // 4)
        wave = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / period)
        noise = np.random.default_rng(index).normal(0, 20, (24, 24))
        return np.clip(128 + 90 * wave + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def stripes():
    """Makes a data set from the classes of its pictures."""
    return Stripes
