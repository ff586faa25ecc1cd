"""EmoTx against outputs of the original code, on weights, features and padding from a formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, multilabel_soft_margin_loss

from emotion_perception.learners.emotx.checkpoints import SIZES
from emotion_perception.learners.emotx.model import build_network

ATOL, RTOL = 2e-4, 1e-4  # the page's own


def assert_close(actual, expected):
    np.testing.assert_allclose(np.asarray(actual), np.asarray(expected), atol=ATOL, rtol=RTOL)


def inputs_of(page, case):
    """Makes the nine inputs of a case by the page's rule, checked against the page."""
    given, build = case["inputs"], case["build"]
    batch, people, length, seed = given["batch"], build["num_chars"], build["max_individual_tokens"], given["seed"]
    clip, person, time = torch.arange(batch)[:, None], torch.arange(people)[None, :, None], torch.arange(length)
    features = [
        page.tensor("input:scene", (batch, length, build["scene_feat_dim"]), seed),
        page.tensor("input:char", (batch, people, length, build["char_feat_dim"]), seed),
        page.tensor("input:srt", (batch, length, build["srt_feat_dim"]), seed),
    ]
    bins = [37 * time + 11 * clip, 29 * time + 5 * person + 13 * clip[..., None], 53 * time + 17 * clip]
    bins = [each % build["num_pos_embeddings"] for each in bins]
    padding = [time >= torch.tensor(given["lengths"][name])[..., None] for name in ("scene", "char", "srt")]
    check = given["check"]
    for values, first in zip(features[:2], (check["scene_first4"], check["char_first4"]), strict=True):
        np.testing.assert_allclose(values.flatten()[:4], first, rtol=1e-6)
    np.testing.assert_allclose(features[2].flatten()[-4:], check["srt_last4"], rtol=1e-6)
    assert bins[0][0, :6].tolist() == check["scene_bins_first6"]
    assert bins[1][-1, -1, :6].tolist() == check["char_bins_b_last_n_last_first6"]
    return tuple(values for stream in zip(features, bins, padding, strict=True) for values in stream)


@pytest.fixture(scope="module", params=["emotx_k10", "emotx_k25"])
def run(request, golden):
    """One case of the page, our network on the weights of its formula, the inputs, and which characters are there."""
    page = golden("emotx")
    case = page.cases[request.param]
    model = build_network({name: case["build"][name] for name in SIZES}).eval()
    page.fill(model, case["weights"])
    return page, case, model, inputs_of(page, case), torch.tensor(case["inputs"]["lengths"]["char"]) > 0


def test_the_network_answers_as_the_original_one(run):
    _, case, model, inputs, present = run
    assert sum(p.numel() for p in model.parameters()) == case["build"]["n_parameters"]
    with torch.inference_mode():
        scene, characters = model(*inputs)
        classes = model.class_outputs(*inputs)
    assert_close(scene, case["expected"]["scene_logits"])
    assert_close(characters[present], case["expected"]["char_logits"])
    assert_close(scene.sigmoid(), case["expected"]["scene_probabilities"])
    assert_close(classes[0, 0, 0, :8], case["expected"]["encoder_output_scene_cls_first"])
    assert float(classes[0, 0].std(correction=0)) == pytest.approx(case["expected"]["encoder_output_scene_cls_std_image0"], abs=ATOL)


def test_the_sequence_is_the_original_one_in_another_order(run):
    _, case, model, inputs, _ = run
    with torch.inference_mode():
        tokens, keys = model.sequence(*inputs)
    expected = case["expected"]["encoder_input_after_layernorm"]
    assert list(tokens.shape) == expected["shape"]
    where = model.positions(*inputs)
    # Published: the scene, then character after character, then the dialogue; class tokens first in each.
    published = np.lexsort((np.arange(len(where.stream)), where.label < 0, where.character, where.stream == 2))
    for (clip, position, column), value in expected["elements"]:
        assert float(tokens[clip, published[position], column]) == pytest.approx(value, abs=ATOL)
    assert torch.equal(keys, ~where.padding)


def test_the_losses_of_its_answers_are_the_original_ones(run):
    page, case, model, inputs, present = run
    with torch.inference_mode():
        scene, characters = model(*inputs)
    logits = torch.cat([characters[present], scene])
    targets = (page.tensor("target", tuple(logits.shape), case["inputs"]["seed"]) > 0.4).float()
    expected = case["expected"]["loss"]
    plain = binary_cross_entropy_with_logits(logits, targets)
    weighted = binary_cross_entropy_with_logits(logits, targets, pos_weight=torch.tensor(expected["pos_weight"]))
    assert float(plain) == pytest.approx(expected["bce_with_logits_mean"], abs=1e-5)
    assert float(weighted) == pytest.approx(expected["bce_with_logits_pos_weight_mean"], abs=1e-5)
    assert float(multilabel_soft_margin_loss(logits, targets)) == pytest.approx(expected["multilabel_soft_margin_mean"], abs=1e-5)


def test_without_its_padding_it_would_answer_otherwise(run):
    _, case, model, inputs, present = run
    unmasked = [torch.zeros_like(values) if values.dtype == torch.bool else values for values in inputs]
    with torch.inference_mode():
        scene, characters = model(*unmasked)
    farthest = max(
        float((scene - torch.tensor(case["expected"]["scene_logits"])).abs().max()),
        float((characters[present] - torch.tensor(case["expected"]["char_logits"])).abs().max()),
    )
    assert farthest == pytest.approx(case["controls"]["no_masking_at_all_max_abs_diff"], abs=0.01)
