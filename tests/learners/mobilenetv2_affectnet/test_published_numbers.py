"""The numbers that were published of the model, by this project's own metrics."""

from __future__ import annotations

import numpy as np
import pytest

from emotion_perception.engine.evaluation import affect_metrics, classification_metrics
from emotion_perception.engine.labels import AFFECTNET8
from emotion_perception.learners.mobilenetv2_affectnet.card import CARD

# AffectNet's validation set, rows of the true class, in affectnet8's order.
CONFUSION = np.array(
    [
        [280, 11, 50, 40, 16, 15, 41, 47],
        [19, 371, 6, 24, 3, 11, 3, 63],
        [65, 6, 314, 15, 27, 21, 47, 5],
        [45, 33, 24, 293, 69, 16, 11, 9],
        [22, 8, 36, 79, 312, 24, 19, 0],
        [28, 17, 47, 14, 15, 269, 91, 19],
        [65, 4, 28, 21, 25, 48, 293, 16],
        [82, 66, 16, 14, 4, 25, 28, 265],
    ]
)
PRECISION = (0.46, 0.72, 0.60, 0.59, 0.66, 0.63, 0.55, 0.62)
RECALL = (0.56, 0.74, 0.63, 0.59, 0.62, 0.54, 0.59, 0.53)
F1 = (0.51, 0.73, 0.62, 0.59, 0.64, 0.58, 0.57, 0.57)


def test_the_published_confusion_matrix_gives_the_published_scores():
    rows, columns = np.indices(CONFUSION.shape)
    index, judged = (np.repeat(each.ravel(), CONFUSION.ravel()) for each in (rows, columns))
    result = classification_metrics(np.eye(8)[judged], index, AFFECTNET8)
    assert result["confusion_matrix"] == CONFUSION.tolist()
    assert set(result["support"].values()) == {500}
    assert result["accuracy"] == 2397 / 4000
    published = CARD.scores["AffectNet validation"]
    assert result["accuracy"] == pytest.approx(published["accuracy"], abs=1e-4)
    assert result["macro_f1"] == pytest.approx(published["macro_f1"], abs=0.005)
    assert result["cohen_kappa"] == pytest.approx(published["cohen_kappa"], abs=5e-4)
    assert result["krippendorff_alpha"] == pytest.approx(published["krippendorff_alpha"], abs=5e-5)
    for key, values in (("precision", PRECISION), ("recall", RECALL), ("f1", F1)):
        assert list(result[f"per_class_{key}"].values()) == pytest.approx(list(values), abs=0.0051), key


def test_what_one_constant_for_all_pictures_would_reach_is_what_the_card_says(test_data):
    labels = np.load(test_data / "data" / "affectnet" / "validation_labels.npy")
    assert np.bincount(labels[:, 0].astype(int)).tolist() == [500] * 9
    assert (labels[:, 0] < 8).sum() == 4000
    affect = labels[:, 1:]
    assert (affect != -2.0).all()
    result = affect_metrics(np.broadcast_to(affect.mean(axis=0), affect.shape), affect)
    assert result["rmse_valence"] == pytest.approx(0.470, abs=5e-4)
    assert result["rmse_arousal"] == pytest.approx(0.415, abs=5e-4)
    assert result["ccc_valence"] == result["ccc_arousal"] == 0.0
    assert "0.470 and 0.415" in CARD.scores["AffectNet validation"]["source"]
