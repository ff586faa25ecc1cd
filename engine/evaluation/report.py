"""Shows what was measured: a table for people, JSON for programs, and plots."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emotion_perception.engine.errors import MissingDependencyError
from emotion_perception.engine.evaluation.metrics import MIN_SUPPORT
from emotion_perception.engine.plain import plain
from emotion_perception.engine.storage import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from rich.table import Table

RESULT_NAME = "result.json"
_SUMMARY = {
    "accuracy": "accuracy",
    "top5_accuracy": "class among the five most probable",
    "balanced_accuracy": "balanced accuracy",
    f"balanced_accuracy_min{MIN_SUPPORT}": f"balanced accuracy, classes of {MIN_SUPPORT} pictures or more",
    "macro_f1": "macro F1",
    "calibration_error": "calibration error",
    "cohen_kappa": "Cohen's kappa",
    "krippendorff_alpha": "Krippendorff's alpha",
    "auc": "area below the ROC curve, mean over classes",
    "auc_pr": "average precision, mean over classes",
}
# Panel of the training curves -> what the names of its numbers contain.
_PANELS = {
    "loss, error": ("loss", "rmse", "error"),
    "accuracy, F1, correlation": ("accuracy", "f1", "recall", "ccc", "pearson", "sagr", "map_"),
    "learning rate": ("lr", "learning_rate"),
}
_AFFECT = {"rmse": "RMSE", "ccc": "CCC", "pearson": "Pearson", "sagr": "SAGR"}


def tables(result: Mapping[str, Any], title: str = "") -> list[Table]:
    """Makes the tables of an evaluation for `rich`: the numbers of the whole, then a row per class, then affect; those that apply.

    Args:
        result: What `measure` or a learner's ``eval`` returned.
        title: Title of the first table.
    """
    from rich.table import Table

    levels = {name: each for name, each in result.items() if isinstance(each, Mapping) and "per_class_ap" in each}
    if levels:
        return _multilabel_tables(result, levels, title)
    made = []
    summary = Table("metric", "value", title=title or None, title_justify="left")
    summary.columns[1].justify = "right"
    if "pictures" in result:
        summary.add_row("pictures", str(result["pictures"]))
    for key, words in _SUMMARY.items():
        if key in result:
            summary.add_row(words, _number(result[key]))
    made.append(summary)
    if "per_video" in result:
        of_videos = Table("per video", "mean of probabilities", "mean of logits", title=f"{result['per_video']['videos']} videos")
        for key, words in _SUMMARY.items():
            numbers = [result["per_video"][way].get(key) for way in ("mean_probabilities", "mean_logits")]
            if key in result:
                of_videos.add_row(words, *map(_number, numbers))
        made.append(of_videos)
    if "per_class_recall" in result:
        classes = Table("class", "pictures", "recall", "precision", "F1")
        for column in classes.columns[1:]:
            column.justify = "right"
        for word, support in result["support"].items():
            classes.add_row(word, str(support), *(_number(result[f"per_class_{key}"][word]) for key in ("recall", "precision", "f1")))
        made.append(classes)
    if "rmse_valence" in result:
        affect = Table("affect", *_AFFECT.values())
        for column in affect.columns[1:]:
            column.justify = "right"
        for name in ("valence", "arousal"):
            affect.add_row(name, *(_number(result[f"{key}_{name}"]) for key in _AFFECT))
        made.append(affect)
    return made


def _multilabel_tables(result: Mapping[str, Any], levels: Mapping[str, Mapping[str, Any]], title: str) -> list[Table]:
    """Makes the table of a multi-label evaluation, a row per level and their means, and the table of its classes; numbers in %."""
    from rich.table import Table

    summary = Table("", "rows", "mAP", "F1", "precision", "recall", title=title or None, title_justify="left")
    for name, each in levels.items():
        summary.add_row(name, str(each["rows"]), *(_percent(each[key]) for key in ("map", "macro_f1", "macro_precision", "macro_recall")))
    for key, words in (("map_mean", "mean"), ("map_gm", "geometric mean")):
        if key in result and len(levels) > 1:
            summary.add_row(words, "", _percent(result[key]))
    classes = Table("class", *(f"{name} {word}" for name in levels for word in ("rows", "AP", "F1")))
    for word in next(iter(levels.values()))["support"]:
        cells = [
            [str(each["support"][word]), *(_percent(each[f"per_class_{key}"][word]) for key in ("ap", "f1"))] for each in levels.values()
        ]
        classes.add_row(word, *(cell for group in cells for cell in group))
    for table in (summary, classes):
        for column in table.columns[1:]:
            column.justify = "right"
    return [summary, classes]


def write_report(result: Mapping[str, Any], folder: str | Path, title: str = "") -> list[Path]:
    """Writes ``result.json`` and, where there are classes, ``confusion.png`` into a folder, and returns the files.

    Raises:
        StorageError: A file cannot be written.
    """
    files = [write_json(result, Path(folder) / RESULT_NAME)]
    if "confusion_matrix" in result:
        files.append(plot_confusion(result["confusion_matrix"], list(result["support"]), Path(folder) / "confusion.png", title))
    return files


def write_json(result: Mapping[str, Any], path: str | Path, digits: int | None = None) -> Path:
    """Writes a result as JSON, all or nothing, as `plain` makes it."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(plain(result, digits), indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    return Path(path)


