from __future__ import annotations

import numpy as np
import pytest

from emotion_perception.engine.errors import InputError
from emotion_perception.engine.evaluation import affect_metrics, classification_metrics
from emotion_perception.engine.labels import LabelSet

THREE = LabelSet("three", ("calm", "glad", "sad"), "test")


def certain(judged: list[int], confidence: float = 0.9) -> np.ndarray:
    """Probabilities with the given confidence in the judged class."""
    probabilities = np.full((len(judged), 3), (1.0 - confidence) / 2)
    probabilities[np.arange(len(judged)), judged] = confidence
    return probabilities


def test_a_case_computed_by_hand() -> None:
    truth = np.array([0, 0, 0, 0, 1, 1])
    result = classification_metrics(certain([0, 0, 0, 1, 1, 2]), truth, THREE)
    assert result["accuracy"] == pytest.approx(4 / 6)
    assert result["per_class_recall"] == {"calm": 0.75, "glad": 0.5, "sad": None}
    assert result["per_class_precision"] == {"calm": 1.0, "glad": 0.5, "sad": 0.0}
    assert result["balanced_accuracy"] == pytest.approx((0.75 + 0.5) / 2)
    # F1: calm 2 * 1 * .75 / 1.75, glad .5; sad has no pictures.
    assert result["macro_f1"] == pytest.approx((1.5 / 1.75 + 0.5) / 2)
    assert result["support"] == {"calm": 4, "glad": 2, "sad": 0}
    assert result["confusion_matrix"] == [[3, 1, 0], [0, 1, 1], [0, 0, 0]]
    # One bin holds all: confidence 0.9 against accuracy 2/3.
    assert result["calibration_error"] == pytest.approx(0.9 - 4 / 6, abs=1e-6)
    assert result["balanced_accuracy_min40"] is None


def test_agreement_beyond_chance_computed_by_hand() -> None:
    truth, judged = np.array([0, 0, 0, 0, 1, 1]), [0, 0, 0, 1, 1, 2]
    result = classification_metrics(certain(judged), truth, THREE)
    # Kappa: 4/6 observed; by chance (4*3 + 2*2 + 0*1) / 36.
    assert result["cohen_kappa"] == pytest.approx((4 / 6 - 16 / 36) / (1 - 16 / 36))
    # Alpha: of 12 values, 7 calm, 4 glad, 1 sad; 4 lie in pairs that differ, 144 - 66 ordered draws do.
    assert result["krippendorff_alpha"] == pytest.approx(1 - 11 * 4 / (144 - 66))
    assert classification_metrics(certain([0, 1, 2]), np.arange(3), THREE)["krippendorff_alpha"] == pytest.approx(1.0)


def test_areas_below_curves_computed_by_hand() -> None:
    # Calm against glad: of four pairs (calm, glad), three are in the right order, for both columns; sad has no pictures.
    shares = np.array([[0.8, 0.1, 0.1], [0.4, 0.5, 0.1], [0.5, 0.4, 0.1], [0.1, 0.8, 0.1]])
    result = classification_metrics(shares, np.array([0, 0, 1, 1]), THREE)
    assert result["auc"] == pytest.approx(0.75)
    # Calm in falling order of its share: yes, no, yes, no: (1 + 2/3) / 2; glad: yes, no, yes, no as well.
    assert result["auc_pr"] == pytest.approx((1 + 2 / 3) / 2)


def test_what_a_single_class_leaves_undefined_is_none(recwarn: pytest.WarningsRecorder) -> None:
    result = classification_metrics(certain([0, 0]), np.array([0, 0]), THREE)
    assert [result[key] for key in ("cohen_kappa", "krippendorff_alpha", "auc", "auc_pr")] == [None] * 4
    assert classification_metrics(certain([0, 1]), np.array([0, 0]), THREE)["cohen_kappa"] == 0.0
    assert not recwarn.list


def test_calibration_weighs_bins_by_their_pictures() -> None:
    # Three pictures at 0.95, all right; one at 0.5, wrong: 3/4 * 0.05 + 1/4 * 0.5.
    probabilities = np.concatenate([certain([0, 1, 2], 0.95), certain([0], 0.5)])
    result = classification_metrics(probabilities, np.array([0, 1, 2, 1]), THREE)
    assert result["calibration_error"] == pytest.approx(0.75 * 0.05 + 0.25 * 0.5, abs=1e-6)


