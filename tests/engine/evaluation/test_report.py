from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from emotion_perception.engine.errors import StorageError
from emotion_perception.engine.evaluation import affect_metrics, classification_metrics
from emotion_perception.engine.evaluation.report import plot_confusion, plot_history, tables, write_json, write_report
from emotion_perception.engine.labels import AFFECTNET8

HISTORY = [
    {"epoch": 1, "stage": "joint", "loss": 2.0, "branch_accuracy": 0.3, "val_accuracy": 0.35, "compute": 100},
    {"epoch": 2, "stage": "joint", "loss": 1.5, "branch_accuracy": 0.5, "compute": 200},
    {"epoch": 3, "stage": "affect", "loss": 0.4, "val_rmse": 0.3, "val_accuracy": float("nan"), "compute": 300},
]


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    truth = np.array([0] * 5 + [1] * 3 + [6] * 2)
    probabilities = np.full((10, 8), 0.05)
    probabilities[np.arange(10), [0, 0, 0, 0, 1, 1, 1, 1, 6, 0]] = 0.65
    affect = np.random.default_rng(0).uniform(-1, 1, (2, 10, 2))
    return {"pictures": 10, **classification_metrics(probabilities, truth, AFFECTNET8), **affect_metrics(*affect)}


def drawn(path: Path) -> np.ndarray:
    """The pixels of a PNG file."""
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


def test_the_tables_say_every_number(result: dict[str, Any]) -> None:
    from rich.console import Console

    written = io.StringIO()
    Console(width=120, file=written).print(*tables(result, "esr on ferplus"))
    text = written.getvalue()
    assert "esr on ferplus" in text
    for words in ("0.800", "Neutral", "Contempt", "valence", "CCC", "classes of 40 pictures or more"):
        assert words in text
    assert len(tables({"pictures": 3, "accuracy": 0.5})) == 1


def test_a_report_is_json_and_a_confusion_matrix(result: dict[str, Any], tmp_path: Path) -> None:
    files = write_report(result, tmp_path / "deep" / "report", "esr")
    assert [file.name for file in files] == ["result.json", "confusion.png"]
    assert json.loads(files[0].read_text()) == result
    assert drawn(files[1]).std() > 10
    assert sorted(file.name for file in files[0].parent.iterdir()) == ["confusion.png", "result.json"]


def test_json_takes_numpy_and_writes_no_nan(tmp_path: Path) -> None:
    file = write_json({"a": np.float32(0.5), "b": np.arange(2), "c": float("nan"), "d": [np.int64(1), (np.inf,)]}, tmp_path / "r.json")
    assert json.loads(file.read_text()) == {"a": 0.5, "b": [0, 1], "c": None, "d": [1, [None]]}


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    file = write_json({"a": 1}, tmp_path / "r.json")
    with pytest.raises(TypeError):
        write_json({"a": object()}, file)
    assert json.loads(file.read_text()) == {"a": 1}
    assert [f.name for f in tmp_path.iterdir()] == ["r.json"]
    with pytest.raises(StorageError):
        write_json({}, tmp_path)


def test_the_confusion_matrix_is_darkest_where_most_pictures_are(tmp_path: Path) -> None:
    wrong = plot_confusion([[0, 9], [9, 0]], ["a", "b"], tmp_path / "wrong.png")
    right = plot_confusion([[9, 0], [0, 9]], ["a", "b"], tmp_path / "right.png")
    assert not np.array_equal(drawn(wrong), drawn(right))
    empty = plot_confusion([[0, 0], [0, 3]], ["a", "b"], tmp_path / "empty.png")  # a class without pictures
    assert drawn(empty).shape == drawn(right).shape


def test_curves_have_a_panel_per_kind_of_number(tmp_path: Path) -> None:
    both = drawn(plot_history(HISTORY, tmp_path / "both.png", "run"))
    one = drawn(plot_history([{"epoch": 1, "loss": 1.0}], tmp_path / "one.png"))
    other = drawn(plot_history([{"spread": 1.0}, {"spread": 2.0}], tmp_path / "other.png"))
    assert both.shape[0] > one.shape[0] > 100
    assert other.std() > 1
