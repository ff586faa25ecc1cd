from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emotion_perception.engine.datasets import Targets
from emotion_perception.engine.datasets.catalogue import UNKNOWN, write_catalogue
from emotion_perception.engine.errors import EmotionPerceptionError, InputError, UsageError
from emotion_perception.engine.evaluation.fairness.groups import Groups, read_groups
from emotion_perception.engine.evaluation.fairness.limits import Limit
from emotion_perception.engine.evaluation.fairness.resampling import interval, resample
from emotion_perception.engine.evaluation.metrics import classification_metrics
from emotion_perception.engine.labels import AFFECTNET8, LabelSet
from emotion_perception.engine.target import Emotions
from emotion_perception.engine.testing import DrawnFaces

pytest.importorskip("fairlearn", reason="fairlearn is not installed; it comes with the extra 'fairness'")
from emotion_perception.engine.evaluation.fairness.auditing import audit, summary

TWO = LabelSet("two", ("calm", "angry"), "test")


def answers(labels: LabelSet, judged: Any, sure: float = 0.8) -> Emotions:
    probabilities = np.full((len(judged), len(labels)), (1.0 - sure) / (len(labels) - 1), np.float32)
    probabilities[np.arange(len(judged)), judged] = sure
    return Emotions(labels, probabilities)


def groups(**values: Any) -> Groups:
    return Groups({name: np.array(column, dtype=np.str_) for name, column in values.items()}, dict.fromkeys(values, ()))


def by_hand() -> tuple[Emotions, Targets, Groups]:
    """Two groups of ten pictures. A: 4 of 6 calm ones and 4 of 4 angry ones right. B: 2 of 4 calm ones and 3 of 6 angry ones."""
    truth = [0] * 6 + [1] * 4 + [0] * 4 + [1] * 6
    judged = [0] * 4 + [1] * 2 + [1] * 4 + [0] * 2 + [1] * 2 + [1] * 3 + [0] * 3
    return answers(TWO, judged), Targets(np.array(truth, np.int64)), groups(side=["A"] * 10 + ["B"] * 10)


def test_a_case_counted_by_hand() -> None:
    result = audit(*by_hand(), min_count=2, replicates=200)
    found = result["attributes"]["side"]
    a, b = found["groups"]["A"], found["groups"]["B"]
    assert (a["pictures"], a["accuracy"], b["accuracy"], result["overall"]["accuracy"]) == (10, 0.8, 0.5, 0.65)
    assert a["recall"] == pytest.approx({"calm": 4 / 6, "angry": 1.0})
    assert a["false_positive_rate"] == pytest.approx({"calm": 0.0, "angry": 2 / 6})
    assert b["false_positive_rate"] == pytest.approx({"calm": 0.5, "angry": 0.5})
    assert b["selection_rate"] == pytest.approx({"calm": 0.5, "angry": 0.5})
    assert a["calibration_error"] == pytest.approx(0.0, abs=1e-6)  # sure by 0.8, and right 8 times of 10
    assert b["calibration_error"] == pytest.approx(0.3, abs=1e-6)
    gap = found["gaps"]["accuracy"]
    assert (gap["difference"], gap["ratio"], gap["lowest"], gap["highest"]) == (pytest.approx(0.3), pytest.approx(0.625), "B", "A")
    criteria = found["criteria"]
    assert criteria["demographic_parity"]["difference"] == pytest.approx(0.1)  # 4 of 10 against 5 of 10 calm
    assert criteria["demographic_parity"]["ratio"] == pytest.approx(0.8)
    assert (criteria["equal_opportunity"]["difference"], criteria["equal_opportunity"]["class"]) == (pytest.approx(0.5), "angry")
    per_class = criteria["equalized_odds"]["per_class"]
    assert per_class["calm"]["difference"] == pytest.approx(0.5)  # false positives; recalls differ by 1/6
    assert per_class["angry"]["difference"] == pytest.approx(0.5)  # recalls; false positives differ by 1/6
    assert found["worst_group"] == {"group": "B", "pictures": 10, "accuracy": 0.5, "accuracy_interval": b["accuracy_interval"]}
    assert result["passed"] is None
    assert "worst group B with 0.500" in summary(result, "side")
    json.dumps(result, allow_nan=False)


def test_pictures_of_unclassified_people_are_not_compared(tmp_path: Path) -> None:
    emotions, targets, _ = by_hand()  # the second half of them is judged worse
    pictures = DrawnFaces(TWO, 20, side=8)
    rows = [{"file": str(n), "gender": ("male" if n % 2 else "female") if n < 10 else UNKNOWN} for n in range(20)]
    known = read_groups(write_catalogue(tmp_path / "labels.csv", rows), pictures, ["gender"])
    found = audit(emotions, targets, known, min_count=2, replicates=20)["attributes"]["gender"]
    assert (list(found["groups"]), found["not_stated"]) == (["female", "male"], 10)
    assert found["worst_group"]["group"] in ("female", "male")


