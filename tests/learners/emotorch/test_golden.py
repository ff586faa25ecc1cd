"""Both networks against outputs of the original code, on weights and pictures from a formula, and on the real checkpoints."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emotion_perception.learners.emotorch import EmoTorchLearner
from emotion_perception.learners.emotorch.model import NETWORKS, Deployed

ATOL, RTOL = 5e-5, 1e-4  # the page's own
OUTPUT = {"baseline": "scores_after_relu", "enhanced": "logits"}
FILES = {"baseline": "baseline_model", "enhanced": "new_model"}
# The six pictures of the page's cases of simple inputs.
ROWS, COLUMNS = np.mgrid[0:48, 0:48]
PICTURES = [
    np.zeros((48, 48)),
    np.full((48, 48), 0.5),
    np.ones((48, 48)),
    np.arange(2304).reshape(48, 48) / 2303,
    (ROWS + COLUMNS) % 2,
    0.5 + 0.5 * np.sin(ROWS / 5) * np.cos(COLUMNS / 7),
]


@pytest.fixture(params=["baseline", "enhanced"])
def run(request, golden):
    """One case of the page, and our network on the weights of its formula."""
    page = golden("emotorch")
    case = page.cases[request.param]
    model = NETWORKS[request.param]().eval()
    page.fill(model, case["weights"])
    return request.param, case, model, page.pictures(case["inputs"]).expand(-1, 3, -1, -1)


def assert_close(actual, expected):
    np.testing.assert_allclose(np.asarray(actual), np.asarray(expected), atol=ATOL, rtol=RTOL)


def test_the_networks_answer_as_the_original_ones(run):
    name, case, model, pictures = run
    assert sum(p.numel() for p in model.parameters()) == case["build"]["n_parameters"] == {"baseline": 6_964, "enhanced": 321_892}[name]
    with torch.inference_mode():
        scores = model(pictures)
        again = model.from_last_conv(model.last_conv(pictures))
        probabilities, deployed = Deployed(model)(pictures)
    assert_close(scores, case["expected"][OUTPUT[name]])
    assert scores.argmax(1).tolist() == case["expected"]["argmax"]
    assert_close(again, scores)
    assert_close(deployed, scores)
    if name == "enhanced":
        assert_close(probabilities, case["expected"]["softmax"])
    assert_close(probabilities.sum(1), np.ones(len(scores)))


def test_what_the_published_script_called_confidence_is_there(golden):
    page = golden("emotorch")
    learner = EmoTorchLearner(network="baseline", device="cpu")
    learner.init_model()
    page.fill(learner.model, page.cases["baseline"]["weights"])
    pictures = page.pictures(page.cases["baseline"]["inputs"])
    emotions = learner.infer((pictures * 255).to(torch.uint8).permute(0, 2, 3, 1).expand(-1, -1, -1, 3))
    expected = page.cases["baseline"]["expected"]
    assert_close(emotions.extras["softmax"], expected["softmax"])
    assert_close(emotions.extras["scores"], expected["scores_after_relu"])
    # Where all scores are zero, nothing is known.
    assert_close(emotions.probabilities[2], np.full(4, 0.25))
    assert emotions.extras["entropy"][2] == pytest.approx(np.log(4))
    assert emotions.extras["entropy"][0] == pytest.approx(0.0, abs=2e-3)


@pytest.mark.parametrize("network", ["baseline", "enhanced"])
def test_the_real_checkpoints_answer_as_the_original_code(network, test_data, golden):
    learner = EmoTorchLearner(device="cpu")
    learner.load(test_data / "weights" / "emotorch" / FILES[network])
    assert learner.card.architecture["network"] == network
    assert learner.card.title == f"EmoTorch, {network} network, published weights"
    page = golden("emotorch")
    expected = page.cases[f"real_{network}_simple_inputs"]["expected"]
    emotions = learner.infer([np.float32(picture) for picture in PICTURES])
    assert_close(emotions.extras["scores"], expected["outputs"])
    assert emotions.index.tolist() == expected["argmax"]
    case = page.cases[f"real_{network}_formula_images"]
    emotions = learner.infer(page.pictures(case["inputs"]).expand(-1, 3, -1, -1))
    assert_close(emotions.extras["scores"], case["expected"][OUTPUT[network]])
    assert emotions.index.tolist() == case["expected"]["argmax"]
