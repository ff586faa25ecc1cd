from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from emotion_perception.engine.errors import UsageError
from emotion_perception.learners.emotx.clips import ClipFeatures, Stream
from emotion_perception.learners.emotx.learner import EmoTxLearner
from emotion_perception.learners.emotx.settings import FeatureInfo, Settings
from emotion_perception.learners.emotx.timeline.plots import _laid_out, plot_attention, plot_timeline, write_timeline
from emotion_perception.learners.emotx.timeline.timeline import Timeline, attend, cut, length_s, watch_clip

WIDTHS = {
    "mvit_v1": FeatureInfo(scene_feat_dim=8),
    "resnet50_fer": FeatureInfo(face_feat_dim=6),
    "roberta": FeatureInfo(srt_feat_dim=4),
}
SAID = ("You came back.", "I told you so, and nobody else believed it for a second of that summer.", "Well.", "Sit down, please.", "No.")


def stream(width: int, *times_s: float) -> Stream:
    random = np.random.default_rng(width)
    return Stream(random.standard_normal((len(times_s), width)).astype(np.float32), np.array(times_s, np.float32))


@pytest.fixture(scope="module")
def clip() -> ClipFeatures:
    faces = {"Jenny": stream(6, *np.arange(3, 9, 0.5)), "Mrs. Gump": stream(6, *np.arange(24, 29, 0.5)), "Nobody": stream(6)}
    dialogue = stream(4, 2.1, 2.5, 11.0, 28.0, 28.5)
    return ClipFeatures(stream(8, *np.arange(0, 30, 0.7)), faces, dialogue, "tt0000001/001", SAID, 30.0)


def small(**changes: object) -> EmoTxLearner:
    options = {"feat_info": WIDTHS, "hidden_dim": 16, "num_enc_layers": 1} | changes
    learner = EmoTxLearner(settings=Settings(**options), device="cpu", backend="torch")  # type: ignore[arg-type]
    learner.init_model()
    return learner


@pytest.fixture(scope="module")
def learner() -> EmoTxLearner:
    return small()


@pytest.fixture(scope="module")
def timeline(learner: EmoTxLearner, clip: ClipFeatures) -> Timeline:
    return watch_clip(learner, clip, window_s=6.0, step_s=2.0)


def test_a_part_of_a_clip_counts_from_its_start(clip: ClipFeatures) -> None:
    part = cut(clip, 8.0, 12.0)
    assert part.scene is not None
    assert part.dialogue is not None
    assert part.scene.times_s.tolist() == pytest.approx([0.4, 1.1, 1.8, 2.5, 3.2, 3.9], abs=1e-5)
    assert part.dialogue.times_s.tolist() == [3.0]
    assert {name: faces.times_s.tolist() for name, faces in part.characters.items()} == {"Jenny": [0.0, 0.5]}
    assert cut(clip, 5.0, 6.0).dialogue is None
    assert length_s(clip) == 30.0
    assert length_s(cut(clip, 8.0, 12.0)) == pytest.approx(3.9 + 8 / 23.976, abs=1e-3)


def test_values_are_what_the_learner_says_of_each_window(learner: EmoTxLearner, clip: ClipFeatures, timeline: Timeline) -> None:
    assert timeline.times_s.tolist() == list(range(0, 31, 2))
    whole = learner.infer(clip)
    np.testing.assert_allclose(timeline.whole["scene"], whole.probabilities[0], atol=1e-6)
    np.testing.assert_allclose(timeline.whole["Mrs. Gump"], whole.extras["characters"][0, 1], atol=1e-6)
    part = learner.infer(cut(clip, 23.0, 29.0))
    at = timeline.times_s.tolist().index(26)
    np.testing.assert_allclose(timeline.curves["scene"][at], part.probabilities[0], atol=1e-6)
    np.testing.assert_allclose(timeline.curves["Mrs. Gump"][at], part.extras["characters"][0, 0], atol=1e-6)
    assert np.isnan(timeline.curves["Jenny"][at]).all()
    assert np.isnan(timeline.curves["Nobody"]).all()
    assert timeline.top("scene", 2)[0] == int(np.argmax(whole.probabilities[0]))


