from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from emotion_perception.engine.clips import WatchesClips
from emotion_perception.engine.data import Image
from emotion_perception.engine.errors import UsageError, WeightsError
from emotion_perception.engine.target import BoundingBox
from emotion_perception.engine.vision.faces import Face
from emotion_perception.learners.emotx.clips import FPS
from emotion_perception.learners.emotx.learner import EmoTxLearner
from emotion_perception.learners.emotx.watching import LONGEST_S, EmoTxWindow

FACE = Face(BoundingBox(10, 10, 30, 34))


@pytest.fixture
def learner(tiny_emotx: Path) -> EmoTxLearner:
    made = EmoTxLearner(device="cpu", backend="torch")
    made.load(tiny_emotx / "weights")
    return made


@pytest.fixture
def window(learner: EmoTxLearner, tiny_emotx: Path) -> EmoTxWindow:
    made = learner.watch(window_s=4.0, backbones=tiny_emotx / "backbones")
    assert isinstance(made, EmoTxWindow)
    return made


def picture(stamp_s: float) -> Image:
    rgb = np.random.default_rng(round(stamp_s * 1000)).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    return Image(rgb, stamp_s, "eye")


def show(window: EmoTxWindow, start_s: float, seconds: float, rate_hz: float = 10.0, faces: tuple[str, ...] = ("ann",)) -> float:
    stamps = [start_s + n / rate_hz for n in range(math.ceil(seconds * rate_hz))]
    for stamp_s in stamps:
        window.frame(picture(stamp_s), dict.fromkeys(faces, FACE))
    return stamps[-1]


def test_streams_are_as_in_training(window: EmoTxWindow) -> None:
    assert window.judge() is None
    show(window, 100.0, 3.5, rate_hz=30.0)
    window.speech("you came back", 101.0, 102.0)
    clip = window.clip()
    assert clip.scene is not None
    assert clip.dialogue is not None
    assert clip.scene.times_s.tolist() == pytest.approx([16 * (i + 1) / FPS for i in range(len(clip.scene))], abs=1e-4)
    assert len(clip.scene) == 4  # the first after 32 frames, one more for 16 each
    assert clip.characters["ann"].times_s.tolist() == pytest.approx([8 * i / FPS for i in range(11)], abs=1e-4)
    assert clip.dialogue.times_s.tolist() == [1.5]
    assert (clip.scene.features.shape[1], clip.characters["ann"].features.shape[1], clip.dialogue.features.shape[1]) == (16, 64, 16)
    assert np.unique(clip.scene.features, axis=0).shape[0] == 4


def test_features_are_those_of_the_extractors(window: EmoTxWindow, learner: EmoTxLearner, tiny_emotx: Path) -> None:
    from emotion_perception.learners.emotx.watching import extractors_of

    extractors = extractors_of(learner, backbones=tiny_emotx / "backbones")
    frames = [picture(50.0 + n / FPS) for n in range(32)]
    for frame in frames:
        window.frame(frame, {"ann": FACE})
    window.speech("hello", 50.0, 50.5)
    clip = window.clip()
    assert clip.scene is not None
    assert clip.dialogue is not None
    np.testing.assert_array_equal(clip.scene.features[0], extractors.scene([frame.rgb for frame in frames]))
    crops = [frames[n].rgb[10:34, 10:30] for n in (0, 8, 16, 24)]
    np.testing.assert_allclose(clip.characters["ann"].features, extractors.face(crops), atol=1e-5)
    np.testing.assert_array_equal(clip.dialogue.features, extractors.text(["hello"]))


def test_what_is_judged_is_what_the_learner_says_of_the_clip(window: EmoTxWindow, learner: EmoTxLearner) -> None:
    assert isinstance(learner, WatchesClips)
    last_s = show(window, 10.0, 6.0, faces=("ann", "bob"))
    window.speech("no", last_s - 0.5, last_s)
    result = window.judge()
    assert result is not None
    clip = window.clip()
    judged = learner.infer([clip])
    np.testing.assert_array_equal(result.scene, judged.probabilities[0])
    assert list(result.characters) == ["ann", "bob"]
    np.testing.assert_array_equal(result.characters["bob"], judged.extras["characters"][0, 1])
    assert result.span_s == pytest.approx((last_s - 4.0, last_s))
    assert clip.duration_s == pytest.approx(4.0)
    assert (result.learner, result.labels.name) == ("emotx", "moviegraphs10")


