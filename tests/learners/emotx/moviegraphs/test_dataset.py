"""Clips and targets as the published layout has them."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from emotion_perception.engine.errors import DatasetError, UsageError
from emotion_perception.engine.labels import EMOTIC26, EMOTORCH4, MOVIEGRAPHS10, MOVIEGRAPHS25, LabelSet
from emotion_perception.learners.emotx.clips import BIN_S, BINS, FPS, Layout, collate, time_bins
from emotion_perception.learners.emotx.moviegraphs import MovieGraphs
from emotion_perception.learners.emotx.moviegraphs.graphs import read_graphs
from emotion_perception.learners.emotx.moviegraphs.sources import Source
from emotion_perception.learners.emotx.moviegraphs.synthetic import MadeScene
from emotion_perception.learners.emotx.moviegraphs.synthetic_graphs import write_graphs
from emotion_perception.learners.emotx.settings import Settings

FIRST, SECOND = "scene-001.ss-0001.es-0010", "scene-001.ss-0011.es-0020"
MOVIE = "tt0000001"


def pickles(file: Path, *contents: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"".join(pickle.dumps(content) for content in contents))


def array(file: Path, values: object, dtype: type = np.float64) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    np.save(file, np.asarray(values, dtype))


def clip(
    root: Path, name: str, windows: int, faces: list[tuple[int, int]], names: dict[int, int], times: list[float], base: int = 0
) -> None:
    """Writes a clip; faces are (frame, track), names are track -> column; every feature holds its own number."""
    array(root / "mvit_v1_scene_features" / MOVIE / f"{name}.npy", np.repeat(base + np.arange(windows)[:, None], 768, 1))
    tracks: dict[int, list[list[float]]] = {}
    for frame, track in faces:
        tracks.setdefault(frame, []).append([0, 0, 9, 9, 0.9, frame, 0, track])
    pickles(root / "character_tracks" / MOVIE / f"{name}.pkl", {}, {frame: np.array(rows) for frame, rows in tracks.items()})
    array(root / "generic_face_features" / MOVIE / f"{name}.npy", np.repeat(base + np.arange(len(faces))[:, None], 512, 1))
    given = np.zeros((max([0, *names]), 3))
    for track, column in names.items():
        given[track - 1, column] = 0.51
    array(root / "track_names" / MOVIE / f"{name}.npy", given)
    texts = torch.arange(len(times), dtype=torch.float32)[:, None].repeat(1, 768) + base if times else []
    pickles(root / "srt_feats" / "independent" / "finetuned_t10" / MOVIE / f"{name}.pkl", times, texts)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """One movie with one scene of two clips, written by hand."""
    root = tmp_path / "hand"
    emotions = [("Ada", "happy"), ("Ben", "worried"), ("Ben", "bored"), ("A stranger", "calm"), ("Cy", "quiet")]
    write_graphs(Source(root).graphs, {MOVIE: [MadeScene(MOVIE, (FIRST, SECOND), (), emotions)]})
    clip(root, FIRST, 3, [(5, 1), (20, 2), (6, 1), (7, 3), (8, 2)], {1: 0, 2: 1, 3: 1}, [0.5, 1.5])
    clip(root, SECOND, 2, [(0, 1), (3, 1)], {1: 1}, [0.25], base=100)
    pickles(root / "track_names" / "metadata" / f"{MOVIE}.pkl", {"Ada": 0, "Ben": 1, "Cy": 2}, {0: "Ada", 1: "Ben", 2: "Cy"})
    source = Source(root)
    source.split.parent.mkdir(parents=True)
    source.split.write_text(json.dumps({"train": [MOVIE], "val": [MOVIE], "test": []}))
    return root


def opened(root: Path, split: str = "train", **given: object) -> MovieGraphs:
    return MovieGraphs(root, split, **{"face_feat_type": "generic", "feat_sampling_rate": 1, **given})


def numbers(stream: object) -> list[int]:
    return stream.features[:, 0].astype(int).tolist()


def test_all_streams_of_later_clips_are_shifted_by_the_length_of_earlier_ones(root: Path) -> None:
    found = opened(root).clip(0)
    later_s = 3 * 16 / FPS
    assert numbers(found.scene) == [0, 1, 2, 100, 101]
    np.testing.assert_allclose(found.scene.times_s * FPS, [16, 32, 48, 64, 80], rtol=1e-6)
    assert numbers(found.dialogue) == [0, 1, 100]
    np.testing.assert_allclose(found.dialogue.times_s, [0.5, 1.5, later_s + 0.25], rtol=1e-6)
    # Ben has two tracks in the first clip and one in the second; rows are those of the file, times rise.
    assert numbers(found.characters["Ben"]) == [3, 4, 1, 100, 101]
    np.testing.assert_allclose(found.characters["Ben"].times_s * FPS, [7, 8, 20, 48, 51], rtol=1e-5)
    assert numbers(found.characters["Ada"]) == [0, 2]
    assert found.duration_s == pytest.approx(5 * 16 / FPS)
    assert all(stream.features.dtype == stream.times_s.dtype == np.float32 for stream in (found.scene, *found.characters.values()))


def test_characters_have_a_name_and_a_label_and_come_by_screen_time_then_name(root: Path) -> None:
    dataset = opened(root)
    # Cy has no track, the stranger no name; Ben is seen longest.
    assert list(dataset.clip(0).characters) == ["Ben", "Ada"]
    clip(root, FIRST, 3, [(5, 1), (6, 2)], {1: 1, 2: 0}, [])
    clip(root, SECOND, 2, [], {}, [])
    assert list(opened(root).clip(0).characters) == ["Ada", "Ben"]


def test_targets_are_all_emotions_for_the_scene_and_their_own_for_characters(root: Path) -> None:
    targets = opened(root).targets(0)
    words = MOVIEGRAPHS10.words
    assert [words[i] for i in np.flatnonzero(targets.scene)] == ["happy", "worried", "calm", "quiet"]
    assert [[words[i] for i in np.flatnonzero(row)] for row in targets.characters] == [["worried"], ["happy"]]
    assert targets.scene.dtype == targets.characters.dtype == np.float32


def test_a_track_has_a_name_above_the_threshold_only(root: Path) -> None:
    assert list(opened(root, character_name_selection_threshold=0.5).clip(0).characters) == ["Ben", "Ada"]
    with pytest.raises(DatasetError, match="no usable scene: train: 1 scenes without a named character who has one"):
        opened(root, character_name_selection_threshold=0.51)


def test_emotic_counts_words_by_its_file_in_any_order(root: Path) -> None:
    file = root / "emotic_mapping.json"
    file.write_text(
        json.dumps({"Peace": ["calm", "quiet"], "Disconnection": ["bored"], "Happiness": ["happy"], "Doubt/Confusion": ["quiet"]})
    )
    texts = root / "srt_feats" / "independent"
    shutil.copytree(texts / "finetuned_t10", texts / "finetuned_t26")
    dataset = opened(root, labels="emotic26")
    words = EMOTIC26.words
    assert [words[i] for i in np.flatnonzero(dataset.targets(0).scene)] == ["Disconnection", "Doubt/Conf", "Happiness", "Peace"]
    assert [[words[i] for i in np.flatnonzero(row)] for row in dataset.targets(0).characters] == [["Disconnection"], ["Happiness"]]
    assert "emotic_mapping.json: 'quiet' counts as Doubt/Conf and Peace" in dataset.skipped
    assert "emotic_mapping.json: no word counts as Affection, so nothing ever is" in dataset.skipped
    file.write_text(json.dumps({"Hapiness": ["happy"]}))
    with pytest.raises(DatasetError, match="did you mean 'Happiness'"):
        opened(root, labels="emotic26")
    file.unlink()
    with pytest.raises(DatasetError, match=r"Emotic's classes need emotic_mapping\.json"):
        opened(root, labels="emotic26")


def test_label_sets_keep_the_published_order_whatever_the_data_and_others_are_refused(root: Path) -> None:
    assert opened(root).labels == MOVIEGRAPHS10
    for labels in (EMOTORCH4, LabelSet("moviegraphs10", MOVIEGRAPHS25.words[1:11], "")):
        with pytest.raises(UsageError, match="expected one of moviegraphs10, moviegraphs25, emotic26"):
            opened(root, labels=labels)
    with pytest.raises(UsageError, match="unknown label set"):
        opened(root, labels="moviegraphs11")


def test_features_are_sampled_as_published(written: Path) -> None:
    dataset = MovieGraphs(written, "train", face_feat_type="generic")
    whole = MovieGraphs(written, "train", face_feat_type="generic", feat_sampling_rate=1)
    for index in range(len(dataset)):
        every, drawn, full = dataset.clip(index), dataset.clip(index, np.random.default_rng(3)), whole.clip(index)
        assert len(every.scene) == len(drawn.scene) == len(full.scene)  # all windows, always
        for name, stream in full.characters.items():
            np.testing.assert_array_equal(every.characters[name].times_s, stream.times_s[::8])
            np.testing.assert_array_equal(every.characters[name].features, stream.features[::8])
            some = drawn.characters[name]
            assert len(some) == max(1, len(stream) // 8) if len(stream) else not len(some)
            assert (np.diff(some.times_s) > 0).all()
            assert set(some.times_s) <= set(stream.times_s)
    again = dataset.clip(0, np.random.default_rng(3)), dataset.clip(0, np.random.default_rng(3)), dataset.clip(0, np.random.default_rng(4))
    times = [np.concatenate([stream.times_s for stream in each.characters.values()]) for each in again]
    np.testing.assert_array_equal(times[0], times[1])
    assert times[0].tolist() != times[2].tolist()


def test_frames_are_sampled_too_where_features_are_one_per_frame(root: Path) -> None:
    for name, count in ((FIRST, 20), (SECOND, 10)):
        array(root / "generic_scene_features" / MOVIE / f"{name}.npy", np.repeat(np.arange(count)[:, None], 2048, 1), np.float32)
    dataset = MovieGraphs(root, "train", scene_feat_type="generic", face_feat_type="generic")
    found = dataset.clip(0).scene
    assert numbers(found) == [0, 8, 16, 4]
    np.testing.assert_allclose(found.times_s * FPS, [0, 8, 16, 24], rtol=1e-6)
    np.testing.assert_array_equal(time_bins(found.times_s), [0, 1, 2, 3])
    assert len(dataset.clip(0, np.random.default_rng(0)).scene) == 30 // 8
    fixed = MovieGraphs(root, "train", scene_feat_type="generic", face_feat_type="generic", random_feat_selection=False, max_feats=2)
    assert numbers(fixed.clip(0, np.random.default_rng(0)).scene) == [0, 8]


def test_streams_that_are_not_read_leave_the_same_clips_and_people(written: Path) -> None:
    everything = MovieGraphs(written, "val", face_feat_type="generic")
    for stream in ("scene", "characters", "dialogue"):
        alone = MovieGraphs(written, "val", face_feat_type="generic", streams=(stream,))
        assert [alone.name(i) for i in range(len(alone))] == [everything.name(i) for i in range(len(everything))]
        for index in range(len(alone)):
            found, other = alone.clip(index), everything.clip(index)
            assert list(found.characters) == list(other.characters)
            assert (found.scene is not None, found.dialogue is not None) == (stream == "scene", stream == "dialogue")
            assert any(len(each) for each in found.characters.values()) == (stream == "characters")
            assert found.duration_s == other.duration_s


def test_words_belong_to_their_features(written: Path) -> None:
    dataset = MovieGraphs(written, "train", face_feat_type="generic")
    words = {word for index in range(len(dataset)) for word in dataset.clip(index).utterances}
    assert {"That\N{RIGHT SINGLE QUOTATION MARK}s it.", "Où est-elle?"} <= words
    assert all(len(dataset.clip(index).utterances) == len(dataset.clip(index).dialogue) for index in range(len(dataset)))


def test_settings_open_it(written: Path) -> None:
    settings = Settings(data_path=str(written), face_feat_type="generic", use_srt_feats=False, max_feats=7, max_srt_feats=7)
    dataset = settings.open("test")
    assert isinstance(dataset, MovieGraphs)
    assert dataset.labels == settings.label_set
    tokens = collate([dataset.clip(index) for index in range(len(dataset))], settings.layout())
    assert tokens.scene.shape[1] == 7
    assert tokens.dialogue_padding.all()
    assert not tokens.scene_padding.all()


def test_subsets_and_indices(written: Path) -> None:
    dataset = MovieGraphs(written, "train", face_feat_type="generic")
    part = dataset.subset([2, 0])
    assert (len(part), part.labels, part.skipped) == (2, dataset.labels, dataset.skipped)
    assert part.name(0) == dataset.name(2)
    np.testing.assert_array_equal(part[0][1].scene, dataset.targets(2).scene)
    np.testing.assert_array_equal(part.clip(1).scene.features, dataset[0][0].scene.features)
    assert dataset[-1][0].name == dataset.name(len(dataset) - 1)
    with pytest.raises(IndexError, match="of a data set of 2 clips"):
        part[2]
    with pytest.raises(DatasetError, match="a subset takes"):
        dataset.subset([99])
    assert repr(part) == "ClipSubset(2 clips, moviegraphs10)"


def test_the_published_exception_has_one_clip(tmp_path: Path) -> None:
    scene = MadeScene("tt1568346", ("scene-079.ss-0893.es-0935", "scene-080.ss-0936.es-0940"), (), [("Ada", "happy")])
    write_graphs(tmp_path / "x.pkl", {"tt1568346": [scene]})
    skipped: list[str] = []
    (graph,) = read_graphs(tmp_path / "x.pkl", ["tt1568346", "tt7"], skipped)
    assert graph.clips == ("scene-079.ss-0893.es-0935",)
    assert graph.emotions == (("Ada", "happy"),)
    assert skipped == ["tt7: left out: x.pkl has no such movie"]


def test_batches_have_the_shapes_of_the_layout(written: Path) -> None:
    dataset = MovieGraphs(written, "train", face_feat_type="generic")
    tokens = collate([dataset.clip(index) for index in range(4)], Layout(face_width=512))
    assert tokens.scene.shape[::2] == (4, 768)
    assert tokens.present.sum() == sum(min(4, len(dataset.targets(index).characters)) for index in range(4))


def test_every_eighth_frame_is_in_the_bin_of_its_own_number() -> None:
    frames = np.arange(0, 8 * (BINS + 3), 8)
    np.testing.assert_array_equal(time_bins((frames / FPS).astype(np.float32)), np.minimum(frames // 8, BINS - 1))
    assert time_bins(np.array([0.0, 0.01, BIN_S + 0.01, -1.0], np.float32)).tolist() == [0, 1, 2, 0]