def plot_confusion(matrix: Any, words: Sequence[str], path: str | Path, title: str = "") -> Path:
    """Draws a confusion matrix: colour and percentage are the share of the true class, the small number is the count.

    Args:
        matrix: ``(classes, classes)`` counts, rows = true class.
        words: Class words.
        path: The PNG file to write.
        title: Title of the plot.
    """
    counts = np.asarray(matrix, dtype=np.int64)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 2.2 + 0.75 * len(words)
    figure = new_figure(side + 0.6, side)
    axes = figure.subplots()
    shown = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    axes.set_xticks(range(len(words)), words, rotation=45, ha="right")
    axes.set_yticks(range(len(words)), [f"{word} ({n})" for word, n in zip(words, counts.sum(axis=1), strict=True)])
    axes.set_xlabel("judged")
    axes.set_ylabel("true (pictures)")
    axes.set_title(title or "confusion matrix")
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if shares[row, column] > 0.55 else "black"
            axes.text(column, row - 0.1, f"{100 * shares[row, column]:.0f} %", ha="center", va="center", color=colour, fontsize=9)
            axes.text(column, row + 0.25, str(count), ha="center", va="center", color=colour, fontsize=6.5)
    figure.colorbar(shown, ax=axes, fraction=0.046, pad=0.03, label="share of the true class")
    return store_figure(figure, path)


def plot_history(history: Sequence[Mapping[str, Any]], path: str | Path, title: str = "") -> Path:
    """Draws training curves: losses and errors in one panel, shares such as accuracies in another, learning rates in a third.

    Args:
        history: Rows per epoch, with ``epoch`` and any numbers by name; a change of ``stage`` is marked. Rows may lack a number.
        path: The PNG file to write.
        title: Title of the plot.
    """
    names = list(dict.fromkeys(key for row in history for key, value in row.items() if _is_number(value)))
    panels = {label: [name for name in names if any(part in name for part in parts)] for label, parts in _PANELS.items()}
    shown = {label: keys for label, keys in panels.items() if keys} or {"value": [n for n in names if n not in ("epoch", "compute")]}
    figure = new_figure(8.0, 0.6 + 3.0 * len(shown))
    grid = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    epochs = np.array([row.get("epoch", i + 1) for i, row in enumerate(history)], dtype=float)
    for axes, (label, keys) in zip(grid, shown.items(), strict=True):
        for key in keys:
            values = np.array([row[key] if _is_number(row.get(key)) else np.nan for row in history], dtype=float)
            known = np.isfinite(values)
            axes.plot(epochs[known], values[known], label=key, marker="o" if known.sum() < 30 else None, markersize=3)
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
        _mark_stages(axes, history, epochs)
    grid[-1].set_xlabel("epoch")
    grid[-1].xaxis.get_major_locator().set_params(integer=True)
    if title:
        figure.suptitle(title)
    return store_figure(figure, path)


def _mark_stages(axes: Axes, history: Sequence[Mapping[str, Any]], epochs: Any) -> None:
    """Draws a line where a new stage of the training begins."""
    for i in range(1, len(history)):
        if history[i].get("stage") != history[i - 1].get("stage"):
            axes.axvline((epochs[i - 1] + epochs[i]) / 2, color="grey", linestyle=":", linewidth=1)


def new_figure(width: float, height: float) -> Figure:
    """Makes a figure of its own, so that no display and no global state of pyplot is involved; sizes in inches."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingDependencyError("matplotlib", "drawing plots", "train") from None
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def store_figure(figure: Figure, path: str | Path) -> Path:
    """Writes a figure as PNG, all or nothing, and returns the file."""
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
    return Path(path)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool) and math.isfinite(value)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100.0 * value:.2f}"
