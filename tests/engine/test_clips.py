from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import pytest

from emotion_perception.engine.clip_pipeline import ClipPipeline
from emotion_perception.engine.clips import ClipResult, FrameGroups, SlidingStream, Window
from emotion_perception.engine.data import Image
from emotion_perception.engine.errors import UsageError
from emotion_perception.engine.labels import MOVIEGRAPHS10
from emotion_perception.engine.target import BoundingBox
from emotion_perception.engine.vision.faces import Face
from emotion_perception.learners.esr import FacialEmotionLearner

RATE_HZ = 24000 / 1001


def groups_of(stamps: list[float], frames: int, stride: int) -> list[tuple[list[int], float]]:
    """Feeds numbered frames and returns the groups."""
    made = FrameGroups[int](RATE_HZ, frames, stride)
    return [done for i, stamp in enumerate(stamps) if (done := made.add(i, stamp)) is not None]


def test_frames_at_the_fixed_rate_are_grouped_one_by_one() -> None:
    jitter = np.random.default_rng(0).uniform(-0.004, 0.004, 80)
    jitter[0] = 0.0
    found = groups_of([100.0 + n / RATE_HZ + jitter[n] for n in range(80)], 32, 16)
    assert [group for group, _ in found] == [list(range(first, first + 32)) for first in (0, 16, 32, 48)]
    assert [time for _, time in found] == pytest.approx([100.0 + 16 * (i + 1) / RATE_HZ for i in range(4)])


@pytest.mark.parametrize("camera_hz", [5.0, 15.0, 30.0, 60.0])
def test_other_rates_are_resampled_by_time(camera_hz: float) -> None:
    stamps = [n / camera_hz for n in range(int(4 * camera_hz))]
    found = groups_of(stamps, 32, 16)
    assert len(found) == (int((stamps[-1]) * RATE_HZ + 0.5) + 1 - 32) // 16 + 1
    for group, middle_s in found:
        wanted = [middle_s + (k - 16) / RATE_HZ for k in range(32)]
        off = [abs(stamps[i] - instant) for i, instant in zip(group, wanted, strict=True)]
        # The nearest frame, or one just as near but for the half step that is not waited for.
        assert max(off) <= max(0.5 / camera_hz, 0.5 / RATE_HZ) + 1e-9
    singles = groups_of(stamps, 1, 8)
    assert [time for _, time in singles] == pytest.approx([8 * i / RATE_HZ for i in range(len(singles))])


def test_after_a_pause_a_new_group_begins() -> None:
    before = [n / RATE_HZ for n in range(31)]
    after = [before[-1] + 0.6 + n / RATE_HZ for n in range(32)]
    ((group, time_s),) = groups_of(before + after, 32, 16)
    assert group == list(range(31, 63))
    assert time_s == pytest.approx(after[0] + 16 / RATE_HZ)
    # Single frames stand for themselves, whatever lies between them.
    assert [group for group, _ in groups_of([0.0, 2.0, 5.0, 4.0], 1, 8)] == [[0], [1], [2], [3]]


def test_whoever_is_slow_gets_the_newest_group_only() -> None:
    made = FrameGroups[int](RATE_HZ, 1, 2)
    assert made.add(0, 0.0) == ([0], 0.0)
    group, time_s = made.add(1, 9 / RATE_HZ) or ([], 0.0)
    assert (group, time_s) == ([1], pytest.approx(8 / RATE_HZ))


def test_groups_of_nothing_are_refused() -> None:
    with pytest.raises(UsageError, match="0 frames every 1"):
        FrameGroups[int](24.0, 0, 1)


def test_a_stream_keeps_what_is_new_in_order() -> None:
    stream = SlidingStream(most=3)
    for time_s in (1.0, 3.0, 2.0):
        stream.add(np.full(2, time_s, np.float32), time_s)
    features, times = stream.arrays(0.5)
    assert features.tolist() == [[1, 1], [2, 2], [3, 3]]
    assert times.tolist() == [0.5, 1.5, 2.5]
    stream.add(np.zeros(2, np.float32), 4.0)
    assert len(stream) == 3
    stream.forget(2.5)
    assert stream.arrays(0.0)[1].tolist() == [3.0, 4.0]


def clip_result(**changes: object) -> ClipResult:
    scene = np.linspace(0.1, 0.9, 10).astype(np.float32)
    characters = {"ann": scene[::-1].copy(), "bob": scene}
    values = {"boxes": {"bob": BoundingBox(1, 2, 3, 4)}, "frame_id": "cam", "latency_ms": {"total": 1.23456}} | changes
    return ClipResult("toy", MOVIEGRAPHS10, (1.0, 3.5), values.pop("scene", scene), characters, **values)  # type: ignore[arg-type]


def test_a_result_in_plain_words() -> None:
    result = clip_result()
    plain = json.loads(result.to_json())
    assert plain["span_s"] == [1.0, 3.5]
    assert (plain["frame_id"], plain["labels"], plain["latency_ms"]) == ("cam", "moviegraphs10", {"total": 1.235})
    assert plain["scene"]["probabilities"]["happy"] == 0.1
    assert plain["characters"]["ann"]["box_xyxy"] is None
    assert plain["characters"]["bob"]["box_xyxy"] == [1, 2, 3, 4]
    rows = result.rows()
    assert [(row["who"], row["emotion"], row["confidence"]) for row in rows] == [
        ("scene", "surprise", 0.9),
        ("ann", "happy", 0.9),
        ("bob", "surprise", 0.9),
    ]
    assert rows[0]["p_worried"] == pytest.approx(0.188889)
    assert result.category("nobody") is None


