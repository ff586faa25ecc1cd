"""A training goes on from weights: runs are told apart by them, whatever kind of file they are from."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from emotion_perception.engine.errors import WeightsError
from emotion_perception.engine.testing import DrawnFaces
from emotion_perception.learners.emotorch import EmoTorchLearner
from emotion_perception.learners.emotorch.card import CARD


def learner(**changes: object) -> EmoTorchLearner:
    options = {"network": "baseline", "batch_size": 8, "max_training_epoch": 1, "copies": 0.0, "device": "cpu"} | changes
    return EmoTorchLearner(**options)  # type: ignore[arg-type]


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A checkpoint in the published form, of a network with fresh weights of another seed."""
    other = learner(seed=7)
    other.init_model()
    torch.save({"model_state_dict": other.model.state_dict()}, tmp_path / "model.pth")
    return tmp_path / "model.pth"


def test_a_run_from_a_published_file_is_not_taken_for_one_from_fresh_weights(published: Path, tmp_path: Path) -> None:
    faces, run = DrawnFaces(CARD.label_set, 8), str(tmp_path / "run")
    learner().fit(faces, logging_path=run)
    tuned = learner()
    tuned.load(published)
    with pytest.raises(WeightsError, match="start"):
        tuned.fit(faces, logging_path=run)
    assert learner().fit(faces, logging_path=run)["history"]  # the same again is only loaded


def test_published_files_run_in_torch_and_say_so_where_another_back_end_was_asked_for(
    published: Path, caplog: pytest.LogCaptureFixture
) -> None:
    exporting = learner(backend="onnxruntime")
    with caplog.at_level(logging.WARNING):
        exporting.load(published)
    assert exporting.backend_name == "torch cpu"
    assert [record.message for record in caplog.records] == [
        "emotorch: published files run in torch; save() them, and that folder is exported when it is loaded"
    ]
