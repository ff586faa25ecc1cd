"""The network against outputs of the original Keras code, on weights and pictures from a formula."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from emotion_perception.learners.mobilenetv2_affectnet import MobileNetV2Learner
from emotion_perception.learners.mobilenetv2_affectnet.card import CARD
from emotion_perception.learners.mobilenetv2_affectnet.model import Deployed, MobileNetV2

LAYERS = {
    "Conv1_relu": 0,
    "expanded_conv_project_BN": 1,
    "block_3_project_BN": 4,
    "block_6_project_BN": 7,
    "block_12_add": 13,
    "block_13_project_BN": 14,
    "block_16_project_BN": 17,
    "out_relu": 18,
}


def network(tensors, towers=(("categorical",), ("dimensional",)), conventions="keras") -> MobileNetV2:
    model = MobileNetV2(towers, conventions).eval()
    for tower in model.parts():
        state = {**tower.state_dict(), **tensors["categorical"], **tensors["dimensional"]}
        tower.load_state_dict({name: state[name] for name in tower.state_dict()})
    return model


@pytest.fixture(scope="module")
def run(reference, tensors):
    """The case, our classifier and regressor, and the pictures in [-1, 1]."""
    case = reference.cases["mobilenet"]
    pictures = reference.pictures(case["inputs"]) * 2.0 - 1.0
    return SimpleNamespace(case=case, expected=case["expected"], model=network(tensors), pictures=pictures)


def assert_close(actual, expected, atol=3e-4, rtol=2e-4):
    """Compares within the page's tolerance for logits and affect; float32 of the original deviates from float64 by a tenth of it."""
    np.testing.assert_allclose(np.asarray(actual), np.asarray(expected), atol=atol, rtol=rtol)


def assert_maps(actual, expected):
    """Compares maps, Keras's order of axes, with the page's shape, statistics and samples."""
    maps = actual.double().numpy()
    assert list(maps.shape) == expected["shape"]
    assert_close([maps.mean(), maps.std(), maps.min(), maps.max()], [expected[key] for key in ("mean", "std", "min", "max")], 5e-4, 5e-4)
    assert (maps == 0).mean() == pytest.approx(expected["frac_zero"], abs=1e-3)
    for index, value in expected["elements"]:
        assert maps[tuple(index)] == pytest.approx(value, abs=5e-4, rel=5e-4)


def values(module: torch.nn.Module) -> int:
    return sum(value.numel() for value in module.state_dict().values() if value.is_floating_point())


def test_the_networks_have_the_published_number_of_parameters(run):
    classifier, regressor = run.model.parts()
    counts = run.case["build"]["n_parameters_incl_bn_stats"]
    assert (values(classifier), values(regressor)) == (counts["classifier"], counts["regressor"]) == (3_577_928, 3_571_778)
    assert values(classifier.features) + values(classifier.dense) == 3_569_728
    assert values(MobileNetV2()) == 3_569_728 + 8 * 1025 + 2 * 1025


@torch.inference_mode()
def test_logits_and_affect_equal_the_original(run):
    logits, affect = run.model(run.pictures)
    assert_close(logits, run.expected["classifier_logits"])
    assert_close(affect, run.expected["regressor_valence_arousal"])
    probabilities, same = Deployed(run.model)(run.pictures)
    assert_close(probabilities, run.expected["classifier_probabilities"], atol=5e-5, rtol=0)
    assert_close(same, run.expected["regressor_valence_arousal"])
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in run.model.modules()), "the original has lost its own"
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in Deployed(run.model).modules())


@torch.inference_mode()
def test_one_network_for_both_heads_gives_the_same_in_one_pass(run, tensors):
    shared = network(tensors, (("categorical", "dimensional"),))
    logits, affect = shared(run.pictures)
    assert_close(logits, run.expected["classifier_logits"])
    assert_close(affect, run.expected["regressor_valence_arousal"])


@torch.inference_mode()
def test_every_stage_equals_the_original(run):
    tower, x, maps = run.model.parts()[0], run.pictures, {}
    for number, layer in enumerate(tower.features):
        x = maps[number] = layer(x)
    for name, number in LAYERS.items():
        assert_maps(maps[number].permute(0, 2, 3, 1), run.expected["stage_outputs_NHWC"][name])
    assert_maps(x.mean((2, 3)), run.expected["gap_features"])
    assert_maps(torch.relu(tower.dense(x.mean((2, 3)))), run.expected["dense_1_relu"])


