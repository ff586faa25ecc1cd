"""The anytime ensemble: it stops when it may, answers as the whole ensemble does, and keeps to its budget."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from emotion_perception.engine.errors import UsageError
from emotion_perception.engine.inference import OnnxBackend, TorchBackend, export_onnx
from emotion_perception.learners.esr import FacialEmotionLearner, anytime
from emotion_perception.learners.esr.anytime import Anytime, AnytimeEnsemble, group_sizes
from emotion_perception.learners.esr.ensemble import ensemble_of, is_decided, judged_class, votes_of

NAMES = FacialEmotionLearner.output_names
VOTINGS = ("probability", "plurality")


def fresh(branches: int = 3, **options) -> FacialEmotionLearner:
    learner = FacialEmotionLearner(device="cpu", ensemble_size=branches, input_size=54, **options)
    learner.init_model()
    return learner


def sharp(**options) -> FacialEmotionLearner:
    """Returns a learner with four branches that each see a face of another class at once, as fresh ones never do."""
    learner = fresh(4, **options)
    with torch.no_grad():
        for branch in learner.model.branches:
            branch.fc.weight.mul_(200.0)
    return learner


def pictures(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, 3, 54, 54), np.float32)


def branches_like(count: int, spread: float, seed: int = 0, branches: int = 9) -> np.ndarray:
    """Returns logits of faces from easy to hard, about which the branches differ as if by chance."""
    rng = np.random.default_rng(seed)
    faces = rng.normal(0, 1, (count, 1, 8)) * rng.uniform(0.3, 4.0, (count, 1, 1))
    return (faces + rng.normal(0, spread, (count, branches, 8))).astype(np.float32)


class Replay:
    """Stored logits as the pieces of an ensemble: a picture's first value is the number of its face."""

    def __init__(self, logits: np.ndarray) -> None:
        self.logits, self.sizes = logits, group_sizes(logits.shape[1])
        self.affect = logits[:, :, :2] / 100
        self.seen: list[list[int]] = []
        ends = np.cumsum(self.sizes).tolist()
        self.groups = [self.group(end - size, end) for end, size in zip(ends, self.sizes, strict=True)]

    def shared(self, x: np.ndarray) -> tuple[np.ndarray]:
        return (x[:, 0, 0, 0].astype(int),)

    def group(self, first: int, last: int):
        def part(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            self.seen.append(faces.tolist())
            return self.logits[faces, first:last], self.affect[faces, first:last]

        return part

    def ensemble(self, *settings, **named) -> AnytimeEnsemble:
        return AnytimeEnsemble(self.shared, self.groups, self.sizes, "replay", *settings, **named)

    def faces(self) -> np.ndarray:
        return np.arange(len(self.logits), dtype=np.float32)[:, None, None, None]

    def whole(self, voting: str = "probability") -> np.ndarray:
        return classes(ensemble_of(self.logits, self.affect), voting)


def classes(outputs: dict[str, np.ndarray], voting: str = "probability") -> np.ndarray:
    return judged_class(votes_of(outputs["logits"]), outputs["probabilities"], voting)


def used(outputs: dict[str, np.ndarray]) -> np.ndarray:
    return (~np.isnan(outputs["logits"][:, :, 0])).sum(1)


# ---- when to stop -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("branches", range(1, 16))
def test_groups_are_all_branches_and_begin_with_one(branches):
    sizes = group_sizes(branches)
    assert sum(sizes) == branches
    assert sizes[0] == 1
    assert max(sizes) <= 3
    assert group_sizes(9) == (1, 2, 3, 3)


@pytest.mark.parametrize("voting", VOTINGS)
@pytest.mark.parametrize("seen", [1, 4, 5, 6, 8])
def test_what_cannot_change_is_not_changed_by_the_worst_branches_to_come(voting, seen):
    logits = branches_like(400, 0.5)[:, :seen]
    decided = is_decided(logits, 9, 1.0, voting)
    assert decided.any() == (seen >= 5)
    now = classes(ensemble_of(logits, logits[:, :, :2]), voting)
    for rival in range(8):
        worst = np.full((400, 9 - seen, 8), -50.0, np.float32)
        worst[:, :, rival] = 50.0
        whole = np.concatenate([logits, worst], 1)
        then = classes(ensemble_of(whole, whole[:, :, :2]), voting)
        np.testing.assert_array_equal(then[decided], now[decided])


def test_a_lead_that_the_rest_could_just_make_up_is_not_decided():
    sure = np.full((1, 5, 8), -50.0, np.float32)
    sure[:, :, 1] = 50.0
    for voting in VOTINGS:
        assert is_decided(sure, 9, 1.0, voting).tolist() == [True]
        assert is_decided(sure, 10, 1.0, voting).tolist() == [False]


def test_by_plurality_a_class_without_the_most_votes_is_never_sure():
    logits = np.zeros((1, 3, 8), np.float32)
    logits[0, 0, 1], logits[0, 1:, 2] = 9.0, 0.1
    assert is_decided(logits, 9, 0.6, "probability").tolist() == [True]
    assert is_decided(logits, 9, 0.6, "plurality").tolist() == [False]


def test_more_confidence_decides_fewer_faces_and_more_branches_more():
    logits = branches_like(500, 0.5)
    shares = [[is_decided(logits[:, :seen], 9, c).mean() for c in (0.6, 0.9, 0.99, 0.9999, 1.0)] for seen in (1, 3, 6)]
    assert all(row == sorted(row, reverse=True) and row[0] > row[2] > row[-1] for row in shares)
    assert [row[2] for row in shares] == sorted(row[2] for row in shares)


@pytest.mark.parametrize("voting", VOTINGS)
@pytest.mark.parametrize("spread", [0.1, 0.3, 0.6])
@pytest.mark.parametrize("confidence", [0.9, 0.99, 1.0])
def test_the_whole_ensemble_agrees_as_often_as_the_confidence_says(spread, confidence, voting):
    replay = Replay(branches_like(3000, spread))
    outputs = replay.ensemble(confidence, voting=voting)(replay.faces())
    assert (classes(outputs, voting) == replay.whole(voting)).mean() >= confidence
    assert used(outputs).mean() < (8.5 if confidence == 1.0 else 6.0)


def test_default_weights_agree_on_real_faces_and_spare_most_branches(test_data):
    from emotion_perception.engine.datasets import FERPlus
    from emotion_perception.engine.evaluation import outputs_over

    faces = FERPlus(test_data / "data" / "ferplus", "valid").subset(np.arange(0, 3191, 12))
    learner = FacialEmotionLearner(device="cpu")
    learner.load()
    replay = Replay(outputs_over(learner, faces)["logits"])
    outputs = replay.ensemble(0.99)(replay.faces())
    assert (classes(outputs) == replay.whole()).mean() >= 0.99
    right = classes(outputs) == faces.targets.index
    assert right.mean() >= (replay.whole() == faces.targets.index).mean() - 0.005
    assert used(outputs).mean() < 3.0


# ---- how it runs --------------------------------------------------------------------------------------------------------


def test_decided_faces_leave_the_batch_and_what_is_left_out_is_nan():
    replay = Replay(branches_like(40, 0.7))
    outputs = replay.ensemble(0.9)(replay.faces())
    assert [len(faces) for faces in replay.seen] == [(used(outputs) > before).sum() for before in (0, 1, 3, 6)]
    assert set(used(outputs)) == {1, 3, 6, 9}
    for face, count in enumerate(used(outputs)):
        np.testing.assert_array_equal(outputs["logits"][face, :count], replay.logits[face, :count])
        assert np.isnan(outputs["logits"][face, count:]).all()
        np.testing.assert_allclose(outputs["affect"][face], replay.affect[face, :count].mean(0), atol=1e-6)
    np.testing.assert_allclose(outputs["probabilities"].sum(1), 1.0, atol=1e-6)


def test_a_batch_gives_what_its_faces_give_alone_and_an_empty_one_is_empty():
    replay = Replay(branches_like(30, 0.7))
    ensemble, faces = replay.ensemble(0.95), replay.faces()
    together = ensemble(faces)
    for name, values in together.items():
        np.testing.assert_array_equal(np.concatenate([ensemble(faces[i : i + 1])[name] for i in range(30)]), values)
    assert {name: values.shape for name, values in ensemble(faces[:0]).items()} == {
        "probabilities": (0, 8),
        "affect": (0, 2),
        "logits": (0, 9, 8),
        "branch_affect": (0, 9, 2),
    }


class Clock:
    """Time that only passes while a group runs."""

    def __init__(self, replay: Replay, monkeypatch, branch_ms: float) -> None:
        self.now, self.branch_ms = 0.0, branch_ms
        monkeypatch.setattr(anytime.time, "perf_counter", lambda: self.now)
        replay.groups = [self.slow(group, size) for group, size in zip(replay.groups, replay.sizes, strict=True)]

    def slow(self, group, size):
        def part(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            self.now += size * self.branch_ms / 1e3
            return group(faces)

        return part


@pytest.mark.parametrize(("budget_ms", "expected"), [(0.01, 1), (2.9, 1), (3.1, 3), (6.1, 6), (9.1, 9), (1000.0, 9)])
def test_no_group_is_begun_that_would_end_after_the_budget_and_the_first_always_runs(monkeypatch, budget_ms, expected):
    replay = Replay(branches_like(4, 0.7))
    Clock(replay, monkeypatch, branch_ms=1.0)
    assert used(replay.ensemble(budget_ms=budget_ms)(replay.faces())).tolist() == [expected] * 4


def test_a_slow_moment_is_forgotten(monkeypatch):
    replay = Replay(branches_like(4, 0.7))
    clock = Clock(replay, monkeypatch, branch_ms=50.0)
    ensemble = replay.ensemble(budget_ms=9.1)
    assert used(ensemble(replay.faces())).max() == 1
    clock.branch_ms = 1.0
    counts = [used(ensemble(replay.faces())).max() for _ in range(30)]
    assert counts == sorted(counts)
    assert counts[-1] == 9


def test_confidence_and_budget_work_together(monkeypatch):
    replay = Replay(branches_like(200, 0.7))
    Clock(replay, monkeypatch, branch_ms=1.0)
    freely = used(replay.ensemble(0.99)(replay.faces()))
    limited = used(replay.ensemble(0.99, 3.5)(replay.faces()))
    np.testing.assert_array_equal(limited, np.minimum(freely, 3))


# ---- with real networks -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def learner():
    return sharp()


@pytest.fixture(scope="module", params=["torch", "onnxruntime"])
def whole(request, learner, tmp_path_factory):
    if request.param == "torch":
        return TorchBackend(learner.model, NAMES, "cpu", learner.deployed)
    file = tmp_path_factory.mktemp("exported") / "model.onnx"
    return OnnxBackend(export_onnx(learner.deployed(learner.model), file, learner.card, NAMES), NAMES, "cpu")


def test_an_ensemble_that_never_stops_is_the_whole_one(whole):
    x = pictures(3)
    expected = whole(x)
    ensemble = Anytime().around(whole, 4, None, 1e6)
    assert ensemble.name == whole.name
    for name, values in ensemble(x).items():
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, expected[name], atol=1e-5)


def test_the_pieces_compute_in_the_precision_of_the_whole(learner):
    whole = TorchBackend(learner.model, NAMES, "cpu", learner.deployed, bf16=True)
    x = pictures(2)
    np.testing.assert_array_equal(Anytime().around(whole, 4, None, 1e6)(x)["logits"], whole(x)["logits"])


def test_branches_that_were_evaluated_answer_as_in_the_whole(whole):
    x = pictures(5)
    outputs = Anytime().around(whole, 4, 0.6, None)(x)
    evaluated = ~np.isnan(outputs["logits"])
    assert 0 < evaluated.sum() < evaluated.size
    np.testing.assert_allclose(outputs["logits"][evaluated], whole(x)["logits"][evaluated], atol=1e-5)


def test_two_threads_get_their_own_answers(whole):
    ensemble = Anytime().around(whole, 4, 0.7, None)
    inputs = [pictures(1 + i % 3, seed=i) for i in range(12)]
    expected = [ensemble(x)["affect"] for x in inputs]
    with ThreadPoolExecutor(2) as threads:
        for actual, values in zip(threads.map(lambda x: ensemble(x)["affect"], inputs), expected, strict=True):
            np.testing.assert_allclose(actual, values, atol=1e-5)


def test_the_pieces_follow_a_network_that_is_trained_further():
    learner = fresh(2, budget_ms=1e6)
    x = pictures(1)
    before = learner.outputs(x)
    learner.model.train()
    with torch.no_grad():
        for parameter in learner.model.parameters():
            parameter.mul_(1.1)
    learner.budget_ms = None
    expected = learner.outputs(x)
    learner.budget_ms = 1e6
    after = learner.outputs(x)
    assert np.abs(after["logits"] - before["logits"]).max() > 1e-4
    np.testing.assert_allclose(after["logits"], expected["logits"], atol=1e-5)


def test_infer_says_how_many_branches_it_used_and_counts_only_those():
    faces = (pictures(4).transpose(0, 2, 3, 1) * 255).astype(np.uint8)
    learner = sharp(confidence=0.6)
    emotions = learner.infer(faces)
    count = emotions.extras["branches_used"]
    assert count.min() < 4
    np.testing.assert_array_equal(emotions.extras["votes"].sum(1), count)
    assert all(np.isfinite(values).all() for values in (emotions.probabilities, emotions.affect, *emotions.extras.values()))
    learner.confidence = 1.0
    assert learner.infer(faces).extras["branches_used"].tolist() == [4] * 4  # they see different classes
    learner.confidence = None
    assert "branches_used" not in learner.infer(faces).extras


def test_eval_measures_the_anytime_ensemble(stripes):
    faces = stripes([0, 1, 2, 3])
    result = sharp(confidence=0.6).eval(faces)
    assert 1.0 <= result["branches_used"] < 4.0
    assert "branches" not in result
    assert "branches_used" not in fresh(4).eval(faces)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"confidence": 0.5}, r"confidence is 0.5, expected above 0.5 and at most 1"),
        ({"confidence": 99}, r"confidence is 99, expected above 0.5 and at most 1"),
        ({"confidence": float("nan")}, r"confidence is nan, expected"),
        ({"budget_ms": 0}, r"budget_ms is 0, expected milliseconds above 0"),
        ({"budget_ms": float("nan")}, r"budget_ms is nan, expected"),
    ],
)
def test_limits_out_of_range_are_refused_at_construction_and_later(options, message):
    with pytest.raises(UsageError, match=message):
        FacialEmotionLearner(**options)
    learner = fresh(1)
    vars(learner).update(options)
    with pytest.raises(UsageError, match=message):
        learner.outputs(pictures(1))


def test_another_kind_of_back_end_is_refused():
    def other(x: np.ndarray) -> dict[str, np.ndarray]:
        return {}

    with pytest.raises(UsageError, match=r"takes a back end in torch or ONNX Runtime, got function"):
        Anytime().around(other, 4, 0.9, None)
