"""Networks that take several arrays, as those for clips do: back ends, export with lengths that change, int8, and a learner around them."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from emotion_perception.engine.cards import InputSpec, ModelCard
from emotion_perception.engine.errors import DatasetError, InputError, UsageError, WeightsError
from emotion_perception.engine.inference import Backend, OnnxBackend, TorchBackend, export_onnx
from emotion_perception.engine.inference.parity import Tolerance, broken, parity, report_beside
from emotion_perception.engine.learners import Learner
from emotion_perception.engine.target import Emotions

INPUTS, OUTPUTS = ("seen", "hidden", "said"), ("probabilities", "each")
CLASSES, WIDTH, PEOPLE = 10, 48, 3


class Talk(nn.Module):
    """Judges what is seen, of which some is hidden, and the numbers of the words that are said."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(50, 1024)
        self.look, self.judge = nn.Linear(WIDTH, 1024), nn.Linear(1024, PEOPLE * CLASSES)

    def forward(self, seen, hidden, said):
        shown = (self.look(seen).relu() * ~hidden[..., None]).sum(1) / (~hidden).sum(1, keepdim=True).clamp(min=1)
        each = self.judge(shown + self.words(said).mean(1)).sigmoid().unflatten(1, (PEOPLE, CLASSES))
        return each[:, 0], each


def clip(number: int, seen: int, said: int):
    random = np.random.default_rng(number)
    return random.standard_normal((seen, WIDTH)).astype(np.float32), random.integers(0, 50, said)


class TalkLearner(Learner):
    card = ModelCard("talk", "Sees and hears", "clip", InputSpec(8, 8), "moviegraphs10", "Apache-2.0", "none")
    input_names, output_names = INPUTS, OUTPUTS

    def build_model(self, card):
        return Talk().eval()

    def inputs(self, batch, color="rgb"):
        seen = np.zeros((len(batch), max((len(frames) for frames, _ in batch), default=1), WIDTH), np.float32)
        hidden = np.ones(seen.shape[:2], np.bool_)
        for row, (frames, _) in enumerate(batch):
            seen[row, : len(frames)], hidden[row, : len(frames)] = frames, False
        return seen, hidden, np.array([words[:2] for _, words in batch], np.int64).reshape(len(batch), 2)

    def example(self, count):
        seen, hidden, _ = self.inputs([clip(row, 3 + count, 2) for row in range(count)])
        return seen, hidden, np.random.default_rng(count).integers(0, 50, (count, 6 + 2 * count))

    def emotions(self, outputs):
        return Emotions(self.card.label_set, outputs["probabilities"], extras={"each": outputs["each"]})

    def fit(self, *given, **named): ...
    def eval(self, dataset=None): ...
    def download(self, *given, **named): ...


@pytest.fixture(scope="module")
def learner(tmp_path_factory):
    made = TalkLearner(device="cpu", backend="torch", temp_path=tmp_path_factory.mktemp("talk"), batch_size=4)
    made._use(made.build_model(made.card))
    return made


@pytest.fixture(scope="module")
def exported(learner, tmp_path_factory):
    file = tmp_path_factory.mktemp("exported") / "talk.onnx"
    return export_onnx(learner.model, file, learner.card, OUTPUTS, input_names=INPUTS, example=learner.example)


@pytest.fixture(params=["torch", "onnx"])
def backend(request, learner):
    if request.param == "torch":
        return TorchBackend(learner.model, OUTPUTS)
    return OnnxBackend(request.getfixturevalue("exported"), OUTPUTS, "cpu", "talk", INPUTS)


def test_axes_that_differ_between_two_examples_are_dynamic_and_those_that_differ_alike_are_one(exported):
    def shape(value):
        return [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]

    graph = onnx.load(exported).graph
    shapes = {value.name: shape(value) for value in (*graph.input, *graph.output)}
    assert shapes == {
        "seen": ["batch", "seen_1", WIDTH],
        "hidden": ["batch", "seen_1"],
        "said": ["batch", "said_1"],
        "probabilities": ["batch", CLASSES],
        "each": ["batch", PEOPLE, CLASSES],
    }


@pytest.mark.parametrize(("count", "seen", "said"), [(1, 1, 1), (1, 40, 2), (5, 7, 1), (3, 2, 30)])
def test_back_ends_answer_as_the_network_for_any_batch_and_any_length(backend, learner, count, seen, said):
    assert isinstance(backend, Backend)
    frames, hidden, _ = learner.inputs([clip(row, max(seen - row, 1), 2) for row in range(count)])
    words = np.random.default_rng(1).integers(0, 50, (count, said))
    with torch.no_grad():
        expected = learner.model(*(torch.from_numpy(x) for x in (frames, hidden, words)))
    answers = backend(frames, hidden, words)
    assert list(answers) == list(OUTPUTS)
    for values, wanted in zip(answers.values(), expected, strict=True):
        np.testing.assert_allclose(values, wanted.numpy(), atol=1e-5)


