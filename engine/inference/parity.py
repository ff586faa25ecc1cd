"""How far an optimised model is from the one it was made of, and how far it may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emotion_perception.engine.errors import UsageError
from emotion_perception.engine.target import Emotions, FloatArray
from emotion_perception.engine.weights import EXPORTED_NAME, REPORT_NAME


@dataclass(frozen=True)
class Tolerance:
    """How far the answers of an optimised model may be from those of the model it was made of.

    Attributes:
        difference: Largest difference of a probability, of valence and of arousal on the inputs for the check.
        agreement: Least share of them that get the same class; of a multi-label set, least share of the decisions that stay the same.
        accuracy_points: Largest loss of accuracy on labelled data, in percentage points.
    """

    difference: float
    agreement: float = 0.98
    accuracy_points: float = 0.5

    def __post_init__(self) -> None:
        """Refuses limits that mean nothing."""
        if not (self.difference >= 0.0 and 0.0 <= self.agreement <= 1.0 and self.accuracy_points >= 0.0):
            raise UsageError(f"{self} makes no sense; expected difference and accuracy_points from 0, agreement from 0 to 1")


# fp32 computes the same numbers. Where two classes are as good as equal (weights that have learned nothing), the last digit decides.
TOLERANCES = {"fp32": Tolerance(1e-4, agreement=0.0), "fp16": Tolerance(0.02), "int8": Tolerance(0.1)}


def report_beside(exported: Path) -> Path:
    """Returns where the report on an exported file is: ``optimize.json`` in a folder of weights, else ``<name>.report.json``."""
    return exported.with_name(REPORT_NAME) if exported.name == EXPORTED_NAME else exported.with_suffix(".report.json")


def parity(actual: Emotions, expected: Emotions) -> dict[str, Any]:
    """Compares the answers of two models to the same inputs.

    Returns:
        ``pictures`` (how many inputs), ``agreement`` (share with the same class; of a multi-label set, share of its classes that both take
        for given or both not) and, for ``probabilities`` and, where there is one, ``affect``, the largest and the mean absolute
        difference; of a multi-label set, for every extra with a number per class as well. Plain numbers, ready for JSON.
    """
    same = expected.present() == actual.present() if expected.labels.multi_label else actual.index == expected.index
    result: dict[str, Any] = {"pictures": len(expected), "agreement": float(same.mean())}
    found = _numbers(actual)
    for name, theirs in _numbers(expected).items():
        mine = found[name]
        if mine is not None and theirs is not None:
            difference = np.abs(mine.astype(np.float64) - theirs)
            result[name] = {"max": float(difference.max()), "mean": float(difference.mean())}
    return result


def _numbers(judged: Emotions) -> dict[str, FloatArray | None]:
    """Returns what is compared of an answer, by name."""
    extras = judged.extras if judged.labels.multi_label else {}
    per_class = {name: values for name, values in extras.items() if values.shape[-1:] == (len(judged.labels),)}
    return {"probabilities": judged.probabilities, "affect": judged.affect, **per_class}


def broken(check: Mapping[str, Any], tolerance: Tolerance) -> str:
    """Says in which point what `parity` returned breaks a tolerance; empty if in none."""
    for name, difference in check.items():
        found = difference["max"] if isinstance(difference, Mapping) else 0.0
        if not found <= tolerance.difference:  # so that NaN is refused
            return f"{name} differ by up to {found:.3g} on {check['pictures']} inputs, expected at most {tolerance.difference:g}"
    if check["agreement"] < tolerance.agreement:
        share = f"{100.0 * check['agreement']:.1f} % of {check['pictures']} inputs"
        return f"{share} get the same class, expected at least {100.0 * tolerance.agreement:g} %"
    return ""
