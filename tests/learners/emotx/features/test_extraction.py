from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from emotion_perception.engine.data import Image
from emotion_perception.engine.errors import DatasetError, InputError, WeightsError
from emotion_perception.engine.vision.faces import create_detector
from emotion_perception.engine.vision.video import read_video
from emotion_perception.learners.emotx.clips import FPS, ClipFeatures, Stream
from emotion_perception.learners.emotx.features.extraction import at_film_rate, record
from emotion_perception.learners.emotx.features.extractors import Extractors
from emotion_perception.learners.emotx.features.files import _write_names, read_clip, write_clip, write_scene
from emotion_perception.learners.emotx.features.subtitles import Utterance
from emotion_perception.learners.emotx.moviegraphs import MovieGraphs, write_synthetic
from emotion_perception.learners.emotx.moviegraphs.pickles import read_pickles
from emotion_perception.learners.emotx.moviegraphs.tracks import read_faces, read_name_table, read_names


def numbers(fps: Fraction, count: int) -> list[tuple[int, int]]:
    blank = np.zeros((2, 2, 3), np.uint8)
    return [(number, index) for number, index, _ in at_film_rate(Image(blank, float(i / fps)) for i in range(count))]


def test_frames_are_taken_at_the_rate_of_films() -> None:
    assert numbers(Fraction(24000, 1001), 100) == [(i, i) for i in range(100)]
    # Twice the rate: every second frame. Half of it: every frame twice, the last one once.
    assert numbers(Fraction(48000, 1001), 9) == [(0, 0), (1, 2), (2, 4), (3, 6), (4, 8)]
    assert numbers(Fraction(12000, 1001), 3) == [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2)]
    thirty = numbers(Fraction(30), 300)
    assert [number for number, _ in thirty] == list(range(len(thirty)))
    assert len(thirty) == pytest.approx(300 / 30 * FPS, abs=1)
    assert max(abs(number / FPS - index / 30) for number, index in thirty) < 0.75 / FPS


@pytest.fixture
def tracks(tmp_path: Path) -> Path:
    """Two faces: one in all 40 frames, one in the first 12; and one that lies outside the picture."""
    rows = [f"{frame},3,20,10,60,70" for frame in range(40)] + [f"{frame},5,80.7,20.2,120.9,60" for frame in range(12)]
    file = tmp_path / "tracks.csv"
    file.write_text("\n".join(["frame,track,left,top,right,bottom", *rows, "0,9,500,500,520,520"]) + "\n")
    return file


def test_windows_and_faces_of_a_video(small_backbones: Path, film: Path, tracks: Path) -> None:
    extractors = Extractors(backbones=small_backbones, device="cpu", streams=("scene", "characters"))
    clip = extractors.clip_features(film, tracks=tracks, names={"3": "Anna", "5": "Ben"})
    # Small windows: 4 frames, one every 2; a window stands for the frame it is the middle of.
    assert clip.scene is not None
    np.testing.assert_allclose(clip.scene.times_s, np.arange(2, 42, 2) / FPS, rtol=1e-6)
    frames = [image.rgb for image in read_video(film)]
    for window in (0, 7, 18, 19):
        np.testing.assert_allclose(clip.scene.features[window], extractors.scene(frames[2 * window : 2 * window + 4]), atol=1e-5)
    # Every eighth face of each track, cut out to whole pixels.
    assert list(clip.characters) == ["Anna", "Ben"]
    np.testing.assert_allclose(clip.characters["Anna"].times_s, np.arange(0, 40, 8) / FPS, rtol=1e-6)
    np.testing.assert_allclose(clip.characters["Ben"].times_s, np.array([0, 8]) / FPS, rtol=1e-6)
    np.testing.assert_allclose(clip.characters["Ben"].features[1], extractors.face([frames[8][20:60, 80:120]])[0], atol=1e-5)
    assert clip.name == "scene-001"
    assert clip.duration_s == pytest.approx(40 / FPS)
    assert clip.dialogue is None


def test_single_frames_are_taken_every_eighth(small_backbones: Path, film: Path) -> None:
    extractors = Extractors("resnet50_places", backbones=small_backbones, device="cpu", streams=("scene",))
    sparse, dense = record(extractors, film), record(extractors, film, dense=True)
    assert sparse.scenes is not None
    assert dense.scenes is not None
    assert dense.scenes.frames.tolist() == list(range(40))
    assert sparse.scenes.frames.tolist() == list(range(0, 40, 8))
    thinned = dense.clip({}).scene
    assert thinned is not None
    np.testing.assert_allclose(thinned.features, sparse.scenes.features, atol=1e-4)
    np.testing.assert_allclose(thinned.times_s, np.arange(0, 40, 8) / FPS, rtol=1e-6)


