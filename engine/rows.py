"""Tables out, row by row: CSV, or Parquet where the file's name says so."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from emotion_perception.engine.errors import MissingDependencyError
from emotion_perception.engine.plain import shown
from emotion_perception.engine.storage import atomic_write

PARQUET_SUFFIX = ".parquet"
_CHUNK = 4096  # rows of Parquet that are written at once


class RowWriter:
    """A context manager that writes a table, all of it or, after an error, nothing."""

    def __init__(self, path: str | Path, columns: Mapping[str, type]) -> None:
        """Keeps where to write.

        Args:
            path: Parquet where it ends in ``.parquet``, else CSV in UTF-8 with a header.
            columns: Name -> ``int``, ``float`` or ``str``, in order. Parquet keeps the types; a missing value is null, in CSV empty.

        Raises:
            MissingDependencyError: Parquet, and pyarrow is not installed.
        """
        self.path, self.columns = Path(path), dict(columns)
        self._parquet = self.path.suffix.lower() == PARQUET_SUFFIX
        if self._parquet:
            _pyarrow()
        self._stack = ExitStack()
        self._lines: csv.DictWriter[str] | None = None
        self._waiting: list[dict[str, Any]] = []
        self._file: Any = None

    def __enter__(self) -> RowWriter:
        """Opens the file."""
        with ExitStack() as stack:
            part = stack.enter_context(atomic_write(self.path))
            if self._parquet:
                arrow, parquet = _pyarrow()
                kinds = {int: arrow.int64(), float: arrow.float64(), str: arrow.string()}
                self._schema = arrow.schema([(name, kinds[kind]) for name, kind in self.columns.items()])
                self._file = stack.enter_context(parquet.ParquetWriter(part, self._schema))
            else:
                stream: IO[str] = stack.enter_context(part.open("w", encoding="utf-8", newline=""))
                self._lines = csv.DictWriter(stream, list(self.columns))
                self._lines.writeheader()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        """Puts the file in place, or drops it after an error."""
        if error[0] is not None:
            self._stack.__exit__(*error)
            return
        with self._stack:
            self._flush()

    def write(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Adds rows; what is not among the columns is left out, texts are written as `shown` gives them."""
        kept = [{name: shown(row[name]) if isinstance(row.get(name), str) else row.get(name) for name in self.columns} for row in rows]
        if self._lines is not None:
            self._lines.writerows(kept)
            return
        self._waiting += kept
        if len(self._waiting) >= _CHUNK:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            arrow, _ = _pyarrow()
            self._file.write_table(arrow.Table.from_pylist(self._waiting, self._schema))
            self._waiting = []


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingDependencyError("pyarrow", "writing Parquet", "parquet") from None
    return pyarrow, pyarrow.parquet
