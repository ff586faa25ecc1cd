"""The numbers that say how good a model is that judges several labels at once; scikit-learn does the arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotion_perception.engine.errors import InputError, MissingDependencyError
from emotion_perception.engine.labels import LabelSet

THRESHOLD = 0.5  # a label counts as judged from this probability on


def multilabel_metrics(
    probabilities: NDArray[np.floating[Any]], targets: NDArray[Any], labels: LabelSet, threshold: float = THRESHOLD
) -> dict[str, Any]:
    """Compares judged labels with the true ones.

    A class that no row has cannot be found or missed: it has no average precision, recall or F1, and is left out of all means instead
    of counting as 0 in them, or as NaN.

    Args:
        probabilities: ``(n, classes)``, each in [0, 1].
        targets: ``(n, classes)`` of 0 and 1.
        labels: The label set of both.
        threshold: A label counts as judged from this probability on.

    Returns:
        Plain numbers, ready for JSON: ``rows``; ``map``, the mean average precision (not interpolated, ties grouped), and ``macro_f1``,
        ``macro_precision`` and ``macro_recall`` at the threshold, all means over the classes with rows (None where there are none);
        ``per_class_ap``, ``per_class_f1``, ``per_class_precision`` and ``per_class_recall`` (None for a class without rows), and
        ``support``, the rows that have it, by class word.

    Raises:
        InputError: Arrays that do not fit each other, or values that are not finite.
    """
    p: NDArray[np.float64] = np.asarray(probabilities, np.float64)
    truth = np.asarray(targets)
    if p.shape != truth.shape or p.shape[1:] != (len(labels),):
        raise InputError(f"multi-label metrics take two arrays (n, {len(labels)}), got probabilities {p.shape} and targets {truth.shape}")
    if not np.isfinite(p).all():
        raise InputError("the probabilities have NaN or infinite values; expected each in [0, 1]")
    if not np.isin(truth, (0, 1)).all():
        raise InputError("the targets have other values than 0 and 1; leave out rows without labels")
    truth = truth.astype(np.int64)
    support = truth.sum(axis=0)
    present = support > 0
    values = {name: np.full(len(labels), np.nan) for name in ("ap", "f1", "precision", "recall")}
    if present.any():
        try:
            from sklearn.metrics import average_precision_score, precision_recall_fscore_support
        except ImportError:
            raise MissingDependencyError("scikit-learn", "evaluation", "train") from None
        chosen = (p >= threshold).astype(np.int64)
        values["ap"][present] = [average_precision_score(truth[:, c], p[:, c]) for c in np.flatnonzero(present)]
        precision, recall, f1, _ = (
            np.atleast_1d(each) for each in precision_recall_fscore_support(truth, chosen, average=None, zero_division=0)
        )
        for name, each in (("precision", precision), ("recall", recall), ("f1", f1)):
            values[name][present] = each[present]
    named = {f"per_class_{name}": _by_word(each, labels) for name, each in values.items()}
    means = {name: float(each[present].mean()) if present.any() else None for name, each in values.items()}
    return {
        "rows": len(p),
        "map": means["ap"],
        "macro_f1": means["f1"],
        "macro_precision": means["precision"],
        "macro_recall": means["recall"],
        **named,
        "support": dict(zip(labels.words, support.tolist(), strict=True)),
    }


def _by_word(values: NDArray[np.float64], labels: LabelSet) -> dict[str, float | None]:
    return {word: None if np.isnan(value) else float(value) for word, value in zip(labels.words, values, strict=True)}
