"""The stage for networks with heads: losses, weights, frozen parts, pictures without some targets."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from emotion_perception.engine.cards import InputSpec
from emotion_perception.engine.datasets import EmotionDataset, Targets
from emotion_perception.engine.errors import DatasetError
from emotion_perception.engine.labels import AFFECTNET8
from emotion_perception.engine.training.heads import (
    CATEGORICAL,
    DIMENSIONAL,
    Part,
    Recipe,
    class_weights,
    dropped,
    head_stage,
    soft_cross_entropy,
)
from emotion_perception.engine.training.pictures import Pictures
from emotion_perception.engine.training.running import run_stages

CPU = torch.device("cpu")
SPEC = InputSpec(8, 8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


class Grey(EmotionDataset):
    """Even pictures whose brightness is the class."""

    labels = AFFECTNET8

    def __init__(self, index, distribution=None, affect=None):
        self.targets = Targets(np.asarray(index, np.int64), distribution, affect)

    def picture(self, index):
        return np.full((8, 8), 20 + 30 * max(int(self.targets.index[index]), 0), np.uint8)


class Net(nn.Module):
    """One layer with batch norm, two heads; notes what it was given."""

    def __init__(self):
        super().__init__()
        self.body, self.norm = nn.Linear(3, 16), nn.BatchNorm1d(16)
        self.heads = nn.ModuleDict({CATEGORICAL: nn.Linear(16, 8), DIMENSIONAL: nn.Linear(16, 2)})
        self.seen: list[tuple[float, float, bool]] = []

    def forward(self, x, drop):
        self.seen.append((float(x.min()), float(x.max()), self.norm.training))
        hidden = drop(self.norm(self.body(x.mean((2, 3)))))
        return {name: head(hidden) for name, head in self.heads.items()}


def trained(data, heads=(CATEGORICAL,), layers=None, val=None, **recipe):
    torch.manual_seed(0)
    net = Net()
    part = Part("part", heads, layers(net) if layers else [(net, 1.0)], net)
    numbers = Recipe(**{"epochs": 2, "lr": 0.05, "weight_decay": 0.0, "one_cycle": False, "spec": SPEC, **recipe})
    pictures = Pictures(data, 4)
    stage = head_stage(net, part, pictures, None if val is None else Pictures(val, 4), numbers, CPU)
    return net, run_stages(net, [stage], batch_size=4, seed=0, device=CPU)


def test_pictures_come_as_the_input_spec_says_and_batch_norm_learns_then_is_settled():
    net, _ = trained(Grey(np.arange(8)), epochs=1)
    assert min(low for low, _, _ in net.seen) == pytest.approx(20 / 127.5 - 1)
    assert max(high for _, high, _ in net.seen) == pytest.approx(230 / 127.5 - 1)
    assert net.norm.momentum == 0.1
    assert net.norm.num_batches_tracked == 2  # what `settle` counted anew


def test_what_is_not_named_stays_as_it_is_to_the_last_statistic():
    before = Net()
    net, _ = trained(Grey(np.arange(8)), layers=lambda net: [(net.heads[CATEGORICAL], 1.0)])
    assert not any(training for _, _, training in net.seen)
    assert torch.equal(net.norm.running_mean, before.norm.running_mean)
    assert all(p.requires_grad for p in net.parameters())


def test_a_layers_factor_scales_its_rate():
    layers = [(nn.Linear(2, 2), 1.0), (nn.Linear(2, 2), 0.1)]
    recipe = Recipe(1, 0.5, 0.0, True, SPEC)
    stage = head_stage(
        nn.ModuleList(m for m, _ in layers), Part("p", [CATEGORICAL], layers, Net()), Pictures(Grey([0, 1]), 2), None, recipe, CPU
    )
    assert [group["lr"] for group in stage.optimizer.param_groups] == [0.5, 0.05]


def test_both_heads_learn_at_once_and_pictures_without_a_target_teach_the_other():
    affect = np.full((8, 2), 0.5, np.float32)
    distribution = np.full((8, 8), np.nan, np.float32)
    index = np.array([0, 1, 2, 3, -1, -1, -1, -1])
    distribution[:4] = np.eye(8, dtype=np.float32)[:4]
    data = Grey(index, distribution, affect)
    _, history = trained(data, (CATEGORICAL, DIMENSIONAL), val=data, epochs=8)
    assert history[-1]["loss"] < history[0]["loss"]
    assert history[-1]["val_rmse"] < history[0]["val_rmse"]
    assert {"accuracy", "rmse", "val_accuracy", "val_rmse_valence"} <= set(history[0])
    with pytest.raises(DatasetError, match="no targets for categorical"):
        trained(Grey(np.full(4, -1), affect=affect[:4]))


def test_the_last_state_is_the_best_without_validation_and_small_pictures_come_first():
    _, history = trained(Grey(np.arange(8)), epochs=3, small_epochs=2, small_size=4)
    assert not any(key.startswith("val_") for row in history for key in row)
    recipe = Recipe(3, 0.1, 0.0, True, SPEC, small_size=4, small_epochs=2)
    assert [recipe.size(epoch) for epoch in range(3)] == [4, 4, 8]


def test_weighted_soft_cross_entropy_is_torchs_own_for_single_classes():
    logits, index, weights = torch.randn(6, 8), torch.tensor([0, 1, 1, 3, 7, 7]), torch.rand(8) + 0.1
    hard = torch.eye(8)[index]
    cross_entropy = nn.functional.cross_entropy
    assert torch.allclose(soft_cross_entropy(logits, hard), cross_entropy(logits, index))
    assert torch.allclose(soft_cross_entropy(logits, hard, weights), cross_entropy(logits, index, weights))


def test_balanced_weights_are_n_by_classes_times_count():
    soft = np.eye(4, dtype=np.float32)[[0, 0, 0, 1, 2, 2]]
    assert class_weights(soft).tolist() == pytest.approx([6 / (4 * 3), 6 / 4, 6 / (4 * 2), 1.0])


def test_dropout_is_decided_by_the_generator_alone_and_keeps_the_mean():
    hidden = torch.ones(100, 100)

    def run(seed: int) -> torch.Tensor:
        return dropped(hidden, 0.5, torch.Generator().manual_seed(seed))

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))
    assert set(run(1).unique().tolist()) == {0.0, 2.0}
    assert float(run(1).mean()) == pytest.approx(1.0, abs=0.05)
    assert dropped(hidden, 0.0, torch.Generator()) is hidden
