"""Where frame results go: a CSV table and JSON lines, written row by row and put in place when the command ends well."""

from __future__ import annotations

import csv
import json
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from emotion_perception.commands._common import plain
from emotion_perception.engine.storage import atomic_write
from emotion_perception.engine.target import BoundingBox, Category, FaceEmotion, FrameResult

if TYPE_CHECKING:
    from emotion_perception.engine.labels import LabelSet

CsvOption = Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write a table: one row per face.")]
JsonlOption = Annotated[Path | None, typer.Option("--jsonl", metavar="FILE", help="Write JSON lines: one object per picture or frame.")]


class ResultFiles:
    """A CSV and a JSON lines file, either of which may be absent; a context manager. After an error neither is there."""

    def __init__(self, table: Path | None, lines: Path | None, labels: LabelSet, source: str = "") -> None:
        """Keeps where to write.

        Args:
            table: CSV file, or None.
            lines: JSON lines file, or None.
            labels: The label set of the results; it makes the columns of the table.
            source: Name of an additional first column and key that says where a result comes from; none if empty.
        """
        self._paths = (table, lines)
        self._source = source
        self._columns = ([source] if source else []) + _columns(labels)
        self._stack = ExitStack()
        self._rows: csv.DictWriter[str] | None = None
        self._lines: IO[str] | None = None

    def __enter__(self) -> ResultFiles:
        """Opens the files."""
        with ExitStack() as stack:
            table, lines = (None if path is None else stack.enter_context(_opened(stack, path)) for path in self._paths)
            self._stack = stack.pop_all()
        if table is not None:
            self._rows = csv.DictWriter(table, self._columns, extrasaction="ignore")
            self._rows.writeheader()
        self._lines = lines
        return self

    def __exit__(self, *error: Any) -> None:
        """Puts the files in place, or drops them after an error."""
        self._stack.__exit__(*error)

    def write(self, result: FrameResult, source: str = "") -> None:
        """Adds the result of one picture or frame."""
        own = {self._source: source} if self._source else {}
        if self._rows is not None:
            self._rows.writerows(own | row for row in result.rows())
        if self._lines is not None:
            self._lines.write(json.dumps(plain(own | result.to_dict()), ensure_ascii=False) + "\n")


def _opened(stack: ExitStack, path: Path) -> IO[str]:
    return stack.enter_context(atomic_write(path)).open("w", encoding="utf-8", newline="")


def _columns(labels: LabelSet) -> list[str]:
    """Returns the columns of `FrameResult.rows`, which a table needs before its first face."""
    import numpy as np

    category = Category(0, labels.words[0], 0.0, np.zeros(len(labels), np.float32))
    return list(FrameResult((FaceEmotion(BoundingBox(0, 0, 0, 0), category),), "", labels, 1, 1).rows()[0])
