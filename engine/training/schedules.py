"""Learning-rate schedules, as factors on the initial rate by progress through a stage."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

Rate = Callable[[float], float]


def one_cycle(warm_up: float = 0.15, start: float = 0.1) -> Rate:
    """Rises linearly from ``start`` to 1 over the share ``warm_up``, then falls to 0 along a cosine (Smith and Topin, 2018)."""

    def rate(progress: float) -> float:
        if progress < warm_up:
            return start + (1.0 - start) * progress / warm_up
        return 0.5 * (1.0 + math.cos(math.pi * (progress - warm_up) / (1.0 - warm_up)))

    return rate


def step_decay(epochs: int, every: int, factor: float) -> Rate:
    """Multiplies the rate by ``factor`` after every ``every`` epochs of a stage of ``epochs``."""
    return lambda progress: factor ** (int(progress * epochs + 1e-9) // every)


def warm_restarts(epochs: int, first: int, factor: int = 2, least: float = 0.0) -> Rate:
    """Falls from 1 to ``least`` along a cosine, again and again (Loshchilov and Hutter, 2017); it changes between epochs only.

    Args:
        epochs: Of the stage.
        first: Epochs of the first fall.
        factor: How much longer each fall is than the one before.
        least: Factor on the initial rate that the falls end in.
    """

    def rate(progress: float) -> float:
        epoch, length = int(progress * epochs + 1e-9), first
        while epoch >= length:
            epoch, length = epoch - length, length * factor
        return least + (1.0 - least) * 0.5 * (1.0 + math.cos(math.pi * epoch / length))

    return rate


def plateau(values: Sequence[float], factor: float, patience: int, threshold: float) -> float:
    """Returns the factor on the rate after some epochs: cut whenever ``patience`` epochs in a row brought no lower value.

    Args:
        values: Of every epoch so far, as the validation loss.
        factor: What the rate is cut to, each time.
        patience: Epochs without progress that are waited for.
        threshold: Share of the lowest value so far that counts as progress.
    """
    rate, best, worse = 1.0, math.inf, 0
    for value in values:
        best, worse = (value, 0) if value < best * (1.0 - threshold) else (best, worse + 1)
        if worse > patience:
            rate, worse = rate * factor, 0
    return rate


def constant(progress: float) -> float:
    """Keeps the rate."""
    return 1.0