def test_a_probability_above_one_by_rounding_does_not_change_the_calibration() -> None:
    exact = np.eye(3)[[0, 1, 2, 0]]
    off = exact * np.float32(1 + 1e-6)
    truth = np.array([0, 1, 2, 1])
    assert classification_metrics(off, truth, THREE)["calibration_error"] == pytest.approx(0.25, abs=1e-5)


def test_small_classes_are_left_out_of_the_second_balanced_accuracy() -> None:
    truth = np.array([0] * 40 + [1] * 80 + [2] * 39)
    judged = [0] * 30 + [1] * 10 + [1] * 80 + [0] * 39
    result = classification_metrics(certain(judged), truth, THREE)
    assert result["balanced_accuracy"] == pytest.approx((0.75 + 1.0 + 0.0) / 3)
    assert result["balanced_accuracy_min40"] == pytest.approx((0.75 + 1.0) / 2)


def test_a_vote_may_overrule_the_highest_probability() -> None:
    truth = np.array([0, 1])
    result = classification_metrics(certain([1, 1]), truth, THREE, judged=np.array([0, 1]))
    assert result["accuracy"] == 1.0
    assert result["calibration_error"] == pytest.approx(0.4, abs=1e-6)


def test_a_class_that_is_never_judged_has_no_precision_and_no_f1() -> None:
    result = classification_metrics(certain([0, 0]), np.array([0, 1]), THREE)
    assert result["per_class_precision"]["glad"] is None
    assert result["macro_f1"] == pytest.approx((2 / 3 + 0) / 2)


@pytest.mark.parametrize(
    ("probabilities", "index", "message"),
    [
        (np.zeros((0, 3)), np.zeros(0, np.int64), r"take probabilities \(n, 3\)"),
        (np.zeros((2, 4)), np.zeros(2, np.int64), r"got \(2, 4\)"),
        (certain([0, 0]), np.array([0, -1]), "leave out the unlabelled"),
        (certain([0, 0]), np.array([0, 3]), "expected 0 to 2"),
        (np.full((1, 3), np.nan), np.array([0]), "NaN"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(probabilities: np.ndarray, index: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        classification_metrics(probabilities, index, THREE)


def test_affect_computed_by_hand() -> None:
    target = np.array([[0.5, -0.2], [-0.5, 0.2], [0.1, 0.6]])
    predicted = np.array([[0.7, -0.2], [-0.3, 0.2], [0.3, 0.6]])  # valence 0.2 too high, arousal exact
    result = affect_metrics(predicted, target)
    variance = np.var([0.5, -0.5, 0.1])
    assert result["rmse_valence"] == pytest.approx(0.2)
    assert result["pearson_valence"] == pytest.approx(1.0)
    assert result["ccc_valence"] == pytest.approx(2 * variance / (2 * variance + 0.04))
    assert result["sagr_valence"] == pytest.approx(1.0)
    assert [result[f"{key}_arousal"] for key in ("rmse", "ccc", "pearson", "sagr")] == pytest.approx([0.0, 1.0, 1.0, 1.0])
    flipped = affect_metrics(-target, target)
    assert [flipped[f"{key}_arousal"] for key in ("pearson", "sagr")] == pytest.approx([-1.0, 0.0])


def test_concordance_agrees_with_torchmetrics_on_a_large_set() -> None:
    torch = pytest.importorskip("torch")
    from torchmetrics.functional.regression import concordance_corrcoef

    random = np.random.default_rng(0)
    target = random.uniform(-1, 1, (20000, 2))
    predicted = 0.6 * target + 0.1 + 0.3 * random.normal(size=target.shape)
    theirs = concordance_corrcoef(torch.from_numpy(predicted), torch.from_numpy(target))
    ours = affect_metrics(predicted, target)
    assert [ours["ccc_valence"], ours["ccc_arousal"]] == pytest.approx(theirs.tolist(), abs=1e-4)


def test_a_constant_prediction_correlates_with_nothing(recwarn: pytest.WarningsRecorder) -> None:
    result = affect_metrics(np.zeros((4, 2)), np.linspace(-1, 1, 8).reshape(4, 2))
    assert [result["ccc_valence"], result["pearson_valence"], result["sagr_valence"]] == [0.0, 0.0, 0.0]
    assert not recwarn.list
    assert affect_metrics(np.ones((1, 2)), np.ones((1, 2)))["rmse_arousal"] == 0.0


@pytest.mark.parametrize("bad", [np.zeros((0, 2)), np.zeros((3, 3)), np.full((2, 2), np.nan)])
def test_affect_that_cannot_be_compared_is_refused(bad: np.ndarray) -> None:
    with pytest.raises(InputError):
        affect_metrics(bad, bad)
