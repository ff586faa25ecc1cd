"""Pictures of a timeline: emotions over time with the dialogue under them, and what each emotion looks at."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emotion_perception.engine.evaluation.report import new_figure, store_figure, write_json
from emotion_perception.learners.emotx.timeline.timeline import SCENE, Timeline, length_s

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, which people with any colour vision tell apart; the line styles are for prints in grey.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_STYLES = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)), (0, (3, 1)), ":")
_INK, _PALE = "#333333", "#b5bcc4"
_WIDTH_IN = 11.0
_SEEN_S = 0.35  # of a face that is looked at every eighth frame
# Of dialogue: rows, the size of a letter, and how many of them an utterance and the width of a panel take.
_MOST_ROWS = 8
_TEXT_PT = 7.5
_MOST_LETTERS = 60
_LETTERS_ACROSS = _WIDTH_IN * 72 * 0.86 / (_TEXT_PT * 0.56)


def write_timeline(timeline: Timeline, folder: str | Path, emotions: int = 5) -> list[Path]:
    """Writes all pictures of a timeline and its numbers into a folder, named after the clip, and returns the files.

    Args:
        timeline: What to draw.
        folder: Where the files go.
        emotions: Most emotions in a picture.

    Raises:
        StorageError: A file cannot be written.
    """

    def file(kind: str, suffix: str = "png") -> Path:
        return Path(folder) / f"{_plain(timeline.clip.name or 'clip')}_{kind}.{suffix}"

    files = [plot_timeline(timeline, file("timeline"), emotions)]
    files += [plot_attention(timeline, who, file(f"attention_{_plain(who)}"), emotions) for who in timeline.attention]
    return [*files, write_json(timeline.to_dict(), file("timeline", "json"))]


def _plain(name: str) -> str:
    """Returns a name that any file may have."""
    return re.sub(r"\W+", "_", name).strip("_") or "clip"


def plot_timeline(timeline: Timeline, path: str | Path, emotions: int = 5) -> Path:
    """Draws a panel for the scene and one per character, with the same emotions in the same colours, and the dialogue below.

    A grey bar at the foot of a character's panel shows when the face is seen.

    Args:
        timeline: What to draw.
        path: The PNG file to write.
        emotions: Most emotions drawn: the likeliest of each panel first, then the next likeliest of all.
    """
    shown = _shared(timeline, min(emotions, len(_COLORS)))
    end_s, people = length_s(timeline.clip), list(timeline.curves)
    lines = _laid_out(timeline, end_s)
    rows = 1 + max((row for row, *_ in lines), default=-1)
    heights = [1.5] * len(people) + ([0.35 + 0.2 * rows] if rows else [])
    figure = new_figure(_WIDTH_IN, sum(heights) + 0.9)
    panels = figure.subplots(len(heights), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for who, axes in zip(people, panels, strict=False):
        _curves(axes, timeline, who, shown)
    if rows:
        _dialogue(panels[-1], lines, rows)
    panels[-1].set_xlim(0.0, end_s)
    panels[-1].set_xlabel("time (s)")
    title = f"{timeline.clip.name or 'clip'}: probability in windows of {timeline.window_s:.3g} s"
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(shown), frameon=False, fontsize=10, title=title, title_fontsize=12)
    return store_figure(figure, path)


def _shared(timeline: Timeline, count: int) -> list[int]:
    """Returns the classes to draw: the likeliest of each panel, then the next likeliest anywhere."""
    firsts = [timeline.top(who, 1)[0] for who in timeline.whole]
    overall = np.argsort(-np.max(list(timeline.whole.values()), axis=0), kind="stable").tolist()
    return list(dict.fromkeys([*firsts, *overall]))[:count]


def _curves(axes: Axes, timeline: Timeline, who: str, shown: list[int]) -> None:
    for k, color, style in zip(shown, _COLORS, _STYLES, strict=False):
        axes.plot(timeline.times_s, timeline.curves[who][:, k], color=color, linestyle=style, linewidth=1.8, label=timeline.labels.words[k])
    axes.set_ylim(-0.08, 1.05)
    axes.set_yticks([0.0, 0.5, 1.0])
    axes.grid(alpha=0.3)
    axes.set_ylabel(textwrap.fill(who, 14), rotation=0, ha="right", va="center", fontsize=10, labelpad=10)
    if who != SCENE:
        seen = [(float(second), _SEEN_S) for second in timeline.clip.characters[who].times_s]
        axes.broken_barh(seen, (-0.08, 0.05), color=_PALE, linewidth=0)


def _laid_out(timeline: Timeline, end_s: float) -> list[tuple[int, float, bool, str]]:
    """Returns row, time (s), whether the words stand left of it, and the words of every utterance, so that no two overlap."""
    dialogue, words = timeline.clip.dialogue, timeline.clip.utterances
    if dialogue is None or not len(dialogue):
        return []
    texts = [textwrap.shorten(text, _MOST_LETTERS, placeholder=" …") for text in words] or ["" for _ in dialogue.times_s]
    taken: list[list[tuple[float, float]]] = [[] for _ in range(_MOST_ROWS)]
    placed = []
    for time_s, text in zip(dialogue.times_s.tolist(), texts, strict=True):
        needed = (len(text) + 3) * end_s / _LETTERS_ACROSS
        left = time_s + needed > end_s
        start, end = (time_s - needed, time_s) if left else (time_s, time_s + needed)
        row = next((i for i, spans in enumerate(taken) if all(end <= a or start >= b for a, b in spans)), None)
        if row is None:  # more is said at once than can be written: the mark alone says so
            placed.append((_MOST_ROWS, time_s, left, ""))
            continue
        taken[row].append((start, end))
        placed.append((row, time_s, left, text))
    return placed


def _dialogue(axes: Axes, lines: list[tuple[int, float, bool, str]], rows: int) -> None:
    for row, time_s, left, text in lines:
        axes.plot([time_s], [row], marker="|", color=_COLORS[0], markersize=7, markeredgewidth=1.5)
        axes.annotate(
            text,
            (time_s, row),
            (-4 if left else 4, 0),
            textcoords="offset points",
            fontsize=_TEXT_PT,
            color=_INK,
            va="center",
            ha="right" if left else "left",
        )
    axes.set_ylim(rows - 0.4, -0.6)
    axes.set_yticks([])
    axes.grid(axis="x", alpha=0.3)
    axes.set_ylabel("dialogue", rotation=0, ha="right", va="center", fontsize=10)


def plot_attention(timeline: Timeline, who: str, path: str | Path, emotions: int = 5) -> Path:
    """Draws what the likeliest emotions of the scene or of a character look at: a panel each, a row per stream, time to the right.

    Args:
        timeline: What to draw, with attention.
        who: ``scene``, or a character's name.
        path: The PNG file to write.
        emotions: Most emotions drawn.
    """
    found, shown = timeline.attention[who], timeline.top(who, emotions)
    streams = list(found.weights)
    labels = {SCENE: "scene (frames)"} | {name: name for name in streams if name != SCENE}
    figure = new_figure(_WIDTH_IN, 0.9 + len(shown) * (0.55 + 0.27 * len(streams)))
    panels = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    most = max(float(np.max([found.weights[name][k] for name in streams])) for k in shown)
    picture: Any = None
    for k, axes in zip(shown, panels, strict=True):
        shares = {name: float(found.weights[name][k].sum()) for name in streams}
        values = np.stack([found.weights[name][k] for name in streams])
        values = np.ma.masked_equal(values, 0.0)  # nothing to attend to
        axes.set_facecolor("#eceff1")
        picture = axes.pcolormesh(found.edges_s, np.arange(len(streams) + 1), values, cmap="cividis", vmin=0.0, vmax=most)
        axes.set_ylim(len(streams), 0)
        axes.set_yticks(np.arange(len(streams)) + 0.5, [f"{textwrap.shorten(labels[n], 24)}  {shares[n]:.0%}" for n in streams], fontsize=9)
        axes.tick_params(axis="y", length=0)
        axes.set_title(f"{timeline.labels.words[k]}  (probability {timeline.whole[who][k]:.2f})", fontsize=10, loc="left")
    panels[-1].set_xlim(0.0, length_s(timeline.clip))
    panels[-1].set_xlabel("time (s)")
    bar = figure.colorbar(picture, ax=panels.tolist(), fraction=0.02, pad=0.01)
    bar.set_label("attention to a cell of time", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    title = f"{timeline.clip.name or 'clip'}: what the emotions of {'the scene' if who == SCENE else who} attend to"
    figure.suptitle(f"{title}\nin %: share of the attention; the rest goes to the emotions' own tokens; grey: nothing there", fontsize=11)
    return store_figure(figure, path)
