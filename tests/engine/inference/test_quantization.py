from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from emotion_perception.engine.errors import WeightsError
from emotion_perception.engine.inference import OnnxBackend, export_onnx
from emotion_perception.engine.inference.backends import rows
from emotion_perception.engine.inference.calibration import calibration_set
from emotion_perception.engine.inference.quantization import Int8, to_half


class Pooled(nn.Module):
    """Convolutions that are pooled before their ReLU, and a layer too small for int8."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 32, 3)
        self.scores, self.affect = nn.Linear(32, 8), nn.Linear(8, 2)

    def forward(self, x):
        x = torch.relu(torch.max_pool2d(self.first(x), 2))
        x = torch.relu(torch.max_pool2d(self.second(x), 2))
        scores = self.scores(x.mean((2, 3)))
        return scores, self.affect(scores.relu())


@pytest.fixture(scope="module")
def pooled(card, tmp_path_factory):
    torch.manual_seed(0)
    return export_onnx(Pooled().eval(), tmp_path_factory.mktemp("pooled") / "model.onnx", card, ("logits", "affect"))


@pytest.fixture(scope="module")
def pictures(learner):
    return calibration_set(learner)


def written(content, file):
    file.write_bytes(content)
    return file


def entries(file):
    return {entry.key: entry.value for entry in onnx.load(file).metadata_props}


def test_int8_answers_nearly_as_fp32_and_keeps_card_names_and_dynamic_batch(pooled, pictures, card, tmp_path, capfd, recwarn):
    int8 = Int8(pooled, pictures.ranges, tmp_path)
    assert list(int8.layers.values()) == ["first", "second"]
    file = written(int8.content(), tmp_path / "int8.onnx")
    backend, full = OnnxBackend(file, ("logits", "affect"), "cpu", "toy"), OnnxBackend(pooled, ("logits", "affect"), "cpu")
    assert (backend.card, backend.precision, backend.name) == (card, "int8", "onnxruntime cpu int8")
    assert entries(file)["emotion_perception.format"] == entries(pooled)["emotion_perception.format"] == "1"
    for count in (1, 3, 20):
        x = rows(pictures.check, slice(count))
        expected, answers = full(*x), backend(*x)
        for name in expected:
            assert answers[name].shape == expected[name].shape
            assert answers[name].dtype == np.float32
            assert np.abs(answers[name] - expected[name]).max() < 0.1 * np.abs(expected[name]).max()
            assert np.any(answers[name] != expected[name])  # it really is another computation
    assert capfd.readouterr() == ("", "")
    assert not list(recwarn)


def test_int8_weights_have_seven_bits_so_that_sums_fit_sixteen(pooled, pictures, tmp_path):
    proto = onnx.load_from_string(Int8(pooled, pictures.ranges, tmp_path).content())
    quantized = [onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer if tensor.data_type == onnx.TensorProto.INT8]
    weights = [values for values in quantized if values.ndim == 4]
    assert len(weights) == 2
    assert all(np.abs(values.astype(int)).max() <= 64 for values in weights)
    assert 2 * 255 * 64 < 2**15


def test_relu_comes_before_the_pool_and_answers_stay(pooled, pictures, tmp_path):
    int8 = Int8(pooled, pictures.ranges, tmp_path)
    before, after = (OnnxBackend(file, ("logits", "affect"), "cpu")(*pictures.check) for file in (pooled, tmp_path / "prepared.onnx"))
    np.testing.assert_array_equal(before["logits"], after["logits"])
    order = [node.op_type for node in onnx.load(tmp_path / "prepared.onnx").graph.node if node.op_type in ("Conv", "Relu", "MaxPool")]
    assert order[:6] == ["Conv", "Relu", "MaxPool", "Conv", "Relu", "MaxPool"]
    # In front of the pool nothing is left to do for a ReLU: the range of what is quantised starts at zero.
    kinds = [node.op_type for node in onnx.load_from_string(int8.content()).graph.node]
    assert kinds.count("Relu") < 3


def test_kept_layers_stay_fp32_and_all_kept_answers_as_before(pooled, pictures, tmp_path):
    int8 = Int8(pooled, pictures.ranges, tmp_path)
    first, second = int8.layers
    for kept, still in (([], 2), ([first], 1), ([second], 1), ([first, second], 0)):
        tensors = onnx.load_from_string(int8.content(kept)).graph.initializer
        assert sum(tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) == 4 for tensor in tensors) == still
    backend = OnnxBackend(written(int8.content(list(int8.layers)), tmp_path / "kept.onnx"), ("logits",), "cpu")
    expected = OnnxBackend(pooled, ("logits",), "cpu")(*pictures.check)["logits"]
    np.testing.assert_allclose(backend(*pictures.check)["logits"], expected, atol=1e-5)


class Spoiled(Pooled):
    """Computes the same function as without spoiling, but a channel between two layers is so large that int8 rounds the others away."""

    def __init__(self) -> None:
        super().__init__()
        self.third = nn.Conv2d(32, 32, 1)
        with torch.no_grad():
            self.first.weight[0] *= 5000.0
            self.first.bias[0] *= 5000.0
            self.second.weight[:, 0] /= 5000.0

    def forward(self, x):
        x = torch.relu(self.second(torch.relu(torch.max_pool2d(self.first(x), 2))))
        scores = self.scores(torch.relu(self.third(x)).mean((2, 3)))
        return scores, self.affect(scores.relu())


def test_sensitivity_finds_the_layers_that_int8_spoils(card, pictures, tmp_path):
    torch.manual_seed(0)
    file = export_onnx(Spoiled().eval(), tmp_path / "model.onnx", card, ("logits", "affect"))
    full = OnnxBackend(file, ("logits", "affect"), "cpu")
    int8 = Int8(file, pictures.ranges, tmp_path)
    few = rows(pictures.check, slice(8))
    changes = {int8.layers[node]: change for node, change in int8.sensitivity(full, few, tmp_path, ("logits", "affect"))}
    assert min(changes["first"], changes["second"]) > 10 * changes["third"]  # both touch what is rounded away
    blamed = [node for node, name in int8.layers.items() if name != "third"]

    def difference(kept):
        answers = OnnxBackend(written(int8.content(kept), tmp_path / "some.onnx"), ("logits",), "cpu")(*pictures.check)["logits"]
        return np.abs(answers - full(*pictures.check)["logits"]).max()

    assert difference(blamed) < 0.1 * difference([])


class Residual(nn.Module):
    """An inverted residual of the MobileNet kind: a depthwise layer, ReLU6, a sum of two layers' outputs, and one with a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.wide = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 32, 1)
        self.deep, self.narrow = nn.Conv2d(32, 32, 3, padding=1, groups=32), nn.Conv2d(32, 16, 1)
        self.offset = nn.Parameter(torch.rand(1, 16, 1, 1))
        self.scores, self.affect = nn.Linear(16, 8), nn.Linear(8, 2)

    def forward(self, x):
        x = nn.functional.relu6(self.stem(x))
        x = x + self.narrow(nn.functional.relu6(self.deep(nn.functional.relu6(self.wide(x)))))
        scores = self.scores((x + self.offset).mean((2, 3)))
        return scores, self.affect(scores.relu())


