"""The two losses, against the original ones, and the weights of labels that are there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emotion_perception.engine.errors import UsageError
from emotion_perception.learners.emotx.training.losses import loss_of, positive_weights

CPU = torch.device("cpu")


@pytest.mark.parametrize("k", [10, 25])
def test_losses_are_those_of_the_original_code(golden, small_settings, k: int) -> None:
    case = golden("emotx").cases[f"emotx_k{k}"]
    logits = torch.tensor(case["expected"]["char_logits"] + case["expected"]["scene_logits"])
    targets = (golden("emotx").tensor("target", tuple(logits.shape), case["inputs"]["seed"]) > 0.4).float()
    expected = case["expected"]["loss"]
    for settings, name in (
        (small_settings(top_k=k), "bce_with_logits_pos_weight_mean"),
        (small_settings(top_k=k, class_weights="none"), "bce_with_logits_mean"),
        (small_settings(top_k=k, model_no=5.0), "multilabel_soft_margin_mean"),
    ):
        assert float(loss_of(settings, None, CPU)(logits, targets)) == pytest.approx(expected[name], abs=2e-6)


def test_the_soft_margin_is_the_cross_entropy_without_weights(small_settings) -> None:
    logits, targets = torch.randn(50, 10) * 5, (torch.rand(50, 10) < 0.3).float()
    bce, mlsm = (loss_of(small_settings(loss=name, class_weights="none"), None, CPU)(logits, targets) for name in ("bce", "mlsm"))
    torch.testing.assert_close(mlsm, bce, rtol=1e-6, atol=1e-6)


def test_weights_are_counted_on_the_rows_that_are_learnt(small_settings, held_clips) -> None:
    clips = held_clips(30)
    scenes = np.stack([clips.targets(i).scene for i in range(30)])
    people = np.concatenate([clips.targets(i).characters[:4] for i in range(30)])  # further characters are left out
    for rows, changes in (
        (np.concatenate([scenes, people]), {}),
        (scenes, {"get_char_targets": False}),
        (people, {"get_scene_targets": False}),
    ):
        weights = positive_weights(small_settings(class_weights="train", **changes), clips).numpy()
        np.testing.assert_allclose(weights[:3], (len(rows) - rows.sum(0)[:3]) / rows.sum(0)[:3], rtol=1e-6)
        assert weights[3:].tolist() == [1.0] * 7  # nobody has them


def test_published_weights_must_be_as_many_as_labels(small_settings) -> None:
    with pytest.raises(UsageError, match="has 2 numbers, expected 10"):
        positive_weights(small_settings(pos_weight={"10": [1.0, 2.0]}), None)
    assert positive_weights(small_settings(class_weights="none"), None) is None
