"""The numbers that say how good a model is. scikit-learn and torchmetrics do the arithmetic; both are imported on first use."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotion_perception.engine.errors import InputError, MissingDependencyError
from emotion_perception.engine.labels import LabelSet

# A recall counted on fewer pictures moves by more than 2.5 points with each of them.
MIN_SUPPORT = 40
CALIBRATION_BINS = 15
# From so many classes on it says something whether the true one is among the first five.
_MANY_CLASSES = 10


def classification_metrics(
    probabilities: NDArray[np.floating[Any]],
    index: NDArray[np.int64],
    labels: LabelSet,
    judged: NDArray[np.int64] | None = None,
) -> dict[str, Any]:
    """Compares judged classes with the true ones.

    Args:
        probabilities: ``(n, classes)``, rows sum to 1.
        index: ``(n,)`` true class, 0 to classes - 1.
        labels: The label set of both.
        judged: ``(n,)`` class judged, where it is not the one with the highest probability (plurality votes).

    Returns:
        Plain numbers, ready for JSON: ``accuracy``; with ten classes or more ``top5_accuracy``, the share of pictures whose class is among
        the five most probable; ``balanced_accuracy``, the mean recall of the classes with pictures;
        ``balanced_accuracy_min40``, that of the classes with at least 40 pictures (None if there are none); ``macro_f1``, over the
        classes with pictures; ``calibration_error``, the expected calibration error in 15 bins of equal width (Guo et al. 2017);
        ``cohen_kappa`` and ``krippendorff_alpha`` (nominal), agreement beyond chance of the judged with the true classes (None where
        there is only one class); ``auc`` and ``auc_pr`` (average precision), of every class against the rest, the mean over those with
        pictures (None where they are all of one class);
        ``per_class_recall`` (None without pictures), ``per_class_precision`` (None if never judged), ``per_class_f1`` and ``support``
        by class word; ``confusion_matrix``, counts in rows of the true class and columns of the judged one.

    Raises:
        InputError: No pictures, or arrays that do not fit each other.
    """
    shares: NDArray[np.float64] = np.asarray(probabilities, np.float64)
    index = np.asarray(index)
    n, classes = len(index), len(labels)
    if shares.shape != (n, classes) or n == 0:
        raise InputError(f"metrics take probabilities (n, {classes}) and as many true classes, got {shares.shape} and {index.shape}")
    if index.min() < 0 or index.max() >= classes:
        raise InputError(f"true classes lie in {index.min()} to {index.max()}, expected 0 to {classes - 1}; leave out the unlabelled")
    if not np.isfinite(shares).all():
        raise InputError("the probabilities have NaN or infinite values; expected rows that sum to 1")
    chosen = shares.argmax(axis=1) if judged is None else np.asarray(judged)
    try:
        from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support, top_k_accuracy_score
    except ImportError:
        raise MissingDependencyError("scikit-learn", "evaluation", "train") from None
    every = np.arange(classes)
    precision, recall, f1, support = precision_recall_fscore_support(index, chosen, labels=every, zero_division=np.nan)
    recall = np.where(support > 0, recall, np.nan)
    present, enough = support > 0, support >= MIN_SUPPORT

    confusion = confusion_matrix(index, chosen, labels=every)

    def by_word(values: NDArray[np.float64]) -> dict[str, float | None]:
        return {word: None if np.isnan(value) else float(value) for word, value in zip(labels.words, values, strict=True)}

    return {
        "accuracy": float(accuracy_score(index, chosen)),
        **({"top5_accuracy": float(top_k_accuracy_score(index, shares, k=5, labels=every))} if classes >= _MANY_CLASSES else {}),
        "balanced_accuracy": float(recall[present].mean()),
        f"balanced_accuracy_min{MIN_SUPPORT}": float(recall[enough].mean()) if enough.any() else None,
        "macro_f1": float(np.nan_to_num(f1[present]).mean()),
        "calibration_error": _calibration_error(shares, index),
        **_agreement(index, chosen, confusion),
        **_areas(shares, index),
        "per_class_recall": by_word(recall),
        "per_class_precision": by_word(precision),
        "per_class_f1": by_word(np.where(present, f1, np.nan)),
        "support": dict(zip(labels.words, support.tolist(), strict=True)),
        "confusion_matrix": confusion.tolist(),
    }


def affect_metrics(predicted: NDArray[np.floating[Any]], target: NDArray[np.floating[Any]]) -> dict[str, float]:
    """Compares valence and arousal with the true ones, over the whole set at once.

    The concordance correlation uses the moments of the set (divided by n), as Lin 1989 defines it. A correlation with something
    constant counts as 0.

    Args:
        predicted: ``(n, 2)`` [valence, arousal].
        target: ``(n, 2)``, the same.

    Returns:
        ``rmse_valence``, ``ccc_valence``, ``pearson_valence``, ``sagr_valence`` (share of equal signs) and the same of arousal.

    Raises:
        InputError: No pictures, or arrays that do not fit each other.
    """
    predicted, target = np.asarray(predicted, np.float64), np.asarray(target, np.float64)
    if predicted.shape != target.shape or predicted.ndim != 2 or predicted.shape[1] != 2 or len(predicted) == 0:
        raise InputError(f"affect metrics take two arrays (n, 2) of valence and arousal, got {predicted.shape} and {target.shape}")
    if not (np.isfinite(predicted).all() and np.isfinite(target).all()):
        raise InputError("affect has NaN or infinite values; leave out pictures without valence and arousal")
    try:
        from sklearn.metrics import accuracy_score, mean_squared_error
    except ImportError:
        raise MissingDependencyError("scikit-learn", "evaluation", "train") from None
    result = {}
    for name, p, t in zip(("valence", "arousal"), predicted.T, target.T, strict=True):
        pearson = _pearson(p, t)
        result[f"rmse_{name}"] = float(np.sqrt(mean_squared_error(t, p)))
        # torchmetrics has a concordance correlation, but divides by n - 1, which makes it 2 % off for fifty pictures.
        spread = p.var() + t.var() + (p.mean() - t.mean()) ** 2
        result[f"ccc_{name}"] = float(2.0 * pearson * p.std() * t.std() / spread) if spread > 0 else 0.0
        result[f"pearson_{name}"] = pearson
        result[f"sagr_{name}"] = float(accuracy_score(np.sign(t), np.sign(p)))
    return result


def _agreement(index: NDArray[np.int64], chosen: NDArray[np.int64], confusion: NDArray[np.int64]) -> dict[str, float | None]:
    """Returns Cohen's kappa and Krippendorff's alpha (2011, nominal data) of true and judged classes."""
    from sklearn.metrics import cohen_kappa_score

    counts = confusion.astype(np.float64)
    values, apart = 2.0 * counts.sum(), 2.0 * (counts.sum() - np.trace(counts))
    both = counts.sum(axis=0) + counts.sum(axis=1)
    drawn_apart = values**2 - both @ both
    if not drawn_apart:  # a single class, that all are of and are judged as
        return {"cohen_kappa": None, "krippendorff_alpha": None}
    return {
        "cohen_kappa": float(cohen_kappa_score(index, chosen)),
        "krippendorff_alpha": float(1.0 - (values - 1.0) * apart / drawn_apart),
    }


def _areas(probabilities: NDArray[np.float64], index: NDArray[np.int64]) -> dict[str, float | None]:
    """Returns the mean areas below the ROC and the precision-recall curves of the classes with pictures, each against the rest."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    present = np.unique(index)
    if len(present) < 2:
        return {"auc": None, "auc_pr": None}
    ones = index[:, None] == present
    return {
        "auc": float(roc_auc_score(ones, probabilities[:, present], average="macro")),
        "auc_pr": float(average_precision_score(ones, probabilities[:, present], average="macro")),
    }


def _pearson(p: NDArray[np.float64], t: NDArray[np.float64]) -> float:
    if len(p) < 2 or np.ptp(p) < 1e-9 or np.ptp(t) < 1e-9:
        return 0.0
    try:
        import torch
        from torchmetrics.functional.regression import pearson_corrcoef
    except ImportError:
        raise MissingDependencyError("torchmetrics", "evaluation", "train") from None
    return float(pearson_corrcoef(torch.from_numpy(p.copy()), torch.from_numpy(t.copy())))


def _calibration_error(probabilities: NDArray[np.float64], index: NDArray[np.int64]) -> float:
    try:
        import torch
        from torchmetrics.functional.classification import multiclass_calibration_error
    except ImportError:
        raise MissingDependencyError("torchmetrics", "evaluation", "train") from None
    # One value above 1 by rounding, and torchmetrics would take all of them for logits.
    within = torch.from_numpy(probabilities.clip(0.0, 1.0))
    truth = torch.from_numpy(index.astype(np.int64))
    return float(multiclass_calibration_error(within, truth, probabilities.shape[1], n_bins=CALIBRATION_BINS, norm="l1"))
