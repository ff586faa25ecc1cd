"""Measures what a network says of clips: scenes and characters each, their mean and their geometric mean."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from emotion_perception.engine.errors import DatasetError
from emotion_perception.engine.evaluation.multilabel import THRESHOLD, multilabel_metrics
from emotion_perception.engine.labels import LabelSet
from emotion_perception.engine.target import FloatArray
from emotion_perception.learners.emotx.clips import Layout, Tokens, collate

if TYPE_CHECKING:
    from emotion_perception.learners.emotx.datasets import ClipDataset

# A batch -> what is said of its scenes (B, K) and of its characters (B, N, K).
Judge = Callable[[Tokens], tuple[FloatArray, FloatArray]]
# What is judged, as networks name it -> as results do.
LEVELS = {"scene": "scene", "characters": "character"}


@dataclass(frozen=True, eq=False)
class Judged:
    """What was said of all clips of a data set, and what is true.

    Attributes:
        said: By level (``scene``, ``character``): ``(rows, K)`` floats, a row per clip, or per character that the network knows.
        true: The same of 0 and 1.
        clips: How many clips there are.
    """

    said: Mapping[str, NDArray[np.floating[Any]]]
    true: Mapping[str, FloatArray]
    clips: int


def evaluate(
    judge: Judge,
    dataset: ClipDataset,
    layout: Layout,
    batch_size: int,
    judges: Sequence[str] = tuple(LEVELS),
    threshold: float = THRESHOLD,
) -> dict[str, Any]:
    """Measures a network on all clips of a data set, taken as in evaluation: every eighth feature.

    Args:
        judge: Returns probabilities.
        dataset: The clips.
        layout: What they are padded to.
        batch_size: Clips at a time.
        judges: What the network judges, of ``scene`` and ``characters``.
        threshold: From which probability on a label counts as judged.

    Returns:
        What `scores` returns.

    Raises:
        DatasetError: The data set is empty.
    """
    return scores(judged(judge, dataset, layout, batch_size, judges), dataset.labels, threshold)


def judged(judge: Judge, dataset: ClipDataset, layout: Layout, batch_size: int, judges: Sequence[str] = tuple(LEVELS)) -> Judged:
    """Runs a network over all clips of a data set; arguments as of `evaluate`."""
    if not len(dataset):
        raise DatasetError(f"{dataset!r} is empty; give a data set with at least one clip")
    parts = list(_parts(judge, dataset, layout, batch_size))
    scene, scene_true, characters, characters_true = (np.concatenate(rows) for rows in zip(*parts, strict=True))
    known = {"scene": (scene, scene_true), "character": (characters, characters_true)}
    levels = {LEVELS[name] for name in judges}
    said = {level: rows for level, (rows, _) in known.items() if level in levels}
    return Judged(said, {level: rows for level, (_, rows) in known.items() if level in levels}, len(dataset))


def scores(result: Judged, labels: LabelSet, threshold: float = THRESHOLD) -> dict[str, Any]:
    """Measures what was said against what is true.

    Args:
        result: With probabilities.
        labels: The label set.
        threshold: From which probability on a label counts as judged.

    Returns:
        ``clips``; ``map_scene`` and ``map_character``, ``map_mean`` and ``map_gm``, their mean and geometric mean; below ``scene`` and
        ``character`` all of `multilabel_metrics`. What the network does not judge, or no row can be measured on, is not there, and
        the means are those of the rest.
    """
    levels = {level: multilabel_metrics(rows, result.true[level], labels, threshold) for level, rows in result.said.items() if len(rows)}
    maps = {f"map_{level}": measured["map"] for level, measured in levels.items() if measured["map"] is not None}
    return {"clips": result.clips, "threshold": threshold, **maps, **_means(list(maps.values())), **levels}


def _means(maps: Sequence[float]) -> dict[str, float]:
    """Returns mean and geometric mean of the values that there are."""
    if not maps:
        return {}
    return {"map_mean": sum(maps) / len(maps), "map_gm": math.prod(maps) ** (1.0 / len(maps))}


def _parts(judge: Judge, dataset: ClipDataset, layout: Layout, batch_size: int) -> Iterator[tuple[FloatArray, ...]]:
    """Yields what is said of a batch's scenes and true of them, and the same of its characters, a row each."""
    for start in range(0, len(dataset), batch_size):
        numbers = range(start, min(start + batch_size, len(dataset)))
        tokens = collate([dataset.clip(number) for number in numbers], layout)
        scene, characters = judge(tokens)
        targets = [dataset.targets(number) for number in numbers]
        scene_true = np.stack([target.scene for target in targets])
        yield scene, scene_true, characters[tokens.present], np.concatenate([t.characters[: layout.characters] for t in targets])
