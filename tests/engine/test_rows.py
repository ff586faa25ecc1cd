"""Tables out."""

from __future__ import annotations

import csv
import os
import sys
from pathlib import Path

import pytest

from emotion_perception.engine.errors import MissingDependencyError
from emotion_perception.engine.rows import RowWriter

COLUMNS = {"name": str, "frame": int, "share": float}
ROWS = [{"name": "a", "frame": 1, "share": 0.5, "more": "left out"}, {"name": "b, c", "frame": None, "share": None}]


def test_csv_has_a_header_and_empty_cells(tmp_path: Path) -> None:
    with RowWriter(tmp_path / "t.csv", COLUMNS) as table:
        table.write(ROWS)
        assert not (tmp_path / "t.csv").exists()
    with (tmp_path / "t.csv").open(newline="") as stream:
        assert list(csv.reader(stream)) == [["name", "frame", "share"], ["a", "1", "0.5"], ["b, c", "", ""]]


def test_parquet_keeps_types_in_chunks(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    with RowWriter(tmp_path / "t.parquet", COLUMNS) as table:
        for _ in range(3):
            table.write(ROWS * 1500)
    read = parquet.read_table(tmp_path / "t.parquet")
    assert read.num_rows == 9000
    assert [str(field.type) for field in read.schema] == ["string", "int64", "double"]
    assert read.to_pylist()[:2] == [{"name": "a", "frame": 1, "share": 0.5}, {"name": "b, c", "frame": None, "share": None}]


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_a_name_that_is_not_utf8_is_written_with_its_bytes(tmp_path: Path, name: str) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    with RowWriter(tmp_path / name, COLUMNS) as table:
        table.write([{"name": os.fsdecode("é".encode() + b"\xff.png"), "frame": 1, "share": 0.5}])
    if name == "t.csv":
        assert (tmp_path / name).read_text(encoding="utf-8").splitlines()[1] == "é\\xff.png,1,0.5"
    else:
        import pyarrow.parquet

        read = pyarrow.parquet.read_table(tmp_path / name)
        assert read.to_pylist() == [{"name": "é\\xff.png", "frame": 1, "share": 0.5}]


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_after_an_error_there_is_no_file(tmp_path: Path, name: str) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")

    def fail() -> None:
        with RowWriter(tmp_path / name, COLUMNS) as table:
            table.write(ROWS)
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingDependencyError, match=r"writing Parquet needs pyarrow.*'emotion_perception\[parquet\]'"):
        RowWriter(tmp_path / "t.parquet", COLUMNS)
