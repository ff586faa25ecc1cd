"""What EmoTx says of a clip over time: a window slides along it; and what of the clip each label looks at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from emotion_perception.engine.errors import UsageError
from emotion_perception.engine.labels import LabelSet
from emotion_perception.engine.target import FloatArray
from emotion_perception.learners.emotx.clips import BIN_S, ClipFeatures, Stream

if TYPE_CHECKING:
    from emotion_perception.learners.emotx.learner import EmoTxLearner

SCENE = "scene"


@dataclass(frozen=True, eq=False)
class Timeline:
    """What was said of one clip.

    Attributes:
        clip: The clip.
        labels: The label set of the K classes.
        window_s: Length of the window that slid along, in seconds.
        times_s: ``(T,)`` float32, the middle of each window.
        curves: ``scene`` and the characters' names -> ``(T, K)`` float32 probabilities, NaN where the window shows nothing of them.
        whole: The same names -> ``(K,)``, of the whole clip.
        attention: The same names -> what the labels look at; empty for networks without attention.
    """

    clip: ClipFeatures
    labels: LabelSet
    window_s: float
    times_s: FloatArray
    curves: Mapping[str, FloatArray]
    whole: Mapping[str, FloatArray]
    attention: Mapping[str, Attention] = field(default_factory=dict)

    def top(self, who: str, count: int) -> list[int]:
        """Returns the likeliest classes of the scene or of a character over the whole clip, the likeliest first."""
        return [int(k) for k in np.argsort(-self.whole[who], kind="stable")[:count]]

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values, ready for JSON."""
        words = self.labels.words
        return {
            "clip": self.clip.name,
            "labels": self.labels.name,
            "window_s": self.window_s,
            "times_s": self.times_s.tolist(),
            "whole": {who: dict(zip(words, values.tolist(), strict=True)) for who, values in self.whole.items()},
            "over_time": {who: dict(zip(words, values.T.tolist(), strict=True)) for who, values in self.curves.items()},
            "attention": {who: dict(zip(words, found.shares(), strict=True)) for who, found in self.attention.items()},
        }


@dataclass(frozen=True, eq=False)
class Attention:
    """What the class tokens of the scene or of one character attend to in the last layer, mean over heads.

    Attributes:
        edges_s: ``(cells + 1,)`` float32, the borders of the cells of time, in seconds; the last cell may reach beyond the clip.
        weights: Name of a stream (``scene``, ``dialogue``, or a character's) -> ``(K, cells)`` float32. What is missing to a sum of 1 is
            attention to class tokens.
    """

    edges_s: FloatArray
    weights: Mapping[str, FloatArray]

    def shares(self) -> list[dict[str, float]]:
        """Returns for each class how much of its attention goes to each stream, in [0, 1]."""
        classes = len(next(iter(self.weights.values())))
        return [{name: float(values[k].sum()) for name, values in self.weights.items()} for k in range(classes)]


def cut(clip: ClipFeatures, start_s: float, end_s: float) -> ClipFeatures:
    """Returns a part of a clip, its times counted from its start; characters that are not seen in it are left out."""

    def part(stream: Stream | None) -> Stream | None:
        if stream is None:
            return None
        found = stream.take(np.flatnonzero((stream.times_s >= start_s) & (stream.times_s < end_s)))
        return Stream(found.features, found.times_s - np.float32(start_s)) if len(found) else None

    characters = {name: stream for name, whole in clip.characters.items() if (stream := part(whole)) is not None}
    return replace(clip, scene=part(clip.scene), characters=characters, dialogue=part(clip.dialogue), utterances=(), duration_s=None)


def length_s(clip: ClipFeatures) -> float:
    """Returns the length of a clip in seconds, up to the end of its last feature where nobody says more."""
    streams = [clip.scene, clip.dialogue, *clip.characters.values()]
    ends = [float(stream.times_s[-1]) + BIN_S for stream in streams if stream is not None and len(stream)]
    return max([*ends, clip.duration_s or 0.0])


