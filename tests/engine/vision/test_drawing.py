from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from emotion_perception.engine.errors import UsageError
from emotion_perception.engine.labels import AFFECTNET8, LabelSet
from emotion_perception.engine.target import BoundingBox, Category, FaceEmotion, FrameResult
from emotion_perception.engine.vision.drawing import color_of, draw, draw_timings


def face(
    box: tuple[float, float, float, float],
    word: str = "Happy",
    confidence: float = 0.7,
    affect: Any = (None, None),
    track_id: int | None = 3,
) -> FaceEmotion:
    index = AFFECTNET8.index(word)
    probabilities = np.full(8, (1 - confidence) / 7, np.float32)
    probabilities[index] = confidence
    return FaceEmotion(BoundingBox(*box), Category(index, AFFECTNET8.words[index], confidence, probabilities), *affect, track_id)


def drawn(size_wh: tuple[int, int], *faces: FaceEmotion, background: int = 120) -> np.ndarray:
    width, height = size_wh
    frame = np.full((height, width, 3), background, np.uint8)
    draw(frame, FrameResult(faces, "test", AFFECTNET8, width, height))
    return frame


def coloured(frame: np.ndarray, entry: FaceEmotion) -> np.ndarray:
    """Where the frame has exactly the colour of a face."""
    return (frame == np.array(color_of(entry))).all(axis=2)


def test_the_box_is_drawn_on_its_line_and_what_is_far_stays() -> None:
    entry = face((200, 120, 300, 240))
    frame = drawn((640, 360), entry)
    on_line = coloured(frame, entry)
    assert on_line[121:240, 200].all()
    assert on_line[240, 200:300].all()
    assert (frame[130:230, 210:290] == 120).all()  # the face itself stays visible
    changed_y, changed_x = np.nonzero((frame != 120).any(axis=2))
    assert changed_y.min() > 60
    assert changed_y.max() < 260
    assert changed_x.min() > 150
    assert changed_x.max() < 420


def test_the_bar_is_as_long_as_the_probability() -> None:
    def bar(confidence: float) -> int:
        entry = face((200, 120, 400, 320), confidence=confidence)
        return int(coloured(drawn((640, 360), entry), entry)[:117].sum(axis=1).max())

    full = bar(1.0)
    assert full > 120
    assert bar(0.5) == pytest.approx(full / 2, abs=1)
    assert bar(0.25) == pytest.approx(full / 4, abs=1)


@pytest.mark.parametrize("background", [0, 128, 255])
def test_the_label_is_readable_on_any_background(background: int) -> None:
    frame = drawn((640, 360), face((200, 120, 400, 320)), background=background)
    strip = frame[94:117, 202:398].astype(int).sum(axis=2)
    assert strip.max() > 740  # white letters
    assert np.median(strip) < 240  # on dark


@pytest.mark.parametrize(("valence", "arousal"), [(0.8, 0.3), (-0.7, 0.5), (-0.4, -0.8), (0.6, -0.6), (1.0, 1.0), (-1.0, -1.0)])
def test_the_point_lies_where_valence_and_arousal_say(valence: float, arousal: float) -> None:
    entry = face((200, 120, 300, 240), affect=(valence, arousal))
    frame = drawn((640, 360), entry)
    disc = (frame != 120).any(axis=2)[:, 304:]  # right of the box, below the label
    ys, xs = np.nonzero(disc[118:])
    center = (xs.min() + xs.max()) / 2, (ys.min() + ys.max()) / 2
    ring = frame[118:, 304:].astype(int).sum(axis=2) > 755  # the white seam of the point
    dot_y, dot_x = (c.mean() for c in np.nonzero(ring))
    assert np.sign(dot_x - center[0]) == np.sign(valence)
    assert np.sign(center[1] - dot_y) == np.sign(arousal)
    assert np.hypot(dot_x - center[0], dot_y - center[1]) < (xs.max() - xs.min()) / 2


def test_without_affect_there_is_no_disc() -> None:
    assert (drawn((640, 360), face((200, 120, 300, 240)))[150:230, 310:] == 120).all()