def test_a_result_without_a_scene() -> None:
    result = clip_result(scene=None)
    assert result.to_dict()["scene"] is None
    assert [row["who"] for row in result.rows()] == ["ann", "bob"]
    assert result.category() is None


class Recorder(Window):
    """Writes down what it is told; says that it saw nothing until there were three frames."""

    def __init__(self) -> None:
        self.frames: list[tuple[float | None, tuple[str, ...]]] = []
        self.words: list[tuple[str, float, float]] = []
        self.resets = 0

    def frame(self, image: Image, faces: Mapping[str, Face]) -> None:
        self.frames.append((image.stamp_s, tuple(faces)))

    def speech(self, text: str, start_s: float, end_s: float) -> None:
        self.words.append((text, start_s, end_s))

    def judge(self) -> ClipResult | None:
        if len(self.frames) < 3:
            return None
        names = {name for _, faces in self.frames for name in faces}
        scores = np.linspace(0, 1, 10).astype(np.float32)
        return ClipResult("esr", MOVIEGRAPHS10, (0.0, self.frames[-1][0] or 0.0), scores, dict.fromkeys(sorted(names), scores[::-1]))

    def reset(self) -> None:
        self.resets += 1
        self.frames, self.words = [], []

    def warm_up(self) -> None:
        pass


class Finds:
    """Finds the faces it was given, in every picture."""

    name = "given"

    def __init__(self, *boxes: BoundingBox) -> None:
        self.boxes = boxes

    def __call__(self, image: Image) -> list[Face]:
        return [Face(box) for box in self.boxes]


def pictures(stamps: list[float]) -> list[Image]:
    return [Image(np.full((48, 64, 3), 90, np.uint8), stamp, "eye") for stamp in stamps]


@pytest.fixture
def pipeline() -> ClipPipeline:
    finder = Finds(BoundingBox(40, 10, 55, 30), BoundingBox(5, 10, 20, 30))
    made = ClipPipeline(FacialEmotionLearner(), Recorder(), finder, judge_every_s=1.0, search_interval_s=0.0)
    made.warm_up()
    return made


def test_a_clip_is_judged_now_and_then(pipeline: ClipPipeline) -> None:
    watched = [pipeline(image) for image in pictures([10.0, 10.4, 10.8, 11.2, 11.6, 12.0])]
    assert [each.clip is not None for each in watched] == [False, False, True, False, False, True]
    assert [len(each.frame.faces) for each in watched] == [0, 0, 3, 3, 3, 3]
    scene, left, right = watched[2].frame.faces
    assert (scene.box.width, scene.category.description, scene.track_id) == (64, "surprise", None)
    assert (left.box.left, left.category.description, left.track_id, right.track_id) == (5, "happy", 1, 2)
    clip = watched[2].clip
    assert clip is not None
    assert (clip.frame_id, set(clip.latency_ms)) == ("eye", {"detect", "features", "judge", "total"})
    assert {name: box.left for name, box in clip.boxes.items()} == {"person 1": 5, "person 2": 40}
    assert [each.frame.index for each in watched] == list(range(6))


def test_a_face_after_a_cut_is_another_character() -> None:
    pipeline = ClipPipeline(FacialEmotionLearner(), window := Recorder(), Finds(BoundingBox(5, 10, 20, 30)))
    for time_s, level in enumerate([10, 10, 200, 200]):
        pipeline(Image(np.full((48, 64, 3), level, np.uint8), time_s / 10))
    assert [names for _, names in window.frames] == [("person 1",), ("person 1",), ("person 2",), ("person 2",)]


def test_a_stream_that_starts_again_is_judged_again(pipeline: ClipPipeline) -> None:
    assert [pipeline(image).clip is not None for image in pictures([10.0, 10.4, 10.8, 3.0, 3.1])] == [False, False, True, True, False]
    pipeline.reset()
    assert pipeline(pictures([3.0])[0]).clip is None
    window = pipeline.window
    assert isinstance(window, Recorder)
    assert window.frames == [(3.0, ("person 1", "person 2"))]


def test_speech_gets_the_time_of_the_frames(pipeline: ClipPipeline) -> None:
    window = pipeline.window
    assert isinstance(window, Recorder)
    pipeline.speech("  ")
    pipeline.speech("well well", 99.0)
    pipeline.speech("no stamp")
    pipeline.speech("ahead", 100.5)
    pipeline.speech("another clock", 5e8)
    assert window.words == []
    pipeline(pictures([100.0])[0])
    assert window.words == [
        ("well well", pytest.approx(98.2), 99.0),
        ("no stamp", pytest.approx(99.2), 100.0),
        ("ahead", pytest.approx(99.6), 100.0),
        ("another clock", pytest.approx(99.2), 100.0),
    ]


def test_a_judgement_can_be_drawn(pipeline: ClipPipeline) -> None:
    from emotion_perception.engine.vision.drawing import draw

    images = pictures([0.0, 0.4, 0.8])
    result = [pipeline(image) for image in images][-1].frame
    frame = np.array(Image(np.full((480, 640, 3), 90, np.uint8)).rgb)
    draw(frame, result)
    assert (frame != 90).any()