def test_criteria_are_those_of_fairlearn() -> None:
    import fairlearn.metrics

    random = np.random.default_rng(0)
    truth, judged, side = random.integers(0, 8, 900), random.integers(0, 8, 900), random.choice(["A", "B", "C"], 900)
    emotions = answers(AFFECTNET8, judged)
    found = audit(emotions, Targets(truth), groups(side=side), min_count=10, replicates=20)["attributes"]["side"]
    for criterion in ("demographic_parity", "equal_opportunity", "equalized_odds"):
        for measure in ("difference", "ratio"):
            function = getattr(fairlearn.metrics, f"{criterion}_{measure}")
            theirs = [function(truth == k, judged == k, sensitive_features=side) for k in range(8)]
            ours = [found["criteria"][criterion]["per_class"][word][measure] for word in AFFECTNET8]
            assert ours == pytest.approx(theirs)
            assert found["criteria"][criterion][measure] == pytest.approx(max(theirs) if measure == "difference" else min(theirs))


def test_a_sample_of_the_very_pictures_has_the_numbers_of_the_metrics() -> None:
    class Once:
        """Draws every picture once."""

        def integers(self, low: int, high: int, size: tuple[int, int]) -> np.ndarray:
            return np.tile(np.arange(high), (size[0], 1))

    random = np.random.default_rng(1)
    truth, probabilities = random.integers(0, 6, 500), random.dirichlet(np.ones(8), 500)  # two classes without pictures
    probabilities[0] = np.eye(8)[3]
    judged = probabilities.argmax(axis=1)
    drawn = resample(truth, judged, probabilities, 2, Once())  # type: ignore[arg-type]
    whole = classification_metrics(probabilities, truth, AFFECTNET8, judged)
    for name in ("accuracy", "macro_f1", "calibration_error"):
        assert getattr(drawn, name) == pytest.approx([whole[name]] * 2, abs=1e-6)
    recall = [np.nan if value is None else value for value in whole["per_class_recall"].values()]
    np.testing.assert_allclose(drawn.recall[0], recall)
    assert drawn.selection_rate.sum(axis=1) == pytest.approx([1.0, 1.0])


def test_intervals_hold_what_they_should_and_come_again_with_the_seed() -> None:
    truth = np.zeros(400, np.int64)
    judged = np.array([0] * 300 + [1] * 100)
    case = answers(TWO, judged), Targets(truth), groups(side=["A"] * 200 + ["B"] * 200)
    one, same, other = (audit(*case, replicates=500, seed=seed) for seed in (3, 3, 4))
    low, high = one["overall"]["accuracy_interval"]
    # Standard error of 0.75 on 400 pictures: 0.0217.
    assert (low, high) == (pytest.approx(0.75 - 1.96 * 0.0217, abs=0.008), pytest.approx(0.75 + 1.96 * 0.0217, abs=0.008))
    assert one == same
    gap = one["attributes"]["side"]["gaps"]["accuracy"]
    assert gap["interval"][0] < gap["difference"] == 0.5 < gap["interval"][1]
    assert one["attributes"] != other["attributes"]
    assert interval(np.array([np.nan, np.nan]), 0.95) is None


def test_groups_and_classes_of_few_pictures_are_named_and_not_compared() -> None:
    truth = np.array([0] * 40 + [0] * 40 + [1] * 3 + [0] * 5, np.int64)
    judged = np.where(np.arange(88) >= 80, 1 - truth, truth)  # all of the few are wrong
    side = ["A"] * 40 + ["B"] * 43 + ["C"] * 5
    case = answers(TWO, judged), Targets(truth), Groups({"side": np.array(side)}, {"side": ("D",)})
    result = audit(*case, replicates=20)
    found = result["attributes"]["side"]
    assert found["too_small"] == {"C": 5, "D": 0}
    assert found["groups"]["C"]["accuracy"] == 0.0  # named and shown
    assert found["worst_group"]["group"] == "B"
    assert found["not_compared"] == {"calm": {"A": [40, 0], "B": [40, 3]}, "angry": {"A": [0, 40], "B": [3, 40]}}
    assert found["criteria"]["equal_opportunity"]["per_class"]["angry"] is None
    assert found["criteria"]["equal_opportunity"]["difference"] == 0.0  # of calm
    assert found["criteria"]["equalized_odds"]["class"] is None
    assert "too few pictures to judge: C (5), D (0)" in summary(result, "side")

    alone = audit(*case, replicates=20, min_count=42, limits=[Limit("max-gap", "accuracy", 1.0)])
    assert alone["attributes"]["side"]["gaps"] == {}
    assert alone["checks"][0]["passed"] is False
    assert alone["checks"][0]["why"].startswith("cannot be judged")
    assert alone["passed"] is False
    assert "nothing is compared" in summary(alone, "side")


