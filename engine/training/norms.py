"""Statistics of batch normalisation, measured on the finished weights instead of averaged while they still changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray

# Enough pictures for steady statistics of batch norm; more change nothing that can be measured.
_PICTURES = 2048
_DRAW = 1 << 18  # told apart from the draws of training


def settling_batches(numbers: NDArray[np.int64], batch_size: int, seed: int) -> list[NDArray[np.int64]]:
    """Draws the pictures that statistics are measured on, in batches.

    Args:
        numbers: Of the training pictures.
        batch_size: About how many make a batch.
        seed: Of the run.
    """
    chosen = np.random.default_rng((seed, _DRAW)).permutation(numbers)[:_PICTURES]
    # Equal parts, as a small last batch would count as much as the others.
    return np.array_split(chosen, max(1, len(chosen) // batch_size))


def settle_batch_norms(
    modules: Iterable[torch.nn.Module], forward: Callable[[torch.Tensor], object], batches: Iterable[torch.Tensor]
) -> None:
    """Replaces running statistics by the mean of those of some batches (Wu and Johnson 2021, "precise batch norm").

    The statistics that training leaves are a moving average over its last steps: noisy where the learning rate is high or the maps are
    small, and of augmented pictures, which inference never sees. Weights stay as they are, and every module as it was in its mode.

    Args:
        modules: Where to look for batch norms, themselves and all below them.
        forward: Runs the network on a batch; what it returns is not used.
        batches: Pictures ``(n, 3, height, width)`` as inference sees them, at least two each.
    """
    norms = {norm for module in modules for norm in module.modules() if isinstance(norm, torch.nn.modules.batchnorm._BatchNorm)}
    if not norms:
        return  # nor are the pictures read
    before = {norm: (norm.training, norm.momentum) for norm in norms}
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
        norm.train()
    try:
        with torch.no_grad():
            for batch in batches:
                forward(batch)
    finally:
        for norm, (training, momentum) in before.items():
            norm.momentum = momentum
            norm.train(training)
