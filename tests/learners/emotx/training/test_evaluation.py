"""Scenes and characters measured over a data set."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from emotion_perception.engine.errors import DatasetError
from emotion_perception.learners.emotx.clips import Layout
from emotion_perception.learners.emotx.evaluation import evaluate

LAYOUT = Layout(16, 16, 16, characters=4, max_tokens=12)


def said(tokens):
    """Judges by the mean of the first ten features, more or less well."""
    weight = ~tokens.scene_padding[..., None]
    scene = (tokens.scene * weight).sum(1) / weight.sum(1)
    weight = ~tokens.character_padding[..., None]
    characters = (tokens.characters * weight).sum(2) / np.maximum(weight.sum(2), 1)
    return 1 / (1 + np.exp(-scene[:, :10])), 1 / (1 + np.exp(-characters[..., :10]))


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_numbers_are_those_of_all_rows_whatever_the_batch(held_clips, batch_size: int) -> None:
    clips = held_clips(40, seed=3)
    noisy = lambda tokens: [np.round(each, 1) for each in said(tokens)]  # noqa: E731  # ties
    result = evaluate(noisy, clips, LAYOUT, batch_size)
    people = np.concatenate([clips.targets(i).characters[:4] for i in range(40)])
    assert (result["clips"], result["scene"]["rows"], result["character"]["rows"]) == (40, 40, len(people))
    assert list(result["character"]["support"].values()) == people.sum(0).tolist()
    assert result["map_scene"] > 0.9
    assert result["map_mean"] == pytest.approx((result["map_scene"] + result["map_character"]) / 2)
    assert result["map_gm"] == pytest.approx(math.sqrt(result["map_scene"] * result["map_character"]))
    expected = evaluate(noisy, clips, LAYOUT, 40)
    assert result["map_character"] == pytest.approx(expected["map_character"])


def test_rows_keep_to_their_clip(held_clips) -> None:
    clips = held_clips(20, seed=4)
    rows = []
    evaluate(lambda tokens: rows.append(tokens) or said(tokens), clips, LAYOUT, 6)
    judged = np.concatenate([said(tokens)[0] for tokens in rows])
    scenes = np.stack([clips.targets(i).scene for i in range(20)])
    result = evaluate(said, clips, LAYOUT, 6)
    expected = np.mean([average_precision_score(scenes[:, c], judged[:, c]) for c in range(3)])
    assert result["map_scene"] == pytest.approx(expected)


def test_what_is_not_judged_makes_no_mean_zero(held_clips) -> None:
    clips = held_clips(20)
    alone = evaluate(said, clips, LAYOUT, 8, ("characters",))
    assert "map_scene" not in alone
    assert "scene" not in alone
    assert alone["map_mean"] == alone["map_character"] == pytest.approx(alone["map_gm"])
    nobody = evaluate(said, held_clips(20, classes=()), LAYOUT, 8)
    assert {"map_scene", "map_mean", "map_gm"} & set(nobody) == set()


def test_no_clips_are_refused(held_clips) -> None:
    with pytest.raises(DatasetError, match="empty"):
        evaluate(said, held_clips(0), LAYOUT, 8)