def test_words_come_with_the_middle_of_their_times(roberta: Path, small_backbones: Path, film: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.srt"
    file.write_text("1\n00:00:00,200 --> 00:00:00,400\nhello\n\n2\n00:00:01,000 --> 00:00:01,500\nthere\n")
    extractors = Extractors(backbones=roberta, srt_feat_pretrained=True, device="cpu", streams=("dialogue",))
    clip = extractors.clip_features(film, file)
    assert clip.dialogue is not None
    np.testing.assert_allclose(clip.dialogue.times_s, [0.3, 1.25])
    np.testing.assert_allclose(clip.dialogue.features, extractors.text(["hello", "there"]), atol=1e-6)
    assert list(clip.utterances) == ["hello", "there"]
    assert clip.scene is None
    assert clip.characters == {}
    silent = extractors.clip_features(film, [])
    assert silent.dialogue is not None
    assert len(silent.dialogue) == 0


def test_only_the_weights_of_wanted_streams_are_needed(small_backbones: Path, film: Path, tmp_path: Path) -> None:
    for streams, missing in ((("scene",), "MViT"), (("characters",), "ResNet-50"), (("dialogue",), "RoBERTa")):
        with pytest.raises(WeightsError, match=missing):
            Extractors(backbones=tmp_path, device="cpu", streams=streams).clip_features(film, [Utterance(0, 1, "hello")])
    with pytest.raises(InputError, match="cannot read video"):
        Extractors(backbones=small_backbones, device="cpu", streams=("scene",)).clip_features(tmp_path / "none.mp4")


def test_movie_graphs_folders_have_every_face_and_name(
    roberta: Path, small_backbones: Path, film: Path, tracks: Path, tmp_path: Path
) -> None:
    words = tmp_path / "a.srt"
    words.write_text("1\n00:00:00,200 --> 00:00:00,400\nhello\n")
    extractors = Extractors(backbones=small_backbones, srt_feat_pretrained=True, device="cpu")
    root = tmp_path / "data"
    recording = record(extractors, film, words, tracks, dense=True)
    first = recording.characters({"3": "Anna", "5": "Ben"})
    files = write_scene(root, "tt1", "scene-001", recording, first, extractors, words)
    assert sorted(file.relative_to(root).as_posix() for file in files) == [
        "MovieGraph/srt/clip_srt/tt1/scene-001.srt",
        "character_tracks/tt1/scene-001.pkl",
        "mvit_v1_scene_features/tt1/scene-001.npy",
        "resnet50_fer_face_features/tt1/scene-001.npy",
        "srt_feats/independent/pretrained/tt1/scene-001.pkl",
        "track_names/metadata/tt1.pkl",
        "track_names/tt1/scene-001.npy",
    ]
    # Another scene brings another name: the first scene's table grows with it.
    write_scene(root, "tt1", "scene-002", recording, {"Cy": [3], "Anna": [5]}, extractors)
    columns = read_name_table(root / "track_names" / "metadata" / "tt1.pkl")
    assert columns == {"Anna": 0, "Ben": 1, "Cy": 2}
    named = read_names(root / "track_names" / "tt1" / "scene-001.npy", columns, 0.5)
    assert {name: own.tolist() for name, own in named.items()} == {"Anna": [1], "Ben": [2]}
    assert {n: t.tolist() for n, t in read_names(root / "track_names" / "tt1" / "scene-002.npy", columns, 0.5).items()} == {
        "Anna": [2],
        "Cy": [1],
    }
    # A row of features per row of the tracks, in the same order.
    faces = read_faces(root / "character_tracks" / "tt1" / "scene-001.pkl")
    features = np.load(root / "resnet50_fer_face_features" / "tt1" / "scene-001.npy", allow_pickle=False)
    assert Counter(faces.track.tolist()) == {1: 40, 2: 12}
    assert len(features) == 52
    frames = [image.rgb for image in read_video(film)]
    row = np.flatnonzero((faces.track == 2) & (faces.frame == 11))[0]
    np.testing.assert_allclose(features[row], extractors.face([frames[11][20:60, 80:120]])[0], atol=1e-5)
    assert np.load(root / "mvit_v1_scene_features" / "tt1" / "scene-001.npy", allow_pickle=False).shape == (20, 32)
    times_s, texts = read_pickles(root / "srt_feats" / "independent" / "pretrained" / "tt1" / "scene-001.pkl", 2)
    assert times_s == [pytest.approx(0.3)]
    np.testing.assert_allclose(texts, extractors.text(["hello"]), atol=1e-6)
    # These tracks can be given again, and name the same faces.
    again = record(extractors, film, None, root / "character_tracks" / "tt1" / "scene-001.pkl", dense=True)
    assert again.faces is not None
    np.testing.assert_allclose(again.faces.features, features, atol=1e-5)
    (root / "track_names" / "metadata" / "tt1.pkl").write_bytes(b"no pickle")
    with pytest.raises(DatasetError, match=r"tt1\.pkl"):
        write_scene(root, "tt1", "scene-003", recording, first, extractors)


@pytest.mark.parametrize("whole", [True, False])
def test_a_clip_comes_back_from_its_file(tmp_path: Path, whole: bool) -> None:
    random = np.random.default_rng(0)

    def stream(count: int, width: int) -> Stream:
        return Stream(random.standard_normal((count, width)).astype(np.float32), np.arange(count, dtype=np.float32))

    clip = ClipFeatures(stream(5, 8), {"Ann\u00e9": stream(3, 4), "Ben": stream(0, 4)}, stream(2, 6), "a clip", ("Hi.", "Who?"), 3.5)
    clip = clip if whole else ClipFeatures(None)
    back = read_clip(write_clip(tmp_path / "clip.npz", clip))
    assert (back.name, tuple(back.utterances), back.duration_s) == (clip.name, tuple(clip.utterances), clip.duration_s)
    assert list(back.characters) == list(clip.characters)
    for one, other in [
        (clip.scene, back.scene),
        (clip.dialogue, back.dialogue),
        *((clip.characters[n], back.characters[n]) for n in clip.characters),
    ]:
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            np.testing.assert_array_equal(one.features, other.features)
            np.testing.assert_array_equal(one.times_s, other.times_s)


def test_files_that_hold_no_clip_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_clip(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("text")
    with pytest.raises(InputError, match=r"it is no .npz file of plain arrays"):
        read_clip(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", x=np.zeros(2))
    with pytest.raises(InputError, match="holds x, not the features of a clip"):
        read_clip(tmp_path / "other.npz")
    np.savez(tmp_path / "objects.npz", format=np.array([{}], dtype=object))
    with pytest.raises(InputError, match="plain arrays"):
        read_clip(tmp_path / "objects.npz")
    np.savez(tmp_path / "half.npz", format="emotx-clip-1", name="x")
    with pytest.raises(InputError, match="are not whole"):
        read_clip(tmp_path / "half.npz")


def test_faces_of_a_real_video_are_detected_and_one_person(test_data: Path, small_backbones: Path, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    from emotion_perception.engine.vision.video import VideoWriter

    source = test_data / "data" / "media" / "WolfgangLanger_Pexels.mp4"
    part = tmp_path / "part.mp4"
    with read_video(source) as reader, VideoWriter(part, reader.rate, reader.size) as writer:
        for _, image in zip(range(10), reader, strict=False):
            writer.write(image.rgb, image.stamp_s)
    extractors = Extractors(face_feat_type="generic", backbones=small_backbones, device="cpu", streams=("scene", "characters"))
    torch.manual_seed(0)
    clip = extractors.clip_features(part, detector=create_detector("haar", max_side=320))
    assert clip.duration_s is not None
    assert clip.scene is not None
    assert len(clip.scene) == pytest.approx(clip.duration_s * FPS / 2, abs=1)
    assert "person 1" in clip.characters
    face = clip.characters["person 1"]
    assert len(face) >= 2
    assert face.times_s[-1] <= clip.duration_s
    np.testing.assert_allclose(np.linalg.norm(face.features, axis=1), 1, rtol=1e-4)


def test_movie_graphs_reads_what_was_written(roberta: Path, small_backbones: Path, film: Path, tracks: Path, tmp_path: Path) -> None:
    root = write_synthetic(tmp_path / "data", movies=3, scenes=2)
    before = MovieGraphs(root, "val")
    index = next(i for i in range(len(before)) if before.clip(i).characters)
    movie, scene = before.name(index).split("/")
    name = next(iter(before.clip(index).characters))
    words = tmp_path / "a.srt"
    words.write_text("1\n00:00:00,200 --> 00:00:00,400\nhello\n", encoding="utf-16")
    extractors = Extractors(backbones=small_backbones, srt_feat_pretrained=True, device="cpu")
    recording = record(extractors, film, words, tracks, dense=True)
    write_scene(root, movie, scene, recording, {name: [5]}, extractors, words)
    widths = {"scene_feat_dim": 32, "face_feat_dim": 64, "srt_feat_dim": 24}
    after = MovieGraphs(root, "val", srt_feat_pretrained=True, **widths)
    read, made = after.clip(0), recording.clip({name: [5]})
    assert after.name(0) == before.name(index)
    assert read.scene is not None
    assert made.scene is not None
    np.testing.assert_allclose(read.scene.features, made.scene.features, atol=1e-6)
    assert list(read.characters) == [name]
    np.testing.assert_allclose(read.characters[name].features, made.characters[name].features, atol=1e-6)
    np.testing.assert_allclose(read.characters[name].times_s, made.characters[name].times_s, atol=1e-6)
    assert read.dialogue is not None
    assert made.dialogue is not None
    np.testing.assert_allclose(read.dialogue.features, made.dialogue.features, atol=1e-6)
    assert list(read.utterances) == ["hello"]


def test_scenes_of_a_movie_written_at_once_keep_each_others_names(tmp_path: Path) -> None:
    (tmp_path / "tt1").mkdir()
    (tmp_path / "tt1" / ".s0.0123.part.npy").write_bytes(b"left by a kill")
    names = [f"person {i}" for i in range(12)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: _write_names(tmp_path, "tt1", f"s{i}", [names[i]], [names[i]]), range(12)))
    columns = read_name_table(tmp_path / "metadata" / "tt1.pkl")
    assert set(columns) == set(names)
    for i, name in enumerate(names):
        table = np.load(tmp_path / "tt1" / f"s{i}.npy")
        assert table[0, columns[name]] == table.sum() == 1.0
