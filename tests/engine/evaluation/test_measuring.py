from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emotion_perception.engine.cards import CropSpec, InputSpec, ModelCard
from emotion_perception.engine.datasets import EmotionDataset, Targets
from emotion_perception.engine.errors import DatasetError, NotLoadedError, UsageError
from emotion_perception.engine.evaluation import measure, outputs_over
from emotion_perception.engine.labels import AFFECTNET8, FERPLUS8, LabelSet
from emotion_perception.engine.learners import Learner
from emotion_perception.engine.target import Emotions, FloatArray


class Mean(Learner):
    """Answers with the mean and the width of the bright square in the middle of a picture."""

    card = ModelCard("mean", "mean", "face", InputSpec(32, 32), "affectnet8", "none", "test", crop=CropSpec(scale=1.0))
    output_names = ("mean", "batch")

    def build_model(self, card: ModelCard) -> Any:
        raise NotImplementedError

    def emotions(self, outputs: Mapping[str, FloatArray]) -> Emotions:
        raise NotImplementedError

    def fit(self, dataset: Any = None, val_dataset: Any = None, logging_path: str = "", silent: bool = True, verbose: bool = True) -> Any:
        raise NotImplementedError

    def eval(self, dataset: Any = None) -> Any:
        raise NotImplementedError

    def download(self, path: str | Path | None = None, mode: str = "pretrained", url: str | None = None) -> Path:
        raise NotImplementedError


class Backend:
    name = "test"

    def __call__(self, x: FloatArray) -> dict[str, FloatArray]:
        return {"mean": x.mean(axis=(1, 2, 3)), "batch": np.full(len(x), len(x), np.float32)}


class Squares(EmotionDataset):
    """White squares that fill 1 / scale of a black picture; half of them are grey pictures."""

    def __init__(self, count: int, scale: float, labels: LabelSet = AFFECTNET8) -> None:
        self.labels, self.scale = labels, scale
        self.targets = Targets(np.zeros(count, np.int64))

    def picture(self, index: int) -> np.ndarray:
        picture = np.zeros((96, 96), np.uint8)
        edge = round(48 * (1 - 1 / self.scale))
        picture[edge : 96 - edge, edge : 96 - edge] = 255
        return picture if index % 2 else np.repeat(picture[:, :, None], 3, axis=2)

    def crop_scale(self, index: int) -> float:
        return self.scale


@pytest.fixture
def learner() -> Mean:
    made = Mean(batch_size=2)
    made._backend = Backend()
    return made


def test_every_picture_is_judged_once_in_batches(learner: Mean) -> None:
    outputs = outputs_over(learner, Squares(5, 1.0))
    assert outputs["batch"].tolist() == [2, 2, 2, 2, 1]
    np.testing.assert_allclose(outputs["mean"], 1.0, atol=1e-6)


def test_pictures_are_cropped_to_what_the_card_asks_for(learner: Mean) -> None:
    assert outputs_over(learner, Squares(2, 2.0))["mean"] == pytest.approx([1.0, 1.0], abs=0.01)
    learner.card = learner.card.with_(crop=CropSpec(scale=2.0))
    assert outputs_over(learner, Squares(2, 2.0))["mean"] == pytest.approx([0.25, 0.25], abs=0.01)


def test_what_cannot_be_measured_is_refused(learner: Mean) -> None:
    with pytest.raises(NotLoadedError):
        outputs_over(Mean(), Squares(1, 1.0))
    with pytest.raises(UsageError, match="the data set counts in ferplus8"):
        outputs_over(learner, Squares(1, 1.0, FERPLUS8))
    with pytest.raises(UsageError, match="takes an EmotionDataset, got list"):
        outputs_over(learner, [1])  # type: ignore[arg-type]
    with pytest.raises(DatasetError, match="is empty"):
        outputs_over(learner, Squares(0, 1.0))


def emotions(affect: bool = True) -> Emotions:
    probabilities = np.full((3, 8), 0.05, np.float32)
    probabilities[[0, 1, 2], [0, 1, 2]] = 0.65
    return Emotions(AFFECTNET8, probabilities, np.array([[0.1, 0.1], [0.2, -0.2], [0.3, 0.3]], np.float32) if affect else None)


def test_only_labelled_rows_count() -> None:
    affect = np.array([[np.nan, np.nan], [0.2, 0.2], [np.nan, 0.1]], np.float32)
    result = measure(emotions(), Targets(np.array([0, -1, 0]), affect=affect))
    assert result["pictures"] == 3
    assert result["accuracy"] == 0.5
    assert result["rmse_valence"] == pytest.approx(0.0, abs=1e-6)
    assert result["rmse_arousal"] == pytest.approx(0.4)
    assert result["sagr_arousal"] == 0.0


def test_numbers_appear_where_there_is_something_to_compare() -> None:
    only_classes = measure(emotions(affect=False), Targets(np.array([0, 1, 3]), affect=np.zeros((3, 2), np.float32)))
    assert "rmse_valence" not in only_classes
    assert only_classes["accuracy"] == pytest.approx(2 / 3)
    only_affect = measure(emotions(), Targets(np.full(3, -1), affect=np.zeros((3, 2), np.float32)))
    assert "accuracy" not in only_affect
    assert only_affect["rmse_valence"] == pytest.approx(np.sqrt(0.14 / 3))
    with pytest.raises(DatasetError, match="none of the 3 pictures has a target"):
        measure(emotions(affect=False), Targets(np.full(3, -1), affect=np.zeros((3, 2), np.float32)))
    with pytest.raises(UsageError, match="3 judged emotions and 2 targets"):
        measure(emotions(), Targets(np.zeros(2, np.int64)))
