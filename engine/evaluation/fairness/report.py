"""Shows a fairness audit: rows for a table, plots, and the files of a report."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emotion_perception.engine.cards import ModelCard
from emotion_perception.engine.evaluation.fairness.auditing import SUMMARY
from emotion_perception.engine.evaluation.report import new_figure, store_figure, write_json
from emotion_perception.engine.storage import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GROUP_COLUMNS = ("pictures", "accuracy", "95 % interval", "macro F1", "calibration error", "lowest recall")
_TITLES = {
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "calibration_error": "calibration error",
    "recall": "recall",
    "false_positive_rate": "false-positive rate",
}
_INK, _PALE = "#1f4e79", "#9aa5b1"


def group_rows(result: Mapping[str, Any], attribute: str) -> Iterator[list[Any]]:
    """Yields a row per group with the values of `GROUP_COLUMNS` behind its name, everyone last; groups of few pictures are marked."""
    found = result["attributes"][attribute]
    for name, group in found["groups"].items():
        yield [name if group["large_enough"] else f"{name} (too few)", *_row(group, result["method"]["min_count"])]
    for name in set(found["too_small"]) - set(found["groups"]):
        yield [f"{name} (no picture)", 0, None, None, None, None, None]
    yield ["everyone", *_row(result["overall"], result["method"]["min_count"])]


def _row(group: Mapping[str, Any], min_count: int) -> list[Any]:
    counted = {word: value for word, value in group["recall"].items() if group["support"][word] >= min_count}
    lowest = min(counted, key=lambda word: float(counted[word]), default=None)
    numbers = [group["accuracy"], bounds(group["accuracy_interval"]), group["macro_f1"], group["calibration_error"]]
    return [group["pictures"], *numbers, "-" if lowest is None else f"{counted[lowest]:.3f} {lowest}"]


def bounds(interval: tuple[float, float] | None) -> str:
    """Writes an interval."""
    return "-" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"


def write_report(result: Mapping[str, Any], card: ModelCard, folder: str | Path) -> list[Path]:
    """Writes ``fairness.html``, ``fairness.json`` and two plots per attribute into a folder, and returns the files.

    Args:
        result: What `audit` returned, with the facts that identify the audit.
        card: The card of the weights in use.
        folder: Where the files go.

    Raises:
        StorageError: A file cannot be written.
    """
    from emotion_perception.engine.evaluation.fairness.html import page

    place = Path(folder)
    plots: dict[str, list[Path]] = {}
    for number, attribute in enumerate(result["attributes"], 1):
        stem = f"{number:02d}_{re.sub(r'[^A-Za-z0-9]+', '_', attribute).strip('_')}"
        drawn = (plot_groups(result, attribute, place / f"{stem}_groups.png"), plot_rates(result, attribute, place / f"{stem}_classes.png"))
        plots[attribute] = list(drawn)
    json = write_json({**result, "card": card.to_dict()}, place / "fairness.json")
    with atomic_write(place / "fairness.html") as temporary:
        temporary.write_text(page(result, card, plots), encoding="utf-8")
    return [place / "fairness.html", json, *(file for files in plots.values() for file in files)]


def plot_groups(result: Mapping[str, Any], attribute: str, path: str | Path) -> Path:
    """Draws accuracy, macro F1 and calibration error of each group with their intervals; hollow: too few pictures to judge."""
    groups = result["attributes"][attribute]["groups"]
    figure = new_figure(11.0, 1.5 + 0.36 * len(groups))
    panels = figure.subplots(1, len(SUMMARY), sharey=True, squeeze=False)[0]
    rows = np.arange(len(groups))[::-1]
    for axes, name in zip(panels, SUMMARY, strict=True):
        for row, group in zip(rows, groups.values(), strict=True):
            ink = _INK if group["large_enough"] else _PALE
            low, high = group[f"{name}_interval"]
            axes.plot([low, high], [row, row], color=ink, linewidth=2)
            axes.plot(group[name], row, "o", color=ink, markerfacecolor=ink if group["large_enough"] else "white", markersize=7)
        axes.axvline(result["overall"][name], color="#b3541e", linestyle="--", linewidth=1, label="everyone")
        axes.set_title(_TITLES[name], fontsize=11)
        axes.grid(axis="x", alpha=0.3)
        axes.set_ylim(-0.7, len(groups) - 0.3)
    panels[0].set_yticks(rows, [f"{name} ({group['pictures']})" for name, group in groups.items()])
    figure.legend(*panels[0].get_legend_handles_labels(), fontsize=8, loc="outside lower right")
    figure.suptitle(f"{attribute}: groups (pictures) with {result['method']['level']:.0%} intervals", fontsize=12)
    return store_figure(figure, path)


def plot_rates(result: Mapping[str, Any], attribute: str, path: str | Path) -> Path:
    """Draws recall and false-positive rate of every class in every group; grey: too few pictures to judge."""
    groups, words = result["attributes"][attribute]["groups"], result["classes"]
    figure = new_figure(2.5 + 1.35 * len(words), 2.1 + 0.36 * len(groups))
    panels = figure.subplots(1, 2, sharey=True)
    for axes, rate in zip(panels, ("recall", "false_positive_rate"), strict=True):
        few = [[_counted(group, rate, word) < result["method"]["min_count"] for word in words] for group in groups.values()]
        values = np.array([[np.nan if v is None else v for v in group[rate].values()] for group in groups.values()], dtype=float)
        _cells(axes, values, np.array(few), "Blues" if rate == "recall" else "Oranges")
        axes.set_xticks(range(len(words)), words, rotation=45, ha="right")
        axes.set_title(_TITLES[rate], fontsize=11)
    panels[0].set_yticks(range(len(groups)), [f"{name} ({group['pictures']})" for name, group in groups.items()])
    figure.suptitle(
        f"{attribute}: each class against the rest, in % (grey: on fewer than {result['method']['min_count']} pictures)", fontsize=12
    )
    return store_figure(figure, path)


def _counted(group: Mapping[str, Any], rate: str, word: str) -> int:
    """Returns how many pictures a rate is counted on."""
    support = int(group["support"][word])
    return support if rate == "recall" else int(group["pictures"]) - support


def _cells(axes: Axes, values: Any, few: Any, colours: str) -> None:
    known = values[~few & ~np.isnan(values)]
    top = 1.0 if colours == "Blues" else max(0.05, float(known.max())) if known.size else 1.0
    axes.imshow(np.ma.masked_array(values, few | np.isnan(values)), cmap=colours, vmin=0.0, vmax=top, aspect="auto")
    axes.set_facecolor("#ebedf0")
    for (row, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            ink = _PALE if few[row, column] else "white" if value > 0.6 * top else "black"
            axes.text(
                column, row, f"{100 * value:.0f}" if top == 1.0 else f"{100 * value:.1f}", ha="center", va="center", color=ink, fontsize=8
            )
