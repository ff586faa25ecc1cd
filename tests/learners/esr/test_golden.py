"""The network against outputs of the original code, on weights and pictures from a formula."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from emotion_perception.engine.labels import label_set
from emotion_perception.learners.esr import FacialEmotionLearner
from emotion_perception.learners.esr.learner import ensemble_of
from emotion_perception.learners.esr.model import ESR, Deployed

CASES = [("esr", "esr9"), ("esr", "esr3"), ("diversified_esr", "diversified_esr9"), ("diversified_esr", "diversified_esr3")]
ATOL = RTOL = 1e-4  # the pages' own, for float32 on the CPU; their original code deviates by 1.4e-6 from float64


def close(actual, expected):
    return np.allclose(np.asarray(actual), np.asarray(expected), atol=ATOL, rtol=RTOL)


def assert_close(actual, expected):
    np.testing.assert_allclose(np.asarray(actual), np.asarray(expected), atol=ATOL, rtol=RTOL)


def assert_maps(actual, expected):
    """Compares large maps with a page's shape, statistics and samples of them."""
    maps = actual.double().numpy()
    assert list(maps.shape) == expected["shape"]
    assert_close([maps.mean(), maps.std(), maps.min(), maps.max()], [expected[key] for key in ("mean", "std", "min", "max")])
    assert (maps == 0).mean() == pytest.approx(expected["frac_zero"], abs=1e-4)
    for index, value in expected["elements"]:
        assert maps[tuple(index)] == pytest.approx(value, abs=ATOL, rel=RTOL)


@pytest.fixture(scope="module", params=CASES, ids=[name for _, name in CASES])
def run(request, golden):
    """One case with what our network answers to it."""
    page, name = request.param
    reference = golden(page)
    case = reference.cases[name]
    model = ESR(case["build"]["ensemble_size"], case["build"]["diversified"]).eval()
    reference.fill(model, case["weights"])
    pictures = reference.pictures(case["inputs"])
    with torch.inference_mode():
        logits, affect = model(pictures)
        features = model.base(pictures)
        deployed = Deployed(model)(pictures)
    outputs = {"logits": logits.numpy(), "affect": affect.numpy()}
    deployed = {name: value.numpy() for name, value in zip(FacialEmotionLearner.output_names, deployed, strict=True)}
    whole = {"case": case, "expected": case["expected"], "model": model, "pictures": pictures}
    return SimpleNamespace(**whole, features=features, outputs=outputs, deployed=deployed)


def test_the_network_has_the_published_number_of_parameters(run):
    assert sum(p.numel() for p in run.model.parameters()) == run.case["build"]["n_parameters"]


def test_logits_affect_and_shared_features_equal_the_original(run):
    assert_close(run.outputs["logits"], run.expected["emotion_logits"])
    assert_close(run.outputs["affect"], run.expected["affect"])
    assert_maps(run.features, run.expected["base_features"])
    assert_close(run.features[0, :8].mean((1, 2)), run.expected["base_features_channel_mean_image0_first8"])


def test_what_is_deployed_answers_as_the_original(run):
    assert_close(run.deployed["logits"], run.expected["emotion_logits"])
    assert_close(run.deployed["branch_affect"], run.expected["affect"])
    assert not any(isinstance(module, torch.nn.BatchNorm2d) and "cbam" not in name for name, module in Deployed(run.model).named_modules())
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in run.model.modules()), "the original has lost its own"


def test_the_last_convolution_leads_to_the_same_outputs(run):
    with torch.inference_mode():
        logits, affect = run.model.from_last_conv(run.model.last_conv(run.pictures))
    assert_close(logits, run.expected["emotion_logits"])
    assert_close(affect, run.expected["affect"])


def test_votes_probabilities_and_affect_of_the_ensemble_equal_the_original(run):
    emotions = FacialEmotionLearner(voting="plurality").emotions(run.deployed)
    assert run.outputs["logits"].argmax(2).tolist() == run.expected["branch_argmax"]
    assert emotions.extras["votes"].tolist() == run.expected["votes"]
    assert_close(emotions.probabilities, run.expected["derived_mean_softmax"])
    assert_close(emotions.affect, run.expected["mean_affect_valence_arousal"])
    words = list(label_set("affectnet8").words)
    for i, sharing in enumerate(run.expected["n_classes_sharing_top_vote"]):
        votes = emotions.extras["votes"][i]
        tied = np.flatnonzero(votes == votes.max())
        assert len(tied) == sharing
        if sharing == 1:
            assert emotions.index[i] == run.expected["plurality_label"][i]
            assert words[emotions.index[i]] == run.expected["plurality_name"][i]
        else:  # the original takes the lowest index, we take the most probable of these
            assert emotions.index[i] == max(tied, key=lambda k: emotions.probabilities[i, k])


