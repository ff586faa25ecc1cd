"""What a fairness audit has to keep to, and whether it does."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from emotion_perception.engine.errors import UsageError, unknown_name

_GAPS = ("accuracy", "macro_f1", "calibration_error")
_CRITERIA = ("demographic_parity", "equal_opportunity", "equalized_odds")
_ROUNDING = 1e-9  # 0.8 - 0.5 is not quite 0.3
# Kind of a limit -> what it may be set on.
MEASURES = {"max-gap": (*_GAPS, *_CRITERIA), "min-ratio": (*_GAPS, *_CRITERIA), "min-worst": ("accuracy", "macro_f1")}


@dataclass(frozen=True)
class Limit:
    """A bound that decides whether an audit passes.

    Attributes:
        kind: ``max-gap`` (largest minus smallest group), ``min-ratio`` (smallest divided by largest) or ``min-worst`` (the smallest).
        measure: A name of `MEASURES`; for the criteria the worst class counts.
        value: The bound, in [0, 1]; a number equal to it passes.
        attribute: Whose groups are meant; those of every attribute, and every pair of attributes, if empty.
    """

    kind: str
    measure: str
    value: float
    attribute: str = ""

    def __post_init__(self) -> None:
        """Refuses what cannot be measured."""
        if self.kind not in MEASURES:
            raise unknown_name("kind of limit", self.kind, MEASURES)
        if self.measure not in MEASURES[self.kind]:
            raise unknown_name(f"measure of --{self.kind}", self.measure, MEASURES[self.kind])
        if not 0.0 <= self.value <= 1.0:
            raise UsageError(f"--{self.kind} {self.measure}={self.value:g}, expected a value from 0 to 1")

    @classmethod
    def parse(cls, kind: str, text: str) -> Limit:
        """Reads ``accuracy=0.05`` or, for one attribute, ``gender:accuracy=0.05``."""
        name, equals, number = text.rpartition("=")
        attribute, _, measure = name.rpartition(":")
        try:
            value = float(number)
        except ValueError:
            equals = ""
        if not equals:
            raise UsageError(f"--{kind} is {text!r}, expected e.g. {MEASURES[kind][0]}=0.1 or gender:{MEASURES[kind][0]}=0.1")
        return cls(kind, measure.strip().replace("-", "_"), value, attribute.strip())

    def __str__(self) -> str:
        """Says what has to hold, e.g. ``gap of accuracy at most 0.05``."""
        measure = self.measure.replace("_", " ")
        kept = {
            "max-gap": f"gap of {measure} at most",
            "min-ratio": f"ratio of {measure} at least",
            "min-worst": f"worst {measure} at least",
        }
        return f"{kept[self.kind]} {self.value:g}"


def require_attributes(limits: Iterable[Limit], attributes: Collection[str]) -> None:
    """Refuses limits on an attribute that there is not."""
    for limit in limits:
        if limit.attribute and limit.attribute not in attributes:
            raise unknown_name(f"attribute of --{limit.kind}", limit.attribute, attributes)


def check(limit: Limit, attributes: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yields, for each attribute that a limit is on, whether it is kept; what cannot be judged is not.

    Args:
        limit: The limit.
        attributes: What `audit` found, by attribute; that of the limit is among them.
    """
    for name in [limit.attribute] if limit.attribute else list(attributes):
        value = _value(limit, attributes[name])
        kept = value is not None and (value <= limit.value + _ROUNDING if limit.kind == "max-gap" else value >= limit.value - _ROUNDING)
        yield {
            "attribute": name,
            "rule": str(limit),
            "kind": limit.kind,
            "measure": limit.measure,
            "limit": limit.value,
            "value": value,
            "passed": kept,
            "why": _why(limit, attributes[name], value),
        }


def _value(limit: Limit, found: Mapping[str, Any]) -> float | None:
    """Returns the number that a limit is on; None where there is nothing to judge."""
    if limit.kind == "min-worst":
        judged = [group[limit.measure] for group in found["groups"].values() if group["large_enough"]]
        return min(judged, default=None)
    table = found["gaps"] if limit.measure in _GAPS else found["criteria"]
    value: float | None = table.get(limit.measure, {}).get("difference" if limit.kind == "max-gap" else "ratio")
    return value


def _why(limit: Limit, found: Mapping[str, Any], value: float | None) -> str:
    """Says which groups or which class decided."""
    if value is None:
        return "cannot be judged: fewer than two groups have enough pictures, or all have zero"
    if limit.measure in _CRITERIA:
        criterion = found["criteria"][limit.measure]
        if limit.kind == "max-gap":
            return f"class {criterion['class']}"
        return f"class {next(word for word, row in criterion['per_class'].items() if row and row['ratio'] == value)}"
    if limit.kind == "min-worst":
        return f"group {next(n for n, g in found['groups'].items() if g['large_enough'] and g[limit.measure] == value)}"
    gap = found["gaps"][limit.measure]
    return f"{gap['lowest']} against {gap['highest']}"
