from __future__ import annotations

import json

import numpy as np
import pytest

from emotion_perception.engine.errors import UsageError
from emotion_perception.engine.labels import AFFECTNET8
from emotion_perception.engine.target import BoundingBox, Category, Emotions, FaceEmotion, FrameResult

PROBABILITIES = np.full((3, 8), 0.05, np.float32)
PROBABILITIES[[0, 1, 2], [1, 4, 7]] = 0.65
AFFECT = np.array([[0.5, 0.1], [-0.5, 0.2], [0.0, -1.0]], np.float32)


def emotions() -> Emotions:
    return Emotions(AFFECTNET8, PROBABILITIES, AFFECT, extras={"votes": np.arange(24).reshape(3, 8)})


def test_a_result_unpacks_as_the_published_interface_returns_it() -> None:
    categories, affect = emotions()
    assert [category.description for category in categories] == ["Happy", "Fear", "Contempt"]
    assert [category.data for category in categories] == [1, 4, 7]
    assert categories[0].confidence == pytest.approx(0.65)
    assert np.array_equal(categories[2].probabilities, PROBABILITIES[2])
    assert affect is AFFECT


def test_the_class_is_the_most_likely_one_unless_a_learner_votes() -> None:
    assert emotions().index.tolist() == [1, 4, 7]
    assert emotions().index.dtype == np.int64
    voted = Emotions(AFFECTNET8, PROBABILITIES, index=np.array([0, 0, 7]))
    assert [str(category) for category in voted.categories] == ["Neutral (0.05)", "Neutral (0.05)", "Contempt (0.65)"]


@pytest.mark.parametrize(
    ("which", "rows"), [(0, [0]), (2, [2]), (-1, [2]), (-3, [0]), (slice(1, None), [1, 2]), (slice(None, None, -1), [2, 1, 0])]
)
def test_indexing_gives_results_of_some_inputs(which: int | slice, rows: list[int]) -> None:
    part = emotions()[which]
    assert len(part) == len(rows)
    assert np.array_equal(part.probabilities, PROBABILITIES[rows])
    assert part.affect is not None
    assert np.array_equal(part.affect, AFFECT[rows])
    assert part.index.tolist() == [(1, 4, 7)[row] for row in rows]
    assert part.extras["votes"].tolist() == [list(range(8 * row, 8 * row + 8)) for row in rows]


@pytest.mark.parametrize("which", [3, -4, 100])
def test_indexing_beyond_the_ends_says_how_many_there_are(which: int) -> None:
    with pytest.raises(IndexError, match=f"input {which} of 3"):
        emotions()[which]


def test_an_empty_result_has_no_categories() -> None:
    empty = Emotions(AFFECTNET8, np.zeros((0, 8), np.float32))
    categories, affect = empty
    assert (len(empty), categories, affect) == (0, [], None)
    assert empty.index.shape == (0,)


@pytest.mark.parametrize(
    "arrays",
    [
        {"probabilities": PROBABILITIES[:, :7]},
        {"probabilities": PROBABILITIES[0]},
        {"affect": AFFECT[:2]},
        {"index": np.array([1, 2])},
        {"extras": {"votes": np.zeros((4, 8))}},
    ],
    ids=lambda arrays: next(iter(arrays)),
)
def test_arrays_that_do_not_fit_each_other_are_refused_with_their_shapes(arrays: dict[str, np.ndarray]) -> None:
    with pytest.raises(UsageError) as caught:
        Emotions(AFFECTNET8, **{"probabilities": PROBABILITIES, **arrays})  # type: ignore[arg-type]  # wrong on purpose
    text = str(caught.value)
    assert text.startswith("Emotions takes a row per input in every array and a column per class of affectnet8, got {'probabilities': (")
    assert "\n" not in text


def test_a_box_has_size_and_centre() -> None:
    box = BoundingBox(10.0, -5.0, 30.0, 25.0, score=0.5)
    assert (box.width, box.height, box.center_xy) == (20.0, 30.0, (20.0, 10.0))
    assert box.xyxy.dtype == np.float32
    assert box.xyxy.tolist() == [10.0, -5.0, 30.0, 25.0]
    assert BoundingBox(0, 0, 1, 1).score == 1.0


def face(**changes: object) -> FaceEmotion:
    category = Category(1, "Happy", 0.65, PROBABILITIES[0])
    values = {"box": BoundingBox(1.234, 2.0, 30.0, 40.5, 0.98765), "category": category, "valence": 0.5, "arousal": -0.25, **changes}
    return FaceEmotion(**values)  # type: ignore[arg-type]  # a table of anything


def result(*faces: FaceEmotion) -> FrameResult:
    latency_ms = {"infer": 12.3456, "total": 20.0}
    return FrameResult(faces, "toy", AFFECTNET8, 640, 480, index=7, stamp_s=1.5, frame_id="camera", latency_ms=latency_ms)


def test_a_frame_is_one_line_of_json_with_words_and_plain_numbers() -> None:
    landmarks = np.arange(10, dtype=np.float32).reshape(5, 2) + np.float32(0.125)
    text = result(face(track_id=3, landmarks=landmarks, extras={"votes": np.array([1, 2]), "agreement": np.float32(0.5)})).to_json()
    assert "\n" not in text
    plain = json.loads(text)
    faces = plain.pop("faces")
    assert plain == {
        "frame": 7,
        "stamp_s": 1.5,
        "frame_id": "camera",
        "width": 640,
        "height": 480,
        "learner": "toy",
        "latency_ms": {"infer": 12.346, "total": 20.0},
    }
    probabilities = faces[0].pop("probabilities")
    assert list(probabilities) == list(AFFECTNET8)
    assert probabilities["Happy"] == pytest.approx(0.65)
    assert faces[0].pop("landmarks")[4] == [8.12, 9.12]
    assert faces == [
        {
            "track_id": 3,
            "box_xyxy": [1.23, 2.0, 30.0, 40.5],
            "score": 0.9877,
            "emotion": "Happy",
            "confidence": 0.65,
            "valence": 0.5,
            "arousal": -0.25,
            "votes": [1, 2],
            "agreement": 0.5,
        }
    ]


def test_what_is_unknown_is_null() -> None:
    plain = face(valence=None, arousal=None).to_dict(AFFECTNET8.words)
    assert [plain[name] for name in ("valence", "arousal", "track_id", "landmarks")] == [None] * 4
    empty = json.loads(FrameResult((), "toy", AFFECTNET8, 1, 1).to_json())
    assert (empty["faces"], empty["stamp_s"], empty["latency_ms"]) == ([], None, {})


def test_a_table_has_a_row_per_face_with_the_same_columns() -> None:
    rows = result(face(track_id=3), face(valence=None, arousal=None)).rows()
    assert len(rows) == 2
    assert list(rows[0]) == list(rows[1])
    assert list(rows[0])[:12] == [
        *("frame", "stamp_s", "track_id", "left", "top", "right", "bottom", "score"),
        *("emotion", "confidence", "valence", "arousal"),
    ]
    assert list(rows[0])[12:] == [f"p_{word.lower()}" for word in AFFECTNET8]
    assert (rows[0]["frame"], rows[0]["left"], rows[0]["p_happy"]) == (7, 1.23, 0.65)
    assert rows[1]["valence"] is None
    assert result().rows() == []
