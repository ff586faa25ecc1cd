from __future__ import annotations

import json
import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from emotion_perception.engine.cards import CropSpec, InputSpec, ModelCard
from emotion_perception.engine.data import Image
from emotion_perception.engine.datasets import EmotionDataset
from emotion_perception.engine.datasets.base import Targets
from emotion_perception.engine.errors import NotLoadedError, UsageError, WeightsError
from emotion_perception.engine.evaluation import measure, outputs_over
from emotion_perception.engine.inference.metadata import check_format
from emotion_perception.engine.inference.parity import TOLERANCES, Tolerance, broken, parity, report_beside
from emotion_perception.engine.labels import AFFECTNET8
from emotion_perception.engine.learners import Learner
from emotion_perception.engine.target import Emotions

SIDE = 24


class Network(nn.Module):
    """Three convolutions; ``spoiled``: a channel between the first two is so large that int8 rounds the others away."""

    def __init__(self, spoiled: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        layers = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3), nn.Conv2d(16, 16, 1), nn.Conv2d(16, 16, 1)
        self.body = nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU())))
        self.scores = nn.Linear(16, 8)
        with torch.no_grad():
            self.scores.bias[2] += 0.2  # so that the class is never a matter of the last digit
            self.scores.weight *= 2.0
            if spoiled:
                self.body[0].weight[0] *= 5000.0
                self.body[0].bias[0] *= 5000.0
                self.body[2].weight[:, 0] /= 5000.0

    def forward(self, x):
        scores = self.scores(self.body(x).mean((2, 3)))
        return scores, torch.tanh(scores[:, :2])


class Small(Learner):
    card = ModelCard(
        "small", "Four layers", "face", InputSpec(SIDE, SIDE), "affectnet8", "Apache-2.0", "none", affect=True, crop=CropSpec()
    )
    output_names = ("logits", "affect")

    def build_model(self, card):
        return Network(bool(card.architecture.get("spoiled"))).eval()

    def emotions(self, outputs):
        e = np.exp(outputs["logits"] - outputs["logits"].max(axis=1, keepdims=True))
        return Emotions(self.card.label_set, e / e.sum(axis=1, keepdims=True), outputs["affect"])

    def eval(self, dataset=None):
        return measure(self.emotions(outputs_over(self, dataset)), dataset.targets)

    def fit(self, *given, **named): ...
    def download(self, *given, **named): ...


class Noise(EmotionDataset):
    def __init__(self, learner: Learner) -> None:
        self.labels = AFFECTNET8
        self.pictures = np.random.default_rng(0).integers(0, 256, (40, SIDE, SIDE, 3), np.uint8)
        right = learner.infer([Image.from_array(picture) for picture in self.pictures]).index
        self.targets = Targets(right)

    def picture(self, index):
        return self.pictures[index]


def learner(tmp_path, spoiled=False, **changes):
    made = Small(device="cpu", backend="torch", temp_path=tmp_path / "temp", batch_size=16)
    made.card = made.card.with_(architecture={"spoiled": spoiled}, **changes)
    made._use(made.build_model(made.card))
    return made


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_every_precision_is_reported_used_saved_and_loaded(tmp_path, precision):
    small = learner(tmp_path)
    pictures = np.random.default_rng(1).random((5, SIDE, SIDE, 3), dtype=np.float32)
    expected = small.infer(pictures)
    file = small.optimize(precision=precision, labelled=Noise(small))
    assert sorted(path.name for path in file.parent.iterdir()) == ["small.onnx", "small.report.json"]
    name = "onnxruntime cpu" + ("" if precision == "fp32" else f" {precision}")
    assert small.backend_name == name
    report = json.loads(report_beside(file).read_text())
    assert (report["learner"], report["precision"], report["runs_on"]) == ("small", precision, name)
    assert report["bytes"] == file.stat().st_size
    assert report["check"]["pictures"] == 64
    assert 0.0 <= report["check"]["probabilities"]["mean"] <= report["check"]["probabilities"]["max"] <= TOLERANCES[precision].difference
    assert report["labelled"]["before"] == pytest.approx(report["labelled"]["before"] | {"pictures": 40, "accuracy": 1.0})
    assert report["labelled"]["after"]["accuracy"] >= 0.975
    assert (report["layers"] is None) == (precision != "int8")
    assert report["calibration"] == ({"source": "the bundled portrait, varied", "pictures": 64} if precision == "int8" else None)

    other = Small(device="cpu", temp_path=tmp_path / "other")
    folder = small.save(tmp_path / "saved").rename(tmp_path / "moved")
    other.load(folder)
    assert other.backend_name == name
    np.testing.assert_allclose(other.infer(pictures).probabilities, expected.probabilities, atol=TOLERANCES[precision].difference)
    assert json.loads((folder / "optimize.json").read_text()) == report
    again = other.save(tmp_path / "again")
    assert json.loads((again / "optimize.json").read_text()) == report


