"""How sure a measured number is: the same numbers over pictures drawn again and again from those measured (Efron 1979)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotion_perception.engine.evaluation.metrics import CALIBRATION_BINS

_AT_ONCE = 1 << 21  # drawn pictures held in memory

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Resamples:
    """Numbers of one group, each measured on ``replicates`` samples of it.

    Attributes:
        accuracy, macro_f1, calibration_error: ``(replicates,)``.
        recall, false_positive_rate, selection_rate: ``(replicates, classes)``, NaN where a sample has nothing to count.
    """

    accuracy: Floats
    macro_f1: Floats
    calibration_error: Floats
    recall: Floats
    false_positive_rate: Floats
    selection_rate: Floats


def resample(
    truth: NDArray[np.int64], judged: NDArray[np.int64], probabilities: NDArray[Any], replicates: int, random: np.random.Generator
) -> Resamples:
    """Draws pictures with replacement, as many as there are, and measures each sample as `classification_metrics` does.

    Args:
        truth: ``(n,)`` true class.
        judged: ``(n,)`` class judged.
        probabilities: ``(n, classes)``.
        replicates: How many samples to draw.
        random: Draws them.
    """
    n, classes = probabilities.shape
    cell = truth * classes + judged
    top = np.asarray(probabilities, np.float64).max(axis=1)
    doubt = top - (probabilities.argmax(axis=1) == truth)
    edges = np.linspace(0.0, 1.0, CALIBRATION_BINS + 1)
    group = np.searchsorted(edges, top, side="right") - 1
    counts, errors = [], []
    step = max(_AT_ONCE // n, 1)
    for start in range(0, replicates, step):
        size = min(step, replicates - start)
        drawn = random.integers(0, n, (size, n))
        first = np.arange(size)[:, None]
        counts.append(_sums(first * classes**2 + cell[drawn], size * classes**2).reshape(size, classes, classes))
        bins = CALIBRATION_BINS + 1  # a probability of 1 has a bin of its own
        sums = _sums(first * bins + group[drawn], size * bins, doubt[drawn]).reshape(size, bins)
        errors.append(np.abs(sums).sum(axis=1) / n)
    matrix = np.concatenate(counts)
    right, true, said = np.diagonal(matrix, axis1=1, axis2=2), matrix.sum(axis=2), matrix.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        f1 = np.where(true > 0, 2.0 * right / (true + said), 0.0)
        recall, false_positives = right / true, (said - right) / (n - true)
    return Resamples(
        accuracy=right.sum(axis=1) / n,
        macro_f1=f1.sum(axis=1) / (true > 0).sum(axis=1),
        calibration_error=np.concatenate(errors),
        recall=recall,
        false_positive_rate=false_positives,
        selection_rate=said / n,
    )


def interval(values: Floats, level: float) -> tuple[float, float] | None:
    """Returns the bounds between which the middle ``level`` of the values lie; None where there are none."""
    known = values[~np.isnan(values)]
    if not known.size:
        return None
    low, high = np.quantile(known, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return float(low), float(high)


def _sums(index: NDArray[np.int64], length: int, weights: Floats | None = None) -> Floats:
    flat = None if weights is None else weights.ravel()
    return np.bincount(index.ravel(), flat, minlength=length).astype(np.float64)
