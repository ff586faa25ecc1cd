"""The two recipes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emotion_perception.engine.datasets import AlteredDataset, EmotionDataset, FERPlus, Targets, split_by_source
from emotion_perception.engine.errors import DatasetError, UsageError
from emotion_perception.engine.labels import AFFECTNET8, EMOTORCH4
from emotion_perception.engine.testing.case import DrawnFaces
from emotion_perception.engine.training.pictures import Pictures
from emotion_perception.learners.emotorch import EmoTorchLearner
from emotion_perception.learners.emotorch.datasets import ALTERATIONS
from emotion_perception.learners.emotorch.model import NETWORKS
from emotion_perception.learners.emotorch.training import Recipe, stage

CPU = torch.device("cpu")


def recipe(**changes) -> Recipe:
    return Recipe(**{"epochs": 50, "lr": 1e-3, "patience": 10, "balance": "loss", "seed": 0, "size": 48, **changes})


def uneven() -> EmotionDataset:
    """Forty faces: thirty calm, ten of the other classes."""
    faces = DrawnFaces(EMOTORCH4, 40)
    faces.targets = Targets(np.array([2] * 30 + [0] * 5 + [1] * 3 + [3] * 2))
    return faces


def made(network: str, **changes):
    return stage(NETWORKS[network](), Pictures(uneven(), 8, labels=EMOTORCH4), None, recipe(**changes), CPU)


def test_the_recipes_are_those_published():
    baseline = made("baseline", lr=5e-4, patience=3)
    assert isinstance(baseline.optimizer, torch.optim.RMSprop)
    assert baseline.optimizer.defaults["alpha"] == 0.99
    assert (baseline.patience, baseline.most_gradient, baseline.rate(0.9)) == (3, None, 1.0)
    enhanced = made("enhanced")
    assert isinstance(enhanced.optimizer, torch.optim.AdamW)
    assert enhanced.optimizer.defaults["weight_decay"] == 0.01
    assert (enhanced.most_gradient, enhanced.monitor, enhanced.higher_is_better) == (1.0, "val_loss", False)
    expected = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(enhanced.optimizer, T_0=10, T_mult=2, eta_min=1e-6)
    for epoch in range(50):
        assert 1e-3 * enhanced.rate(epoch / 50) == pytest.approx(expected.get_last_lr()[0], rel=1e-6)
        enhanced.optimizer.step()
        expected.step()
    assert [len(ALTERATIONS[network]) for network in ("baseline", "enhanced")] == [28, 10]
    learner = EmoTorchLearner()
    assert (learner.batch_size, learner.max_training_epoch, learner.seed) == (32, 50, 42)


def test_the_baseline_learns_the_cosine():
    run = made("baseline")
    scores, soft = torch.tensor([[1.0, 0.0, 0.0, 0.0], [3.0, 4.0, 0.0, 0.0]]), torch.eye(4)[[0, 1]]
    model = NETWORKS["baseline"]()
    model.forward = lambda images: scores  # type: ignore[method-assign]
    run = stage(model, Pictures(uneven(), 8, labels=EMOTORCH4), None, recipe(), CPU)
    loss, numbers = run.loss((torch.zeros(2, 3, 48, 48), soft, torch.zeros(2, 2)), torch.Generator().manual_seed(0))
    assert float(loss) == pytest.approx(-0.9)
    assert numbers["accuracy"] == 1.0


def test_classes_are_balanced_as_asked():
    index = uneven().targets.index
    for balance in ("none", "loss"):
        assert sorted(made("enhanced", balance=balance).order(0).tolist()) == list(range(40))
    drawn = np.concatenate([made("enhanced", balance="sampler").order(epoch) for epoch in range(60)])
    shares = np.bincount(index[drawn], minlength=4) / len(drawn)
    np.testing.assert_allclose(shares, 0.25, atol=0.04)
    same, other = made("enhanced", balance="sampler").order(1), made("enhanced", balance="sampler").order(1)
    np.testing.assert_array_equal(same, other)


def test_the_best_state_is_restored_and_training_ends_in_time(tmp_path):
    train, valid = DrawnFaces(EMOTORCH4, 24), DrawnFaces(EMOTORCH4, 8)
    valid.targets = Targets((valid.targets.index + 1) % 4)  # wrong on purpose: the better on one, the worse on the other
    learner = EmoTorchLearner(device="cpu", batch_size=8, max_training_epoch=12, patience=2, copies=0.0, lr=0.01)
    history = learner.fit(train, valid, logging_path=str(tmp_path))["history"]
    losses = [row["val_loss"] for row in history]
    best = int(np.argmin(losses))
    assert len(losses) == best + 3 < 12
    measured = learner.eval(valid)
    assert measured["accuracy"] == pytest.approx(history[best]["val_accuracy"])
    # The classes are even here, so the weighted loss is the plain one.
    judged = learner.infer([valid.picture(n) for n in range(8)]).probabilities
    assert -np.log(judged[np.arange(8), valid.targets.index]).mean() == pytest.approx(losses[best], rel=1e-3)


@pytest.mark.parametrize(("pictures", "batch_size"), [(8, 1), (1, 8)])
def test_batch_norm_refuses_single_pictures_before_it_begins(pictures, batch_size):
    learner = EmoTorchLearner(device="cpu", batch_size=batch_size, max_training_epoch=1, copies=0.0)
    with pytest.raises(UsageError, match=rf"got {pictures} with a class, batch_size {batch_size}; batch norm learns from two"):
        learner.fit(DrawnFaces(EMOTORCH4, pictures))
    EmoTorchLearner(network="baseline", device="cpu", batch_size=1, max_training_epoch=1, copies=0.0).fit(DrawnFaces(EMOTORCH4, 2))


def test_validation_data_without_a_class_or_of_other_classes_than_the_training_data():
    train, valid = DrawnFaces(EMOTORCH4, 8), DrawnFaces(EMOTORCH4, 4)
    train.targets, valid.targets = Targets(np.arange(8) % 2), Targets(np.full(4, -1))
    learner = EmoTorchLearner(device="cpu", batch_size=8, max_training_epoch=2, copies=0.0, balance="loss")
    assert "val_loss" not in learner.fit(train, valid)["history"][-1]
    valid.targets = Targets(np.full(4, 2))
    assert all(row["val_loss"] > 0.0 for row in learner.fit(train, valid)["history"])  # NaN is not above 0


def test_what_is_on_both_sides_is_refused():
    faces = DrawnFaces(EMOTORCH4, 16)
    copies = AlteredDataset(faces, ("dark",))
    learner = EmoTorchLearner(device="cpu", max_training_epoch=1, copies=0.0)
    with pytest.raises(DatasetError, match=r"8 of 8 validation pictures share their source or person .* split_by_source"):
        learner.fit(faces, copies.subset(np.arange(16, 24)))
    train, valid = split_by_source(copies, 0.3)
    learner.fit(train, valid)
    assert learner.loaded


@pytest.mark.parametrize(
    "options",
    [{"network": "old"}, {"balance": "all"}, {"lr": 0.0}, {"patience": 0}, {"copies": 1.5}, {"dropout_rate": 1.0}, {"seed": -1}],
)
def test_arguments_that_cannot_be_used(options):
    with pytest.raises(UsageError, match=next(iter(options))):
        EmoTorchLearner(**options)


def test_data_in_other_labels_and_none_are_refused():
    with pytest.raises(UsageError, match="got no data set"):
        EmoTorchLearner().fit()
    with pytest.raises(DatasetError, match="affectnet8, expected emotorch4"):
        EmoTorchLearner(device="cpu").fit(DrawnFaces(AFFECTNET8))


def test_real_faces_are_learnt_and_measured(test_data):
    faces = FERPlus(test_data / "data" / "ferplus", "valid", labels=EMOTORCH4)
    assert faces.counts() == {"Anger": 289, "Fear": 60, "Calm": 1180, "Surprise": 411}
    train, valid = split_by_source(faces.subset(np.arange(0, len(faces), 20)), 0.2)
    learner = EmoTorchLearner(device="cpu", max_training_epoch=3, copies=0.0)
    history = learner.fit(train, valid)["history"]
    assert history[-1]["loss"] < history[0]["loss"]
