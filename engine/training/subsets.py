"""Drawing balanced parts of data sets whose classes are of very different size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from emotion_perception.engine.errors import DatasetError

Numbers = NDArray[np.int64]


def balanced_subset(index: Numbers, per_class: int, seed: int = 0, draw: int = 0) -> Numbers:
    """Draws at most ``per_class`` pictures of every class.

    Args:
        index: ``(n,)`` class of every picture, -1 where it has none; those are never drawn.
        per_class: Most pictures of a class.
        seed: Seed of the run.
        draw: Number of the draw; every one is afresh.

    Returns:
        Numbers of the pictures, in rising order.

    Raises:
        DatasetError: No picture has a class.
    """
    if not (index >= 0).any():
        raise DatasetError(f"none of {len(index)} pictures has a class; give a data set with a class for at least some pictures")
    random = np.random.default_rng((seed, 7, draw))
    return np.sort(np.concatenate([random.permutation(np.flatnonzero(index == c))[:per_class] for c in range(int(index.max()) + 1)]))
