"""The diversity loss drives branches apart, whatever their number."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emotion_perception.learners.esr import FacialEmotionLearner
from emotion_perception.learners.esr.diversity import diversity_loss

# Branches, pictures, and values per map: spatial 6x6, channel 512.
SIZES = {"spatial": 36, "channel": 512}


def alike(branches: int, size: int, noise: float = 1e-3) -> torch.Tensor:
    """Returns attention of branches that are nearly the same on four pictures."""
    generator = torch.Generator().manual_seed(branches)
    common = torch.rand(1, 4, size, generator=generator) * 0.6 + 0.2
    return common + noise * torch.randn(branches, 4, size, generator=generator)


def spread(maps: torch.Tensor) -> float:
    """Returns the smallest root mean square distance between two branches."""
    distance = (maps[:, None] - maps[None]).square().mean((2, 3)).sqrt()
    return float(distance[~torch.eye(len(maps), dtype=torch.bool)].min())


@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize("branches", [*range(2, 10), 15])
def test_twenty_steps_of_descent_drive_nearly_equal_branches_apart(branches, kind):
    maps = alike(branches, SIZES[kind]).requires_grad_()
    optimizer = torch.optim.SGD([maps], lr=0.05)
    before, first = spread(maps.detach()), float(diversity_loss(maps.detach()))
    for _ in range(20):
        optimizer.zero_grad()
        diversity_loss(maps).backward()
        optimizer.step()
        with torch.no_grad():
            maps.clamp_(0.0, 1.0)  # as a sigmoid keeps them
    assert spread(maps.detach()) > 5 * before
    assert float(diversity_loss(maps.detach())) < first


@pytest.mark.parametrize("branches", [2, 3, 9, 15])
def test_equal_branches_have_a_finite_loss_and_gradient(branches):
    maps = alike(branches, 36, noise=0.0).requires_grad_()
    loss = diversity_loss(maps)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(maps.grad).all()


@pytest.mark.parametrize("branches", [2, 3, 8, 9])
def test_the_loss_falls_as_branches_move_apart_and_is_zero_where_they_are(branches):
    losses = [float(diversity_loss(alike(branches, 36, noise), gamma=10.0, epsilon=1e-6)) for noise in (0.0, 0.01, 0.1, 0.3)]
    assert losses == sorted(losses, reverse=True)
    opposite = torch.eye(branches)[:, None, :].repeat(1, 1, 8) * 1.0
    assert float(diversity_loss(opposite, gamma=1000.0)) == pytest.approx(0.0, abs=branches * 2e-3)


def test_it_is_the_log_determinant_of_the_mean_kernel():
    maps = alike(3, 36, 0.2).double()
    kernel = np.zeros((3, 3))
    for i in range(3):
        for j in range(3):
            kernel[i, j] = np.mean([np.exp(-10.0 * float((maps[i, n] - maps[j, n]).square().mean())) for n in range(4)])
    assert float(diversity_loss(maps)) == pytest.approx(-np.log(np.linalg.det(kernel + 1e-3 * np.eye(3))))


def test_random_attention_still_has_a_gradient():
    maps = torch.rand(9, 4, 512, generator=torch.Generator().manual_seed(0)).requires_grad_()
    diversity_loss(maps).backward()
    assert float(maps.grad.abs().mean()) > 1e-7


@pytest.mark.parametrize("schedule", ["joint", "published"])
def test_an_odd_ensemble_trains_with_the_loss(stripes, schedule):
    learner = FacialEmotionLearner(
        device="cpu", ensemble_size=3, diversify=True, schedule=schedule, input_size=54, max_training_epoch=1, batch_size=8, lr=0.02
    )
    learner.init_model()
    before = [parameter.detach().clone() for parameter in learner.model.parameters()]
    history = learner.fit(stripes([0, 1, 2, 3] * 2))["history"]
    measured = [row["diversity_loss"] for row in history if "diversity_loss" in row]
    assert len(measured) == (1 if schedule == "joint" else 2)  # one branch alone has nothing to differ from
    assert np.isfinite(measured).all()
    gates = [name for name, _ in learner.model.named_parameters() if "convolutional_branches.2.cbam4" in name]
    changed = {name for (name, now), old in zip(learner.model.named_parameters(), before, strict=True) if not torch.equal(now, old)}
    assert gates
    assert set(gates) <= changed
