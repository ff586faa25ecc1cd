from __future__ import annotations

import pytest

from emotion_perception.engine import errors
from emotion_perception.engine.errors import EmotionPerceptionError, MissingDependencyError, UsageError, unknown_name


@pytest.mark.parametrize(
    ("kind", "builtin", "exit_status"),
    [
        (errors.UsageError, ValueError, 2),
        (errors.InputError, ValueError, 1),
        (errors.DatasetError, ValueError, 1),
        (errors.NotLoadedError, RuntimeError, 1),
        (errors.WeightsError, ValueError, 1),
        (errors.DownloadError, OSError, 1),
        (errors.StorageError, OSError, 1),
        (errors.MissingDependencyError, ImportError, 1),
    ],
)
def test_every_error_is_ours_and_a_builtin_one(kind: type[EmotionPerceptionError], builtin: type[Exception], exit_status: int) -> None:
    assert issubclass(kind, EmotionPerceptionError)
    assert issubclass(kind, builtin)
    assert kind.exit_status == exit_status


def test_the_table_above_is_whole() -> None:
    kinds = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, EmotionPerceptionError)]
    assert len(kinds) == 1 + 8


@pytest.mark.parametrize(
    ("given", "known", "text"),
    [
        ("esl", ["esr", "emonet"], "unknown learner 'esl'; did you mean 'esr'?"),
        ("ESR", ["esr", "emonet"], "unknown learner 'ESR'; did you mean 'esr'?"),
        ("happines", ["Happiness", "Sadness"], "unknown learner 'happines'; did you mean 'Happiness'?"),
        ("xyz", ["esr", "emonet"], "unknown learner 'xyz'; known: emonet, esr"),
        ("esr", [], "unknown learner 'esr'; known: none"),
        ("", ["esr"], "unknown learner ''; known: esr"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest_or_all(given: str, known: list[str], text: str) -> None:
    error = unknown_name("learner", given, known)
    assert isinstance(error, UsageError)
    assert str(error) == text


def test_known_names_may_come_from_anything_iterable() -> None:
    assert str(unknown_name("part", "eyes", (name for name in ("b", "a")))) == "unknown part 'eyes'; known: a, b"


def test_a_missing_package_is_answered_with_the_command_that_brings_it() -> None:
    text = str(MissingDependencyError("onnxruntime", "optimize()", "onnx"))
    assert text == "optimize() needs onnxruntime, which is not installed; run: pip install 'emotion_perception[onnx]'"