def test_a_window_forgets_what_is_older(window: EmoTxWindow) -> None:
    show(window, 0.0, 2.0, faces=("ann",))
    window.speech("early", 0.5, 1.0)
    last_s = show(window, 2.0, 6.0, faces=("bob", "cy"))
    window.speech("long ago", 0.0, 1.0)
    window.speech("half in", last_s - 6.0, last_s - 3.0)
    clip = window.clip()
    assert set(clip.characters) == {"bob", "cy"}
    assert clip.scene is not None
    assert clip.dialogue is not None
    assert clip.dialogue.times_s.tolist() == [0.0]
    assert all(0.0 <= time <= 4.0 for time in clip.scene.times_s)
    assert len(window._faces) == 2
    assert len(window._frames) <= 7
    window.frame(picture(1.0), {})  # the stream starts again
    assert window.judge() is None
    window.frame(picture(1.1), {"dee": FACE})
    show(window, 1.2, 0.5, faces=("dee",))
    result = window.judge()
    assert result is not None
    assert list(result.characters) == ["dee"]


def test_who_is_seen_longest_comes_first(learner: EmoTxLearner, tiny_emotx: Path) -> None:
    window = learner.watch(window_s=20.0, num_chars=2, dialogue=False, backbones=tiny_emotx / "backbones")
    assert isinstance(window, EmoTxWindow)
    show(window, 0.0, 1.0, faces=("ann", "bob", "cy"))
    show(window, 1.0, 2.0, faces=("cy",))
    show(window, 3.0, 1.0, faces=("bob",))
    window.speech("is not listened to", 0.0, 1.0)
    assert window.clip().dialogue is None
    assert list(window.clip().characters) == ["cy", "bob"]


def test_a_face_outside_the_picture_is_left_out(window: EmoTxWindow) -> None:
    window.frame(picture(0.0), {"ann": Face(BoundingBox(-50, -50, -20, -20)), "bob": FACE})
    assert list(window.clip().characters) == ["bob"]


def test_warming_up_keeps_nothing(window: EmoTxWindow) -> None:
    show(window, 0.0, 1.0)
    before = window.clip()
    window.warm_up()
    assert window.clip().characters["ann"].times_s.tolist() == before.characters["ann"].times_s.tolist()
    window.reset()
    assert window.judge() is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"window_s": LONGEST_S + 1}, "window_s is 101.1, expected more than 0 and at most 100 seconds"),
        ({"window_s": 0.0}, "window_s is 0"),
        ({"window_s": 10.0, "num_chars": 5}, "num_chars is 5, expected 0 to 4"),
    ],
)
def test_what_the_network_cannot_take_is_refused(learner: EmoTxLearner, options: dict[str, float], words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=words):
        learner.watch(**options, backbones=tmp_path)


def test_missing_backbones_are_named(learner: EmoTxLearner, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"needs 'MVIT_B_32x3_f294077834.pyth', which is not in .*; get it from https://"):
        learner.watch(window_s=10.0, backbones=tmp_path)


def test_only_the_backbones_of_streams_that_are_read_are_needed(tiny_emotx: Path, tmp_path: Path) -> None:
    blind = EmoTxLearner(device="cpu", use_scene_feats=False, use_char_feats=False, hidden_dim=16)
    blind.init_model()
    with pytest.raises(UsageError, match="read the dialogue only, and there is no speech"):
        blind.watch(window_s=10.0, dialogue=False, backbones=tmp_path)
    silent = EmoTxLearner(device="cpu", use_scene_feats=False, use_srt_feats=False, get_scene_targets=False, hidden_dim=16)
    silent.init_model()
    with pytest.raises(WeightsError, match="resnet50_face_sfew_dag"):
        silent.watch(window_s=10.0, backbones=tmp_path)