def test_arrays_that_do_not_fit_each_other_or_the_file_are_refused_in_one_line(backend, learner, exported):
    seen, hidden, said = learner.example(3)
    with pytest.raises(InputError, match=r"as many rows each, got shapes \(3, 6, 48\), \(3, 6\), \(2, 12\); make them with"):
        backend(seen, hidden, said[:2])
    file = OnnxBackend(exported, OUTPUTS, "cpu", input_names=INPUTS)
    with pytest.raises(InputError, match=r"takes 3 arrays \(seen, hidden, said\), got 2"):
        file(seen, hidden)
    with pytest.raises(InputError, match=r"takes \(n, seen_1, 48\), got ndarray of shape \(3, 6, 40\) and type float32 for seen"):
        file(seen[..., :40], hidden, said)
    with pytest.raises(WeightsError, match="takes seen, hidden, said, expected images; export it again"):
        OnnxBackend(exported, OUTPUTS, "cpu")


def test_a_learner_judges_lists_in_batches_and_an_optimised_one_the_same(learner, tmp_path):
    clips = [clip(row, 1 + row % 5, 2) for row in range(9)]
    together = learner.infer(clips)
    assert together.probabilities.shape == (9, CLASSES)
    for row in range(9):
        np.testing.assert_allclose(learner.infer(clips[row : row + 1]).probabilities[0], together.probabilities[row], atol=1e-6)
    assert len(learner.infer([])) == 0
    other = TalkLearner(device="cpu", temp_path=tmp_path / "temp", batch_size=4)
    other.load(learner.save(tmp_path / "weights"))
    report = json.loads(report_beside(other.optimize()).read_text())
    assert other.backend_name == "onnxruntime cpu"
    assert report["check"]["source"] == "random clips"
    assert set(report["check"]) == {"source", "pictures", "agreement", "probabilities", "each"}
    np.testing.assert_allclose(other.infer(clips).probabilities, together.probabilities, atol=1e-4)
    again = TalkLearner(device="cpu", temp_path=tmp_path / "temp")
    again.load(other.save(tmp_path / "optimised"))
    np.testing.assert_allclose(again.infer(clips).probabilities, together.probabilities, atol=1e-4)


def test_int8_takes_its_ranges_from_clips_and_refuses_without(learner):
    for given, error, match in (
        (None, UsageError, r"int8 needs calibration clips, and none are bundled for 'talk'.* a data set or list of at least 8"),
        ("folder", UsageError, "calibration is a str, expected a data set or a list of clips"),
        ([clip(0, 3, 2)], DatasetError, "the list given has 1 clips, expected at least 8"),
    ):
        with pytest.raises(error, match=match) as caught:
            learner.optimize(precision="int8", calibration=given)
        assert "\n" not in str(caught.value)
    clips = [clip(row, 2 + row % 5, 2) for row in range(24)]
    expected = learner.infer(clips)
    file = learner.optimize(precision="int8", calibration=clips)
    report = json.loads(report_beside(file).read_text())
    assert report["calibration"] == {"source": "the list given", "pictures": 16}
    assert report["layers"]["int8"] == 1  # `look`; `judge` is too small
    assert learner.backend_name == "onnxruntime cpu int8"
    difference = np.abs(learner.infer(clips).probabilities - expected.probabilities)
    assert 0.0 < difference.max() < 0.1
    learner._use(learner.model)


def test_parity_of_several_labels_counts_decisions_and_compares_what_has_a_number_per_class():
    labels = TalkLearner.card.label_set

    def judged(probabilities, each):
        extras = {"each": np.array(each, np.float32), "names": np.array([["x"]])}
        return Emotions(labels, np.array(probabilities, np.float32), extras=extras)

    one, other = [[0.9] + [0.1] * 9], [[0.4, 0.7] + [0.1] * 8]
    assert judged(one, [one]).present().tolist() == [[True] + [False] * 9]
    assert judged(other, [other]).present(0.3).sum() == 2
    found = parity(judged(other, [one]), judged(one, [other]))
    assert found["agreement"] == pytest.approx(0.8)
    assert found["each"]["max"] == found["probabilities"]["max"] == pytest.approx(0.6)
    found |= {"probabilities": {"max": 0.0}, "each": {"max": 0.5}}
    assert "each differ by up to 0.5 on 1 inputs" in broken(found, Tolerance(0.4, 0.0))
