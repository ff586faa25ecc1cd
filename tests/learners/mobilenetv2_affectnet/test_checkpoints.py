"""Keras files of the published layout, and ImageNet backbones: read to the last bit, or refused in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from emotion_perception.engine.errors import UsageError, WeightsError
from emotion_perception.learners.mobilenetv2_affectnet import MobileNetV2Learner
from emotion_perception.learners.mobilenetv2_affectnet.checkpoints import keras_layers, read_backbone, read_tower
from emotion_perception.learners.mobilenetv2_affectnet.model import Tower

PICTURE = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)


def same(actual, expected) -> bool:
    return set(actual) == set(expected) and all(torch.equal(actual[name], value) for name, value in expected.items())


def refused(read, *given: object) -> str:
    with pytest.raises(WeightsError) as error:
        read(*given)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def folder(write_keras, arrays, tmp_path):
    """The two files, as they are published."""
    (tmp_path / "published").mkdir()
    write_keras(tmp_path / "published" / "classificator_weights.h5", arrays["categorical"])
    write_keras(tmp_path / "published" / "regressor_weights.h5", arrays["dimensional"])
    return tmp_path / "published"


# ---- Keras files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("whole", "as_bytes"), [(False, False), (False, True), (True, True)])
@pytest.mark.parametrize("head", ["categorical", "dimensional"])
def test_a_keras_file_is_read_exactly(write_keras, arrays, tensors, tmp_path, head, whole, as_bytes):
    file = write_keras(tmp_path / "a.h5", arrays[head], whole=whole, as_bytes=as_bytes)
    read, found = read_tower(file)
    assert found == head
    assert same(read, tensors[head])


def test_numbers_in_the_names_of_dense_layers_mean_nothing(write_keras, arrays, tensors, listing, tmp_path):
    renamed = {path.replace("dense_1", "dense_7").replace("dense_2", "dense_3"): value for path, value in arrays["categorical"].items()}
    layers = [name.replace("dense_1", "dense_7").replace("dense_2", "dense_3") for name in listing["weights_only_file"]["layer_names"]]
    read, head = read_tower(write_keras(tmp_path / "a.h5", renamed, layers=layers))
    assert head == "categorical"
    assert same(read, tensors["categorical"])


def test_every_layer_of_the_listing_has_its_place(listing):
    with_weights = {row[0].split("/")[0] for row in listing["weights_only_file"]["datasets"][1:]}
    assert [keras for keras, _ in keras_layers()] == [
        layer for layer in listing["weights_only_file"]["layer_names"] if layer in with_weights and not layer.startswith("dense")
    ]
    modules = dict(Tower(()).named_modules())
    assert all(module in modules for _, module in keras_layers())


def test_files_of_other_networks_are_refused_with_the_layer_named(write_keras, arrays, listing, tmp_path):
    file, own = tmp_path / "a.h5", arrays["categorical"]
    layers = listing["weights_only_file"]["layer_names"]
    write_keras(file, {path: value for path, value in own.items() if not path.startswith("block_3_expand/")})
    assert "has no layer 'block_3_expand'" in refused(read_tower, file)
    write_keras(file, {**own, "Conv1/Conv1/kernel:0": np.zeros((5, 5, 3, 32), np.float32)})
    assert "'features.0.0.weight' has shape (32, 3, 5, 5), expected (32, 3, 3, 3)" in refused(read_tower, file)
    surgery = {"regression_output/regression_output/kernel:0": np.zeros((8, 2)), "regression_output/regression_output/bias:0": np.zeros(2)}
    write_keras(file, {**own, **surgery}, layers=[*layers, "regression_output"])
    assert "regression_output (8, 2)" in (text := refused(read_tower, file))
    assert "make one of the classifier with add_affect" in text
    top = {"Logits/Logits/kernel:0": np.zeros((1280, 1000)), "Logits/Logits/bias:0": np.zeros(1000)}
    write_keras(file, {**{path: v for path, v in own.items() if "dense" not in path}, **top}, layers=[*layers[:-3], "Logits"])
    assert "ends in Logits (1280, 1000)" in refused(read_tower, file)


def test_the_published_files_make_a_classifier_and_a_regressor(folder, tensors, tmp_path):
    learner = MobileNetV2Learner(device="cpu")
    learner.load(folder)
    classifier, regressor = (tower.state_dict() for tower in learner.model.parts())
    assert all(torch.equal(classifier[name], value) for name, value in tensors["categorical"].items())
    assert all(torch.equal(regressor[name], value) for name, value in tensors["dimensional"].items())
    assert (learner.card.input.height, learner.card.input.mean, learner.card.scores) == (224, (0.5, 0.5, 0.5), {})
    assert learner.card.title == "MobileNetV2 from classificator_weights.h5, regressor_weights.h5"
    again = MobileNetV2Learner(device="cpu")
    again.load(learner.save(tmp_path / "saved"))
    for actual, expected in zip(again.infer(PICTURE), learner.infer(PICTURE), strict=True):
        assert str(actual) == str(expected)


def test_a_classifier_alone_has_no_affect_and_a_regressor_alone_no_opinion_of_the_class(folder):
    learner = MobileNetV2Learner(device="cpu")
    learner.load(folder / "classificator_weights.h5")
    assert learner.infer(PICTURE).affect is None
    learner.load(folder / "regressor_weights.h5")
    emotions = learner.infer(PICTURE)
    assert emotions.probabilities.tolist() == [[0.125] * 8]
    assert emotions.affect.shape == (1, 2)


def test_what_cannot_be_loaded_leaves_the_learner_as_it_was(folder, write_keras, arrays, tmp_path):
    learner = MobileNetV2Learner(device="cpu")
    learner.load(folder / "classificator_weights.h5")
    before, card = learner.infer(PICTURE).probabilities, learner.card
    write_keras(folder / "third.h5", arrays["dimensional"])
    assert "is a second dimensional network" in refused(learner.load, folder)
    write_keras(tmp_path / "bare.h5", {path: value for path, value in arrays["categorical"].items() if "dense" not in path})
    assert "backbone_weights" in refused(learner.load, tmp_path / "bare.h5")
    (tmp_path / "empty.h5").touch()
    assert "empty.h5" in refused(learner.load, tmp_path / "empty.h5")
    assert "absent.h5" in refused(learner.load, tmp_path / "absent.h5")
    assert learner.card is card
    np.testing.assert_array_equal(learner.infer(PICTURE).probabilities, before)


# ---- ImageNet backbones -------------------------------------------------------------------------------------------------


@pytest.fixture
def imagenet(tmp_path) -> Path:
    """A state dict with the names and shapes of torchvision's MobileNetV2, every tensor of it different."""
    torch.manual_seed(3)
    state = {name: torch.rand_like(v) if v.is_floating_point() else v + 9 for name, v in Tower(()).state_dict().items()}
    state = {name: value for name, value in state.items() if name.startswith("features.")}
    torch.save({**state, "classifier.1.weight": torch.zeros(1000, 1280), "classifier.1.bias": torch.zeros(1000)}, tmp_path / "m.pth")
    return tmp_path / "m.pth"


