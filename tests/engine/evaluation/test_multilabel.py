"""Multi-label metrics: equal to the reference and to scikit-learn, and steady where a class has no rows."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from emotion_perception.engine.errors import InputError
from emotion_perception.engine.evaluation.multilabel import multilabel_metrics
from emotion_perception.engine.evaluation.report import tables
from emotion_perception.engine.labels import LabelSet

NUMBERS = {"AP": "ap", "F1": "f1", "P": "precision", "R": "recall"}
THREE = LabelSet("three", ("a", "b", "c"), "made up", multi_label=True)


def cases(root: Path) -> dict[str, dict]:
    page = json.loads((root / "tests" / "data" / "golden" / "emotx.json").read_text(encoding="utf-8"))
    return {case["name"]: case for case in page["cases"] if case.get("kind") == "metrics"}


@pytest.mark.parametrize("name", ["metrics_k10", "metrics_ties_and_empty_class"])
@pytest.mark.parametrize("level", ["scene", "char"])
def test_the_published_codes_numbers(root: Path, name: str, level: str) -> None:
    case = cases(root)[name]
    said, true = (np.array(case["inputs"][key][level]) for key in ("probabilities", "targets"))
    labels = LabelSet("made_up", tuple(f"class {i}" for i in range(said.shape[1])), "made up", multi_label=True)
    found = multilabel_metrics(said, true, labels)
    present = true.sum(axis=0) > 0
    for published, ours in NUMBERS.items():
        expected = np.array(case["expected"][published][level])
        values = list(found[f"per_class_{ours}"].values())
        assert [value is None for value in values] == (~present).tolist()
        np.testing.assert_allclose([value for value in values if value is not None], expected[present], atol=1e-6)
    if present.all():
        assert found["map"] == pytest.approx(case["expected"]["mAP"][level], abs=1e-6)
        for published, ours in (("macro_F1", "f1"), ("macro_P", "precision"), ("macro_R", "recall")):
            assert found[f"macro_{ours}"] == pytest.approx(case["expected"][published][level], abs=1e-6)
    else:  # published, a class without rows counted as 0 or NaN; the page gives the mean of the others
        assert found["map"] == pytest.approx(0.4858819, abs=1e-6)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 40), st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_average_precision_is_that_of_scikit_learn(rows: int, seed: int, levels: int) -> None:
    random = np.random.default_rng(seed)
    said, true = np.round(random.random((rows, 3)) * levels) / levels, (random.random((rows, 3)) < 0.3).astype(int)  # many ties
    found = multilabel_metrics(said, true, THREE)
    expected = [average_precision_score(true[:, c], said[:, c]) for c in range(3) if true[:, c].any()]
    assert [value for value in found["per_class_ap"].values() if value is not None] == pytest.approx(expected)
    assert found["map"] == (pytest.approx(np.mean(expected)) if expected else None)
    assert list(found["support"].values()) == true.sum(axis=0).tolist()


def test_a_class_that_nobody_has_is_left_out_of_every_mean() -> None:
    true = np.array([[1, 0, 0], [0, 0, 1], [1, 0, 0]])
    said = np.array([[0.9, 0.9, 0.1], [0.2, 0.9, 0.8], [0.7, 0.9, 0.3]])
    found = multilabel_metrics(said, true, THREE)
    assert (found["map"], found["macro_f1"], found["macro_precision"], found["macro_recall"]) == (1.0, 1.0, 1.0, 1.0)
    assert found["per_class_ap"] == {"a": 1.0, "b": None, "c": 1.0}
    nobody = multilabel_metrics(said, np.zeros_like(true), THREE)
    assert nobody["map"] is None
    assert multilabel_metrics(np.zeros((0, 3)), np.zeros((0, 3)), THREE)["macro_f1"] is None


def test_the_threshold_itself_counts_as_judged() -> None:
    true, said = np.array([[1, 1, 0]]), np.array([[0.3, 0.29, 0.3]])
    assert multilabel_metrics(said, true, THREE, threshold=0.3)["per_class_recall"] == {"a": 1.0, "b": 0.0, "c": None}


@pytest.mark.parametrize(
    ("said", "true", "says"),
    [
        (np.zeros((2, 3)), np.zeros((3, 3)), "two arrays"),
        (np.zeros((2, 4)), np.zeros((2, 4)), "two arrays"),
        (np.full((2, 3), np.nan), np.zeros((2, 3)), "NaN"),
        (np.zeros((2, 3)), np.full((2, 3), 0.5), "other values than 0 and 1"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(said: np.ndarray, true: np.ndarray, says: str) -> None:
    with pytest.raises(InputError, match=says):
        multilabel_metrics(said, true, THREE)


def test_the_tables_have_a_row_per_level_and_one_per_class() -> None:
    from rich.console import Console

    true, said = np.array([[1, 0, 0], [0, 0, 1]]), np.array([[0.9, 0.4, 0.1], [0.2, 0.4, 0.8]])
    scene = multilabel_metrics(said, true, THREE)
    result = {"clips": 2, "map_scene": 1.0, "map_mean": 0.75, "map_gm": 0.7071, "scene": scene, "character": {**scene, "map": 0.5}}
    console = Console(width=120, record=True, file=io.StringIO())
    for table in tables(result, "on test"):
        console.print(table)
    text = console.export_text()
    assert "100.00" in text
    assert "geometric mean" in text
    assert "70.71" in text
    assert [line.split()[1] for line in text.splitlines() if line.startswith("│ b")] == ["b"]
