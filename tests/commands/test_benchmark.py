from __future__ import annotations

import json
from pathlib import Path

import pytest

from emotion_perception.engine.evaluation.benchmark import peaks


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peaks, "_SIDE", 64)
    monkeypatch.setattr(peaks, "_SECONDS", 0.001)
    monkeypatch.setattr("emotion_perception.engine.evaluation.benchmark.footprint._TIMES", 1)


def test_tables_and_a_report_are_made(command, quick: None, tiny_weights: Path, tmp_path: Path) -> None:
    words = ("benchmark", "esr", "--weights", tiny_weights, "--backends", "torch", "--precisions", "fp32")
    words = (*words, "--batches", "1,2", "--seconds", 0.1)
    status, out, err = command(*words, "--input-size", 54, "--out", tmp_path / "report")
    assert status == 0
    assert out.splitlines()[0].split()[:4] == ["variant", "batch", "p50", "ms"]
    assert [line.split()[0] for line in out.splitlines()[1:5]] == ["reference", "torch", "reference", "torch"]
    assert err.count("wrote ") == 3
    page = (tmp_path / "report.md").read_text()
    assert "--batches 1,2 --input-size 54 --seconds 0.1" in page
    assert str(tiny_weights) not in page

    status, out, _ = command(*words, "--no-reference", "--json")
    assert status == 0
    assert [variant["name"] for variant in json.loads(out)["variants"]] == ["torch fp32"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--backends", "tensorflow"], "unknown back end 'tensorflow'"),
        (["--precisions", "int4"], "did you mean 'int8'?"),
        (["--batches", "1,two"], "expected whole numbers"),
        (["--data", "FERPlus"], "--dataset and --data go together"),
        (["--dataset", "ferplus", "--data", "FERPlus", "--pictures", "faces"], "--pictures without"),
        (["--video", "no.mp4"], "there is no video 'no.mp4'"),
        (["--backends", "torch", "--precisions", "fp32", "--pictures", "no_folder"], "no folder 'no_folder'"),
        (["--backends", "torch", "--precisions", "int8"], "torch computes in fp32"),
    ],
)
def test_wrong_use_is_one_line(command, tiny_weights: Path, words: list[str], says: str) -> None:
    status, out, err = command("benchmark", "esr", "--weights", tiny_weights, *words)
    assert (status, out) == (2, "")
    assert says in err.splitlines()[-1]
    assert err.count("error:") == 1
