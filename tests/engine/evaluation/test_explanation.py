from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from torch import Tensor, nn

from emotion_perception.engine.errors import NotLoadedError, UsageError
from emotion_perception.engine.labels import AFFECTNET8

pytest.importorskip("captum", reason="captum is not installed; it comes with the extra 'explain'")
from emotion_perception.engine.evaluation.explanation import explain, plot
from emotion_perception.learners.esr import FacialEmotionLearner

SIDE = 96


@pytest.fixture(scope="module")
def learner() -> FacialEmotionLearner:
    learner = FacialEmotionLearner(ensemble_size=3, seed=1, backend="torch", device="cpu")
    learner.init_model()
    return learner


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def test_maps_are_grad_cam_of_each_branch(learner: FacialEmotionLearner, picture: np.ndarray) -> None:
    why = explain(learner, picture)
    x = torch.from_numpy(picture.transpose(2, 0, 1)[None].astype(np.float32) / 255)
    maps = learner.model.last_conv(x).detach().requires_grad_()
    logits, _ = learner.model.from_last_conv(maps)
    assert why.branch_maps.shape == (3, 8, *maps.shape[-2:])
    for branch, k in ((0, 0), (1, 5), (2, 7)):
        (gradient,) = torch.autograd.grad(logits[0, branch, k], maps, retain_graph=True)
        weights = gradient[0, branch].mean(dim=(1, 2), keepdim=True)
        expected = (weights * maps[0, branch]).sum(0).relu().detach().numpy()
        np.testing.assert_allclose(why.branch_maps[branch, k], expected, atol=1e-6)
    np.testing.assert_allclose(why.maps, why.branch_maps.mean(axis=0), atol=1e-7)
    np.testing.assert_allclose(why.branch_probabilities, logits[0].softmax(1).detach().numpy(), atol=1e-5)
    assert why.category.data == learner.infer(picture).index[0]


def test_branches_that_disagree_are_named(learner: FacialEmotionLearner, picture: np.ndarray) -> None:
    why = explain(learner, picture)
    judged = why.branch_probabilities.argmax(axis=1)
    assert why.dissenting == [b for b in range(3) if judged[b] != why.category.data]
    plain = why.to_dict([1])
    assert json.loads(json.dumps(plain)) == plain
    assert list(plain["classes"]) == ["Happy"]
    assert [branch["agrees"] for branch in plain["branches"]] == [b not in why.dissenting for b in range(3)]
    assert all(branch["likeness"] is None or 0 <= branch["likeness"] <= 1 + 1e-9 for branch in plain["branches"])


def test_explaining_changes_nothing(learner: FacialEmotionLearner, picture: np.ndarray) -> None:
    before, answers = picture.copy(), learner.infer(picture).probabilities
    explain(learner, picture)
    assert all(parameter.grad is None for parameter in learner.model.parameters())
    np.testing.assert_array_equal(picture, before)
    np.testing.assert_array_equal(learner.infer(picture).probabilities, answers)


class Half(nn.Module):
    """No ensemble: sees the first class in the left half of a picture, the second in the right half."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def last_conv(self, x: Tensor) -> Tensor:
        grey = nn.functional.avg_pool2d(x.mean(1, keepdim=True), 24)
        left = torch.zeros_like(grey)
        left[..., : left.shape[-1] // 2] = 1.0
        return torch.cat([grey * left, grey * (1 - left)], dim=1) * self.scale

    def from_last_conv(self, maps: Tensor) -> Tensor:
        return nn.functional.pad(maps.mean((2, 3)), (0, 6))

    def forward(self, x: Tensor) -> Tensor:
        return self.from_last_conv(self.last_conv(x))


def test_a_network_that_is_no_ensemble(learner: FacialEmotionLearner, picture: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    network: Any = Half()
    monkeypatch.setattr(FacialEmotionLearner, "model", property(lambda self: network))
    why = explain(learner, picture)
    assert why.branch_maps.shape == (1, 8, 4, 4)
    assert (why.maps[0, :, :2] > 0).all()
    assert (why.maps[0, :, 2:] == 0).all()
    assert (why.maps[1, :, 2:] > 0).all()
    assert not why.maps[2:].any()

    monkeypatch.setattr(FacialEmotionLearner, "model", property(lambda self: nn.Linear(1, 1)))
    with pytest.raises(UsageError, match="Linear, the network of esr, has no last_conv and from_last_conv"):
        explain(learner, picture)


def test_without_weights(picture: np.ndarray) -> None:
    with pytest.raises(NotLoadedError):
        explain(FacialEmotionLearner(), picture)


def test_a_panel_per_class_and_branch(learner: FacialEmotionLearner, picture: np.ndarray, tmp_path: Path) -> None:
    why = explain(learner, picture)
    sizes = []
    for n, classes in enumerate(((), range(len(AFFECTNET8)))):
        with PillowImage.open(plot(why, tmp_path / f"{n}.png", classes, "a face")) as drawn:
            sizes.append(drawn.size)
            assert np.asarray(drawn.convert("L")).std() > 10
    assert sizes[1][1] > sizes[0][1]
