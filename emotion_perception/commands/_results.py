"""Where frame results go: a table and JSON lines, written row by row and put in place when the command ends well."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from emotion_perception.commands._common import DIGITS
from emotion_perception.engine.plain import plain
from emotion_perception.engine.rows import RowWriter
from emotion_perception.engine.storage import atomic_write
from emotion_perception.engine.target import BoundingBox, Category, FaceEmotion, FrameResult

if TYPE_CHECKING:
    from emotion_perception.engine.labels import LabelSet

CsvOption = Annotated[
    Path | None, typer.Option("--csv", metavar="FILE", help="Write a table, one row per face: CSV, or Parquet if FILE ends in .parquet.")
]
JsonlOption = Annotated[Path | None, typer.Option("--jsonl", metavar="FILE", help="Write JSON lines: one object per picture or frame.")]
_KINDS: dict[str, type] = {"frame": int, "track_id": int, "emotion": str}


class ResultFiles:
    """A table and a JSON lines file, either of which may be absent; a context manager. After an error neither is there."""

    def __init__(self, table: Path | None, lines: Path | None, labels: LabelSet, source: str = "") -> None:
        """Keeps where to write.

        Args:
            table: CSV or Parquet file, or None.
            lines: JSON lines file, or None.
            labels: The label set of the results; it makes the columns of the table.
            source: Name of an additional first column and key that says where a result comes from; none if empty.
        """
        self._source = source
        self._rows = None if table is None else RowWriter(table, ({source: str} if source else {}) | _columns(labels))
        self._path = lines
        self._stack = ExitStack()
        self._lines: IO[str] | None = None

    def __enter__(self) -> ResultFiles:
        """Opens the files."""
        with ExitStack() as stack:
            if self._rows is not None:
                stack.enter_context(self._rows)
            if self._path is not None:
                part = stack.enter_context(atomic_write(self._path))
                self._lines = stack.enter_context(part.open("w", encoding="utf-8", newline=""))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        """Puts the files in place, or drops them after an error."""
        self._stack.__exit__(*error)

    def write(self, result: FrameResult, source: str = "") -> None:
        """Adds the result of one picture or frame."""
        own = {self._source: source} if self._source else {}
        if self._rows is not None:
            self._rows.write(own | row for row in result.rows())
        if self._lines is not None:
            self._lines.write(json.dumps(plain(own | result.to_dict(), DIGITS), ensure_ascii=False) + "\n")


def _columns(labels: LabelSet) -> dict[str, type]:
    """Returns the columns of `FrameResult.rows`, which a table needs before its first face, with their types."""
    import numpy as np

    category = Category(0, labels.words[0], 0.0, np.zeros(len(labels), np.float32))
    columns = FrameResult((FaceEmotion(BoundingBox(0, 0, 0, 0), category),), "", labels, 1, 1).rows()[0]
    return {name: _KINDS.get(name, float) for name in columns}
