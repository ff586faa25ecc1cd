"""The network at its full size against outputs of the original code, on weights and pictures from a formula."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.functional import conv2d, max_pool2d, relu

from emotion_perception.engine.errors import InputError, UsageError
from emotion_perception.engine.labels import KRAGEL20
from emotion_perception.learners.emonet import EmoNetLearner
from emotion_perception.learners.emonet.card import CARD, CHANNEL_MEAN
from emotion_perception.learners.emonet.model import LAYERS, Deployed, EmoNet, response_norm

COUNTS = {"conv_0": 34_944, "conv_1": 307_456, "conv_2": 885_120, "conv_3": 663_936, "conv_4": 442_624}
COUNTS |= {"conv_5": 37_752_832, "conv_6": 16_781_312, "classifier": 81_940}


@pytest.fixture(scope="module")
def run(golden):
    """The page, our network on the weights of its formula, and the pictures in 0 to 255."""
    page = golden("emonet")
    case = page.cases["emonet"]
    model = EmoNet().eval()
    page.fill(model, case["weights"])
    assert page.cases["emonet_mean_subtracted"]["weights"] == case["weights"]
    return SimpleNamespace(page=page, case=case, model=model, pictures=page.pictures(case["inputs"]) * 255.0)


def close(actual, expected, atol, rtol=0.0):
    np.testing.assert_allclose(np.asarray(actual), np.asarray(expected), atol=atol, rtol=rtol)


def test_names_and_sizes_are_those_of_the_published_file(run):
    state = run.model.state_dict()
    assert list(state) == [f"{layer}.0.{leaf}" for layer in COUNTS for leaf in ("weight", "bias")]
    assert {name: sum(p.numel() for p in getattr(run.model, name).parameters()) for name in COUNTS} == COUNTS
    assert sum(value.numel() for value in state.values()) == run.case["build"]["n_parameters"] == 56_950_164
    assert list(KRAGEL20) == run.page.page["class_order"]


@torch.inference_mode()
def test_logits_probabilities_and_stages_equal_the_original(run):
    expected = run.case["expected"]
    logits, affect = run.model(run.pictures)
    close(logits, expected["logits"], 1e-4, 1e-4)
    assert not affect.any()
    assert torch.equal(run.model(run.pictures.round().byte())[0], logits)
    probabilities, _, same = Deployed(run.model)(run.pictures)
    close(probabilities, expected["probabilities"], 2e-5)
    close(same, expected["logits"], 1e-4, 1e-4)
    assert probabilities.topk(3).indices.tolist() == expected["top3_indices"]
    stages = run.model.stages(run.pictures)
    ends = [*stages[:4], max_pool2d(stages[4], 3, 2), *(run.model.features(run.pictures, name)[..., None, None] for name in ("fc6", "fc7"))]
    for number, end in enumerate(ends):
        wanted = expected["stage_outputs"][f"conv_{number}"]
        maps = end.double().numpy()
        assert list(maps.shape) == wanted["shape"]
        close([maps.mean(), maps.std(), maps.min(), maps.max()], [wanted[key] for key in ("mean", "std", "min", "max")], 2e-3, 1e-4)
        assert (maps == 0).mean() == pytest.approx(wanted["frac_zero"], abs=1e-4)
        for index, value in wanted["elements"]:
            close(maps[tuple(index)], value, 2e-3, 1e-4)


@torch.inference_mode()
def test_features_have_the_shapes_that_are_promised(run):
    shapes = {layer: tuple(run.model.features(run.pictures, layer).shape) for layer in LAYERS}
    assert shapes == {"conv5": (2, 256, 13, 13), "fc6": (2, 4096), "fc7": (2, 4096), "fc8": (2, 20)}
    close(run.model.features(run.pictures, "fc8"), run.case["expected"]["logits"], 1e-4, 1e-4)
    maps = run.model.last_conv(run.pictures)
    close(run.model.from_last_conv(maps)[0], run.case["expected"]["logits"], 1e-4, 1e-4)
    with pytest.raises(UsageError, match="expected one of conv5, fc6, fc7, fc8"):
        run.model.features(run.pictures, "fc9")


@pytest.mark.parametrize("size", [226, 256, 300])
def test_the_network_refuses_other_sizes_instead_of_making_classes_of_places(run, size):
    with pytest.raises(InputError, match=rf"takes \(n, 3, 227, 227\), got \(1, 3, {size}, {size}\)"):
        run.model(torch.zeros(1, 3, size, size))


@torch.no_grad()
def test_the_learner_judges_pictures_as_the_original_with_and_without_a_mean(run):
    tensors = run.model.state_dict()
    pixels = run.pictures.round().byte().permute(0, 2, 3, 1).numpy()
    for name, mean in (("emonet", "none"), ("emonet_mean_subtracted", "channel")):
        expected = run.page.cases[name]["expected"]
        learner = EmoNetLearner(device="cpu")
        learner._adopt(CARD, {}, tensors, mean)
        emotions = learner.infer(pixels)
        close(emotions.extras["logits"], expected["logits"], 1e-4, 1e-4)
        close(emotions.probabilities, expected["probabilities"], 2e-5)
        assert [category.description for category in emotions.categories] == expected["top1_name"]
        if name == "emonet":
            reverse = learner.infer(pixels[..., ::-1].copy()).extras["logits"][0]
            close(reverse, run.case["controls"]["bgr_fed"]["logits_image0"], 1e-3, 1e-3)
    by_hand = run.model(run.pictures - torch.tensor(CHANNEL_MEAN).reshape(3, 1, 1))[0]
    close(emotions.extras["logits"], by_hand, 1e-4, 1e-4)


@torch.inference_mode()
def test_the_towers_are_two_networks_side_by_side():
    torch.manual_seed(0)
    model = EmoNet(width=0.125)
    for layer, size in ((model.conv_1[0], 27), (model.conv_3[0], 13), (model.conv_4[0], 13)):
        x = torch.randn(2, layer.in_channels, size, size)
        halves = zip(x.chunk(2, dim=1), layer.weight.chunk(2), layer.bias.chunk(2), strict=True)
        apart = torch.cat([conv2d(part, weight, bias, padding=layer.padding) for part, weight, bias in halves], dim=1)
        close(layer(x), apart, 1e-5)


@torch.inference_mode()
def test_response_normalisation_is_the_formula():
    x = relu(torch.randn(1, 9, 4, 4)) * 100.0
    naive = np.empty(x.shape)
    for c in range(9):
        around = x[0, max(c - 2, 0) : c + 3].double().square().sum(0).numpy()
        naive[0, c] = x[0, c].double().numpy() / (1.0 + 1e-4 / 5.0 * around) ** 0.75
    close(response_norm(x), naive, 1e-4, 1e-5)
    close(response_norm(x), torch.nn.LocalResponseNorm(5, 1e-4, 0.75, 1.0)(x), 1e-4, 1e-5)
