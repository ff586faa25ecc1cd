"""Data sets of one's own: a folder per class, or a table that names pictures and their labels."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from emotion_perception.engine.datasets.base import Targets
from emotion_perception.engine.datasets.files import SUFFIXES, Files, FilesDataset
from emotion_perception.engine.errors import DatasetError, InputError, UsageError, unknown_name
from emotion_perception.engine.labels import AFFECTNET8, LabelSet

_SPLIT_NAMES = frozenset({"train", "training", "val", "valid", "validation", "test"})
# AffectNet and its kin write -2 where a value was not annotated.
_NOT_ANNOTATED = -2.0


class ImageFolder(FilesDataset):
    """Pictures sorted into one folder per class; deeper folders count to their class folder."""

    def __init__(
        self,
        path: str | Path,
        split: str | None = None,
        labels: LabelSet = AFFECTNET8,
        scale: float = 1.0,
        *,
        classes: Mapping[str, int] | None = None,
    ) -> None:
        """Lists the pictures.

        Args:
            path: Folder, or a zip file of one, whose folders are named after classes of ``labels`` (synonyms count: ``happiness``).
            split: Folder between ``path`` and the class folders ("train", "valid"), where there is one.
            labels: The label set of the targets.
            scale: Side of the pictures in units of the face's box.
            classes: Name of a folder, in small letters -> class; other folders are left out. None: every folder has to be a class.

        Raises:
            DatasetError: Missing, without class folders, without pictures, or a folder that is no class.
        """
        self.labels, self.scale = labels, scale
        root = Path(path)
        if split is not None and root.is_dir():
            parts = sorted(entry.name for entry in root.iterdir() if entry.is_dir())
            if split not in parts:
                raise unknown_name(f"part of {str(root)!r}", split, parts)
            root, split = root / split, None
        files = Files(root)
        names = files.names()
        prefix = f"{split}/" if split else ""
        # A zip file made of a folder holds everything in that folder.
        tops = {name.partition("/")[0] for name in names}
        if not root.is_dir() and len(tops) == 1 and tops != {split} and all(name.count("/") >= 2 for name in names):
            prefix = f"{tops.pop()}/{prefix}"
        kept, index = [], []
        index_of: dict[str, int] = {}
        for name in names:
            folder, below, file = name.removeprefix(prefix).partition("/")
            if not name.startswith(prefix) or not below or folder.startswith((".", "__")):
                continue
            if PurePosixPath(file).suffix.lower() not in SUFFIXES:
                continue
            if classes is not None and folder.lower() not in classes:
                continue
            if folder not in index_of:
                index_of[folder] = self._class_of(folder, root) if classes is None else classes[folder.lower()]
            kept.append(name)
            index.append(index_of[folder])
        if not kept:
            raise DatasetError(f"{str(root)!r} has no pictures in class folders; expected e.g. {labels.words[0]}/picture.jpg beneath it")
        self._keep_whole(f"folder {str(root)!r}", files, kept, Targets(np.array(index, dtype=np.int64)))

    def _class_of(self, folder: str, root: Path) -> int:
        if folder.lower() in _SPLIT_NAMES:
            raise DatasetError(f"{str(root)!r} is divided into parts such as {folder!r}; say which with split={folder!r}")
        try:
            return self.labels.index(folder)
        except UsageError as error:
            raise DatasetError(f"folder {folder!r} in {str(root)!r} is named after no class: {error}") from None


class CsvDataset(FilesDataset):
    """Pictures named in a table with the columns ``file, label`` and, if there, ``valence, arousal, split, source``; others are ignored.

    ``label`` is a class word or a synonym, empty where there is none. ``valence`` and ``arousal`` lie in [-1, 1], empty or -2 where
    there is none. ``source`` is what `EmotionDataset.source` returns; where it is empty, the file's name says it.

    Attributes:
        parts: The values in the column ``split`` of the rows that were kept.
    """

    def __init__(
        self,
        table: str | Path,
        root: str | Path | None = None,
        split: str | None = None,
        labels: LabelSet = AFFECTNET8,
        scale: float = 1.0,
    ) -> None:
        """Reads the table and looks for the pictures.

        Args:
            table: A CSV file with a header; or a zip file, read in place, or folder that holds ``labels.csv`` (or just one CSV file).
            root: Folder or zip file the names in ``file`` are relative to; the place of the table, or ``images/`` beside it, if None.
            split: Keep the rows with this value in the column ``split``; all rows if None.
            labels: The label set of the targets.
            scale: Side of the pictures in units of the face's box.

        Raises:
            DatasetError: Missing table, column or pictures, an unknown label, or a number out of range.
            UsageError: A split that the table does not have.
        """
        self.labels, self.scale = labels, scale
        given = Path(table)
        if given.suffix.lower() == ".csv" and given.is_file():
            home, entry = Files(given.parent), given.name
        elif given.suffix.lower() == ".csv":
            raise DatasetError(f"there is no file {str(given)!r}; expected a CSV file with the columns file and label")
        else:
            home = Files(given)
            entry = find_table(home)
        source = str(home.path / entry)
        rows = self._rows(home, entry, source, split)
        self.parts = tuple(sorted({row["split"] for _, row in rows} - {""}))
        if not rows:
            raise DatasetError(f"table {source!r} has no rows; expected one per picture")
        index = np.array([self._index(row["label"], number, source) for number, row in rows], dtype=np.int64)
        pairs = [[affect_cell(row, name, number, source) for name in ("valence", "arousal")] for number, row in rows]
        affect = np.array(pairs, dtype=np.float32)
        files = home if root is None else Files(Path(root))
        folder = "" if root is not None else entry.rpartition("/")[0]
        names = _located(files, folder, [row["file"] for _, row in rows])
        self._sources = {name: row["source"] for name, (_, row) in zip(names, rows, strict=True) if row["source"]}
        self._keep_whole(f"table {source!r}", files, names, Targets(index, affect=None if np.isnan(affect).all() else affect))

    def source(self, index: int) -> str:
        """Returns what the table says the picture comes from, else what its name says."""
        return self._sources.get(self.names[index]) or super().source(index)

    def _rows(self, home: Files, entry: str, source: str, split: str | None) -> list[tuple[int, dict[str, str]]]:
        """Returns the rows of the split with their line numbers, every wanted column filled in or empty."""
        try:
            text = home.read(entry).decode("utf-8-sig")
        except UnicodeDecodeError:
            raise DatasetError(f"table {source!r} is not UTF-8 text; save it as CSV in UTF-8") from None
        except InputError as error:
            raise DatasetError(str(error)) from None
        try:
            return self._chosen(csv.DictReader(io.StringIO(text), skipinitialspace=True, restval=""), source, split)
        except csv.Error as error:
            raise DatasetError(f"table {source!r} is not CSV: {error}; save it as such") from None

    def _chosen(self, reader: csv.DictReader[str], source: str, split: str | None) -> list[tuple[int, dict[str, str]]]:
        columns = [str(column).strip() for column in reader.fieldnames or ()]
        reader.fieldnames = columns
        missing = [column for column in ("file", "label", *(["split"] if split else [])) if column not in columns]
        if missing:
            raise DatasetError(f"table {source!r} lacks the column {missing[0]!r}; it has {', '.join(columns) or 'none'}")
        wanted = ("file", "label", "valence", "arousal", "split", "source")
        rows = [(reader.line_num, {key: (row.get(key) or "").strip() for key in wanted}) for row in reader]
        if split is None:
            return rows
        chosen = [(number, row) for number, row in rows if row["split"] == split]
        if rows and not chosen:
            raise unknown_name(f"split of {source!r}", split, {row["split"] for _, row in rows})
        return chosen

    def _index(self, word: str, line: int, source: str) -> int:
        if not word:
            return -1
        try:
            return self.labels.index(word)
        except UsageError as error:
            raise DatasetError(f"line {line} of {source!r}: {error}") from None


def find_table(files: Files) -> str:
    """Returns the path of the table in a folder or zip file: ``labels.csv``, else the only CSV file there is, two folders deep at most."""
    tables = [name for name in files.names() if name.lower().endswith(".csv") and name.count("/") <= 1 and not name.startswith("__")]
    named = [name for name in tables if name.rpartition("/")[2] == "labels.csv"]
    if len(named) == 1 or (not named and len(tables) == 1):
        return (named or tables)[0]
    found = f"{len(named or tables)} of them" if tables else "none"
    raise DatasetError(f"{str(files.path)!r} should hold one labels.csv, it has {found}; name the CSV file itself")


def affect_cell(row: dict[str, str], name: str, line: int, source: str) -> float:
    """Reads valence or arousal out of a row of a table; NaN where it is empty or -2, else a number in [-1, 1] or `DatasetError`."""
    try:
        value = float(row[name] or "nan")
    except ValueError:
        raise DatasetError(f"line {line} of {source!r}: {name} is {row[name]!r}, expected a number in [-1, 1]") from None
    if np.isnan(value) or value == _NOT_ANNOTATED:
        return float("nan")
    if not -1.0 <= value <= 1.0:
        raise DatasetError(f"line {line} of {source!r}: {name} is {value:g}, expected -1 to 1")
    return value


def _located(files: Files, folder: str, given: list[str]) -> list[str]:
    """Returns the paths of the pictures: beside the table, or in `images/` beside it."""
    inside = frozenset() if files.path.is_dir() else frozenset(files.names())
    names = []
    for name in given:
        plain = name.replace("\\", "/").removeprefix("./")
        beside = f"{folder}/{plain}" if folder else plain
        in_images = f"{folder}/images/{plain}" if folder else f"images/{plain}"
        found = in_images in inside if inside else not (files.path / beside).is_file() and (files.path / in_images).is_file()
        names.append(in_images if found else beside)
    return names