def watch_clip(learner: EmoTxLearner, clip: ClipFeatures, window_s: float | None = None, step_s: float | None = None) -> Timeline:
    """Judges a clip as a whole, and window by window.

    Windows that reach beyond the ends are cut there. A class's value at a time is what the window with its middle there says.

    Args:
        learner: With weights.
        clip: The clip; characters that the network has no place for are left out.
        window_s: Length of the window, in seconds; a third of the clip, at most 10 s, if None.
        step_s: Time from window to window, in seconds; a sixth of the window, at most 1 s, if None.

    Raises:
        UsageError: The clip is empty, or a length is not positive.
    """
    end_s = length_s(clip)
    if end_s == 0.0:
        raise UsageError(f"clip {clip.name!r} has no features; extract some with: emotion-perception features")
    window_s = min(end_s / 3.0, 10.0) if window_s is None else window_s
    step_s = min(window_s / 6.0, 1.0) if step_s is None else step_s
    if not (window_s > 0.0 and step_s > 0.0):
        raise UsageError(f"window is {window_s} s and step {step_s} s; expected more than 0")
    names = list(clip.characters)[: learner.layout.characters]
    clip = replace(clip, characters={name: clip.characters[name] for name in names})
    times_s = np.arange(0.0, end_s + step_s / 2, step_s, dtype=np.float32)
    parts = [cut(clip, max(float(t) - window_s / 2, 0.0), float(t) + window_s / 2) for t in times_s]
    shown = [i for i, part in enumerate(parts) if part.scene or part.dialogue or part.characters]
    judged = learner.infer([clip, *(parts[i] for i in shown)])
    rows = [_of(judged, row, list(parts[i].characters)) for row, i in enumerate([-1, *shown])]
    whole = _of(judged, 0, names)
    labels = learner.card.label_set
    curves = {who: np.full((len(times_s), len(labels)), np.nan, np.float32) for who in whole}
    for i, row in zip(shown, rows[1:], strict=True):
        for who, values in row.items():
            curves[who][i] = values
    attention = {who: found for who, found in attend(learner, clip).items() if who in whole}
    return Timeline(clip, labels, window_s, times_s, curves, whole, attention)


def _of(judged: Any, row: int, names: Sequence[str]) -> dict[str, FloatArray]:
    """Returns what a row of `Emotions` says of the scene and of the characters by name."""
    characters = judged.extras["characters"][row]
    found = {SCENE: judged.probabilities[row], **{name: characters[place] for place, name in enumerate(names)}}
    return {who: values for who, values in found.items() if np.isfinite(values).all()}


def attend(learner: EmoTxLearner, clip: ClipFeatures, most_cells: int = 120) -> dict[str, Attention]:
    """Returns what every label of the scene and of each character attends to, over time and by stream.

    Args:
        learner: With weights. Its network is run in torch, whatever back end infers.
        clip: The clip.
        most_cells: Most cells that its time is divided into.

    Returns:
        ``scene`` and the characters' names -> attention; nothing for networks that have none to show.
    """
    import torch

    from emotion_perception.learners.emotx.clips import STREAMS, collate
    from emotion_perception.learners.emotx.model import EmoTx

    model = learner.model
    if not isinstance(model, EmoTx):
        return {}
    model.eval()
    device = next(model.parameters()).device
    inputs = [torch.from_numpy(np.ascontiguousarray(array)).to(device) for array in collate([clip], learner.layout).inputs()]
    with torch.inference_mode():
        weights = model.attention(*inputs)[0].cpu().numpy()
        positions = model.positions(*inputs)
    bins, padding = positions.bins[0].cpu().numpy(), positions.padding[0].cpu().numpy()
    streams, characters = positions.stream.cpu().numpy(), positions.character.cpu().numpy()
    # An even number of bins: what comes every second bin, as MViT's features, would show as stripes otherwise.
    bins_per_cell = 2 * max(math.ceil(length_s(clip) / BIN_S / 2 / most_cells), 1)
    cell = np.maximum(bins - 1, 0) // bins_per_cell
    count = max(int(cell.max()) + 1, math.ceil(length_s(clip) / BIN_S / bins_per_cell))
    edges_s = (np.arange(count + 1) * bins_per_cell * BIN_S).astype(np.float32)
    names = list(clip.characters)[: model.characters]
    places = {SCENE: ("scene", -1), **{name: ("characters", i) for i, name in enumerate(names)}, "dialogue": ("dialogue", -1)}
    kept = {who: (streams == STREAMS.index(kind)) & (characters == i) & (bins >= 0) & ~padding for who, (kind, i) in places.items()}

    def over_time(rows: FloatArray, mask: Any) -> FloatArray:
        summed = np.zeros((len(rows), count), np.float32)
        np.add.at(summed.T, cell[mask], rows[:, mask].T)
        return summed

    return {
        who: Attention(edges_s, {name: over_time(weights[row], mask) for name, mask in kept.items() if mask.any()})
        for row, who in enumerate([SCENE, *names])
    }
