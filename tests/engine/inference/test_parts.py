from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from emotion_perception.engine.errors import MissingDependencyError, WeightsError
from emotion_perception.engine.inference import OnnxBackend, export_onnx, parts
from emotion_perception.engine.inference.parts import cut

STACKED = ("logits", "affect")
OUTPUTS = ("probabilities", *STACKED)


class Ensemble(nn.Module):
    """Three branches on a shared convolution, with their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.MaxPool2d(2), nn.ReLU())
        self.branches = nn.ModuleList(nn.Sequential(nn.Conv2d(8, 12, 3), nn.ReLU()) for _ in range(3))
        self.scores = nn.ModuleList(nn.Linear(12, 8) for _ in range(3))
        self.affect = nn.Linear(8, 2)  # one for all, so that branches share a weight too

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        features = self.shared(x)
        logits = [score(branch(features).mean((2, 3))) for score, branch in zip(self.scores, self.branches, strict=True)]
        stacked = torch.stack(logits, 1)
        return stacked.softmax(2).mean(1), stacked, torch.stack([self.affect(one.relu()) for one in logits], 1)


def pictures(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 3, 24, 32)).astype(np.float32)


@pytest.fixture(scope="module", params=["folded", "unfolded", "int8"])
def whole(request, card, tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("ensemble")
    file = export_onnx(Ensemble().eval(), folder / "model.onnx", card, OUTPUTS, do_constant_folding=request.param != "unfolded")
    if request.param == "int8":
        quantization = pytest.importorskip("onnxruntime.quantization")

        class Calibration(quantization.CalibrationDataReader):
            def __init__(self) -> None:
                self.batches = iter([{"images": pictures(4, seed)} for seed in range(4)])

            def get_next(self):
                return next(self.batches, None)

        kinds = {"activation_type": quantization.QuantType.QUInt8, "weight_type": quantization.QuantType.QInt8}
        file = folder / "int8.onnx"
        quantization.quantize_static(str(folder / "model.onnx"), str(file), Calibration(), per_channel=True, **kinds)
    return OnnxBackend(file, OUTPUTS, "cpu")


@pytest.mark.parametrize("groups", [(3,), (1, 2), (1, 1, 1)])
def test_the_pieces_together_answer_like_the_whole(whole, groups):
    shared, branches = cut(whole, STACKED, groups)
    x = pictures(5)
    (features,) = shared(x)
    answers = [branch(features) for branch in branches]
    assert [[values.shape for values in answer] for answer in answers] == [[(5, size, 8), (5, size, 2)] for size in groups]
    expected = whole(x)
    for i, name in enumerate(STACKED):
        np.testing.assert_allclose(np.concatenate([answer[i] for answer in answers], 1), expected[name], atol=1e-5)


def test_the_whole_is_closed_when_it_is_cut_and_opens_again_when_it_is_called(whole, monkeypatch):
    opened = []
    really_open = OnnxBackend._open
    monkeypatch.setattr(OnnxBackend, "_open", lambda self: opened.append(self) or really_open(self))
    before = whole(pictures(2))
    whole_again = len(opened)  # another test may have cut it
    shared, _ = cut(whole, STACKED, (3,))
    shared(pictures(2))
    assert len(opened) == whole_again
    for _ in range(2):
        np.testing.assert_array_equal(whole(pictures(2))["logits"], before["logits"])
    assert len(opened) == whole_again + 1


def test_a_file_that_was_replaced_is_not_opened_again(whole, tmp_path):
    file = tmp_path / "model.onnx"
    file.write_bytes(whole.path.read_bytes())
    backend = OnnxBackend(file, OUTPUTS, "cpu")
    backend.close()
    file.write_bytes(whole.path.read_bytes()[:-1])
    for use in (lambda: backend(pictures(1)), lambda: cut(backend, STACKED, (3,))):
        with pytest.raises(WeightsError, match="was replaced"):
            use()
    file.unlink()
    with pytest.raises(WeightsError, match="is gone"):
        backend(pictures(1))


def test_pieces_take_any_rows_of_the_features(whole):
    shared, (first, second) = cut(whole, STACKED, (1, 2))
    x = pictures(4)
    (features,) = shared(x)
    np.testing.assert_allclose(second(features[[3, 1]])[0], whole(x)["logits"][[3, 1], 1:], atol=1e-5)
    assert first(features[:0])[1].shape == (0, 1, 2)


def test_the_cut_is_after_the_shared_layers_and_where_numbers_are_8_bits_wide(whole):
    shared, groups = cut(whole, STACKED, (1, 2))
    (features,) = shared(pictures(1))
    assert features.dtype == (np.uint8 if whole.path.name == "int8.onnx" else np.float32)
    assert features.shape == (1, 8, 10, 14)  # the shared layers are no part of the groups
    for piece in (shared, *groups):  # without a shape, ONNX Runtime takes slower layers
        assert len(piece._session.get_inputs()[0].shape) == 4


def test_the_order_in_which_a_file_lists_its_nodes_does_not_matter(whole, tmp_path):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(str(whole.path))
    turned = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(turned)
    onnx.save(model, str(tmp_path / "turned.onnx"))
    x = pictures(2)
    (expected,) = cut(whole, STACKED, (3,))[0](x)
    shared, (branches,) = cut(OnnxBackend(tmp_path / "turned.onnx", OUTPUTS, "cpu"), STACKED, (3,))
    np.testing.assert_array_equal(shared(x)[0], expected)
    np.testing.assert_allclose(branches(expected)[0], whole(x)["logits"], atol=1e-5)


def test_another_number_of_branches_is_refused(whole):
    with pytest.raises(WeightsError, match=r"has 3 branches, expected 4; export it again"):
        cut(whole, STACKED, (1, 3))


def test_a_network_without_branches_is_refused(exported, output_names):
    with pytest.raises(WeightsError, match=r"makes logits with \w+, expected Concat; use it without confidence"):
        cut(OnnxBackend(exported, output_names, "cpu"), output_names, (1,))


def test_branches_that_share_nothing_or_two_tensors_are_refused(card, tmp_path):
    class Apart(nn.Module):
        def __init__(self, shared: int) -> None:
            super().__init__()
            self.shared = nn.ModuleList(nn.Conv2d(3, 2, 3) for _ in range(shared))
            self.own = nn.ModuleList(nn.Conv2d(3, 2, 3) for _ in range(2))

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
            common = [layer(x).relu() for layer in self.shared]
            return (torch.stack([sum([layer(x).relu(), *common]).mean((2, 3)) for layer in self.own], 1),)

    for shared in (0, 2):
        file = export_onnx(Apart(shared).eval(), tmp_path / f"{shared}.onnx", card, ["logits"])
        with pytest.raises(WeightsError, match=rf"share {shared} tensors, expected one"):
            cut(OnnxBackend(file, ["logits"], "cpu"), ["logits"], (1, 1))


def test_without_onnx_the_error_names_it(whole, monkeypatch):
    def missing(package: str, purpose: str) -> None:
        raise MissingDependencyError(package, purpose, "onnx")

    monkeypatch.setattr(parts, "require", missing)
    with pytest.raises(MissingDependencyError, match="onnx"):
        cut(whole, STACKED, (3,))
