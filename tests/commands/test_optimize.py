from __future__ import annotations

import json
from pathlib import Path

import pytest

from emotion_perception.commands._common import DIGITS
from emotion_perception.engine.plain import plain


def test_the_folder_is_complete_and_predict_runs_it(command, tiny_weights: Path, portrait: Path, tmp_path: Path, caplog) -> None:
    status, out, err = command("optimize", "esr", "--weights", tiny_weights, "--output", tmp_path / "fast", "--device", "cpu")
    assert status == 0
    assert "esr: exporting to ONNX" in caplog.text
    assert f"--weights {tmp_path / 'fast'}" in err
    fields = dict(line.split("  ", 1) for line in out.splitlines() if not line.startswith(" "))
    assert fields["runs on"].strip() == "onnxruntime cpu"
    assert "at most" in fields["probabilities"]
    assert sorted(path.name for path in (tmp_path / "fast").iterdir()) == ["card.json", "model.onnx", "model.safetensors", "optimize.json"]

    (tmp_path / "fast").rename(tmp_path / "moved")
    words = ("predict", portrait, "--detector", "none", "--json")
    slow, fast = (json.loads(command(*words, "--weights", folder).out) for folder in (tiny_weights, tmp_path / "moved"))
    assert fast[0]["faces"][0]["probabilities"] == pytest.approx(slow[0]["faces"][0]["probabilities"], abs=1e-4)


def test_int8_is_calibrated_on_a_folder_and_compared_on_labelled_pictures(
    command, tiny_weights: Path, class_folders: Path, tmp_path: Path
) -> None:
    words = ("optimize", "esr", "--weights", tiny_weights, "--precision", "int8", "--calibration", class_folders, "--device", "cpu")
    status, out, err = command(*words, "--dataset", "folder", "--data", class_folders, "--out", tmp_path / "fast", "--json")
    assert status == 0, err
    report = json.loads(out)
    assert report["folder"] == str(tmp_path / "fast")
    assert report["precision"] == "int8"
    assert report["calibration"] == {"source": f"folder {str(class_folders)!r}", "pictures": 16}
    assert report["check"]["pictures"] == 8
    assert report["labelled"]["before"]["pictures"] == report["labelled"]["after"]["pictures"] == 24
    stored = json.loads((tmp_path / "fast" / "optimize.json").read_text())
    assert report == plain(stored, DIGITS) | {"folder": str(tmp_path / "fast")}


def test_wrong_use_is_one_line_and_writes_nothing(command, tiny_weights: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    out = tmp_path / "fast"
    for words, expected, match in (
        (("--precision", "int4"), 2, "unknown value of --precision: 'int4'; did you mean 'int8'?"),
        (("--dataset", "folder"), 2, "--dataset and --data go together"),
        (("--split", "valid"), 2, "--dataset and --data go together"),
        (("--precision", "int8", "--calibration", tmp_path / "empty"), 1, "has 0 pictures, expected at least 8"),
        (("--precision", "int8", "--calibration", tmp_path / "nowhere"), 2, "there is no folder"),
    ):
        status, printed, err = command("optimize", "esr", "--weights", tiny_weights, "--out", out, *words)
        assert (status, printed) == (expected, "")
        assert match in err
        assert err.startswith("emotion-perception: error: ")
        assert err.count("\n") == 1
    assert not out.exists()


@pytest.mark.slow
def test_the_default_weights_lose_nothing_in_int8(test_data: Path, tmp_path: Path) -> None:
    from emotion_perception.engine.datasets import open_dataset
    from emotion_perception.learners.esr import FacialEmotionLearner

    learner = FacialEmotionLearner(device="cpu", temp_path=tmp_path)
    learner.load()
    faces = open_dataset("ferplus", "FER2013Valid", test_data / "data" / "ferplus")
    file = learner.optimize(precision="int8", labelled=faces.subset(range(0, len(faces), 16)))  # all of them are for the command
    report = json.loads(file.with_suffix(".report.json").read_text())
    assert report["labelled"]["before"]["accuracy"] == pytest.approx(0.86, abs=0.04)
    assert report["bytes"] < 0.27 * report["fp32_bytes"]
    assert report["layers"] == {"int8": 40, "kept_in_fp32": []}
