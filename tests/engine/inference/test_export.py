from __future__ import annotations

import json
import sys

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from emotion_perception.engine.cards import ModelCard
from emotion_perception.engine.errors import MissingDependencyError, StorageError, WeightsError
from emotion_perception.engine.inference import OnnxBackend, TorchBackend, export_onnx


class OtherWhenExported(nn.Module):
    """A network whose export computes something else than the network itself, by a given amount."""

    def __init__(self, inner: nn.Module, offset: float) -> None:
        super().__init__()
        self.inner = inner
        self.offset = offset

    def forward(self, x):
        logits, affect = self.inner(x)
        return logits, affect + self.offset if torch.compiler.is_exporting() else affect


class OnlyBatchesOfTwo(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x):
        logits, affect = self.inner(x)
        return logits.reshape(2, 1, 8), affect


class OtherPathForDark(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x if x.mean() > 0 else -x)


def test_the_file_has_a_dynamic_batch_named_ends_folded_batch_norm_and_the_card(exported, card):
    proto = onnx.load(exported)
    onnx.checker.check_model(proto)

    def shape(value):
        return [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]

    assert [(value.name, shape(value)) for value in proto.graph.input] == [("images", ["batch", 3, 24, 32])]
    assert [(value.name, shape(value)) for value in proto.graph.output] == [("logits", ["batch", 1, 8]), ("affect", ["batch", 1, 2])]
    assert "BatchNormalization" not in {node.op_type for node in proto.graph.node}
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    assert ModelCard.from_dict(json.loads(metadata["emotion_perception.card"])) == card
    assert (metadata["emotion_perception.format"], metadata["emotion_perception.precision"]) == ("1", "fp32")
    assert b".py" not in exported.read_bytes()  # no stack traces with the paths of this machine
    assert [entry.name for entry in exported.parent.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize("fold", [True, False])
def test_the_file_answers_as_the_network_does_in_any_batch(model, card, output_names, tmp_path, exported, fold):
    file = exported if fold else export_onnx(model, tmp_path / "new" / "model.onnx", card, output_names, do_constant_folding=False)
    backend = OnnxBackend(file, output_names, "cpu")
    reference = TorchBackend(model, output_names, "cpu")
    for count in (1, 2, 3, 8, 17):
        x = np.random.default_rng(count).standard_normal((count, 3, 24, 32)).astype(np.float32)
        for name, expected in reference(x).items():
            np.testing.assert_allclose(backend(x)[name], expected, atol=1e-5)


def test_the_network_is_left_as_it_was_and_nothing_is_printed(model, card, output_names, tmp_path, capfd, recwarn):
    model.train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    export_onnx(model, tmp_path / "model.onnx", card, output_names)
    assert model.training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert capfd.readouterr() == ("", "")
    assert not list(recwarn)


def test_an_export_that_answers_differently_is_not_kept(model, card, output_names, tmp_path):
    file = tmp_path / "model.onnx"
    file.write_bytes(b"what was there before")
    with pytest.raises(
        WeightsError, match=r"'toy' differs from torch by 0.001 \(affect, in a batch of 1\), expected at most 0.0001"
    ) as caught:
        export_onnx(OtherWhenExported(model, 1e-3), file, card, output_names)
    assert "\n" not in str(caught.value)
    assert [(entry.name, entry.read_bytes()) for entry in tmp_path.iterdir()] == [("model.onnx", b"what was there before")]
    export_onnx(OtherWhenExported(model, 2e-5), file, card, output_names)


def test_nan_weights_are_not_taken_for_agreement(model, card, output_names, tmp_path):
    with torch.no_grad():
        model.affect.bias[0] = float("nan")
    with pytest.raises(WeightsError, match=r"differs from torch by nan \(affect"):
        export_onnx(model, tmp_path / "model.onnx", card, output_names)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("wrapper", "match"),
    [(OnlyBatchesOfTwo, "the batch of images is a constant, expected any size"), (OtherPathForDark, "run it with torch, without optimize")],
)
def test_a_network_that_no_fixed_graph_can_follow_is_refused(model, card, output_names, tmp_path, capfd, wrapper, match):
    with pytest.raises(WeightsError, match=f"'toy' cannot be exported to ONNX: .*{match}") as caught:
        export_onnx(wrapper(model), tmp_path / "model.onnx", card, output_names)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


def test_a_place_that_cannot_be_written_is_named(model, card, output_names, tmp_path):
    (tmp_path / "taken").write_text("a file, not a folder")
    with pytest.raises(StorageError, match="taken"):
        export_onnx(model, tmp_path / "taken" / "model.onnx", card, output_names)


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_without_a_package_the_extra_is_named(model, card, output_names, tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=rf"optimize\(\) needs {package}.*emotion_perception\[onnx\]"):
        export_onnx(model, tmp_path / "model.onnx", card, output_names)
    assert not list(tmp_path.iterdir())
