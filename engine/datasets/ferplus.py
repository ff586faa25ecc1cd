"""FER+: the FER2013 faces with the votes of ten raters (Barsoum et al. 2016)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from emotion_perception.engine.datasets.base import HeldDataset, Pixels, Targets
from emotion_perception.engine.datasets.files import Files, decode, report_skipped
from emotion_perception.engine.errors import DatasetError, InputError, UsageError, unknown_name
from emotion_perception.engine.labels import AFFECTNET8, FERPLUS8, LabelSet

SIDE = 48
# Name of the part -> its name in the `Usage` column of Kaggle's table.
SPLITS = {"FER2013Train": "Training", "FER2013Valid": "PublicTest", "FER2013Test": "PrivateTest"}
_SHORT = {"train": "FER2013Train", "valid": "FER2013Valid", "test": "FER2013Test"}
_COUNTS = 10  # eight classes, then unknown and NF (no face)


def majority_and_distribution(counts: NDArray[np.int64], labels: LabelSet) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Turns rater counts into single labels and distributions.

    Counts of one are set to zero first. The single label is the class with more than half of all votes that remain (`unknown` and
    NF among them); the distribution is over the classes alone.

    Args:
        counts: ``(n, 10)`` votes in FER+ column order.
        labels: The label set to count in.

    Returns:
        ``(n,)`` int64 index in ``labels``, -1 where no class has the majority, and ``(n, len(labels))`` float32, rows sum to 1, NaN
        where no vote for a class remains.
    """
    votes = np.where(counts == 1, 0, counts)
    to = FERPLUS8.map_to(labels)
    winner = votes.argmax(axis=1)
    decided = (2 * votes.max(axis=1) > votes.sum(axis=1)) & (winner < len(FERPLUS8))
    index = np.where(decided, to[np.where(decided, winner, 0)], -1)
    distribution = np.zeros((len(votes), len(labels)), np.float32)
    for column, own in enumerate(to):
        if own >= 0:
            distribution[:, own] = votes[:, column]
    total = distribution.sum(axis=1, keepdims=True)
    return index.astype(np.int64), np.where(total > 0, distribution / np.maximum(total, 1), np.nan).astype(np.float32)


class FERPlus(HeldDataset):
    """One part of FER+, all pictures decoded into memory (65 MB for the training part).

    Attributes:
        pictures: ``(n, 48, 48)`` uint8 grey.
        names: ``(n,)`` file names.
    """

    def __init__(
        self,
        path: str | Path,
        split: str = "FER2013Train",
        mode: Literal["majority", "distribution"] = "majority",
        labels: LabelSet = AFFECTNET8,
    ) -> None:
        """Reads the part.

        Args:
            path: Folder that holds ``FER2013Train/`` (and so on), or ``FER2013Train.zip``, each with its ``label.csv``; or Kaggle's
                ``fer2013.csv`` beside FER+'s ``fer2013new.csv``.
            split: ``FER2013Train``, ``FER2013Valid`` or ``FER2013Test``; ``train``, ``valid``, ``test`` for short.
            mode: ``majority`` keeps the pictures with a majority label; ``distribution`` keeps every picture for which two raters
                agree on some class, also those without a majority (index -1).
            labels: The label set of the targets.

        Raises:
            DatasetError: The folder lacks the part, or its table is malformed.
        """
        split = _SHORT.get(split, split)
        if split not in SPLITS:
            raise unknown_name("FER+ split", split, SPLITS)
        if mode not in ("majority", "distribution"):
            raise UsageError(f"mode is {mode!r}, expected 'majority' or 'distribution'")
        root = Path(path)
        if not root.is_dir():
            raise DatasetError(f"there is no folder {str(root)!r}; expected one that holds {split}.zip or {split}/")
        self.labels = labels
        self.split = split
        unpacked, packed = root / split, root / f"{split}.zip"
        if unpacked.is_dir() or packed.is_file():
            pictures, names, counts = _read_part(Files(unpacked if unpacked.is_dir() else packed))
        elif (root / "fer2013.csv").is_file() and (root / "fer2013new.csv").is_file():
            pictures, names, counts = _read_kaggle(root, SPLITS[split])
        else:
            raise DatasetError(f"{str(root)!r} has neither {split}/ nor {split}.zip nor fer2013.csv and fer2013new.csv; put one there")
        self.skipped = int(sum(picture is None for picture in pictures))
        index, distribution = majority_and_distribution(counts, labels)
        wanted = index >= 0 if mode == "majority" else ~np.isnan(distribution[:, 0])
        readable = np.array([picture is not None for picture in pictures], dtype=bool)
        report_skipped(f"FER+ {split} in {str(root)!r}", [names[i] for i in np.flatnonzero(~readable)], int((wanted & readable).sum()))
        kept = np.flatnonzero(wanted & readable)
        self.pictures = np.stack([pictures[i] for i in kept])  # type: ignore[misc]  # None ones are not readable
        self.names = [names[i] for i in kept]
        self.targets = Targets(index[kept], distribution[kept])

    def source(self, index: int) -> str:
        """Returns the picture's name, which is the same in every copy of the data set and in no two of its parts."""
        return f"ferplus/{self.names[index]}"


