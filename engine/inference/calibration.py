"""Inputs that show what a network will see: int8 takes its ranges from some, and an optimised model is checked on others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from emotion_perception.engine.cards import CropSpec, InputSpec, ModelCard
from emotion_perception.engine.datasets.base import DatasetIterator, EmotionDataset
from emotion_perception.engine.datasets.files import SUFFIXES
from emotion_perception.engine.errors import DatasetError, UsageError
from emotion_perception.engine.inference.backends import Inputs, rows
from emotion_perception.engine.target import BoundingBox, FloatArray

if TYPE_CHECKING:
    from emotion_perception.engine.learners import Learner

_BUNDLED = 64  # of each kind; 128 calibrate no better
_MOST, _MOST_CLIPS = 384, 48  # a clip of full length takes 12 MB
_LEAST = 8
_PORTRAIT = Path(__file__).parent.parent / "assets" / "astronaut.png"
_FACE = BoundingBox(184.0, 59.0, 263.0, 172.0)  # of the portrait, as YuNet sees it
_PORTRAIT_SCALE = 1.6


@dataclass(frozen=True, eq=False)
class Calibration:
    """Network inputs, an array for each of its ends, no row of which is in both parts.

    Attributes:
        source: Where they come from, for people.
        ranges: n rows, from which int8 takes the range of every layer; of pictures one array ``(n, 3, height, width)`` float32.
        check: m rows, on which an optimised model is compared with the one it was made of.
    """

    source: str
    ranges: Inputs
    check: Inputs


def calibration_set(learner: Learner, given: Any = None, *, needed: bool = False) -> Calibration:
    """Makes the inputs, the same ones at each call.

    Args:
        learner: Says with its card what it perceives, and makes what its network takes.
        given: A data set, a folder of pictures (its sub-folders count) or a list of what `Learner.infer` takes; a face model takes face
            crops. A third of them, or of 384 (48 clips) where there are more, is for the check. None: for a face model, 64 and 64
            variants of the face of the bundled portrait; for another, random inputs, which only show that two models compute the same.
        needed: Refuse random inputs: int8 takes ranges from them.

    Raises:
        UsageError: None are given where they are needed, or ``given`` is something else.
        DatasetError: There are fewer than eight.
        InputError: An input cannot be read.
    """
    card = learner.card
    things, most = ("clips", _MOST_CLIPS) if card.perceives == "clip" else ("pictures", _MOST)
    if given is not None:
        source, count, sample = _opened(card, given)
        if count < _LEAST:
            raise DatasetError(f"calibration: {source} has {count} {things}, expected at least {_LEAST}; give more, or another set")
        # At random, because data sets are often sorted by class.
        chosen = np.random.default_rng(0).permutation(count)[:most].tolist()
        inputs = learner.inputs([sample(number) for number in chosen])
        third = len(chosen) // 3
        return Calibration(source, rows(inputs, slice(third, None)), rows(inputs, slice(third)))
    if card.perceives == "face":
        easy, hard = _variants(card)
        return Calibration("the bundled portrait, varied", learner.inputs(easy), learner.inputs(hard))
    if needed:
        kinds = "a data set or list" if card.perceives == "clip" else "a folder, data set or list"
        missing = f"int8 needs calibration {things}, and none are bundled for {card.learner!r}, which is no face model"
        raise UsageError(f"{missing}; give calibration (--calibration), {kinds} of at least {_LEAST}")
    inputs = learner.example(16)
    return Calibration(f"random {things}", rows(inputs, slice(8)), rows(inputs, slice(8, None)))


def random_pictures(spec: InputSpec, count: int) -> FloatArray:
    """Returns random pictures as a network takes them, ``(count, 3, height, width)`` float32, the same ones at each call."""
    pixels = np.random.default_rng(count).random((count, spec.height, spec.width, 3), dtype=np.float32)
    normalized = (pixels - np.asarray(spec.mean, np.float32)) / np.asarray(spec.std, np.float32)
    return np.ascontiguousarray(normalized.transpose(0, 3, 1, 2))


def _opened(card: ModelCard, given: Any) -> tuple[str, int, Callable[[int], Any]]:
    """Returns what to call the given samples, how many there are, and a function that reads one as `Learner.infer` takes it."""
    if isinstance(given, EmotionDataset):
        dataset = given
        return repr(dataset), len(dataset), lambda number: dataset.as_cropped(number, card)
    if isinstance(given, DatasetIterator):
        samples = given
        return repr(samples), len(samples), lambda number: samples[number][0]
    if isinstance(given, (str, Path)) and card.perceives != "clip":
        folder = Path(given)
        if not folder.is_dir():
            raise UsageError(f"calibration: there is no folder {str(folder)!r}; give one with pictures, a data set or a list")
        files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
        return f"folder {str(folder)!r}", len(files), files.__getitem__
    if isinstance(given, (Sequence, np.ndarray)) and not isinstance(given, str):
        return "the list given", len(given), given.__getitem__
    kinds = "a data set or a list of clips" if card.perceives == "clip" else "an EmotionDataset, a folder or a list of pictures"
    raise UsageError(f"calibration is a {type(given).__name__}, expected {kinds}")


def _variants(card: ModelCard) -> tuple[list[NDArray[np.uint8]], list[NDArray[np.uint8]]]:
    """Returns variants of the bundled face: usual ones for the ranges, and stranger ones, of which a network is less sure."""
    from emotion_perception.engine.data import Image
    from emotion_perception.engine.vision.augment import Augmentation
    from emotion_perception.engine.vision.crops import face_crop

    portrait = face_crop(Image.open(_PORTRAIT), _FACE, CropSpec(scale=_PORTRAIT_SCALE), (256, 256))
    zoom = (card.crop or CropSpec()).scale / _PORTRAIT_SCALE
    strange = Augmentation(scale=(0.7, 1.5), shift=0.12, rotation_deg=20.0, light=0.45, cast=0.4, grey=0.5, blur=0.3, erase=0.25)
    size = card.input.height
    easy = [Augmentation()(portrait, size, (0, 0, number), zoom) for number in range(_BUNDLED)]
    hard = [strange(portrait, size, (1, 0, number), zoom) for number in range(_BUNDLED)]
    return easy, hard