def test_imagenet_weights_of_torchvision_start_a_network_with_its_conventions(imagenet, tmp_path):
    stored = torch.load(imagenet, weights_only=True)
    # Some of torchvision's names, as published.
    names = ("features.0.0.weight", "features.1.conv.1.weight", "features.2.conv.1.0.weight", "features.17.conv.3.running_var")
    assert [tuple(stored[name].shape) for name in names] == [(32, 3, 3, 3), (16, 32, 1, 1), (96, 1, 3, 3), (320,)]
    learner = MobileNetV2Learner(device="cpu", backbone_weights=imagenet, shared=False)
    learner.init_model()
    assert learner.card.architecture["conventions"] == "torch"
    for tower in learner.model.parts():
        assert all(torch.equal(v, stored[name]) for name, v in tower.state_dict().items() if "features" in name and "tracked" not in name)
        norm = tower.features[0][1]
        assert (norm.eps, norm.momentum) == (1e-5, 0.1)
        x = torch.rand(1, 3, 64, 64)
        expected = torch.nn.functional.conv2d(x, stored["features.0.0.weight"], stride=2, padding=1)
        assert torch.equal(tower.features[0][0](x), expected)
    again = MobileNetV2Learner(device="cpu")
    again.load(learner.save(tmp_path / "saved"))
    assert again.model.parts()[0].features[0][1].eps == 1e-5


def test_imagenet_weights_of_keras_start_a_network_with_keras_conventions(write_keras, arrays, tensors, tmp_path):
    bare = {path: value for path, value in arrays["categorical"].items() if "dense" not in path}
    read, conventions = read_backbone(write_keras(tmp_path / "bare.h5", bare))
    assert conventions == "keras"
    assert same(read, {name: value for name, value in tensors["categorical"].items() if name.startswith("features.")})


def test_a_backbone_of_another_network_is_refused(imagenet):
    stored = torch.load(imagenet, weights_only=True)
    torch.save({name: value for name, value in stored.items() if "features.3" not in name}, imagenet)
    assert "lacks tensor 'features.3.conv.0.0.weight'" in refused(read_backbone, imagenet)
    torch.save({"layer1.weight": torch.zeros(3)}, imagenet)
    assert "lacks tensor 'features.0.0.weight'" in refused(MobileNetV2Learner(backbone_weights=imagenet).init_model)
    assert "absent.pth" in refused(read_backbone, "absent.pth")


# ---- options and downloads ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": "three"}, "heads is 'three', expected one of both, categorical, dimensional"),
        ({"freeze": "all"}, "freeze is 'all'"),
        ({"task": "words"}, "task is 'words', expected one of None, both"),
        ({"schedule": "joint"}, "schedule is 'joint', expected one of one_cycle, published"),
        ({"class_weights": "equal"}, "class_weights is 'equal'"),
        ({"stem_stride": 3}, "stem_stride is 3"),
        ({"backbone_lr": -1.0}, "backbone_lr -1.0"),
        ({"input_size": 24}, "sizes of at least 32 pixels"),
        ({"dropout": 1.0}, "dropout 1.0"),
        ({"lr": 0.0}, "expected lr above 0"),
        ({"seed": -1}, "seed from 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        MobileNetV2Learner(**options)


def test_only_a_classifier_is_made_a_regressor_of():
    learner = MobileNetV2Learner(device="cpu", heads="dimensional", input_size=32)
    learner.init_model()
    with pytest.raises(UsageError, match="heads are 'dimensional'"):
        learner.add_affect()


def test_published_files_are_fetched_and_can_be_loaded(folder, tmp_path, monkeypatch):
    import hashlib

    from emotion_perception.engine.cards import WeightFile
    from emotion_perception.learners.mobilenetv2_affectnet import learner as module

    digests = {file.name: f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}" for file in folder.iterdir()}
    files = tuple(WeightFile(file.name, f"https://nowhere.invalid/{file.name}", digests[file.name]) for file in module.CARD.files)
    monkeypatch.setattr(module, "CARD", module.CARD.with_(files=files))
    learner = MobileNetV2Learner(device="cpu", temp_path=tmp_path / "temp")
    learner.load(learner.download(url=folder.as_uri()))
    assert learner.card.architecture["heads"] == "both"