def test_pairs_of_attributes_show_what_neither_shows() -> None:
    # Right for AX and BY only: both attributes look even.
    truth = np.zeros(160, np.int64)
    one, other = ["A"] * 80 + ["B"] * 80, (["X"] * 40 + ["Y"] * 40) * 2
    judged = np.array([0] * 40 + [1] * 80 + [0] * 40)
    case = answers(TWO, judged), Targets(truth), groups(one=one, other=other)
    found = audit(*case, replicates=20)["attributes"]
    assert [found[name]["gaps"]["accuracy"]["difference"] for name in found] == [0.0, 0.0, 1.0]
    assert list(found["one x other"]["groups"]) == ["A x X", "A x Y", "B x X", "B x Y"]
    assert list(audit(*case, replicates=20, crossed=False)["attributes"]) == ["one", "other"]


def test_limits_decide_and_say_why() -> None:
    texts = [
        ("max-gap", "accuracy=0.3"),
        ("max-gap", "side:equal-opportunity=0.4"),
        ("min-ratio", "accuracy=0.6"),
        ("min-worst", "accuracy=0.6"),
    ]
    limits = [Limit.parse(kind, text) for kind, text in texts]
    checks = audit(*by_hand(), min_count=2, replicates=20, limits=limits)["checks"]
    assert [check["passed"] for check in checks] == [True, False, True, False]
    assert [check["why"] for check in checks] == ["B against A", "class angry", "B against A", "group B"]
    assert checks[1]["rule"] == "gap of equal opportunity at most 0.4"
    assert audit(*by_hand(), min_count=2, replicates=20, limits=limits[:1])["passed"] is True


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        ("max-gap", "accuracy", "--max-gap is 'accuracy', expected e.g. accuracy=0.1"),
        ("max-gap", "accuracy=much", "expected e.g."),
        ("max-gap", "acuracy=0.1", "did you mean 'accuracy'"),
        ("min-worst", "equalized_odds=0.1", "unknown measure of --min-worst"),
        ("max-gap", "accuracy=5", "expected a value from 0 to 1"),
        ("max-gap", "accuracy=nan", "expected a value from 0 to 1"),
        ("most", "accuracy=1", "unknown kind of limit"),
    ],
)
def test_bad_limits_are_one_line(kind: str, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Limit.parse(kind, text)


def test_answers_that_are_nan_are_listed_and_count_nowhere() -> None:
    emotions, targets, sides = by_hand()
    emotions.probabilities[[0, 19]] = np.nan
    result = audit(emotions, targets, sides, names=[f"{i}.png" for i in range(20)], min_count=2, replicates=20)
    assert result["failures"] == ["0.png", "19.png"]
    assert result["pictures"] == 18
    assert result["attributes"]["side"]["groups"]["A"]["pictures"] == 9
    lenient = audit(emotions, targets, sides, min_count=2, replicates=20, limits=[Limit("max-gap", "accuracy", 1.0)])
    assert lenient["passed"] is False
    emotions.probabilities[:] = np.nan
    with pytest.raises(InputError, match="all 20 labelled pictures are NaN"):
        audit(emotions, targets, sides)


def test_bad_arguments_are_one_line() -> None:
    emotions, targets, sides = by_hand()
    several = LabelSet("several", ("calm", "angry"), "test", multi_label=True)
    elsewhere = [Limit("max-gap", "accuracy", 0.1, "sid")]
    for words, call in (
        ("20 answers, 20 targets and groups of 1 pictures", lambda: audit(emotions, targets, groups(side=["A"]))),
        ("several classes at once", lambda: audit(Emotions(several, emotions.probabilities), targets, sides)),
        ("none of the 20 pictures", lambda: audit(emotions, Targets(np.full(20, -1)), sides)),
        ("min_count is 0", lambda: audit(emotions, targets, sides, min_count=0)),
        ("unknown attribute of --max-gap 'sid'; did you mean 'side'", lambda: audit(emotions, targets, sides, limits=elsewhere)),
    ):
        with pytest.raises(EmotionPerceptionError, match=words):
            call()
    unlabelled = Targets(np.array([-1, *targets.index[1:].tolist()]))
    assert audit(emotions, unlabelled, sides, min_count=2, replicates=20)["unlabelled"] == 1
