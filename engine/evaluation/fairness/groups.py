"""Which groups pictures belong to, read from a table."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emotion_perception.engine.datasets.base import EmotionDataset
from emotion_perception.engine.datasets.catalogue import UNKNOWN
from emotion_perception.engine.datasets.tables import read_lines
from emotion_perception.engine.errors import DatasetError, UsageError, unknown_name

logger = logging.getLogger(__name__)

# A key column of this name holds numbers of pictures instead of their names.
NUMBER_COLUMN = "index"
CROSS = " x "

_Rows = dict[str, tuple[int, dict[str, str]]]


@dataclass(frozen=True, eq=False)
class Groups:
    """Which group each of n pictures belongs to, by attribute.

    Attributes:
        values: Attribute -> ``(n,)`` names of groups, empty where it is not stated.
        absent: Attribute -> groups that the table has and no picture belongs to.
        without_row: Pictures that the table says nothing about.
    """

    values: dict[str, NDArray[np.str_]]
    absent: dict[str, tuple[str, ...]]
    without_row: int = 0

    def __len__(self) -> int:
        """Returns the number of pictures."""
        return len(next(iter(self.values.values())))

    def take(self, rows: NDArray[np.int64]) -> Groups:
        """Returns the groups of some pictures; a group that loses all of its pictures becomes an absent one."""
        kept = {name: values[rows] for name, values in self.values.items()}
        lost = {name: set(self.values[name].tolist()) - set(kept[name].tolist()) - {""} for name in kept}
        return Groups(kept, {name: tuple(in_order({*self.absent[name], *lost[name]})) for name in kept}, self.without_row)

    def crossed(self) -> Groups:
        """Returns the attributes and, behind them, every pair of two: ``gender x race`` with groups such as ``Female x Asian``."""
        values, absent = dict(self.values), dict(self.absent)
        for one, other in combinations(self.values, 2):
            pairs = zip(self.values[one].tolist(), self.values[other].tolist(), strict=True)
            values[f"{one}{CROSS}{other}"] = np.array([f"{a}{CROSS}{b}" if a and b else "" for a, b in pairs], dtype=np.str_)
            absent[f"{one}{CROSS}{other}"] = ()
        return Groups(values, absent, self.without_row)


def read_groups(table: str | Path, dataset: EmotionDataset, by: Sequence[str] = (), key: str | None = None) -> Groups:
    """Reads the groups of a data set's pictures.

    Args:
        table: A CSV file with a header and a row per picture: a column that names the picture, and a column per attribute. Where two rows
            about a picture disagree, its group is not stated; nor is one that the table calls ``unclassified``, as a catalogue does.
        dataset: Whose pictures are asked for. A name in the table may have fewer folders, or more, in front of it than the data set's.
        by: The attributes to read; every column but the key if empty.
        key: Column with the pictures' names; the first one if None. A column ``index`` holds numbers in the data set, from 0, instead.

    Raises:
        DatasetError: A missing table or column, or no picture with a group.
        UsageError: An attribute or key column that the table does not have.
    """
    path = Path(table)
    header, rows = read_lines(path, what="the groups in")
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise DatasetError(f"table {str(path)!r} has the column {twice!r} twice; give each column a name of its own")
    key = header[0] if key is None else key
    if key not in header:
        raise unknown_name(f"column of {str(path)!r}", key, header)
    attributes = list(by) or [column for column in header if column != key]
    for name in attributes:
        if name not in header or name == key:
            raise unknown_name(f"attribute in {str(path)!r}", name, [column for column in header if column != key])
    if not attributes:
        raise DatasetError(f"table {str(path)!r} has only the column {key!r}; expected a column per attribute beside it, e.g. gender")
    stated = [(line, {name: "" if name != key and cell == UNKNOWN else cell for name, cell in row.items()}) for line, row in rows]
    by_key = _by_key(stated, key, path)
    found = _numbered(by_key, dataset, path) if key == NUMBER_COLUMN else _named(by_key, dataset, path)
    missing = sum(row is None for row in found)
    if missing == len(found):
        example = f"the first picture is {dataset.name(0)!r}, the first {key} {next(iter(by_key), '')!r}"
        raise DatasetError(f"none of the {len(found)} pictures has a row in {str(path)!r}: {example}; name the right column with key")
    values = {name: np.array(["" if row is None else row[name] for row in found], dtype=np.str_) for name in attributes}
    for name, groups in values.items():
        if not (groups != "").any():
            column = f"column {name!r} of {str(path)!r}"
            raise DatasetError(f"{column} states the group of none of {len(found)} pictures; leave it out, or fill it in")
    every = {name: {row[name] for _, row in by_key.values()} - {""} for name in attributes}
    absent = {name: tuple(in_order(every[name] - set(values[name].tolist()))) for name in attributes}
    return Groups(values, absent, missing)


def in_order(names: Iterable[str]) -> list[str]:
    """Returns names in the order in which a person expects them: numbers by their value, 3-9 before 10-19."""
    return sorted(
        names,
        key=lambda name: [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", name) if part],
    )


def _by_key(rows: Iterable[tuple[int, dict[str, str]]], key: str, path: Path) -> _Rows:
    """Returns the rows by the picture they are about; what two rows about one picture disagree in is left empty."""
    by_key: _Rows = {}
    disputed: dict[str, int] = {}
    for line, row in rows:
        name = row[key].replace("\\", "/").removeprefix("./")
        before = by_key.setdefault(name, (line, row))[1]
        differ = [column for column in row if column != key and row[column] != before[column]]
        if differ:
            disputed.setdefault(name, line)
            by_key[name] = by_key[name][0], {**before, **dict.fromkeys(differ, "")}
    if disputed:
        name, line = next(iter(disputed.items()))
        first = f"the first is {name!r} in lines {by_key[name][0]} and {line}"
        logger.warning("%s: rows about %d pictures disagree, which counts as not stated; %s", path, len(disputed), first)
    return by_key


def _numbered(by_key: _Rows, dataset: EmotionDataset, path: Path) -> list[dict[str, str] | None]:
    """Returns the row of every picture, by its number."""
    found: list[dict[str, str] | None] = [None] * len(dataset)
    for text, (line, row) in by_key.items():
        if not text.isdecimal() or int(text) >= len(dataset):
            raise DatasetError(f"line {line} of {str(path)!r}: {NUMBER_COLUMN} is {text!r}, expected 0 to {len(dataset) - 1}")
        found[int(text)] = row
    return found


def _named(by_key: _Rows, dataset: EmotionDataset, path: Path) -> list[dict[str, str] | None]:
    """Returns the row of every picture, by its name; one of the two may have folders in front that the other lacks."""
    names = [dataset.name(i).replace("\\", "/") for i in range(len(dataset))]
    depths = {name.count("/") + 1 for name in names}
    ends: dict[str, list[str]] = defaultdict(list)
    for text in by_key:
        parts = text.split("/")
        for depth in depths:
            if depth < len(parts):
                ends["/".join(parts[-depth:])].append(text)
    found: list[dict[str, str] | None] = []
    for name in names:
        parts = name.split("/")
        own = [tail for start in range(len(parts)) if (tail := "/".join(parts[start:])) in by_key]
        keys = own[:1] or ends.get(name, [])
        if len(keys) > 1:
            both = f"{keys[0]!r} and {keys[1]!r}"
            raise UsageError(f"picture {name!r} could be {both} in {str(path)!r}; open the data set one folder higher")
        found.append(by_key[keys[0]][1] if keys else None)
    return found
