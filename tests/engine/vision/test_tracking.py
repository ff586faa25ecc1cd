from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emotion_perception.engine.errors import UsageError
from emotion_perception.engine.target import BoundingBox
from emotion_perception.engine.vision.tracking import Tracker


def face(x: float, y: float = 100.0, size: float = 60.0) -> BoundingBox:
    """A box around a centre."""
    return BoundingBox(x - size / 2, y - size / 2, x + size / 2, y + size / 2)


def test_moving_faces_keep_their_ids() -> None:
    tracker = Tracker()
    seen = set()
    for frame in range(60):
        boxes = [face(100 + 4 * frame, 80), face(500 - 3 * frame, 300)]
        order = [0, 1] if frame % 2 else [1, 0]  # a detector's order changes from frame to frame
        ids = tracker.update([boxes[i] for i in order], frame / 30)
        seen.add((ids[order.index(0)], ids[order.index(1)]))
    assert seen == {(2, 1)}


def test_the_assignment_is_the_best_for_all_not_for_the_first() -> None:
    tracker = Tracker(iou_threshold=0.1)
    tracker.update([face(100), face(140)], 0.0)
    # The first box overlaps track 2 most, but only so do both find a partner.
    assert tracker.update([face(125), face(165)], 0.1) == [1, 2]


def test_a_fast_face_is_found_by_nearness_but_not_across_the_picture() -> None:
    tracker = Tracker()
    assert tracker.update([face(100)], 0.0) == [1]
    assert tracker.update([face(155)], 0.1) == [1]  # hardly an overlap
    assert tracker.update([face(400)], 0.2) == [2]
    assert tracker.update([face(400, size=160)], 0.3) == [3]  # another face, much closer to the camera


def test_memory_goes_by_time() -> None:
    tracker = Tracker(memory_s=1.0)
    assert tracker.update([face(100)], 10.0) == [1]
    for frame in range(1, 10):
        assert tracker.update([], 10.0 + frame / 10) == []
    assert tracker.update([face(105)], 11.0) == [1]
    assert tracker.update([face(105)], 12.01) == [2]


def test_a_stream_that_starts_again_gets_new_ids_and_reset_counts_from_one() -> None:
    tracker = Tracker()
    assert tracker.update([face(100)], 50.0) == [1]
    assert tracker.update([face(100)], 0.0) == [2]
    tracker.reset()
    assert tracker.update([face(100)], 0.0) == [1]


def test_a_second_face_beside_a_known_one_is_new() -> None:
    tracker = Tracker()
    tracker.update([face(100)], 0.0)
    assert tracker.update([face(100), face(110)], 0.1) == [1, 2]


CORNER = st.integers(-500, 2000)


@settings(max_examples=60, deadline=None)
@given(faces=st.lists(st.tuples(CORNER, CORNER, st.integers(1, 400)), min_size=1, max_size=8, unique=True), data=st.data())
def test_ids_follow_faces_that_stay_whatever_their_order(faces: list[tuple[int, int, int]], data: st.DataObject) -> None:
    tracker = Tracker()
    boxes = [face(*values) for values in faces]
    ids = tracker.update(boxes, 0.0)
    assert ids == list(range(1, len(boxes) + 1))
    order = data.draw(st.permutations(range(len(boxes))))
    assert tracker.update([boxes[i] for i in order], 0.1) == [ids[i] for i in order]


@settings(max_examples=60, deadline=None)
@given(frames=st.lists(st.lists(st.tuples(CORNER, CORNER, st.integers(0, 400)), max_size=6), min_size=1, max_size=8))
def test_no_two_faces_of_a_frame_share_an_id(frames: list[list[tuple[int, int, int]]]) -> None:
    tracker = Tracker()
    for i, frame in enumerate(frames):
        ids = tracker.update([face(*values) for values in frame], i / 10)
        assert len(ids) == len(frame) == len(set(ids))


@pytest.mark.parametrize("wrong", [{"iou_threshold": 0.0}, {"iou_threshold": 1.1}, {"memory_s": -1.0}, {"memory_s": float("nan")}])
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="expected"):
        Tracker(**wrong)
