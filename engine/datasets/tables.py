"""Reads CSV tables with a header."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from emotion_perception.engine.errors import DatasetError

# One cell of FER2013's table holds a whole picture.
_MOST_CHARACTERS = 1 << 20


def read_table(path: str | Path, needed: Sequence[str] = ()) -> list[dict[str, str]]:
    """Reads a table; every cell is stripped, a missing one is empty.

    Args:
        path: The CSV file, in UTF-8.
        needed: Columns it must have.

    Returns:
        A dictionary per row, in the order of the file.

    Raises:
        DatasetError: Not there, not CSV, a column that is missing, or no rows.
    """
    return [row for _, row in read_lines(path, needed)[1]]


def read_lines(path: str | Path, needed: Sequence[str] = (), what: str = "table") -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Reads a table as `read_table` does, and returns its columns as well, and with each row the number of its line.

    Args:
        path: The CSV file.
        needed: Columns it must have.
        what: What to call it where it cannot be read.
    """
    file = Path(path)
    csv.field_size_limit(_MOST_CHARACTERS)
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, skipinitialspace=True, restval="")
            columns = [str(column).strip() for column in reader.fieldnames or ()]
            reader.fieldnames = columns
            missing = [column for column in needed if column not in columns]
            if missing:
                raise DatasetError(f"table {str(file)!r} lacks the column {missing[0]!r}; it has {', '.join(columns) or 'none'}")
            rows = [(reader.line_num, {column: (row.get(column) or "").strip() for column in columns}) for row in reader]
    except OSError as error:
        raise DatasetError(f"cannot read {what} {str(file)!r}: {error.strerror}; give a CSV file with a header") from None
    except (UnicodeDecodeError, csv.Error) as error:
        reason = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else error
        raise DatasetError(f"table {str(file)!r} is not CSV in UTF-8: {reason}; save it as such") from None
    if not rows:
        raise DatasetError(f"table {str(file)!r} has no rows; expected one per picture")
    return columns, rows
