"""Compares finished runs: all judged at the same kind of epoch, runs that differ only in their seed taken together.

A run's best epoch flatters it, as the highest of many noisy numbers; so a best epoch is compared with a best one and a last with a last.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emotion_perception.engine.errors import DatasetError, UsageError, unknown_name
from emotion_perception.engine.evaluation.report import RESULT_NAME
from emotion_perception.engine.training.logs import FACTS_NAME, HISTORY_NAME

CONFIDENCE = 0.95
# Facts in which runs of one kind may differ.
_FREE = ("seed",)
_LOWER_IS_BETTER = ("loss", "rmse", "error")


@dataclass(frozen=True, eq=False)
class Run:
    """What a training left in its folder.

    Attributes:
        folder: Where.
        facts: Its options, by name.
        history: A row per epoch.
    """

    folder: Path
    facts: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]

    @classmethod
    def read(cls, folder: str | Path) -> Run:
        """Reads the folder of a run.

        Raises:
            DatasetError: There is no run in it, or a damaged one.
        """
        place = Path(folder)
        try:
            history = [json.loads(line) for line in (place / HISTORY_NAME).read_text(encoding="utf-8").splitlines()]
            facts = json.loads((place / FACTS_NAME).read_text(encoding="utf-8")) if (place / FACTS_NAME).is_file() else {"run": str(place)}
        except FileNotFoundError:
            raise DatasetError(f"{str(place)!r} has no {HISTORY_NAME}; give the folder that a training wrote (its --output)") from None
        except (OSError, ValueError) as error:
            raise DatasetError(f"cannot read the run in {str(place)!r}: {error}; train it again") from None
        if not history:
            raise DatasetError(f"the run in {str(place)!r} has no finished epoch yet; train it to the end")
        return cls(place, facts, history)

    @property
    def monitor(self) -> str:
        """The number that its best epoch was chosen by."""
        return str(self.facts.get("monitor", "val_loss"))

    def row(self, at: str | int = "best", by: str | None = None) -> Mapping[str, Any]:
        """Returns the epoch to be judged at.

        Args:
            at: ``best`` (of the last stage, where there are several), ``last`` or the number of an epoch, from 1.
            by: What ``best`` is measured by; what the run itself was watched by if None.

        Raises:
            UsageError: There is no such epoch or number.
        """
        if at == "last":
            return self.history[-1]
        if isinstance(at, int):
            if not 1 <= at <= len(self.history):
                raise UsageError(f"{str(self.folder)!r} has epochs 1 to {len(self.history)}, not {at}")
            return self.history[at - 1]
        name = by or self.monitor
        rows = [row for row in self.history if _is_number(row.get(name))]
        if not rows:
            known = {key for row in self.history for key, value in row.items() if _is_number(value)}
            raise unknown_name(f"number in the history of {str(self.folder)!r}:", name, known)
        # Every stage began with the best state of the one before; what the run holds is of the last stage with the number.
        rows = [row for row in rows if row.get("stage") == rows[-1].get("stage")]
        sign = -1.0 if any(word in name for word in _LOWER_IS_BETTER) else 1.0
        return max(reversed(rows), key=lambda row: sign * row[name])  # of equals the last, as training keeps it

    def result(self, name: str) -> Mapping[str, Any]:
        """Returns the numbers that ``eval --report RUN/<name>`` measured."""
        file = self.folder / name / RESULT_NAME
        try:
            found: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            way = f"emotion-perception eval ... --report {file.parent}"
            raise DatasetError(f"{str(file)!r} is not there or damaged; measure the run first: {way}") from None
        return found


@dataclass(frozen=True, eq=False)
class Kind:
    """Runs that differ in nothing but their seed.

    Attributes:
        name: What tells it from the others.
        runs: The runs.
        rows: Where each is judged.
    """

    name: str
    runs: Sequence[Run]
    rows: Sequence[Mapping[str, Any]]

    def values(self, metric: str) -> list[float]:
        """Returns a number of every run; a run that lacks it raises `UsageError`."""
        for run, row in zip(self.runs, self.rows, strict=True):
            if not _is_number(row.get(metric)):
                raise unknown_name(f"number of {str(run.folder)!r}:", metric, [key for key, value in row.items() if _is_number(value)])
        return [float(row[metric]) for row in self.rows]


def compare(
    folders: Sequence[str | Path],
    *,
    at: str | int = "best",
    by: str | None = None,
    metrics: Sequence[str] = (),
    results: str | None = None,
) -> dict[str, Any]:
    """Compares runs with the first kind of them.

    Two kinds differ beyond the noise where Student's t says so at 95 %, with the spread over the seeds of all kinds pooled: the
    spread of two or three runs alone says little.

    Args:
        folders: Of the runs.
        at: At which epoch, as `Run.row` takes it.
        by: What ``best`` is measured by, as `Run.row` takes it.
        metrics: Which numbers; None: those that belong together with the one that decides the best epoch.
        results: Compare what ``eval --report RUN/<results>`` wrote instead of the history.

    Returns:
        ``rule``; ``metrics``; ``kinds``: a list with ``name``, ``runs`` (folder, seed, epoch, values) and per metric ``mean``, ``sd``
        (None for one run); ``differences`` to the first kind: ``name``, ``metric``, ``difference``, ``noise`` (the least difference
        that is none of chance; None where no kind has two runs) and ``verdict``. Plain numbers, ready for JSON.
    """
    kinds = _kinds([Run.read(folder) for folder in folders], at, by, results)
    names = list(metrics) or _metrics(kinds, by, results)
    if not names:
        raise UsageError("the runs have no number in common; say which to compare with --metric")
    values = {name: [kind.values(name) for kind in kinds] for name in names}
    noise = {name: _noise(each) for name, each in values.items()}
    return {
        "rule": f"numbers in {results}/{RESULT_NAME}" if results else _rule(kinds, at, by),
        "metrics": names,
        "kinds": [
            {
                "name": kind.name,
                "runs": [_described(run, row, names) for run, row in zip(kind.runs, kind.rows, strict=True)],
                "mean": {name: float(np.mean(values[name][i])) for name in names},
                "sd": {name: float(np.std(values[name][i], ddof=1)) if len(kind.runs) > 1 else None for name in names},
            }
            for i, kind in enumerate(kinds)
        ],
        "differences": [
            {"name": kind.name, "metric": name, **_difference(values[name][0], values[name][i], noise[name])}
            for i, kind in enumerate(kinds)
            if i
            for name in names
        ],
    }


def _kinds(runs: Sequence[Run], at: str | int, by: str | None, results: str | None) -> list[Kind]:
    """Sorts runs into kinds, in the order given."""
    if len({run.folder.resolve() for run in runs}) < len(runs):
        raise UsageError("a run is given twice; it would count as two seeds that agree")
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(json.dumps({k: v for k, v in run.facts.items() if k not in _FREE}, sort_keys=True), []).append(run)
    groups = list(found.values())
    facts = [group[0].facts for group in groups]
    differing = [key for key in dict.fromkeys(k for each in facts for k in each) if len({json.dumps(f.get(key)) for f in facts}) > 1]
    differing = [key for key in differing if key not in _FREE]
    kinds = []
    for group in groups:
        seeds = [run.facts.get("seed") for run in group]
        if len(set(seeds)) < len(seeds):
            folders = ", ".join(str(run.folder) for run in group)
            raise UsageError(f"{folders} are equal runs, two of them with the same seed; give every run a seed of its own")
        name = ", ".join(f"{key}={group[0].facts.get(key)}" for key in differing) or str(group[0].folder)
        kinds.append(Kind(name, group, [run.result(results) if results else run.row(at, by) for run in group]))
    return kinds


def _rule(kinds: Sequence[Kind], at: str | int, by: str | None) -> str:
    if at != "best":
        return f"the {at} epoch" if at == "last" else f"epoch {at}"
    decided = sorted({by or run.monitor for kind in kinds for run in kind.runs})
    if len(decided) > 1:
        raise UsageError(f"the runs chose their best epochs by different numbers ({', '.join(decided)}); say which counts with --by")
    return f"the epoch with the best {decided[0]}"


def _metrics(kinds: Sequence[Kind], by: str | None, results: str | None) -> list[str]:
    """Returns the numbers that all runs have and that belong to the deciding one: ``val_map_...`` to ``val_map_gm``."""
    rows = [row for kind in kinds for row in kind.rows]
    stem = (by or kinds[0].runs[0].monitor).rpartition("_")[0] or "val_"
    stem = stem.removeprefix("val_") if results else stem
    return [key for key, value in rows[0].items() if key.startswith(stem) and _is_number(value) and all(key in row for row in rows)]


def _described(run: Run, row: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {"run": str(run.folder), "seed": run.facts.get("seed"), "epoch": row.get("epoch")} | {name: row[name] for name in names}


def _noise(values: Sequence[Sequence[float]]) -> tuple[float, int] | None:
    """Returns the pooled standard deviation over seeds and its degrees of freedom; None where no kind has two runs."""
    freedom = sum(len(each) - 1 for each in values)
    if not freedom:
        return None
    return math.sqrt(sum(float(np.sum((np.array(each) - np.mean(each)) ** 2)) for each in values) / freedom), freedom


def _difference(first: Sequence[float], other: Sequence[float], noise: tuple[float, int] | None) -> dict[str, Any]:
    from scipy.stats import t

    difference = float(np.mean(other) - np.mean(first))
    if noise is None:
        return {"difference": difference, "noise": None, "verdict": "unknown: give runs of several seeds"}
    spread, freedom = noise
    least = float(t.ppf(0.5 + CONFIDENCE / 2.0, freedom) * spread * math.sqrt(1.0 / len(first) + 1.0 / len(other)))
    return {"difference": difference, "noise": least, "verdict": "within the noise" if abs(difference) <= least else "beyond the noise"}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
