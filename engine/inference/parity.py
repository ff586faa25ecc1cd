"""How far an optimised model is from the one it was made of, and how far it may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emotion_perception.engine.errors import UsageError
from emotion_perception.engine.target import Emotions
from emotion_perception.engine.weights import EXPORTED_NAME, REPORT_NAME


@dataclass(frozen=True)
class Tolerance:
    """How far the answers of an optimised model may be from those of the model it was made of.

    Attributes:
        difference: Largest difference of a probability, of valence and of arousal on the check pictures.
        agreement: Least share of check pictures that get the same class.
        accuracy_points: Largest loss of accuracy on labelled pictures, in percentage points.
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
        ``pictures``, ``agreement`` (share with the same class) and, for ``probabilities`` and, where there is one, ``affect``, the largest
        and the mean absolute difference. Plain numbers, ready for JSON.
    """
    result: dict[str, Any] = {"pictures": len(expected), "agreement": float((actual.index == expected.index).mean())}
    for name in ("probabilities", "affect"):
        mine, theirs = getattr(actual, name), getattr(expected, name)
        if mine is not None and theirs is not None:
            difference = np.abs(mine.astype(np.float64) - theirs)
            result[name] = {"max": float(difference.max()), "mean": float(difference.mean())}
    return result


def broken(check: Mapping[str, Any], tolerance: Tolerance) -> str:
    """Says in which point what `parity` returned breaks a tolerance; empty if in none."""
    for name in ("probabilities", "affect"):
        found = check.get(name, {"max": 0.0})["max"]
        if not found <= tolerance.difference:  # so that NaN is refused
            return f"{name} differ by up to {found:.3g} on {check['pictures']} pictures, expected at most {tolerance.difference:g}"
    if check["agreement"] < tolerance.agreement:
        share = f"{100.0 * check['agreement']:.1f} % of {check['pictures']} pictures"
        return f"{share} get the same class, expected at least {100.0 * tolerance.agreement:g} %"
    return ""
