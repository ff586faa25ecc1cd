from __future__ import annotations

import numpy as np
import pytest

from emotion_perception.engine.errors import UsageError
from emotion_perception.engine.labels import AFFECTNET8, FERPLUS8, LabelSet, concept, label_set


@pytest.mark.parametrize(
    ("word", "canonical"),
    [("Happiness", "happy"), (" happy ", "happy"), ("JOY", "happy"), ("Fear", "scared"), ("Contempt", "contempt"), ("Awe", "awe")],
)
def test_words_that_mean_the_same_are_one_concept(word: str, canonical: str) -> None:
    assert concept(word) == canonical


def test_affectnet8_has_the_order_of_the_published_expression_ids() -> None:
    assert list(AFFECTNET8) == ["Neutral", "Happy", "Sad", "Surprise", "Fear", "Disgust", "Anger", "Contempt"]
    assert len(AFFECTNET8) == 8


@pytest.mark.parametrize(("word", "index"), [("Happy", 1), ("happiness", 1), ("surprised", 3), ("afraid", 4), ("Contempt", 7)])
def test_a_word_or_its_synonym_has_an_index(word: str, index: int) -> None:
    assert AFFECTNET8.index(word) == index


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("Hapy", "unknown class in affectnet8 'Hapy'; did you mean 'Happy'?"),
        (
            "7",
            "unknown class in affectnet8 '7'; known: Anger, Contempt, Disgust, Fear, Happy, Neutral, Sad, Surprise",
        ),
    ],
)
def test_an_unknown_word_is_refused_with_the_nearest(word: str, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        AFFECTNET8.index(word)
    assert str(caught.value) == text


def test_sets_are_mapped_by_meaning_not_by_place() -> None:
    to_affectnet = FERPLUS8.map_to(AFFECTNET8)
    assert to_affectnet.dtype == np.int64
    assert [AFFECTNET8.words[i] for i in to_affectnet] == ["Neutral", "Happy", "Surprise", "Sad", "Anger", "Disgust", "Fear", "Contempt"]
    assert np.array_equal(AFFECTNET8.map_to(FERPLUS8)[to_affectnet], np.arange(8))
    assert np.array_equal(AFFECTNET8.map_to(AFFECTNET8), np.arange(8))


def test_a_class_that_the_other_set_lacks_maps_to_minus_one() -> None:
    few = LabelSet("few", ("awe", "joy"), "made up")
    assert few.map_to(AFFECTNET8).tolist() == [-1, 1]
    assert AFFECTNET8.map_to(few).tolist() == [-1, 1, -1, -1, -1, -1, -1, -1]


@pytest.mark.parametrize("labels", [AFFECTNET8, FERPLUS8], ids=lambda labels: labels.name)
def test_registered_sets_are_found_by_name_and_name_no_class_twice(labels: LabelSet) -> None:
    assert label_set(labels.name) is labels
    assert len({concept(word) for word in labels}) == len(labels)
    assert labels.source


def test_an_unknown_set_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        label_set("afectnet8")
    assert str(caught.value) == "unknown label set 'afectnet8'; did you mean 'affectnet8'?"