def test_the_learner_judges_pictures_as_the_original(run, tensors):
    learner = MobileNetV2Learner(device="cpu")
    learner._adopt(CARD, tensors)
    pixels = ((run.pictures + 1.0) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    emotions = learner.infer(pixels)
    assert_close(emotions.probabilities, run.expected["classifier_probabilities"], atol=5e-5, rtol=0)
    assert emotions.index.tolist() == run.expected["classifier_argmax"]
    assert_close(emotions.affect, np.clip(run.expected["regressor_valence_arousal"], -1.0, 1.0))
    blue_first = learner.infer(np.ascontiguousarray(pixels[..., ::-1]), color="bgr")
    np.testing.assert_array_equal(blue_first.probabilities, emotions.probabilities)


@torch.inference_mode()
def test_wrong_variants_differ_by_as_much_as_the_page_says(run, tensors):
    expected, controls = torch.tensor(run.expected["classifier_logits"]), run.case["controls"]

    def distance(model: MobileNetV2, pictures: torch.Tensor) -> float:
        return float((model(pictures)[0] - expected).abs().max())

    assert distance(run.model, run.pictures.flip(1)) == pytest.approx(controls["max_abs_logit_diff_if_BGR_fed"], abs=0.01)
    unscaled = (run.pictures + 1.0) / 2.0
    assert distance(run.model, unscaled) == pytest.approx(controls["max_abs_logit_diff_if_scaled_to_0_1"], abs=0.01)
    other = network(tensors, conventions="torch")
    for module in other.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eps = 1e-3
    padded = controls["max_abs_logit_diff_if_stride2_padding_is_symmetric_1_1"]
    assert distance(other, run.pictures) == pytest.approx(padded, abs=0.01)
    epsilon = network(tensors)
    for module in epsilon.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eps = 1e-5
    assert distance(epsilon, run.pictures) == pytest.approx(controls["max_abs_logit_diff_if_BN_eps_1e-5"], abs=0.01)


@torch.no_grad()
def test_a_regressor_made_of_the_classifier_keeps_all_but_the_last_layer(run, tensors):
    for shared in (True, False):
        learner = MobileNetV2Learner(device="cpu", shared=shared)
        learner._adopt(CARD.with_(architecture={**CARD.architecture, "heads": "categorical"}, affect=False), tensors)
        assert learner.infer(np.zeros((1, 224, 224, 3), np.uint8)).affect is None
        learner.add_affect()
        state = learner.model.parts()[-1].state_dict()
        assert state["heads.dimensional.weight"].shape == (2, 1024)
        trunk = [name for name in tensors["categorical"] if not name.startswith("heads.")]
        assert all(torch.equal(state[name], tensors["categorical"][name]) for name in trunk)
        logits, affect = learner.model(run.pictures)
        assert_close(logits, run.expected["classifier_logits"])
        on_probabilities = np.array(run.case["controls"]["surgery_as_original_code_does_it"]["output"])
        assert np.abs(affect.numpy() - on_probabilities).max() > 0.05
        # With the golden regressor's last layer on it, the network is the golden regressor: nothing lies between.
        learner.model.parts()[-1].heads["dimensional"].load_state_dict(
            {leaf: tensors["dimensional"][f"heads.dimensional.{leaf}"] for leaf in ("weight", "bias")}
        )
        assert_close(learner.model(run.pictures)[1], run.expected["regressor_valence_arousal"])


@pytest.mark.parametrize("size", [32, 33, 63, 64, 97])
def test_padding_is_that_of_tensorflow_at_any_size(size):
    convolution = MobileNetV2().parts()[0].features[0][0]
    x = torch.rand(1, 3, size, size + 1)
    padded = torch.nn.functional.pad(x, ((size + 1) % 2, 1, size % 2, 1))
    actual, expected = convolution(x), torch.nn.functional.conv2d(padded, convolution.weight, stride=2)
    assert torch.equal(actual, expected)
    assert actual.shape[2:] == (-(-size // 2), -(-(size + 1) // 2))
    if size % 2 == 0:  # nothing above
        assert torch.allclose(actual[0, :, 0, 1], (convolution.weight * x[0, :, 0:3, 1:4]).sum((1, 2, 3)), atol=1e-6)
