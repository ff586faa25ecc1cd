"""From the words of the command line to data sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emotion_perception.engine.datasets import EmotionDataset
    from emotion_perception.engine.labels import LabelSet

KINDS = "ferplus, fer2013, affectnet, affectnet-dimensional, rafdb, ckplus, muxspace, csv, folder or videos"
# Kinds that always come in parts; that which `eval` takes by default is called valid.
PARTED = ("ferplus", "fer2013", "affectnet", "affectnet-dimensional", "muxspace", "rafdb")
# Where that is the part that results are reported on, a training must not choose its best state by it.
TESTED_ON = ("rafdb",)


def part_of(kind: str, split: str | None, default: str) -> str | None:
    """Returns the part of a data set that was asked for; else the default one where its kind always has parts, else None, the whole."""
    return split or (default if kind in PARTED else None)


def open_part(
    kind: str, place: Path, split: str | None, labels: LabelSet, default: str = "train", mode: str = "majority"
) -> EmotionDataset:
    """Opens a part of a data set.

    Args:
        kind: As `open_dataset` takes it.
        place: Where it lies.
        split: The part, see `part_of`.
        labels: The label set to count in.
        default: ``train`` or ``valid``.
        mode: For FER+, which pictures to keep.

    Raises:
        UsageError: A table of several parts, and nothing says which.
    """
    from emotion_perception.engine.datasets import CsvDataset, open_dataset
    from emotion_perception.engine.errors import UsageError

    options: dict[str, Any] = {"mode": mode} if kind == "ferplus" else {}
    dataset = open_dataset(kind, part_of(kind, split, default), place, labels=labels, **options)
    if split is None and isinstance(dataset, CsvDataset) and len(dataset.parts) > 1:
        raise UsageError(f"{str(place)!r} has the parts {', '.join(dataset.parts)}; say which with --split, or --val-split to validate on")
    return dataset


def open_optional(learner: str, kind: str | None, place: Path | None, split: str | None) -> EmotionDataset | None:
    """Opens a labelled set in a learner's own classes, its validation part where it has parts; None where none was named.

    Raises:
        UsageError: A kind without a place, or the other way round, or a part of nothing.
    """
    from emotion_perception.engine.errors import UsageError
    from emotion_perception.engine.registry import learner_class

    if (kind is None) != (place is None) or (split is not None and kind is None):
        raise UsageError("--dataset and --data go together, and --split with them; give both or none")
    if kind is None or place is None:
        return None
    return open_part(kind, place, split, learner_class(learner).card.label_set, "valid")


def hold_out(dataset: EmotionDataset, share: float, seed: int) -> tuple[EmotionDataset, EmotionDataset]:
    """Parts a data set at random, by seed, into one to train on and one to validate on; copies and persons stay together."""
    from emotion_perception.engine.datasets import split_by_source

    return split_by_source(dataset, share, seed)