def test_layers_that_int8_spoils_stay_in_fp32_and_the_report_says_why(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="emotion_perception")
    small = learner(tmp_path, spoiled=True)
    file = small.optimize(precision="int8", tolerance=Tolerance(0.02))
    layers = json.loads(report_beside(file).read_text())["layers"]
    assert layers["int8"] == 2
    assert sorted(entry["layer"] for entry in layers["kept_in_fp32"]) == ["body.0", "body.2"]
    assert all("alone in int8 it changes an output by" in entry["why"] for entry in layers["kept_in_fp32"])
    assert "looking for the layers to blame" in caplog.text


def test_what_breaks_the_tolerance_is_not_written_and_not_used(tmp_path):
    small = learner(tmp_path)
    labelled = Noise(small)
    file = small.optimize()
    before = {path.name: path.read_bytes() for path in file.parent.iterdir()}
    with pytest.raises(WeightsError, match=r"'small' in int8 is not kept: .*even with 2 of 4 layers in fp32; use precision fp32") as caught:
        small.optimize(precision="int8", tolerance=Tolerance(0.0))
    assert "\n" not in str(caught.value)
    with pytest.raises(WeightsError, match=r"in fp16 is not kept: probabilities differ by up to .* expected at most 1e-09"):
        small.optimize(precision="fp16", tolerance=Tolerance(1e-9))
    scores = iter([0.9, 0.8])
    small.eval = lambda dataset: {"pictures": 40, "accuracy": next(scores)}
    with pytest.raises(WeightsError, match=r"falls from 90.00 to 80.00 %, expected a loss of at most 0.5 points"):
        small.optimize(precision="int8", labelled=labelled)
    assert {path.name: path.read_bytes() for path in file.parent.iterdir()} == before
    assert small.backend_name == "onnxruntime cpu"


def test_another_learners_export_in_the_same_place_is_not_saved_as_ones_own(tmp_path):
    one, other = learner(tmp_path), learner(tmp_path)
    one.optimize()
    file = other.optimize()
    with pytest.raises(WeightsError, match=r"was replaced since it was made"):
        one.save(tmp_path / "one")
    assert not (tmp_path / "one").exists()
    other.save(tmp_path / "other")
    file.unlink()
    with pytest.raises(WeightsError, match=r"small.onnx' is gone"):
        other.save(tmp_path / "again")


def test_wrong_requests_are_one_line_and_leave_nothing(tmp_path):
    scene = learner(tmp_path, perceives="scene", crop=None)
    with pytest.raises(UsageError, match="precision is 'int4', expected one of fp32, fp16, int8"):
        scene.optimize(precision="int4")
    with pytest.raises(UsageError, match="int8 needs calibration pictures"):
        scene.optimize(precision="int8")
    with pytest.raises(NotLoadedError, match="no weights yet"):
        Small(temp_path=tmp_path / "temp").optimize(precision="int8")
    assert not (tmp_path / "temp").exists()
    scene.optimize(precision="fp16")
    report = json.loads((tmp_path / "temp" / "small.report.json").read_text())
    assert report["check"]["source"] == "random pictures"


def emotions(probabilities, affect=None):
    return Emotions(AFFECTNET8, np.array(probabilities, np.float32), None if affect is None else np.array(affect, np.float32))


def test_parity_is_what_one_counts_by_hand():
    one, other = [0.6, 0.4, *[0.0] * 6], [0.4, 0.6, *[0.0] * 6]
    found = parity(emotions([one, other], [[0.0, 0.1], [0.2, 0.3]]), emotions([one, one], [[0.0, 0.0], [0.2, 0.0]]))
    assert found["pictures"] == 2
    assert found["agreement"] == 0.5
    assert found["probabilities"] == pytest.approx({"max": 0.2, "mean": 0.4 / 16})
    assert found["affect"] == pytest.approx({"max": 0.3, "mean": 0.1})
    assert "affect" not in parity(emotions([one]), emotions([one]))
    assert broken(found, Tolerance(0.4, agreement=0.5)) == ""
    assert "affect differ by up to 0.3 on 2 inputs, expected at most 0.25" in broken(found, Tolerance(0.25, 0.5))
    assert "50.0 % of 2 inputs get the same class, expected at least 98 %" in broken(found, Tolerance(0.4))
    assert "nan" in broken(found | {"affect": {"max": float("nan"), "mean": 0.0}}, Tolerance(1.0, 0.0))


@pytest.mark.parametrize("limits", [{"difference": -1.0}, {"difference": 1.0, "agreement": 98.0}, {"difference": float("nan")}])
def test_limits_that_mean_nothing_are_refused(limits):
    with pytest.raises(UsageError, match="makes no sense"):
        Tolerance(**limits)
    assert replace(Tolerance(0.1), agreement=1.0).agreement == 1.0


def test_a_file_of_a_newer_format_is_refused(tmp_path):
    check_format({}, tmp_path)
    check_format({"emotion_perception.format": "1"}, tmp_path)
    for version in ("2", "x"):
        with pytest.raises(WeightsError, match=f"has format version {version}, this program reads up to 1; update emotion_perception"):
            check_format({"emotion_perception.format": version}, tmp_path / "model.onnx")
