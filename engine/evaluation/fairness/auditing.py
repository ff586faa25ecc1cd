"""Whether a model judges one group of people as well as another. fairlearn does the arithmetic; it is imported on first use.

Classes are compared one against the rest: for each class, "judged to be it" is the positive answer. The criteria are those of Agarwal
et al. 2018 (demographic parity, equalized odds) and Hardt et al. 2016 (equal opportunity).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotion_perception.engine.datasets.base import Targets
from emotion_perception.engine.errors import DatasetError, InputError, MissingDependencyError, UsageError
from emotion_perception.engine.evaluation.fairness.groups import Groups, in_order
from emotion_perception.engine.evaluation.fairness.limits import Limit, check, require_attributes
from emotion_perception.engine.evaluation.fairness.resampling import Floats, Resamples, interval, resample
from emotion_perception.engine.evaluation.metrics import classification_metrics
from emotion_perception.engine.labels import LabelSet
from emotion_perception.engine.target import Emotions

MIN_COUNT = 30
REPLICATES = 1000
LEVEL = 0.95
SUMMARY = ("accuracy", "macro_f1", "calibration_error")
# Criterion -> the rates per class that it compares.
CRITERIA = {
    "demographic_parity": ("selection_rate",),
    "equal_opportunity": ("recall",),
    "equalized_odds": ("recall", "false_positive_rate"),
}
RATES = ("recall", "false_positive_rate", "selection_rate")


@dataclass(frozen=True, eq=False)
class _Judged:
    """Pictures with a true class and a usable answer."""

    labels: LabelSet
    truth: NDArray[np.int64]
    judged: NDArray[np.int64]
    probabilities: NDArray[Any]

    def take(self, rows: NDArray[Any]) -> _Judged:
        return _Judged(self.labels, self.truth[rows], self.judged[rows], self.probabilities[rows])

    def metrics(self) -> dict[str, Any]:
        return classification_metrics(self.probabilities, self.truth, self.labels, self.judged)


def audit(
    emotions: Emotions,
    targets: Targets,
    groups: Groups,
    *,
    names: Sequence[str] = (),
    min_count: int = MIN_COUNT,
    replicates: int = REPLICATES,
    seed: int = 0,
    limits: Sequence[Limit] = (),
    crossed: bool = True,
) -> dict[str, Any]:
    """Compares how well a model judges groups.

    Args:
        emotions: What the model says of n pictures.
        targets: Their true classes; pictures without one are left out.
        groups: The groups of the same n pictures.
        names: What the n pictures are called, for the list of failures; their numbers if empty.
        min_count: Groups with fewer pictures are shown but not compared; neither is a class within a group, where the group has fewer
            pictures of it (recall) or of all others (false-positive rate).
        replicates: Samples that intervals are taken from.
        seed: Of their drawing.
        limits: What has to hold, see `Limit`.
        crossed: Also compare the groups of every pair of attributes.

    Returns:
        Plain values, ready for JSON: ``pictures``, ``unlabelled``, ``without_row``, ``failures`` (pictures whose probabilities are
        NaN), ``classes``, ``method``, ``overall``, ``attributes`` (for each: ``groups``, ``too_small``, ``not_stated``, ``gaps``,
        ``criteria``, ``not_compared``, ``worst_group``), ``checks`` and ``passed`` (None without limits).

    Raises:
        DatasetError: No picture has a true class.
        InputError: No picture has a usable answer.
        UsageError: Arguments that do not fit each other, or a limit on an attribute that there is not.
    """
    if not len(emotions) == len(targets) == len(groups):
        raise UsageError(
            f"there are {len(emotions)} answers, {len(targets)} targets and groups of {len(groups)} pictures; expected as many"
        )
    if emotions.labels.multi_label:
        raise UsageError(f"{emotions.labels.name} allows several classes at once; fairness is measured for one class per picture")
    if min_count < 1 or replicates < 1:
        raise UsageError(f"min_count is {min_count} and replicates {replicates}, expected at least 1 of both")
    if find_spec("fairlearn") is None:
        raise MissingDependencyError("fairlearn", "measuring fairness", "fairness")
    labelled = targets.index >= 0
    if not labelled.any():
        raise DatasetError(f"none of the {len(targets)} pictures has a single class; fairness needs labelled ones")
    usable = labelled & np.isfinite(emotions.probabilities).all(axis=1)
    failed = [names[i] if names else str(i) for i in np.flatnonzero(labelled & ~usable).tolist()]
    if not usable.any():
        raise InputError(f"the answers to all {len(failed)} labelled pictures are NaN; the weights are damaged or the wrong ones")
    rows = np.flatnonzero(usable)
    compared = groups.take(rows).crossed() if crossed else groups.take(rows)
    require_attributes(limits, compared.values)
    everyone = _Judged(emotions.labels, targets.index[rows], emotions.index[rows], emotions.probabilities[rows])
    random = np.random.default_rng(seed)
    whole = resample(everyone.truth, everyone.judged, everyone.probabilities, replicates, random)
    attributes = {
        name: _compared(everyone, values, compared.absent[name], min_count, replicates, random) for name, values in compared.values.items()
    }
    checks = [result for limit in limits for result in check(limit, attributes)]
    return {
        "pictures": len(everyone.truth),
        "unlabelled": int((~labelled).sum()),
        "without_row": groups.without_row,
        "failures": failed,
        "classes": list(emotions.labels.words),
        "method": {"min_count": min_count, "replicates": replicates, "seed": seed, "level": LEVEL},
        "overall": _described(everyone, whole, min_count),
        "attributes": attributes,
        "checks": checks,
        "passed": all(result["passed"] for result in checks) and not failed if checks else None,
    }


def _compared(
    everyone: _Judged,
    values: NDArray[np.str_],
    absent: Sequence[str],
    min_count: int,
    replicates: int,
    random: np.random.Generator,
) -> dict[str, Any]:
    """Compares the groups of one attribute."""
    stated = np.flatnonzero(values != "")
    people, group = everyone.take(stated), values[stated]
    order = in_order(set(group.tolist()))
    members = {name: people.take(group == name) for name in order}
    samples = {name: resample(m.truth, m.judged, m.probabilities, replicates, random) for name, m in members.items()}
    large = [name for name in order if len(members[name].truth) >= min_count]
    described = {name: _described(members[name], samples[name], min_count) for name in order}
    gaps: dict[str, Any] = {}
    criteria: dict[str, Any] = {}
    if len(large) > 1:
        rows = np.flatnonzero(np.isin(group, large))
        gaps, criteria = _apart(people.take(rows), group[rows], {name: samples[name] for name in large}, min_count)
    worst = min(large, key=lambda name: float(described[name]["accuracy"]), default=None)
    return {
        "groups": described,
        "too_small": {name: len(members[name].truth) for name in order if name not in large} | dict.fromkeys(absent, 0),
        "not_stated": len(values) - len(stated),
        "gaps": gaps,
        "criteria": criteria,
        "not_compared": _too_few(members, large, min_count) if len(large) > 1 else {},
        "worst_group": worst and {"group": worst, **{key: described[worst][key] for key in ("pictures", "accuracy", "accuracy_interval")}},
    }


def _described(members: _Judged, samples: Resamples, min_count: int) -> dict[str, Any]:
    """Returns the numbers of one group with their intervals; rates by class word."""
    metrics = members.metrics()
    result: dict[str, Any] = {
        "pictures": len(members.truth),
        "large_enough": len(members.truth) >= min_count,
        "support": metrics["support"],
    }
    for name in SUMMARY:
        result[name] = metrics[name]
        result[f"{name}_interval"] = interval(getattr(samples, name), LEVEL)
    for rate in RATES:
        values = [_rate(members, rate, k) for k in range(len(members.labels))]
        bounds = [interval(column, LEVEL) for column in getattr(samples, rate).T]
        result[rate] = dict(zip(members.labels.words, values, strict=True))
        result[f"{rate}_interval"] = dict(zip(members.labels.words, bounds, strict=True))
    return result


def _rate(members: _Judged, rate: str, k: int) -> float | None:
    """Returns a rate of one class against the rest; None where there is nothing to count."""
    from fairlearn import metrics

    true, said = members.truth == k, members.judged == k
    if rate == "recall":
        return float(metrics.true_positive_rate(true, said, pos_label=True)) if true.any() else None
    if rate == "false_positive_rate":
        return float(metrics.false_positive_rate(true, said, pos_label=True)) if not true.all() else None
    return float(metrics.selection_rate(true, said, pos_label=True))


def _apart(
    people: _Judged, group: NDArray[np.str_], samples: Mapping[str, Resamples], min_count: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Measures how far groups, all of them large enough, are apart.

    Returns:
        What sums a group up, by name: ``difference``, ``ratio``, ``lowest`` and ``highest`` group, and the intervals of these two. And by
        criterion the same for the worst ``class``, and ``per_class``, None where nothing is compared.
    """
    from fairlearn.metrics import MetricFrame

    def summary_metric(name: str) -> Callable[..., float]:
        return lambda rows, _: float(people.take(rows).metrics()[name])

    def rate_metric(rate: str, k: int) -> Callable[..., float]:
        def metric(rows: NDArray[np.int64], _: Any) -> float:
            of_class = int((people.truth[rows] == k).sum())
            counted = {"recall": of_class, "false_positive_rate": len(rows) - of_class, "selection_rate": len(rows)}[rate]
            value = _rate(people.take(rows), rate, k) if counted >= min_count else None
            return np.nan if value is None else value  # fairlearn leaves NaN out when it compares

        return metric

    words = people.labels.words
    metrics = {name: summary_metric(name) for name in SUMMARY}
    metrics |= {f"{rate} {word}": rate_metric(rate, k) for rate in RATES for k, word in enumerate(words)}
    rows = np.arange(len(group))
    # MetricFrame is given numbers of pictures for their classes: calibration needs all probabilities of a picture.
    frame = MetricFrame(metrics=metrics, y_true=rows, y_pred=rows, sensitive_features=group)
    values, difference, ratio = frame.by_group, frame.difference(), frame.ratio()

    def compared(name: str, drawn: Mapping[str, Floats]) -> _Distance | None:
        known = values[name].dropna()
        if len(known) < 2:
            return None
        lowest, highest = str(known.idxmin()), str(known.idxmax())
        low, high = drawn[lowest], drawn[highest]
        with np.errstate(divide="ignore", invalid="ignore"):
            shares = np.where(high > 0, low / high, np.nan)
        bounds = interval(high - low, LEVEL), interval(shares, LEVEL)
        return _Distance(float(difference[name]), _number(ratio[name]), *bounds, lowest, highest)

    gaps = {}
    for name in SUMMARY:
        distance = compared(name, {one: getattr(sample, name) for one, sample in samples.items()})
        assert distance is not None  # no group lacks what sums it up
        gaps[name] = vars(distance)
    criteria = {}
    for criterion, rates in CRITERIA.items():
        found: dict[str, _Distance] = {}
        for k, word in enumerate(words):
            each = [compared(f"{rate} {word}", {n: getattr(s, rate)[:, k] for n, s in samples.items()}) for rate in rates]
            known = [distance for distance in each if distance is not None]
            if len(known) == len(rates):
                found[word] = _worst(known)
        worst = _worst(list(found.values())) if found else None
        criteria[criterion] = {
            **(vars(worst) if worst else dict.fromkeys(field.name for field in fields(_Distance))),
            "class": next((word for word, distance in found.items() if worst and distance.difference == worst.difference), None),
            "per_class": {word: vars(found[word]) if word in found else None for word in words},
        }
    return gaps, criteria


