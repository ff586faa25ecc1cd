"""The data sets of EmoTorch, built of FER2013, CK+ and RAF-DB: pictures of four classes and the catalogue of their persons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from emotion_perception.engine.datasets.alterations import ALTERATIONS as ALL
from emotion_perception.engine.datasets.base import EmotionDataset, SubsetDataset
from emotion_perception.engine.datasets.building import write_faces
from emotion_perception.engine.datasets.catalogue import Attributes
from emotion_perception.engine.datasets.ckplus import CKPlus
from emotion_perception.engine.datasets.fer2013 import FER2013, TABLE, WORDS
from emotion_perception.engine.datasets.leaks import RADIUS
from emotion_perception.engine.datasets.pictures import ImageFolder
from emotion_perception.engine.datasets.rafdb import RAFDB
from emotion_perception.engine.errors import UsageError
from emotion_perception.engine.labels import EMOTORCH4

_COVERINGS = ("top_rectangle", "top_left_diagonal", "top_right_diagonal", "forehead_bar", "heavy_hair")
# The copies that each network is trained on: twenty-eight kinds, and ten, half of which cover the head.
ALTERATIONS: Mapping[str, tuple[str, ...]] = {
    "baseline": tuple(name for name in ALL if name not in _COVERINGS),
    "enhanced": ("rotation", "dark", "high_contrast", "light_noise", "blur", *_COVERINGS),
}
# The attributes of FairFace in the words of RAF-DB.
_RACES = {"White": "Caucasian", "Black": "African-American", "Indian": "Asian"}
_AGES = {"0-2": "0-3", "3-9": "4-19", "10-19": "4-19", "20-29": "20-39", "30-39": "20-39"}
_AGES |= {"40-49": "40-69", "50-59": "40-69", "60-69": "40-69"}
# In CK+ and RAF-DB happy faces count as calm; `calm` is the folder of a data set that was built before.
_CALM = {"happy": "calm", "calm": "calm"}


def build_dataset(
    target: str | Path,
    *,
    fer2013: str | Path | None = None,
    ckplus: str | Path | None = None,
    rafdb: str | Path | None = None,
    attributes: str | Path | None = None,
    calm_share: float = 0.5,
    valid_share: float = 0.2,
    copies: Sequence[str] = (),
    radius: int | None = RADIUS,
    seed: int = 42,
) -> Path:
    """Writes grey faces of 48 pixels and their catalogue; gender, race and age are in the words of RAF-DB. See `write_faces`.

    Args:
        target: The folder.
        fer2013: Kaggle's ``fer2013.csv``, the folder it is in, or a folder per class.
        ckplus: CK+'s folder per class.
        rafdb: RAF-DB's folder, as `RAFDB` takes it.
        attributes: A table of FairFace's attributes (``faces_gender_race.csv``) of pictures that are given as a folder per class.
        calm_share: Share of the calm pictures to keep; they are twice as many as others.
        valid_share: Share of the pictures that are for validation.
        copies: Names of altered copies to write as well; `EmoTorchLearner.fit` needs none, it makes those it trains on.
        radius: Bits in which the hashes of near-copies may differ; None compares none.
        seed: Of everything random.

    Returns:
        The catalogue, ``labels.csv``.

    Raises:
        DatasetError: A folder or table that is missing or malformed.
        UsageError: No data set, an unknown alteration, or a share out of range.
        StorageError: The folder cannot be written.
    """
    if not 0.0 < calm_share <= 1.0:
        raise UsageError(f"calm_share is {calm_share}, expected above 0 and at most 1")
    parts: dict[str, EmotionDataset] = {}
    if fer2013 is not None:
        parts["fer2013"] = _fer2013(Path(fer2013))
    if ckplus is not None:
        parts["ckplus"] = CKPlus(ckplus, EMOTORCH4, _CALM)
    if rafdb is not None:
        parts["rafdb"] = RAFDB(rafdb, None, EMOTORCH4, {"happy": "calm"})
    if not parts:
        raise UsageError("build_dataset got no data set; give fer2013, ckplus or rafdb, or several of them")
    table = None if attributes is None else Attributes(attributes)

    def person(part: EmotionDataset, number: int) -> Mapping[str, str]:
        if isinstance(part, SubsetDataset) and isinstance(part.dataset, RAFDB):
            return part.dataset.attributes(int(part.indices[number]))
        return {} if table is None else _unified(table.of(part.source(number)))

    random = np.random.default_rng(seed)
    parts = {key: _reduced(part, calm_share, random) for key, part in parts.items()}
    return write_faces(target, parts, person, valid_share=valid_share, copies=copies, radius=radius, seed=seed)


def _fer2013(place: Path) -> EmotionDataset:
    if place.is_file() or (place / TABLE).is_file():
        return FER2013(place, None, EMOTORCH4)
    return ImageFolder(place, None, EMOTORCH4, classes=EMOTORCH4.index_of((*WORDS, "anger", "calm")))


def _reduced(part: EmotionDataset, share: float, random: np.random.Generator) -> EmotionDataset:
    """Leaves out some of the calm pictures."""
    calm = random.permutation(np.flatnonzero(part.targets.index == EMOTORCH4.index("calm")))
    return part.subset(np.setdiff1d(np.arange(len(part)), calm[round(share * len(calm)) :]))


def _unified(fairface: Mapping[str, str]) -> dict[str, str]:
    """Turns FairFace's attributes into RAF-DB's."""
    race, age = fairface.get("race4", ""), fairface.get("age", "")
    return {"gender": fairface.get("gender", "").lower(), "race": _RACES.get(race, race), "age": _AGES.get(age, age)}
