"""What ESR learns from and is measured on: data that lack targets, and AffectNet where none are given."""

from __future__ import annotations

import pytest
import torch

from emotion_perception.engine.datasets import AffectNetCategorical
from emotion_perception.engine.datasets.affectnet import _AffectNet
from emotion_perception.engine.errors import DatasetError, UsageError
from emotion_perception.learners.esr import FacialEmotionLearner

SMALL = {"device": "cpu", "ensemble_size": 2, "input_size": 54, "batch_size": 8, "max_training_epoch": 1, "augment": False}


@pytest.mark.parametrize("own", [False, True])
def test_affect_heads_that_were_never_trained_say_nothing(stripes, own):
    learner = FacialEmotionLearner(**SMALL, schedule="joint", dimensional_finetune=False)
    if own:
        learner.init_model()
    learner.fit(stripes([0, 1, 2, 3]))
    assert learner.infer(stripes([0]).picture(0)).affect is None
    learner.dimensional_finetune, learner.categorical_train = True, False
    learner.fit(stripes([0, 1, 2, 3]))
    assert learner.infer(stripes([0]).picture(0)).affect.shape == (1, 2)
    learner.dimensional_finetune, learner.categorical_train = False, True
    learner.fit(stripes([0, 1, 2, 3]))
    assert learner.card.affect  # they are there, though trained before


def test_validation_data_without_a_target_measure_nothing_and_training_data_without_any_are_refused(stripes):
    empty = stripes([-1, -1])
    learner = FacialEmotionLearner(**SMALL, affect_fit="gradient")
    history = learner.fit(stripes([0, 1, 2, 3]), empty)["history"]
    assert [row["stage"] for row in history] == ["branch 1", "branch 2", "affect"]
    assert not any(name.startswith("val_") for row in history for name in row)
    learner.categorical_train = False
    with pytest.raises(DatasetError, match="no valence and arousal"):
        learner.fit(empty)


def test_affectnet_is_used_whole_where_no_data_are_given(tmp_path, monkeypatch):
    # What those who open it themselves get by default is a sample; here of one picture each.
    monkeypatch.setattr(_AffectNet.__init__, "__defaults__", (0, 1, *_AffectNet.__init__.__defaults__[2:]))
    learner = FacialEmotionLearner(**SMALL)
    learner.base_path_to_dataset = folder = learner.download(tmp_path, mode="data")
    assert len(AffectNetCategorical(2, base_path_to_affectnet=folder)) == 8
    assert [len(part) for part in learner._datasets(None, None)] == [16] * 4
    learner.init_model()
    assert learner.eval()["pictures"] == learner.eval("dimensional")["pictures"] == 16


def test_weights_that_training_went_on_from_are_kept_by_a_share(stripes, tmp_path):
    first = FacialEmotionLearner(**SMALL, schedule="joint")
    first.init_model()
    folder = first.save(tmp_path / "weights")
    data, run = stripes([0, 1, 2, 3] * 4), str(tmp_path / "run")
    found = {}
    for share in (0.0, 0.25):
        learner = FacialEmotionLearner(**SMALL, schedule="joint", lr=0.01, keep_of_start=share)
        learner.load(folder)
        learner.fit(data, logging_path=run)  # the second time the run is only loaded
        found[share] = learner.model.state_dict()
    start, after = first.model.state_dict(), found[0.0]
    trained = [name for name in after if name.endswith("weight") and "fc_dimensional" not in name]
    assert any(not torch.equal(start[name], after[name]) for name in trained)
    for name in trained:
        torch.testing.assert_close(found[0.25][name], 0.75 * after[name] + 0.25 * start[name])
    statistics = [name for name in after if name.endswith("running_mean")]
    assert any(not torch.equal(found[0.25][name], after[name]) for name in statistics)
    with pytest.raises(UsageError, match=r"keep_of_start is 1.0, expected 0, or a share below 1"):
        FacialEmotionLearner(keep_of_start=1.0)