_Part = tuple[list["Pixels | None"], list[str], NDArray[np.int64]]


def _read_part(files: Files) -> _Part:
    """Reads a folder or zip file of PNG pictures with a `label.csv` in it."""
    tables = [name for name in files.names() if name.rpartition("/")[2] == "label.csv"]
    if not tables:
        raise DatasetError(f"{str(files.path)!r} has no label.csv; fetch it from microsoft/FERPlus")
    folder = tables[0].rpartition("label.csv")[0]
    rows = _table(files.read(tables[0]).decode("utf-8", "replace"), str(files.path / tables[0]))
    names = [row[0] for row in rows]
    counts = _counts((row[2 : 2 + _COUNTS] for row in rows), str(files.path / tables[0]))
    return [_decoded(files, folder + name) for name in names], names, counts


def _decoded(files: Files, name: str) -> Pixels | None:
    try:
        picture = decode(files.read(name), name, grey=True)
    except InputError:
        return None
    return picture if picture.shape == (SIDE, SIDE) else None


def _read_kaggle(root: Path, usage: str) -> _Part:
    """Reads the pixels of `fer2013.csv` and the votes of `fer2013new.csv`, whose rows belong together one by one."""
    votes = _table((root / "fer2013new.csv").read_text("utf-8"), str(root / "fer2013new.csv"))[1:]
    pictures: list[Pixels | None] = []
    names: list[str] = []
    counts = []
    csv.field_size_limit(1 << 20)
    with (root / "fer2013.csv").open(newline="", encoding="utf-8") as file:
        pixels = csv.DictReader(file)
        if not {"pixels", "Usage"} <= set(pixels.fieldnames or ()):
            raise DatasetError(f"{str(root / 'fer2013.csv')!r} lacks the columns pixels and Usage; it should be Kaggle's fer2013.csv")
        read = -1
        for read, row in enumerate(pixels):
            if read >= len(votes) or row["Usage"] != votes[read][0]:
                raise DatasetError(f"rows {read + 1} of fer2013.csv and fer2013new.csv in {str(root)!r} do not match; fetch both again")
            # FER+ gives no name to the pictures it drops.
            if row["Usage"] != usage or not votes[read][1]:
                continue
            pictures.append(pixels_of(row["pixels"] or ""))
            names.append(votes[read][1])
            counts.append(votes[read][2 : 2 + _COUNTS])
    if read + 1 != len(votes):
        raise DatasetError(f"fer2013.csv in {str(root)!r} has {read + 1} rows and fer2013new.csv {len(votes)}; fetch both again")
    return pictures, names, _counts(counts, str(root / "fer2013new.csv"))


def pixels_of(text: str) -> Pixels | None:
    """Returns the picture ``(48, 48)`` uint8 that a cell of Kaggle's table spells out, or None where it does not."""
    try:
        return np.array(text.split(), dtype=np.uint8).reshape(SIDE, SIDE)
    except (ValueError, OverflowError):
        return None


def _table(text: str, source: str) -> list[list[str]]:
    rows = [row for row in csv.reader(io.StringIO(text)) if row]
    if not rows or any(len(row) < 2 + _COUNTS for row in rows):
        short = next((i for i, row in enumerate(rows) if len(row) < 2 + _COUNTS), 0)
        raise DatasetError(f"row {short + 1} of {source!r} has too few columns, expected {2 + _COUNTS}: a name, a box or name, ten counts")
    return rows


def _counts(rows: Iterable[list[str]], source: str) -> NDArray[np.int64]:
    try:
        return np.array([[int(value) for value in row] for row in rows], dtype=np.int64).reshape(-1, _COUNTS)
    except ValueError as error:
        raise DatasetError(f"a rater count in {source!r} is not a whole number: {error}") from None
