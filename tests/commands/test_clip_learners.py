"""Learners for clips on the command line: listed and described as what they are, and refused where pictures are judged."""

from __future__ import annotations

import json

import pytest


def test_list_and_info_say_what_is_perceived_and_that_nothing_comes_with_it(command):
    listed = {entry["name"]: entry for entry in json.loads(command("list", "--json").out)}
    facts = {name: listed["emotx"][name] for name in ("perceives", "labels", "affect", "default_weights")}
    assert facts == {"perceives": "clip", "labels": "moviegraphs10", "affect": False, "default_weights": False}
    info = command("info", "emotx")
    assert info.status == 0
    for words in ("8,166,410 parameters", "scene_feat_dim 768", "3 files in https://", "rights are reserved", "top_k=10", "lr=None"):
        assert words in info.out


@pytest.mark.parametrize(
    "words",
    [
        ("predict", "x.png", "--learner", "emotx"),
        ("video", "x.mp4", "--learner", "emotx"),
        ("webcam", "--learner", "emotx"),
        ("explain", "x.png", "--learner", "emotx"),
        ("fairness", "emotx", "--dataset", "folder", "--data", "x", "--groups", "y.csv"),
        ("benchmark", "emotx"),
        ("demo", "--learner", "emotx"),
        ("bag", "x", "y", "--learner", "emotx"),
    ],
    ids=lambda words: words[0],
)
def test_what_judges_pictures_refuses_a_learner_for_clips_and_names_what_is_for_them(command, words):
    outcome = command(*words)
    assert outcome.status == 2
    assert outcome.out == ""
    assert "learner 'emotx' judges clips and this command pictures" in outcome.err
    assert all(name in outcome.err for name in ("timeline", "features", "node emotx"))
    assert len(outcome.err.splitlines()) == 1
