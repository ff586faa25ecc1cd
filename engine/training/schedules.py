"""Learning-rate schedules, as factors on the initial rate by progress through a stage."""

from __future__ import annotations

import math
from collections.abc import Callable

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


def constant(progress: float) -> float:
    """Keeps the rate."""
    return 1.0