def test_a_sum_of_layers_is_int8_and_one_with_a_constant_is_not(card, pictures, tmp_path):
    torch.manual_seed(0)
    file = export_onnx(Residual().eval(), tmp_path / "model.onnx", card, ("logits", "affect"))
    int8 = Int8(file, pictures.ranges, tmp_path)
    assert list(int8.layers.values()) == ["stem", "wide", "deep", "narrow"]

    def int8_sums(kept):
        graph = onnx.load_from_string(int8.content(kept)).graph
        maker = {name: node.op_type for node in graph.node for name in node.output}
        return [{maker.get(name) for name in node.input} == {"DequantizeLinear"} for node in graph.node if node.op_type == "Add"]

    assert int8_sums([]) == [True, False]
    assert int8_sums(list(int8.layers)) == [False, False]
    answers = OnnxBackend(written(int8.content(), tmp_path / "int8.onnx"), ("logits",), "cpu")(*pictures.check)["logits"]
    expected = OnnxBackend(file, ("logits",), "cpu")(*pictures.check)["logits"]
    assert np.abs(answers - expected).max() < 0.1 * np.abs(expected).max()


def test_half_has_half_the_size_float32_ends_and_the_same_card(pooled, pictures, card, tmp_path, capfd):
    file = written(to_half(pooled), tmp_path / "half.onnx")
    proto = onnx.load(file)
    assert {value.type.tensor_type.elem_type for value in (*proto.graph.input, *proto.graph.output)} == {onnx.TensorProto.FLOAT}
    assert {tensor.data_type for tensor in proto.graph.initializer if len(tensor.dims) == 4} == {onnx.TensorProto.FLOAT16}
    backend = OnnxBackend(file, ("logits", "affect"), "cpu", "toy")
    assert (backend.card, backend.precision) == (card, "fp16")
    expected = OnnxBackend(pooled, ("logits", "affect"), "cpu")(*pictures.check)
    np.testing.assert_allclose(backend(*pictures.check)["logits"], expected["logits"], atol=5e-3)
    assert capfd.readouterr() == ("", "")


def test_a_network_without_layers_for_int8_is_refused(card, pictures, tmp_path):
    class Mean(nn.Module):
        def forward(self, x):
            return x.mean((2, 3)), x.amax((2, 3))

    file = export_onnx(Mean(), tmp_path / "model.onnx", card, ("logits", "affect"))
    with pytest.raises(WeightsError, match=r"no layer .* use precision fp32"):
        Int8(file, pictures.ranges, tmp_path)
