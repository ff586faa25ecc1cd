from __future__ import annotations

from typing import Any

import pytest

from emotion_perception.commands._settings import parse_settings, settings_of
from emotion_perception.engine.errors import UsageError
from emotion_perception.learners.esr import FacialEmotionLearner


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("lr=0.05", 0.05),
        ("max_training_epoch=3", 3),
        ("max-training-epoch=3", 3),
        ("diversify=yes", True),
        ("dimensional_finetune=False", False),
        ("categorical_train=none", None),
        ("categorical_train=true", True),
        ("later_epochs=None", None),
        ("later_epochs=4", 4),
        ("voting=plurality", "plurality"),
        ("device_ind=0,1", (0, 1)),
        ("base_path_to_dataset=/data/a=b", "/data/a=b"),
    ],
)
def test_a_word_becomes_an_argument_of_the_constructors_type(word: str, value: Any) -> None:
    name = word.partition("=")[0].replace("-", "_")
    (given,) = parse_settings(FacialEmotionLearner, [word]).items()
    assert given == (name, value)
    assert type(given[1]) is type(value)
    FacialEmotionLearner(**{name: given[1]})


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("lr", "write --set name=value"),
        ("lr=fast", "expected float"),
        ("batch_size=2.5", "expected int"),
        ("diversify=maybe", "expected bool"),
        ("device_ind=first", "expected Sequence[int]"),
        ("ensemblesize=3", "did you mean 'ensemble_size'?"),
    ],
)
def test_a_word_that_does_not_fit_is_refused(word: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_settings(FacialEmotionLearner, [word])
    assert says in str(caught.value)


def test_settings_are_the_constructors_arguments_with_their_defaults() -> None:
    settings = settings_of(FacialEmotionLearner)
    assert settings["ensemble_size"] == 9
    assert "self" not in settings


def test_options_that_a_base_class_takes_are_known_too() -> None:
    class Base(FacialEmotionLearner):
        def __init__(self, *, later: int = 3, seed: int = 5, **options: Any) -> None:
            super().__init__(seed=seed, **options)

    class Further(Base):
        def __init__(self, *, seed: int = 7, extra: str = "x", **options: Any) -> None:
            super().__init__(seed=seed, **options)

    known = settings_of(Further)
    assert (known["extra"], known["later"], known["seed"], known["voting"]) == ("x", 3, 7, "probability")
    assert parse_settings(Further, ["later=4", "lr=0.1", "extra=y"]) == {"later": 4, "lr": 0.1, "extra": "y"}
    assert "backend" in settings_of(Base)
    assert "options" not in known