def test_attention_lies_where_the_tokens_are(learner: EmoTxLearner, clip: ClipFeatures, timeline: Timeline) -> None:
    assert set(timeline.attention) == {"scene", "Jenny", "Mrs. Gump", "Nobody"}
    found = timeline.attention["scene"]
    assert set(found.weights) == {"scene", "Jenny", "Mrs. Gump", "dialogue"}
    middles = (found.edges_s[:-1] + found.edges_s[1:]) / 2
    seen = middles[found.weights["Mrs. Gump"].sum(axis=0) > 0]
    width = found.edges_s[1] - found.edges_s[0]
    assert 24.0 - width <= seen.min() <= seen.max() <= 28.5 + width
    assert (found.weights["dialogue"][0] > 0).sum() == 4  # two of the five lie in one cell
    shares = found.shares()
    assert len(shares) == 10
    assert all(0.0 < sum(each.values()) < 1.0 for each in shares)
    # One cell for all time holds the same attention.
    whole = attend(learner, clip, most_cells=1)["scene"]
    assert whole.weights["Jenny"].shape == (10, 1)
    assert whole.shares()[3]["Jenny"] == pytest.approx(shares[3]["Jenny"], abs=1e-6)


def test_networks_that_read_or_judge_less(clip: ClipFeatures) -> None:
    scene_only = watch_clip(small(use_char_feats=False, use_srt_feats=False, get_char_targets=False), clip)
    assert set(scene_only.whole) == set(scene_only.curves) == set(scene_only.attention) == {"scene"}
    assert set(scene_only.attention["scene"].weights) == {"scene"}
    pooled = {"model_no": 1.2, "use_char_feats": False, "use_srt_feats": False, "get_char_targets": False}
    baseline = watch_clip(small(**pooled), clip)
    assert baseline.attention == {}
    assert np.isfinite(baseline.curves["scene"]).all()


@pytest.mark.parametrize(("window_s", "step_s"), [(0.0, 1.0), (5.0, 0.0)])
def test_windows_of_no_length_are_refused(learner: EmoTxLearner, clip: ClipFeatures, window_s: float, step_s: float) -> None:
    with pytest.raises(UsageError, match="expected more than 0"):
        watch_clip(learner, clip, window_s, step_s)


def test_an_empty_clip_is_refused(learner: EmoTxLearner) -> None:
    with pytest.raises(UsageError, match="clip 'x' has no features"):
        watch_clip(learner, ClipFeatures(None, name="x"))


def test_words_do_not_overlap(timeline: Timeline) -> None:
    lines = _laid_out(timeline, 30.0)
    assert lines[0][-1] == "You came back."
    spans: dict[int, list[tuple[float, float]]] = {}
    for row, time_s, left, text in lines:
        needed = len(text) * 30.0 / 175
        start = time_s - needed if left else time_s
        assert start >= 0.0
        assert start + needed <= 30.0
        assert all(start + needed <= a or start >= b for a, b in spans.get(row, []))
        spans.setdefault(row, []).append((start, start + needed))


def test_pictures_are_written(timeline: Timeline, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    files = write_timeline(timeline, tmp_path)
    assert [file.name for file in files] == [
        "tt0000001_001_timeline.png",
        "tt0000001_001_attention_scene.png",
        "tt0000001_001_attention_Jenny.png",
        "tt0000001_001_attention_Mrs_Gump.png",
        "tt0000001_001_attention_Nobody.png",
        "tt0000001_001_timeline.json",
    ]
    for file in files[:-1]:
        with PillowImage.open(file) as picture:
            assert picture.size[0] == 1320
            assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 50


def test_a_picture_has_a_panel_for_everybody(timeline: Timeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    figures = []
    monkeypatch.setattr(
        "emotion_perception.learners.emotx.timeline.plots.store_figure", lambda figure, path: figures.append(figure) or path
    )
    plot_timeline(timeline, tmp_path / "x.png", emotions=3)
    plot_attention(timeline, "Jenny", tmp_path / "x.png", emotions=2)
    curves, attention = figures
    assert [axes.get_ylabel() for axes in curves.axes] == ["scene", "Jenny", "Mrs. Gump", "Nobody", "dialogue"]
    assert curves.axes[-1].get_xlabel() == "time (s)"
    assert curves.axes[-1].get_xlim() == (0.0, 30.0)
    assert all(len(axes.lines) == 3 for axes in curves.axes[:4])
    assert len(curves.legends[0].get_texts()) == 3
    rows = [label.get_text().split("  ")[0] for label in attention.axes[0].get_yticklabels()]
    assert rows == ["scene (frames)", "Jenny", "Mrs. Gump", "dialogue"]
    top = timeline.labels.words[timeline.top("Jenny", 1)[0]]
    assert attention.axes[0].get_title(loc="left").startswith(top)