def test_attention_of_the_diversified_network_equals_the_original(run):
    if "attention_spatial" not in run.expected:
        assert not hasattr(run.model.convolutional_branches[0], "cbam4")
        return
    with torch.inference_mode():
        spatial, channel = run.model.attention(run.pictures)
    assert_maps(spatial, run.expected["attention_spatial"])
    assert_maps(channel, run.expected["attention_channel"])
    assert_close(spatial[0, 0], run.expected["attention_spatial_branch0_image0"])
    assert_close(channel[0, 0, :16], run.expected["attention_channel_branch0_image0_first16"])
    for maps, key in ((spatial, "attention_spatial"), (channel, "attention_channel")):
        first = maps[:, 0].flatten(1)
        moments = torch.stack([first.mean(1), first.std(1, correction=0)], dim=1)
        assert_close(moments, run.expected[f"{key}_mean_std_per_branch_image0"])


def test_wrong_variants_do_not_match(run):
    reversed_channels = run.case["controls"]["bgr_fed_to_rgb_weights"]
    branch0, mean_affect = run.outputs["logits"][:, 0], run.outputs["affect"].mean(1)
    assert not close(branch0, reversed_channels["emotion_logits_branch0"])
    assert not close(mean_affect, reversed_channels["mean_affect_valence_arousal"])
    with torch.inference_mode():
        logits, affect = run.model(run.pictures.flip(1))
    # Fed with reversed channels, the network shows exactly that mistake: the control is a control of this network.
    assert_close(logits[:, 0], reversed_channels["emotion_logits_branch0"])
    assert_close(affect.mean(1), reversed_channels["mean_affect_valence_arousal"])
    as_shipped = run.case["controls"].get("original_class_as_shipped_batch1_image0")
    if as_shipped:
        assert not close(run.outputs["logits"][0], as_shipped["emotion_logits"])


@pytest.mark.parametrize(("diversify", "count"), [(False, 33_666_054), (True, 34_465_946)])
def test_fifteen_branches_have_the_published_number_of_parameters(diversify, count):
    with torch.device("meta"):
        model = ESR(15, diversify)
    assert sum(p.numel() for p in model.parameters()) == count


def test_the_published_base_gives_the_originals_features(golden, test_data):
    file = test_data / "weights" / "esr" / "Net-Base-Shared_Representations.pt"
    if not file.is_file():
        pytest.skip(f"{file.name} is not in the test data")
    reference = golden("esr")
    case = reference.cases["real_base_checkpoint"]
    base = ESR(1).base.eval()
    base.load_state_dict(torch.load(file, map_location="cpu", weights_only=True), strict=True)
    with torch.inference_mode():
        features = base(reference.pictures(case["inputs"]))
    assert_maps(features, case["expected"]["base_features"])
    assert_close(features[0, :8].mean((1, 2)), case["expected"]["base_features_channel_mean_image0_first8"])


def test_plurality_counts_votes_as_the_original_does_and_breaks_ties_by_probability(golden):
    learner = FacialEmotionLearner(voting="plurality")
    ties = 0
    for case in golden("esr").cases["plurality_rule"]["cases"]:
        labels = np.array(case["branch_labels"])
        logits = np.random.default_rng(len(labels)).random((1, len(labels), 8), dtype=np.float32)
        logits[0, np.arange(len(labels)), labels] += 1.0
        emotions = learner.emotions(ensemble_of(logits, np.zeros((1, len(labels), 2), np.float32)))
        votes = np.array(case["votes"])
        assert emotions.extras["votes"][0].tolist() == case["votes"]
        tied = np.flatnonzero(votes == votes.max())
        assert emotions.index[0] == max(tied, key=lambda k: emotions.probabilities[0, k])
        assert case["plurality_label"] in tied
        if len(tied) == 1:
            assert emotions.index[0] == case["plurality_label"]
        ties += len(tied) > 1
        assert emotions.extras["agreement"][0] == pytest.approx(votes.max() / len(labels))
    assert ties >= 3
