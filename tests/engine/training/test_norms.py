from __future__ import annotations

import pytest
import torch
from torch import nn

from emotion_perception.engine.training.norms import settle_batch_norms


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3), nn.BatchNorm2d(2))


def test_statistics_become_those_of_the_batches() -> None:
    model = network().eval()
    batches = [torch.rand(6, 3, 8, 8) for _ in range(3)]
    settle_batch_norms([model], model, batches)
    first = torch.stack([model[0](batch).mean((0, 2, 3)) for batch in batches]).mean(0)
    torch.testing.assert_close(model[1].running_mean, first)
    spread = torch.stack([model[0](batch).transpose(0, 1).flatten(1).var(1) for batch in batches]).mean(0)
    torch.testing.assert_close(model[1].running_var, spread)


def test_nothing_else_changes() -> None:
    model = network().train()
    model[4].eval()
    before = {name: value.clone() for name, value in model.named_parameters()}
    settle_batch_norms([model], model, [torch.rand(6, 3, 8, 8)])
    assert all(torch.equal(before[name], value) for name, value in model.named_parameters())
    assert [model.training, model[1].training, model[4].training] == [True, True, False]
    assert model[1].momentum == model[4].momentum == 0.1
    assert all(value.grad is None for value in model.parameters())


def test_only_the_modules_given_are_settled() -> None:
    model = network().eval()
    other = model[4].running_mean.clone()
    settle_batch_norms([model[1]], model, [torch.rand(6, 3, 8, 8)])
    assert torch.equal(model[4].running_mean, other)
    assert not torch.equal(model[1].running_mean, torch.zeros(4))


def test_modes_return_after_an_error() -> None:
    model = network().eval()

    def fail(batch: torch.Tensor) -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        settle_batch_norms([model], fail, [torch.rand(2, 3, 8, 8)])
    assert not any(module.training for module in model.modules())
    assert model[1].momentum == 0.1
