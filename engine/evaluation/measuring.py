"""Runs a learner over a data set and measures what it says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from emotion_perception.engine.datasets.base import EmotionDataset, Targets
from emotion_perception.engine.errors import DatasetError, UsageError
from emotion_perception.engine.evaluation.metrics import affect_metrics, classification_metrics
from emotion_perception.engine.labels import LabelSet
from emotion_perception.engine.target import Emotions, FloatArray, column_of

if TYPE_CHECKING:
    from emotion_perception.engine.learners import Learner

_listener: ContextVar[Callable[[dict[str, FloatArray]], None] | None] = ContextVar("listener", default=None)


@contextmanager
def kept_outputs() -> Iterator[list[dict[str, FloatArray]]]:
    """Collects what every `outputs_over` in the block returns, so that rows can be written of what ``eval`` has judged anyway."""
    kept: list[dict[str, FloatArray]] = []
    token = _listener.set(kept.append)
    try:
        yield kept
    finally:
        _listener.reset(token)


def outputs_over(learner: Learner, dataset: EmotionDataset) -> dict[str, FloatArray]:
    """Runs a learner's network over all pictures of a data set.

    Pictures that show more or less around the face than the learner's card asks for are cropped, or bordered, to what it asks for.

    Args:
        learner: With weights.
        dataset: In the learner's label set.

    Returns:
        The network's outputs by name, a row per picture.

    Raises:
        NotLoadedError: The learner has no weights yet.
        DatasetError: The data set is empty.
        UsageError: The data set counts in another label set.
    """
    labels = learner.card.label_set
    if not isinstance(dataset, EmotionDataset):
        raise UsageError(f"eval takes an EmotionDataset, got {type(dataset).__name__}; open one with open_dataset")
    if dataset.labels != labels:
        raise UsageError(f"the data set counts in {dataset.labels.name}, {learner.name} in {labels.name}; open it with those labels")
    if not len(dataset):
        raise DatasetError(f"{dataset!r} is empty; give a data set with at least one picture")
    parts: dict[str, list[FloatArray]] = {}
    for start in range(0, len(dataset), learner.batch_size):
        numbers = range(start, min(start + learner.batch_size, len(dataset)))
        x = learner.inputs([dataset.as_cropped(number, learner.card) for number in numbers])
        for name, values in learner.outputs(x).items():
            parts.setdefault(name, []).append(values)
    outputs = {name: np.concatenate(values) for name, values in parts.items()}
    listener = _listener.get()
    if listener is not None:
        listener(outputs)
    return outputs


def measure(emotions: Emotions, targets: Targets) -> dict[str, Any]:
    """Compares judged emotions with targets.

    Args:
        emotions: n rows.
        targets: Of the same n pictures, in the same label set.

    Returns:
        ``pictures`` (those with a target), what `classification_metrics` returns where there are classes, and what
        `affect_metrics` returns where there are valence and arousal, and the model gives them. Plain numbers, ready for JSON.

    Raises:
        DatasetError: There is nothing to compare.
    """
    if len(emotions) != len(targets):
        raise UsageError(f"there are {len(emotions)} judged emotions and {len(targets)} targets; expected as many")
    labelled = targets.index >= 0
    rated = np.zeros_like(labelled)
    if targets.affect is not None and emotions.affect is not None:
        rated |= ~np.isnan(targets.affect).any(axis=1)
    if not (labelled | rated).any():
        raise DatasetError(f"none of the {len(targets)} pictures has a target that this learner can be measured on; give labelled ones")
    result: dict[str, Any] = {"pictures": int((labelled | rated).sum())}
    if labelled.any():
        rows = emotions.probabilities[labelled], targets.index[labelled], emotions.labels, emotions.index[labelled]
        result |= classification_metrics(*rows)
    if rated.any() and targets.affect is not None and emotions.affect is not None:
        result |= affect_metrics(emotions.affect[rated], targets.affect[rated])
    return result


def measure_videos(emotions: Emotions, dataset: EmotionDataset) -> dict[str, Any]:
    """Compares the class that the frames of each video agree on with the video's own.

    Args:
        emotions: A row per picture of the data set; among the extras the ``logits`` the probabilities were made of, where there are any.
        dataset: Frames of videos; pictures that are none, or have no single class, are left out.

    Returns:
        ``per_video``: the number of ``videos`` and what `classification_metrics` returns under ``mean_probabilities`` and ``mean_logits``,
        by what was averaged over a video's frames. Nothing where there is no video.
    """
    frames = [dataset.frame(n) for n in range(len(dataset))]
    rows = [n for n, frame in enumerate(frames) if frame is not None and dataset.targets.index[n] >= 0]
    if not rows:
        return {}
    names = [(frames[n] or ("", 0))[0] for n in rows]
    _, first, group = np.unique(names, return_index=True, return_inverse=True)
    index = dataset.targets.index[rows][first]
    count = np.bincount(group)[:, None]

    def mean(values: FloatArray) -> NDArray[np.float64]:
        sums = np.zeros((len(count), values.shape[1]))
        np.add.at(sums, group, values[rows])
        return sums / count

    logits = emotions.extras.get("logits")
    together = mean(np.log(emotions.probabilities.clip(min=np.finfo(np.float32).tiny)) if logits is None else logits)
    shares = np.exp(together - together.max(axis=1, keepdims=True))
    ways = {"mean_probabilities": mean(emotions.probabilities), "mean_logits": shares / shares.sum(axis=1, keepdims=True)}
    measured = {way: classification_metrics(values, index, emotions.labels) for way, values in ways.items()}
    return {"per_video": {"videos": len(first), **measured}}


def rows_of(emotions: Emotions, dataset: EmotionDataset) -> Iterator[dict[str, Any]]:
    """Yields a flat row per picture: its name, video and frame, its class, what was judged, and a column per class.

    Args:
        emotions: A row per picture of the data set.
        dataset: Whose names and targets are shown; `row_columns` says which columns there are.
    """
    words = emotions.labels.words
    for n, category in enumerate(emotions.categories):
        video, frame = dataset.frame(n) or (None, None)
        label = int(dataset.targets.index[n])
        valence, arousal = (None, None) if emotions.affect is None else emotions.affect[n].tolist()
        row: dict[str, Any] = {"name": dataset.name(n), "video": video, "frame": frame, "label": words[label] if label >= 0 else None}
        row |= {"emotion": category.description, "confidence": category.confidence, "valence": valence, "arousal": arousal}
        yield row | {column_of(word): float(p) for word, p in zip(words, category.probabilities, strict=True)}


def row_columns(labels: LabelSet) -> dict[str, type]:
    """Returns the columns of `rows_of` and their types."""
    columns: dict[str, type] = {"name": str, "video": str, "frame": int, "label": str, "emotion": str}
    columns |= dict.fromkeys(("confidence", "valence", "arousal"), float)
    return columns | {column_of(word): float for word in labels}
