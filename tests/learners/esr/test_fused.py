"""The branches of an ESR all at once: the same answers as one after the other, on a GPU only, and never at the price of an answer."""

from __future__ import annotations

import copy
import logging

import numpy as np
import pytest
import torch
from torch import nn

from emotion_perception.engine.inference import OnnxBackend, TorchBackend
from emotion_perception.learners.esr import FacialEmotionLearner, fused
from emotion_perception.learners.esr.anytime import Anytime
from emotion_perception.learners.esr.fused import FusedBranches
from emotion_perception.learners.esr.model import ESR, Deployed
from emotion_perception.learners.esr.torch_parts import BranchesPart, SharedPart

NAMES = FacialEmotionLearner.output_names
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def network(branches: int = 3, diversify: bool = False) -> ESR:
    """Makes a network whose batch norms hold statistics of their own, in evaluation mode."""
    torch.manual_seed(branches)
    esr = ESR(branches, diversify)
    for module in esr.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    return esr.eval()


def faces(count: int, side: int = 64) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets this processor pass for a GPU where branches are put together."""
    monkeypatch.setattr(fused, "_on_gpu", lambda branch: True)


@pytest.mark.parametrize("branches", [1, 2, 3, 9])
@pytest.mark.parametrize("side", [64, 96])
@pytest.mark.parametrize("count", [1, 5])
def test_all_four_outputs_are_those_of_the_branches_one_after_the_other(monkeypatch, branches: int, side: int, count: int) -> None:
    esr = network(branches)
    kept = copy.deepcopy(esr.state_dict())
    loop = Deployed(esr)
    monkeypatch.setattr(fused, "_on_gpu", lambda branch: True)
    together = Deployed(esr)
    assert loop.fused is None
    assert isinstance(together.fused, FusedBranches)
    assert not together.esr.branches
    with torch.inference_mode():
        outputs, expected = together(faces(count, side)), loop(faces(count, side))
    assert [output.shape for output in outputs] == [(count, 8), (count, 2), (count, branches, 8), (count, branches, 2)]
    for output, wanted in zip(outputs, expected, strict=True):
        torch.testing.assert_close(output, wanted, rtol=0.0, atol=1e-5)
    assert all(torch.equal(value, kept[name]) for name, value in esr.state_dict().items())


@pytest.mark.usefixtures("as_on_a_gpu")
def test_each_layer_of_all_branches_is_one_layer() -> None:
    together = Deployed(network(4)).fused
    assert [layer.groups for layer in together.convolutions] == [1, 4, 4, 4]
    assert sum(isinstance(module, (nn.Conv2d, nn.Linear)) for module in together.modules()) == 4


@pytest.mark.usefixtures("as_on_a_gpu")
def test_a_network_with_cbam_stays_with_the_loop(caplog) -> None:
    deployed = Deployed(network(2, diversify=True))
    assert not caplog.records
    assert deployed.fused is None
    assert len(deployed.esr.branches) == 2


@pytest.mark.usefixtures("as_on_a_gpu")
@pytest.mark.parametrize("fault", ["wrong", "raises"])
def test_answers_that_differ_or_fail_leave_the_loop_and_one_warning(monkeypatch, caplog, fault: str) -> None:
    def forward(self, features):
        if fault == "raises":
            raise RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED\nmore of it")
        return torch.zeros(len(features), 2, 8), torch.zeros(len(features), 2, 2)

    monkeypatch.setattr(FusedBranches, "forward", forward)
    with caplog.at_level(logging.WARNING):
        deployed = Deployed(network(2))
    assert deployed.fused is None
    assert len(deployed.esr.branches) == 2
    (record,) = caplog.records
    reason = "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED" if fault == "raises" else "all at once they answer differently"
    assert record.getMessage() == f"ESR's branches run one after the other on this GPU: {reason}"


@pytest.mark.usefixtures("as_on_a_gpu")
def test_torch_runs_them_at_once_alone_and_in_the_pieces_of_the_anytime_ensemble() -> None:
    learner = FacialEmotionLearner(device="cpu")
    esr = network(4)
    loop = ESR.forward(esr, faces(2))
    whole = TorchBackend(esr, NAMES, "cpu", learner.deployed)
    x = faces(2).numpy()
    np.testing.assert_allclose(whole(x)["logits"], loop[0].detach().numpy(), atol=1e-5)
    pieces = Anytime().around(whole, 4, None, 1e6)
    for name, values in whole(x).items():
        np.testing.assert_allclose(pieces(x)[name], values, atol=1e-5)
    part = BranchesPart(esr, [1, 2])
    assert part.fused is not None
    assert len(list(part.parameters())) == 12  # four convolutions and two linear layers: no copies of the branches
    assert sum(p.numel() for p in SharedPart(esr).parameters()) < 600_000


@pytest.mark.usefixtures("as_on_a_gpu")
def test_an_empty_batch_is_empty_and_random_numbers_are_not_touched() -> None:
    esr = network(2)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    deployed = Deployed(esr)
    assert torch.equal(torch.rand(3), expected)
    assert [output.shape for output in deployed(faces(0))] == [(0, 8), (0, 2), (0, 2, 8), (0, 2, 2)]


def test_what_is_exported_is_made_of_a_copy_on_the_cpu(monkeypatch, tmp_path) -> None:
    pytest.importorskip("onnxscript")
    monkeypatch.setenv("EMOTION_PERCEPTION_CACHE", str(tmp_path / "cache"))
    learner = FacialEmotionLearner(device="cpu", backend="onnxruntime", ensemble_size=2, input_size=54, temp_path=tmp_path)
    learner.init_model()
    given = []

    def deployed(model: nn.Module) -> nn.Module:
        given.append((model is learner.model, next(model.parameters()).device.type))
        return Deployed(model)

    monkeypatch.setattr(learner, "deployed", deployed)
    learner.optimize()
    learner.load(learner.save(tmp_path / "plain"))
    (tmp_path / "plain" / "model.onnx").unlink()
    learner.load(tmp_path / "plain")
    learner.load(tmp_path / "plain")  # from the cache
    assert given == [(False, "cpu"), (False, "cpu")]


@gpu
def test_on_a_gpu_they_run_at_once_and_answer_as_on_the_cpu() -> None:
    learner = FacialEmotionLearner(device="cpu")
    esr = network(9)
    expected = TorchBackend(copy.deepcopy(esr), NAMES, "cpu", learner.deployed)(faces(5).numpy())
    backend = TorchBackend(esr, NAMES, "cuda", learner.deployed)
    for _ in range(3):  # eagerly, captured, replayed
        for name, values in backend(faces(5).numpy()).items():
            np.testing.assert_allclose(values, expected[name], atol=1e-2 * max(1.0, np.abs(expected[name]).max()))
    assert backend._current()[1].fused is not None


@gpu
def test_a_file_exported_on_a_gpu_can_be_cut(monkeypatch, tmp_path) -> None:
    pytest.importorskip("onnxscript")
    monkeypatch.setenv("EMOTION_PERCEPTION_CACHE", str(tmp_path / "cache"))
    learner = FacialEmotionLearner(device="cuda", backend="onnxruntime", ensemble_size=3, input_size=54)
    learner.init_model()
    learner.load(learner.save(tmp_path / "weights"))
    x = faces(2, 54).numpy()
    whole = OnnxBackend(learner._backend.path, NAMES, "cpu")
    np.testing.assert_allclose(Anytime().around(whole, 3, None, 1e6)(x)["logits"], whole(x)["logits"], atol=1e-5)
