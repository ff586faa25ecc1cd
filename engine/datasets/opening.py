"""Opens a data set by the words that the command line takes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from emotion_perception.engine.datasets.affectnet import SETS, AffectNetCategorical, AffectNetDimensional
from emotion_perception.engine.datasets.base import EmotionDataset, ExternalDataset
from emotion_perception.engine.datasets.ckplus import CKPlus
from emotion_perception.engine.datasets.fer2013 import FER2013
from emotion_perception.engine.datasets.fer2013 import TABLE as FER2013_TABLE
from emotion_perception.engine.datasets.ferplus import SPLITS, FERPlus
from emotion_perception.engine.datasets.files import Files
from emotion_perception.engine.datasets.pictures import CsvDataset, ImageFolder, find_table
from emotion_perception.engine.datasets.rafdb import LIST as RAFDB_LIST
from emotion_perception.engine.datasets.rafdb import RAFDB
from emotion_perception.engine.datasets.videos import SUFFIXES as VIDEO_SUFFIXES
from emotion_perception.engine.datasets.videos import VideoFolder
from emotion_perception.engine.errors import DatasetError, UsageError, unknown_name
from emotion_perception.engine.labels import AFFECTNET8, LabelSet

KINDS = ("ferplus", "fer2013", "affectnet", "affectnet-dimensional", "rafdb", "ckplus", "muxspace", "csv", "folder", "videos")
# Its crops are squares of 1.5 times the longer side of the face's box.
MUXSPACE_SCALE = 1.5
_AFFECTNET_SETS = {"train": 0, "unlabeled": 1, "unlabelled": 1, "valid": 2, "validation": 2} | {name: i for i, name in enumerate(SETS)}


def open_dataset(
    spec: str | Path | ExternalDataset,
    split: str | None = None,
    path: str | Path | None = None,
    *,
    labels: LabelSet = AFFECTNET8,
    mode: Literal["majority", "distribution"] = "majority",
    max_per_class: int | None = None,
    seed: int = 0,
    scale: float | None = None,
) -> EmotionDataset:
    """Opens a data set by kind and path, or by its path alone.

    Args:
        spec: A kind, one of `KINDS` (``folder``: a folder per class; ``videos``: see `VideoFolder`), with ``path``; or a path, the kind of
            which is told by what lies there; or an `ExternalDataset`.
        split: Part of the data set; every kind knows ``train`` and ``valid`` where it has such parts. Needed for FER+ and AffectNet.
        path: Where the data set lies: folder, zip file or CSV file.
        labels: The label set of the targets (AffectNet has only its own).
        mode: For FER+, which pictures to keep, see `FERPlus`.
        max_per_class: For AffectNet, how many pictures of each class or quadrant to draw.
        seed: For AffectNet, the seed of the drawing.
        scale: For tables, folders, CK+ and RAF-DB, the side of the pictures in units of the face's box; 1 if None, but for muxspace 1.5.

    Raises:
        UsageError: An unknown kind or split, or one that is missing.
        DatasetError: Nothing usable at the path.
    """
    if isinstance(spec, ExternalDataset):
        kind, path = spec.dataset_type, spec.path
    else:
        kind = str(spec)
    if path is None:
        if kind in KINDS:
            raise UsageError(f"data set {kind!r} needs the path of its data; say where it lies")
        if not Path(kind).exists():
            raise _neither(kind)
        path, kind = Path(kind), _kind_of(Path(kind))
    if kind not in KINDS:
        raise unknown_name("data set", kind, KINDS)
    place = Path(path)
    if kind == "ferplus":
        return FERPlus(place, _split_of(kind, split, (*SPLITS, "train", "valid", "test")), mode, labels)
    if kind.startswith("affectnet"):
        if labels != AFFECTNET8:
            raise UsageError(f"AffectNet has the label set {AFFECTNET8.name}, not {labels.name}")
        view = AffectNetDimensional if kind.endswith("dimensional") else AffectNetCategorical
        return view(_AFFECTNET_SETS[_split_of(kind, split, _AFFECTNET_SETS)], max_per_class, None, False, place, seed)
    if kind == "fer2013":
        return FER2013(place, split, labels)
    if kind == "rafdb":
        return RAFDB(place, split, labels, scale=scale or 1.0)
    if kind == "ckplus":
        if split is not None:
            raise UsageError(f"CK+ has no part {split!r}, it comes in one; split it by subjects, as split_by_source does")
        return CKPlus(place, labels, scale=scale or 1.0)
    if kind == "videos":
        return VideoFolder(place, split, labels)
    if kind == "folder":
        return ImageFolder(place, split, labels, scale or 1.0)
    return CsvDataset(_table_in(place), split=split, labels=labels, scale=scale or (MUXSPACE_SCALE if kind == "muxspace" else 1.0))


def _split_of(kind: str, split: str | None, known: Iterable[str]) -> str:
    names = list(known)
    if split is None:
        raise UsageError(f"data set {kind!r} needs a split: {', '.join(names)}")
    if split not in names:
        raise unknown_name(f"split of {kind}", split, names)
    return split


def _neither(given: str) -> UsageError:
    """Makes the error for a word that is no kind and a path where nothing lies."""
    return UsageError(f"{unknown_name('data set', given, KINDS)}; and there is no file or folder of that name")


def _table_in(place: Path) -> Path:
    """Returns the table, or the folder or zip file that holds it: `muxspace/` may hold nothing but `muxspace.zip`."""
    if place.is_dir() and not any(place.glob("*.csv")):
        packed = sorted(place.glob("*.zip"))
        if len(packed) == 1:
            return packed[0]
    return place


def _kind_of(path: Path) -> str:
    """Tells the kind of a data set by what lies at the path."""
    if path.is_file():
        if path.suffix.lower() == ".csv":
            return "fer2013" if path.name == FER2013_TABLE else "csv"
    elif any((path / split).is_dir() or (path / f"{split}.zip").is_file() for split in SPLITS) or (path / "fer2013new.csv").is_file():
        return "ferplus"
    elif (path / FER2013_TABLE).is_file():
        return "fer2013"
    elif (path / RAFDB_LIST).is_file():
        return "rafdb"
    elif any((path / name).is_dir() for name in SETS):
        return "affectnet"
    elif (path / "labels.csv").is_file():
        return "csv"
    elif path.is_dir() and any(file.suffix.lower() in VIDEO_SUFFIXES for pattern in ("*", "*/*") for file in path.glob(pattern)):
        return "videos"
    table = _table_in(path)
    if table.name == "muxspace.zip":
        return "muxspace"
    if table.is_dir():
        return "folder"
    try:
        find_table(Files(table))
    except DatasetError:
        return "folder"
    return "csv"
