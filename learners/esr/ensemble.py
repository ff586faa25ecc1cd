"""How the branches of an ensemble become one answer, and when the branches that are left cannot or will not change it."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from emotion_perception.engine.target import FloatArray

# What is assumed about how branches differ before any has been seen: the standard deviation, over branches, of the margin between two
# classes, and how many branches' worth of evidence that is. On FER+'s validation part the default weights show 0.14 where two classes are
# close, and less elsewhere; twice that is safe for weights whose branches differ more, too.
_PRIOR_SPREAD = 0.3
_PRIOR_BRANCHES = 4
# A network's own mean is taken in float32: a lead must be larger than its rounding.
_ROUNDING = 1e-5


def ensemble_of(logits: FloatArray, branch_affect: FloatArray) -> dict[str, FloatArray]:
    """Returns what `FacialEmotionLearner.emotions` takes, for any branches.

    Args:
        logits: ``(n, branches, 8)``; NaN for a branch that was not evaluated. At least one was, for every row.
        branch_affect: ``(n, branches, 2)``, with NaN likewise.
    """
    means = {"probabilities": np.nanmean(softmax(logits), axis=1), "affect": np.nanmean(branch_affect, axis=1)}
    return {**means, "logits": logits, "branch_affect": branch_affect}


def softmax(logits: FloatArray) -> FloatArray:
    """Returns probabilities along the last axis."""
    exponent = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(exponent / exponent.sum(axis=-1, keepdims=True), np.float32)


def votes_of(logits: FloatArray) -> NDArray[np.int64]:
    """Returns ``(n, classes)``: how many of the evaluated branches find each class the most probable."""
    evaluated = ~np.isnan(logits[:, :, :1])
    # NaN, in all classes of a branch, has its maximum at the first; that vote does not count.
    return np.asarray((np.eye(logits.shape[2], dtype=np.int64)[logits.argmax(axis=2)] * evaluated).sum(axis=1))


def judged_class(votes: NDArray[np.int64], probabilities: FloatArray, voting: str) -> NDArray[np.int64]:
    """Returns the class ``(n,)`` by the mean probability, or by ``plurality``: most votes, ties broken by probability."""
    # Probabilities are below 1, so adding them only decides between equal numbers of votes.
    return np.asarray((votes + 0.999 * probabilities if voting == "plurality" else probabilities).argmax(axis=1))


def is_decided(logits: FloatArray, branches: int, confidence: float, voting: str = "probability") -> NDArray[np.bool_]:
    """Says for which faces the branches that are left will not change the class.

    They cannot, where the leading class is further ahead than they could catch up: each adds at most 1 to the sum of probabilities, or of
    votes, of another class. They will not, with some confidence, where the mean lead in probability over all branches is above zero: as
    the branches are trained alike, those evaluated are a sample without replacement from all of them, and the error of their mean follows
    from their spread. The spread is that of the branches seen, shrunk towards a large one, as one or two branches say little about it; the
    error is taken as normal. By plurality the class must lead in votes, too.

    Args:
        logits: ``(n, evaluated, classes)`` of the branches evaluated, at least one.
        branches: Of the whole ensemble.
        confidence: From 0.5 to 1, for each face and each rival class, at each look; 1 only stops where the class cannot change.
        voting: ``probability`` or ``plurality``.

    Returns:
        ``(n,)``.
    """
    rows = np.arange(len(logits))
    seen = logits.shape[1]
    probabilities = softmax(logits).astype(np.float64)
    votes = votes_of(logits)
    winner = judged_class(votes, probabilities.mean(axis=1).astype(np.float32), voting)
    leads = probabilities[rows, :, winner][:, :, None] - probabilities
    lead = leads.mean(axis=1)
    counted = votes[rows, winner][:, None] - votes if voting == "plurality" else seen * lead
    certain = counted > branches - seen + _ROUNDING
    sure = np.zeros_like(certain)
    if confidence < 1.0:
        squares = np.square(leads - lead[:, None]).sum(axis=1)
        spread = np.sqrt((_PRIOR_BRANCHES * _PRIOR_SPREAD**2 + squares) / (_PRIOR_BRANCHES + seen - 1))
        error = spread * np.sqrt(1.0 / seen - 1.0 / branches)
        sure = (lead > NormalDist().inv_cdf(confidence) * error) & (counted > 0)
    decided = certain | sure
    decided[rows, winner] = True  # nothing leads over itself
    return np.asarray(decided.all(axis=1))
