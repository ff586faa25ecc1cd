"""The baselines: sizes, and what they are by hand."""

from __future__ import annotations

import pytest
import torch

from emotion_perception.learners.emotx.model import build_network


def count(**architecture) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in build_network({"num_labels": 10, **architecture}).parameters())


def test_sizes():
    # One vector in place of thirty; as many weights in one linear layer as in ten.
    assert count(network="emotx_1cls") == 8_166_410 - 29 * 512
    assert count(network="mlp", judges=("scene",)) == 768 * 1024 + 1024 + 1024 * 10 + 10
    assert count(network="mlp", judges=("characters",)) == 2048 * 1024 + 1024 + 1024 * 10 + 10
    layer = 4 * (768 * 768 + 768) + 2 * 768 * 2048 + 2048 + 768 + 4 * 768
    assert count(network="single_encoder", judges=("scene",)) == layer + 768 + 768 * 10 + 10


def test_the_variant_with_one_class_token_has_the_published_names(small):
    state = small(network="emotx_1cls").state_dict()
    assert state["cls_token"].shape == (16,)
    assert state["logits.weight"].shape == (5, 16)
    assert set(small().state_dict()) - set(state) == {
        *(f"cls_emb_{name}.weight" for name in ("srt", "scene", "char")),
        *(f"logits.{label}.{kind}" for label in range(5) for kind in ("weight", "bias")),
    }


def test_the_variant_with_one_class_token_judges_all_labels_by_it(small, inputs):
    network = small(network="emotx_1cls")
    outputs = network.class_outputs(*inputs)
    assert outputs.shape == (2, 4, 1, 16)
    scene, characters = network(*inputs)
    torch.testing.assert_close(scene, outputs[:, 0, 0] @ network.logits.weight.T + network.logits.bias)
    torch.testing.assert_close(characters, outputs[:, 1:, 0] @ network.logits.weight.T + network.logits.bias)


def test_the_mlp_judges_the_highest_of_every_feature(small, inputs):
    network = small(network="mlp")
    scene, characters = network(*inputs)
    for clip, length in enumerate((7, 11)):
        judge = network.judges["scene"]
        torch.testing.assert_close(scene[clip], judge.lin2(judge.lin1(inputs[0][clip, :length].max(0).values)))
    judge = network.judges["characters"]
    torch.testing.assert_close(characters[0, 1], judge.lin2(judge.lin1(inputs[3][0, 1, :9].max(0).values)))
    # Nothing seen counts as zeros.
    torch.testing.assert_close(characters[0, 2], judge.lin2(judge.lin1(torch.zeros(32))))


def test_the_single_encoder_judges_every_stream_alone(small, inputs):
    network = small(network="single_encoder")
    scene, characters = network(*inputs)
    alone = [values[1:, 0, :3] for values in inputs[3:6]]
    torch.testing.assert_close(network.judges["characters"](*alone)[0], characters[1, 0], atol=1e-5, rtol=1e-5)
    later = [*inputs[:1], (inputs[1] + 5) % 50, *inputs[2:]]
    assert (network(*later)[0] - scene).abs().max() > 1e-3
    assert torch.equal(network(*later)[1], characters)


@pytest.mark.parametrize("network", ["mlp", "single_encoder"])
@pytest.mark.parametrize("judge", ["scene", "characters"])
def test_a_baseline_has_only_the_judges_that_are_wanted(small, inputs, network, judge):
    model = small(network=network, judges=(judge,))
    answers = dict(zip(("scene", "characters"), model(*inputs), strict=True))
    assert (answers["scene"].shape, answers["characters"].shape) == ((2, 5), (2, 3, 5))
    other = "characters" if judge == "scene" else "scene"
    assert not answers[other].any()
    answers[judge].square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())