@pytest.mark.parametrize(
    "box",
    [(-30, -30, 80, 90), (580, -20, 660, 90), (-20, 280, 80, 380), (570, 270, 700, 380), (0, 0, 640, 360)],
    ids=["top left", "top right", "bottom left", "bottom right", "whole"],
)
def test_labels_of_faces_at_the_border_stay_inside(box: tuple[float, float, float, float]) -> None:
    reference = drawn((640, 360), face((250, 130, 390, 250), affect=(0.1, 0.1)))
    frame = drawn((640, 360), face(box, affect=(0.1, 0.1)))
    white = [int((picture.min(axis=2) > 250).sum()) for picture in (reference, frame)]
    assert white[1] > 0.6 * white[0]  # the letters are all there


def test_labels_of_neighbours_do_not_hide_faces() -> None:
    boxes = [(300, 200, 380, 300), (390, 190, 470, 290), (305, 80, 385, 180)]
    frame = drawn((800, 500), *(face(box, track_id=i, affect=(0.2, 0.2)) for i, box in enumerate(boxes)))
    for left, top, right, bottom in boxes:
        inside = frame[top + 5 : bottom - 5, left + 5 : right - 5]
        assert (inside == 120).all(axis=2).mean() > 0.9


@pytest.mark.parametrize("size_wh", [(1, 1), (2, 50), (50, 2), (20, 20), (100, 100), (100, 75), (1920, 1080), (12000, 200)])
def test_pictures_of_any_size_can_be_drawn_into(size_wh: tuple[int, int]) -> None:
    width, height = size_wh
    for box in ((0, 0, width, height), (width * 0.3, height * 0.4, width * 0.6, height * 0.8)):
        assert (drawn(size_wh, face(box, word="Contempt", affect=(0.5, -0.5))) != 120).any()
    for far_box in ((-1e9, -1e9, 1e9, 1e9), (-900, -900, -800, -800)):
        drawn(size_wh, face(far_box, word="Contempt", affect=(0.5, -0.5)))


def test_letters_grow_with_the_picture() -> None:
    def strip_height(scale: int) -> int:
        entry = face((200 * scale, 120 * scale, 400 * scale, 320 * scale))
        column = drawn((640 * scale, 360 * scale), entry)[: 115 * scale, 300 * scale]
        return int((column != 120).any(axis=1).sum())

    assert strip_height(4) == pytest.approx(4 * strip_height(1), rel=0.15)


def test_words_beyond_the_basic_ones_get_colours_of_their_own() -> None:
    words = LabelSet("many", tuple(f"feeling {i}" for i in range(12)), "test")
    row = np.full(12, 1 / 12, np.float32)
    faces = [FaceEmotion(BoundingBox(0, 0, 9, 9), Category(i, word, 1 / 12, row)) for i, word in enumerate(words)]
    assert len({color_of(entry) for entry in faces}) == 12
    assert color_of(face((0, 0, 1, 1), "Happy")) != color_of(face((0, 0, 1, 1), "Sad"))


def test_what_cannot_be_drawn_into_is_refused() -> None:
    read_only = np.zeros((50, 50, 3), np.uint8)
    read_only.flags.writeable = False
    result = FrameResult((), "test", AFFECTNET8, 50, 50)
    for wrong in (
        read_only,
        np.zeros((50, 50, 3), np.float32),
        np.zeros((50, 50), np.uint8),
        np.zeros((50, 50, 3), np.uint8)[:, ::-1],
        None,
    ):
        with pytest.raises(UsageError, match=r"image\.numpy"):
            draw(wrong, result)  # type: ignore[arg-type]


@pytest.mark.parametrize("size_wh", [(640, 360), (1280, 720), (90, 60)])
def test_timings_stand_in_the_upper_left_corner_and_fit_the_picture(size_wh: tuple[int, int]) -> None:
    width, height = size_wh
    frame = np.full((height, width, 3), 120, np.uint8)
    draw_timings(frame, FrameResult((), "test", AFFECTNET8, width, height, latency_ms={"detect": 1.25, "infer": 8.0, "total": 10.0}), 30.0)
    rows, columns = (frame != 120).any(axis=2).nonzero()
    assert rows.max() < max(0.06 * height, 24)
    assert 0.2 * width < columns.max() < width - 1
    assert frame.max() > 200
