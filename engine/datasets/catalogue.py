"""The catalogue of a data set: a row per picture with its class, split, source and what is known of the person in it."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from emotion_perception.engine.datasets.alterations import ORIGINAL
from emotion_perception.engine.datasets.base import EmotionDataset
from emotion_perception.engine.datasets.sources import source_of
from emotion_perception.engine.datasets.tables import read_table
from emotion_perception.engine.errors import DatasetError
from emotion_perception.engine.storage import atomic_write

UNKNOWN = "unclassified"
COLUMNS = ("file", "label", "split", "source", "alteration")


class Attributes:
    """What a table says of the persons in pictures; altered copies have the attributes of their source.

    Attributes:
        columns: Names of the attributes.
        ambiguous: Pictures with several rows that differ: a detector found several faces. Where they differ, nothing is known.
    """

    def __init__(self, table: str | Path) -> None:
        """Reads the table.

        Args:
            table: CSV file whose first column names pictures; all others are attributes (``img_path, race, race4, gender, age``).

        Raises:
            DatasetError: Missing, malformed, or without a column of attributes.
        """
        rows = read_table(table)
        name, *columns = rows[0]
        if not columns:
            raise DatasetError(f"table {str(table)!r} has only the column {name!r}; expected a column per attribute beside it")
        self.columns = tuple(columns)
        self._rows = [{column: row[column] or UNKNOWN for column in columns} for row in rows]
        self._of: dict[str, dict[str, str]] = {}
        ambiguous = set()
        for row, values in zip(rows, self._rows, strict=True):
            known = self._of.setdefault(source_of(row[name]), dict(values))
            if known != values:
                ambiguous.add(row[name])
                known.update({column: UNKNOWN for column in columns if known[column] != values[column]})
        self.ambiguous = tuple(sorted(ambiguous))
        # A picture is also found where its path begins further down.
        self._ends: dict[str, str] = {}
        for source in self._of:
            for start in range(1, source.count("/") + 1):
                end = source.split("/", start)[start]
                self._ends[end] = "" if end in self._ends else source

    def of(self, name: str) -> dict[str, str]:
        """Returns attribute -> value for a picture, ``unclassified`` where the table does not tell.

        Args:
            name: Path of the picture. It may have folders in front that the table's paths lack, or lack some that those have.
        """
        source = source_of(name)
        parts = source.split("/")
        tails = ("/".join(parts[start:]) for start in range(len(parts)))
        known = next((tail for tail in tails if tail in self._of), self._ends.get(source, ""))
        return dict(self._of.get(known, dict.fromkeys(self.columns, UNKNOWN)))

    def counts(self) -> dict[str, dict[str, int]]:
        """Returns how many rows of the table have each value, by attribute, most frequent first."""
        return {column: dict(Counter(row[column] for row in self._rows).most_common()) for column in self.columns}


def catalogue_rows(
    dataset: EmotionDataset, split: str = "", attributes: Callable[[int], Mapping[str, str]] | None = None
) -> list[dict[str, str]]:
    """Makes the rows of a data set.

    Args:
        dataset: Its names become the column ``file``.
        split: What the column ``split`` says.
        attributes: Number of a picture -> attribute -> value.

    Returns:
        Per picture `COLUMNS` and the attributes.
    """
    alteration = getattr(dataset, "alteration", lambda number: ORIGINAL)
    rows = []
    for number in range(len(dataset)):
        category = dataset.category(number)
        values = (dataset.name(number), category.description if category else "", split, dataset.source(number), alteration(number))
        rows.append(dict(zip(COLUMNS, values, strict=True)) | dict(attributes(number) if attributes else {}))
    return rows


def write_catalogue(file: str | Path, rows: Sequence[Mapping[str, str]]) -> Path:
    """Writes rows as a CSV table that `CsvDataset` and the fairness report read; attributes that a row lacks are ``unclassified``.

    Raises:
        StorageError: The file cannot be written.
    """
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with atomic_write(file) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, restval=UNKNOWN)
        writer.writeheader()
        writer.writerows(rows)
    return Path(file)