@dataclass(frozen=True)
class _Distance:
    """How far the lowest and the highest group are apart in one number; an interval is that of these two groups."""

    difference: float
    ratio: float | None
    interval: tuple[float, float] | None
    ratio_interval: tuple[float, float] | None
    lowest: str
    highest: str


def _worst(distances: Sequence[_Distance]) -> _Distance:
    """Returns the largest difference of several numbers, with the smallest ratio, which may be of another one."""
    largest = max(distances, key=lambda distance: distance.difference)
    ratios = [distance for distance in distances if distance.ratio is not None]
    smallest = min(ratios, key=lambda distance: float(distance.ratio or 0.0), default=largest)
    return replace(largest, ratio=smallest.ratio, ratio_interval=smallest.ratio_interval)


def _too_few(members: Mapping[str, _Judged], large: Sequence[str], min_count: int) -> dict[str, dict[str, list[int]]]:
    """Returns by class the large groups that have too few pictures of it, or of all others, and these two counts."""
    few: dict[str, dict[str, list[int]]] = {}
    for name in large:
        truth, words = members[name].truth, members[name].labels.words
        for word, count in zip(words, np.bincount(truth, minlength=len(words)).tolist(), strict=True):
            if min(count, len(truth) - count) < min_count:
                few.setdefault(word, {})[name] = [count, len(truth) - count]
    return few


def _number(value: Any) -> float | None:
    """Returns a plain number; None for the ratio of zeros."""
    return float(value) if np.isfinite(value) else None


def summary(result: Mapping[str, Any], attribute: str) -> str:
    """Says in one sentence how far the groups of an attribute are apart."""
    found = result["attributes"][attribute]
    small = ", ".join(f"{name} ({count})" for name, count in found["too_small"].items())
    few = f"; too few pictures to judge: {small}" if small else ""
    if not found["gaps"]:
        return f"{attribute}: fewer than two groups have {result['method']['min_count']} pictures or more, nothing is compared{few}"
    gap, worst = found["gaps"]["accuracy"], found["worst_group"]
    ratio = "" if gap["ratio"] is None else f"ratio {gap['ratio']:.3f}; "
    return (
        f"{attribute}: accuracy differs by {gap['difference']:.3f} ({gap['interval'][0]:.3f} to {gap['interval'][1]:.3f}); "
        f"{ratio}worst group {worst['group']} with {worst['accuracy']:.3f}{few}"
    )
