"""Pictures that show what a network will see: int8 takes its ranges from some, and an optimised model is checked on others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotion_perception.engine.cards import CropSpec, InputSpec, ModelCard
from emotion_perception.engine.datasets.base import EmotionDataset
from emotion_perception.engine.datasets.files import SUFFIXES
from emotion_perception.engine.errors import DatasetError, UsageError
from emotion_perception.engine.target import BoundingBox, FloatArray

_BUNDLED = 64  # of each kind; 128 calibrate no better
_MOST = 384
_LEAST = 8
_PORTRAIT = Path(__file__).parent.parent / "assets" / "astronaut.png"
_FACE = BoundingBox(184.0, 59.0, 263.0, 172.0)  # of the portrait, as YuNet sees it
_PORTRAIT_SCALE = 1.6


@dataclass(frozen=True, eq=False)
class Calibration:
    """Network inputs, none of which is in both parts.

    Attributes:
        source: Where they come from, for people.
        ranges: ``(n, 3, height, width)`` float32, from which int8 takes the range of every layer.
        check: ``(m, 3, height, width)`` float32, on which an optimised model is compared with the one it was made of.
    """

    source: str
    ranges: FloatArray
    check: FloatArray


def calibration_set(card: ModelCard, given: Any = None, *, needed: bool = False) -> Calibration:
    """Makes the inputs, the same ones at each call.

    Args:
        card: The card of the model.
        given: An `EmotionDataset`, a folder of pictures (its sub-folders count) or a list of pictures as `Learner.infer` takes them; a face
            model takes face crops. A third of them, or of 384 where there are more, is for the check. None: for a face model, 64 and 64
            variants of the face of the bundled portrait; for another, random pictures, which only show that two models compute the same.
        needed: Refuse random pictures: int8 takes ranges from them.

    Raises:
        UsageError: None are given where they are needed, or ``given`` is something else.
        DatasetError: There are fewer than eight.
        InputError: A picture cannot be read.
    """
    from emotion_perception.engine.vision.crops import network_input

    if given is not None:
        source, count, picture = _opened(card, given)
        if count < _LEAST:
            raise DatasetError(f"calibration: {source} has {count} pictures, expected at least {_LEAST}; give more, or another set")
        # At random, because data sets are often sorted by class.
        chosen = np.random.default_rng(0).permutation(count)[:_MOST].tolist()
        x = network_input([picture(number) for number in chosen], card.input)
        return Calibration(source, x[len(x) // 3 :], x[: len(x) // 3])
    if card.perceives == "face":
        easy, hard = _variants(card)
        return Calibration("the bundled portrait, varied", network_input(easy, card.input), network_input(hard, card.input))
    if needed:
        missing = f"int8 needs calibration pictures, and none are bundled for {card.learner!r}, which is no face model"
        raise UsageError(f"{missing}; give calibration (--calibration), a folder, data set or list of at least {_LEAST}")
    x = random_pictures(card.input, 16)
    return Calibration("random pictures", x[:8], x[8:])


def random_pictures(spec: InputSpec, count: int) -> FloatArray:
    """Returns random pictures as a network takes them, ``(count, 3, height, width)`` float32, the same ones at each call."""
    pixels = np.random.default_rng(count).random((count, spec.height, spec.width, 3), dtype=np.float32)
    normalized = (pixels - np.asarray(spec.mean, np.float32)) / np.asarray(spec.std, np.float32)
    return np.ascontiguousarray(normalized.transpose(0, 3, 1, 2))


def _opened(card: ModelCard, given: Any) -> tuple[str, int, Callable[[int], Any]]:
    """Returns what to call the given pictures, how many there are, and a function that reads one."""
    if isinstance(given, EmotionDataset):
        dataset = given
        return repr(dataset), len(dataset), lambda number: _as_cropped(card, dataset, number)
    if isinstance(given, (str, Path)):
        folder = Path(given)
        if not folder.is_dir():
            raise UsageError(f"calibration: there is no folder {str(folder)!r}; give one with pictures, a data set or a list")
        files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
        return f"folder {str(folder)!r}", len(files), files.__getitem__
    if isinstance(given, (Sequence, np.ndarray)):
        return "the list given", len(given), given.__getitem__
    raise UsageError(f"calibration is a {type(given).__name__}, expected an EmotionDataset, a folder or a list of pictures")


def _as_cropped(card: ModelCard, dataset: EmotionDataset, number: int) -> NDArray[np.uint8]:
    """Returns a picture of a data set as the model's own crop would show it."""
    from emotion_perception.engine.training.augment import plain

    picture = dataset.picture(number)
    return picture if card.crop is None else plain(picture, card.input.height, card.crop.scale / dataset.crop_scale(number))


def _variants(card: ModelCard) -> tuple[list[NDArray[np.uint8]], list[NDArray[np.uint8]]]:
    """Returns variants of the bundled face: usual ones for the ranges, and stranger ones, of which a network is less sure."""
    from emotion_perception.engine.data import Image
    from emotion_perception.engine.training.augment import Augmentation
    from emotion_perception.engine.vision.crops import face_crop

    portrait = face_crop(Image.open(_PORTRAIT), _FACE, CropSpec(scale=_PORTRAIT_SCALE), (256, 256))
    zoom = (card.crop or CropSpec()).scale / _PORTRAIT_SCALE
    strange = Augmentation(scale=(0.7, 1.5), shift=0.12, rotation_deg=20.0, light=0.45, cast=0.4, grey=0.5, blur=0.3, erase=0.25)
    size = card.input.height
    easy = [Augmentation()(portrait, size, (0, 0, number), zoom) for number in range(_BUNDLED)]
    hard = [strange(portrait, size, (1, 0, number), zoom) for number in range(_BUNDLED)]
    return easy, hard
