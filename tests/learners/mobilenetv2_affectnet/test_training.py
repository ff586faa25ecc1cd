"""What `fit` trains and what it leaves alone: tasks, freezing, the regressor made of a classifier."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emotion_perception.engine.datasets import Targets
from emotion_perception.engine.errors import DatasetError, UsageError, WeightsError
from emotion_perception.engine.labels import AFFECTNET8, FERPLUS8
from emotion_perception.engine.testing import DrawnFaces
from emotion_perception.learners.mobilenetv2_affectnet import MobileNetV2Learner

SMALL = {"device": "cpu", "input_size": 32, "batch_size": 8, "max_training_epoch": 1, "augment": False, "precision": "fp32"}


def faces(affect: bool = False, classes: bool = True) -> DrawnFaces:
    """Returns eight drawn faces, one of each class."""
    drawn = DrawnFaces(AFFECTNET8, 8, side=32)
    index = drawn.targets.index if classes else np.full(8, -1)
    drawn.targets = Targets(index, affect=drawn.targets.affect if affect else None)
    return drawn


@pytest.fixture
def data():
    return faces()


@pytest.fixture
def classifier(data, tmp_path):
    """A folder with a trained classifier."""
    learner = MobileNetV2Learner(**SMALL, heads="categorical")
    learner.fit(data)
    return learner.save(tmp_path / "classifier")


def loaded(folder, **options) -> tuple[MobileNetV2Learner, dict[str, torch.Tensor]]:
    learner = MobileNetV2Learner(**{**SMALL, **options})
    learner.load(folder)
    return learner, {name: value.clone() for name, value in learner.model.state_dict().items()}


def changed(learner: MobileNetV2Learner, before: dict[str, torch.Tensor]) -> set[str]:
    """Returns which parts of a tower have other values than before, as ``<tower>.<part>``."""
    state = learner.model.state_dict()
    names = {name for name, value in before.items() if not torch.equal(state[name], value)}
    return {name.split(".")[1] + "." + ".".join(name.split(".")[2:4] if "heads" in name else name.split(".")[2:3]) for name in names}


def test_a_classifier_alone_learns_classes_and_says_nothing_of_affect(classifier, data):
    learner, _ = loaded(classifier)
    result = learner.eval(data)
    assert "accuracy" in result
    assert "rmse_valence" not in result
    assert learner.card.affect is False


@pytest.mark.parametrize(
    ("freeze", "parts"),
    [
        ("none", {"1.features", "1.dense", "1.heads.dimensional"}),
        ("backbone", {"1.dense", "1.heads.dimensional"}),
        ("trunk", {"1.heads.dimensional"}),
    ],
)
def test_the_regressor_made_of_a_classifier_is_a_copy_that_learns(classifier, data, freeze, parts, tmp_path):
    learner, first = loaded(classifier, task="dimensional", shared=False, freeze=freeze)
    copied = {name.replace("towers.0", "towers.1"): value for name, value in first.items() if "heads" not in name}
    history = learner.fit(data, data)["history"]
    assert [row["stage"] for row in history] == ["dimensional"]
    assert {"rmse", "val_rmse_valence", "val_rmse_arousal", "val_rmse"} <= set(history[0])
    assert changed(learner, first) == set(), "the classifier has changed"
    assert changed(learner, copied) == parts - {"1.heads.dimensional"}
    again = MobileNetV2Learner(device="cpu")
    again.load(learner.save(tmp_path / "both"))
    assert again.card.architecture["shared"] is False
    assert again.infer(data.picture(0)).affect.shape == (1, 2)


def test_a_head_for_affect_on_the_classifiers_own_network_leaves_its_answers_where_the_trunk_is_frozen(classifier, data):
    learner, first = loaded(classifier, task="dimensional", freeze="trunk")
    before = learner.infer(data.picture(3)).probabilities
    learner.fit(data)
    assert len(learner.model.parts()) == 1
    assert changed(learner, first) == set()
    np.testing.assert_array_equal(learner.infer(data.picture(3)).probabilities, before)


def test_two_networks_are_trained_one_after_the_other_and_one_network_at_once(data):
    for shared, stages in ((False, ["categorical", "dimensional"]), (True, ["categorical+dimensional"])):
        learner = MobileNetV2Learner(**SMALL, shared=shared)
        rows = learner.fit(data, data)["history"]
        assert [row["stage"] for row in rows] == stages
        assert "val_accuracy" in rows[0]
        assert "val_rmse" in rows[-1]


def test_one_task_of_a_network_for_both_leaves_the_other_head(data):
    learner = MobileNetV2Learner(**SMALL)
    learner.init_model()
    learner.task = "categorical"
    before = {name: value.clone() for name, value in learner.model.state_dict().items()}
    learner.fit(data)
    assert changed(learner, before) == {"0.features", "0.dense", "0.heads.categorical"}


@pytest.mark.parametrize("task", ["categorical", "dimensional"])
def test_a_new_network_has_no_head_that_its_task_does_not_train(data, task):
    learner = MobileNetV2Learner(**SMALL, heads="both", task=task)
    learner.fit(data)
    assert (learner.has_classes, learner.card.affect) == (task == "categorical", task == "dimensional")
    assert (learner.infer(data.picture(0)).affect is None) == (task == "categorical")


def test_the_published_schedule_has_the_published_rates_and_weights(data):
    learner = MobileNetV2Learner(**SMALL, schedule="published")
    assert (learner.usual_lr("categorical"), learner.usual_lr("dimensional")) == (1e-5, 3e-5)
    assert MobileNetV2Learner().usual_lr("dimensional") == 1e-3
    learner.fit(data)
    learner = MobileNetV2Learner(backbone_lr=0.1, freeze="none", device="cpu", input_size=32)
    learner.init_model()
    (part,) = learner.parts(learner.model, "both")
    assert [factor for _, factor in part.layers] == [1.0, 1.0, 1.0, 0.1]


def test_a_regressor_alone_is_measured_on_affect_and_learns_no_classes():
    data = faces(affect=True, classes=False)
    learner = MobileNetV2Learner(**SMALL, heads="dimensional")
    learner.fit(data)
    result = learner.eval(faces(affect=True))
    assert "accuracy" not in result
    assert {"rmse_valence", "ccc_arousal"} <= set(result)
    learner.task = "categorical"
    with pytest.raises(UsageError, match="the network is a regressor"):
        learner.fit(data)


def test_small_pictures_and_a_first_stride_of_one(data, tmp_path):
    learner = MobileNetV2Learner(**{**SMALL, "input_size": 48, "max_training_epoch": 2}, small_size=32, small_epochs=1, stem_stride=1)
    assert len(learner.fit(data)["history"]) == 2
    assert learner.model.parts()[0].features[0][0].stride == (1, 1)
    again = MobileNetV2Learner(device="cpu")
    again.load(learner.save(tmp_path))
    assert (again.card.input.height, again.card.architecture["stem_stride"]) == (48, 1)
    np.testing.assert_array_equal(again.infer(data.picture(0)).probabilities, learner.infer(data.picture(0)).probabilities)


def test_single_pictures_of_the_least_size_are_refused_in_one_line_and_larger_ones_are_not(data):
    single = {**SMALL, "batch_size": 1}
    with pytest.raises(UsageError, match=r"^batch_size is 1, and a batch of stage .* comes down to one value per channel"):
        MobileNetV2Learner(**single, heads="categorical").fit(data)
    assert MobileNetV2Learner(**{**single, "input_size": 64}, heads="categorical").fit(data)["history"]


def test_fit_without_data_says_what_to_do():
    with pytest.raises(UsageError, match="--dataset"):
        MobileNetV2Learner(**SMALL).fit()


@pytest.mark.parametrize("other", ["targets", "validation", "weights"])
def test_a_folder_that_holds_a_run_on_other_targets_or_weights_is_refused(classifier, data, tmp_path, other):
    learner, _ = loaded(classifier)
    first = learner.fit(data, data, logging_path=str(tmp_path / "run"))
    again, _ = loaded(classifier)
    assert again.fit(data, data, logging_path=str(tmp_path / "run")) == first  # the very same is only loaded
    start = learner.save(tmp_path / "trained") if other == "weights" else classifier
    changed_one = faces()
    changed_one.targets = Targets(np.roll(data.targets.index, 1))
    another, _ = loaded(start)
    with pytest.raises(WeightsError, match="targets" if other != "weights" else "start"):
        another.fit(changed_one if other == "targets" else data, changed_one if other == "validation" else data, str(tmp_path / "run"))


def test_a_training_that_is_refused_leaves_the_learner_as_it_was(classifier):
    learner = MobileNetV2Learner(**{**SMALL, "input_size": 64, "task": "both"})
    learner.load(classifier)
    before = learner.card
    with pytest.raises(DatasetError):
        learner.fit(DrawnFaces(FERPLUS8, 8, side=32))
    assert learner.card == before
    assert not learner.card.affect
