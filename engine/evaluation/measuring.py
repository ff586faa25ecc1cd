"""Runs a learner over a data set and measures what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from emotion_perception.engine.datasets.base import EmotionDataset, Pixels, Targets
from emotion_perception.engine.errors import DatasetError, UsageError
from emotion_perception.engine.evaluation.metrics import affect_metrics, classification_metrics
from emotion_perception.engine.target import Emotions, FloatArray

if TYPE_CHECKING:
    from emotion_perception.engine.learners import Learner


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
    from emotion_perception.engine.vision.crops import network_input

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
        x = network_input([_as_seen(learner, dataset, number) for number in numbers], learner.card.input)
        for name, values in learner.outputs(x).items():
            parts.setdefault(name, []).append(values)
    return {name: np.concatenate(values) for name, values in parts.items()}


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


def _as_seen(learner: Learner, dataset: EmotionDataset, number: int) -> Pixels:
    """Returns a picture as the learner's own crop would show it."""
    from emotion_perception.engine.training.augment import plain

    picture = dataset.picture(number)
    zoom = learner.card.crop.scale / dataset.crop_scale(number) if learner.card.crop else 1.0
    return picture if zoom == 1.0 else plain(picture, learner.card.input.height, zoom)
