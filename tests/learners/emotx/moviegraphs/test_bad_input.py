"""Every kind of bad input is refused, or handled by a rule and listed; none becomes zeros."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from emotion_perception.engine.errors import DatasetError, UsageError
from emotion_perception.learners.emotx.clips import BIN_S, BINS, FPS
from emotion_perception.learners.emotx.moviegraphs import MovieGraphs
from emotion_perception.learners.emotx.moviegraphs.pickles import read_pickles

MOVIE = "tt9000001"


def opened(root: Path, split: str = "train", **given: object) -> MovieGraphs:
    return MovieGraphs(root, split, **{"face_feat_type": "generic", **given})


def names(dataset: MovieGraphs) -> list[str]:
    return [dataset.name(index) for index in range(len(dataset))]


@pytest.fixture
def target(movies: Path) -> str:
    """Name of the first clip of a scene that is used."""
    return opened(movies).name(1)


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def widened(file: Path) -> None:
    np.save(file, np.zeros((5, 99), np.float32))


def emptied(file: Path) -> None:
    np.save(file, np.zeros((0, 768), np.float32))


def as_objects(file: Path) -> None:
    np.save(file, np.array([{}, {}], dtype=object))


def as_integers(file: Path) -> None:
    np.save(file, np.zeros((5, 768), np.int64))


def shortened(file: Path) -> None:
    np.save(file, np.zeros((1, 512), np.float32))


def silenced(file: Path) -> None:
    times, _ = read_pickles(file, 2)
    file.write_bytes(pickle.dumps(times) + pickle.dumps(np.zeros((1, 768), np.float32)))


def narrowed(file: Path) -> None:
    file.write_bytes(pickle.dumps([0.5]) + pickle.dumps(np.zeros((1, 7), np.float32)))


def timeless(file: Path) -> None:
    file.write_bytes(pickle.dumps([float("nan")]) + pickle.dumps(np.zeros((1, 768), np.float32)))


def hostile(file: Path) -> None:
    mark = file.with_suffix(".mark")
    file.write_bytes(b"cposix\nsystem\n(S'touch " + str(mark).encode() + b"'\ntR." * 2)


LEFT_OUT: list[tuple[str, Callable[[Path], None], str]] = [
    ("mvit_v1_scene_features/{}.npy", Path.unlink, "No such file"),
    ("mvit_v1_scene_features/{}.npy", truncated, "cannot read"),
    ("mvit_v1_scene_features/{}.npy", widened, "has features 99 wide, expected 768; check the kind of features"),
    ("mvit_v1_scene_features/{}.npy", emptied, "has no features"),
    ("mvit_v1_scene_features/{}.npy", as_objects, "cannot read"),
    ("mvit_v1_scene_features/{}.npy", as_integers, "expected floats of shape"),
    ("generic_face_features/{}.npy", Path.unlink, "No such file"),
    ("generic_face_features/{}.npy", widened, "has features 99 wide, expected 512"),
    ("generic_face_features/{}.npy", shortened, "has 1 features, but"),
    ("srt_feats/independent/finetuned_t10/{}.pkl", Path.unlink, "No such file"),
    ("srt_feats/independent/finetuned_t10/{}.pkl", silenced, "times for 1 features"),
    ("srt_feats/independent/finetuned_t10/{}.pkl", narrowed, "expected (utterances, 768)"),
    ("srt_feats/independent/finetuned_t10/{}.pkl", timeless, "or some that are none"),
    ("srt_feats/independent/finetuned_t10/{}.pkl", hostile, "wants posix.system, which MovieGraphs does not need; refused"),
]


@pytest.mark.parametrize(("file", "damage", "reason"), LEFT_OUT)
def test_a_scene_with_bad_features_is_left_out_and_listed(
    movies: Path, target: str, file: str, damage: Callable[[Path], None], reason: str
) -> None:
    before = names(opened(movies))
    damage(movies / file.format(target))
    dataset = opened(movies)
    assert names(dataset) == [name for name in before if name != target]
    (line,) = [line for line in dataset.skipped if reason in line]
    assert line.startswith(f"{target}: left out: ")
    assert not list(movies.rglob("*.mark"))


def rowless(file: Path) -> None:
    file.write_bytes(pickle.dumps({}) + pickle.dumps({3: np.zeros((2, 7))}))


@pytest.mark.parametrize(
    ("file", "damage", "reason"),
    [
        ("character_tracks/{}.pkl", Path.unlink, "No such file"),
        ("character_tracks/{}.pkl", rowless, "has face tracks of shape (2, 7), expected (faces, 8)"),
        ("character_tracks/{}.pkl", hostile, "wants posix.system"),
        ("track_names/{}.npy", Path.unlink, "No such file"),
        ("track_names/{}.npy", widened, ""),
        ("track_names/metadata/tt9000001.pkl", hostile, "wants posix.system"),
        ("track_names/metadata/tt9000001.pkl", Path.unlink, "No such file"),
    ],
)
def test_bad_tracks_and_names_name_nobody_and_are_listed(
    movies: Path, target: str, file: str, damage: Callable[[Path], None], reason: str
) -> None:
    damage(movies / file.format(target))
    if "metadata" in file:
        with pytest.raises(DatasetError, match="no usable scene"):
            opened(movies)
        return
    dataset = opened(movies)
    assert target not in names(dataset)
    assert any(line.startswith("train:") and "without a named character" in line for line in dataset.skipped)
    assert not reason or any(line.startswith(f"{target}: nobody is named: ") and reason in line for line in dataset.skipped)
    assert not list(movies.rglob("*.mark"))


def test_a_character_who_is_never_seen_stays_with_an_empty_stream_and_is_listed(movies: Path) -> None:
    dataset = opened(movies)
    (line,) = [line for line in dataset.skipped if "is never seen" in line]
    index = names(dataset).index(line.split(":")[0])
    found = dataset.clip(index, np.random.default_rng(0))
    assert list(found.characters)[-1] == "Nobody"
    assert found.characters["Nobody"].features.shape == (0, 512)
    assert len(dataset.targets(index).characters) == len(found.characters)


def test_scenes_without_labels_or_names_are_counted(movies: Path) -> None:
    lines = opened(movies).skipped
    assert f"train: 1 scenes without an emotion of the label set: left out, as {MOVIE}/scene-007.ss-0121.es-0130" in lines
    assert f"train: 1 scenes without a named character who has one: left out, as {MOVIE}/scene-008.ss-0141.es-0150" in lines


def test_classes_without_positives_are_listed(movies: Path) -> None:
    dataset = opened(movies, labels="emotic26")
    (line,) = [line for line in dataset.skipped if line.startswith("train: no scene is ")]
    assert "Pain" in line
    assert "Happiness" not in line
    assert any(line.startswith("train: no named character is ") for line in dataset.skipped)


@pytest.mark.parametrize("encoding", ["cp1252", "utf-8", "utf-8-sig", "utf-16"])
def test_subtitles_are_read_in_any_common_encoding(movies: Path, encoding: str) -> None:
    for file in (movies / "MovieGraph" / "srt").rglob("*.srt"):
        file.write_bytes(file.read_bytes().decode("cp1252").encode(encoding))
    dataset = opened(movies)
    words = {word for index in range(len(dataset)) for word in dataset.clip(index).utterances}
    assert {"That\N{RIGHT SINGLE QUOTATION MARK}s it.", "Où est-elle?"} <= words


def test_subtitles_that_do_not_fit_are_listed_and_the_features_count(movies: Path, target: str) -> None:
    folder = movies / "MovieGraph" / "srt" / "clip_srt"
    for content, reason in ((b"1\n00:00:01,000 --> 00:00:02,000\nWho?\n", "1 subtitles are not its"), (b"\x00\x01" * 50, "no times")):
        (folder / f"{target}.srt").write_bytes(content)
        dataset = opened(movies)
        found = dataset.clip(names(dataset).index(target))
        assert found.utterances == []
        assert len(found.dialogue)
        assert any(line.startswith(f"{target}: its words are not shown: ") and reason in line for line in dataset.skipped)
    (folder.rename(folder.with_name("elsewhere")))
    assert sum("so no words are shown" in line for line in opened(movies).skipped) == 1


def test_times_beyond_the_table_are_listed(movies: Path, target: str) -> None:
    windows = int(BINS * BIN_S * FPS / 16) + 5
    np.save(movies / "mvit_v1_scene_features" / f"{target}.npy", np.zeros((windows, 768), np.float16))
    assert any(line.startswith(f"{target}: its features go on to 73") and "last position" in line for line in opened(movies).skipped)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"cposix\nsystem\n(S'touch x'\ntR.", r"wants posix\.system, which MovieGraphs does not need; refused, nothing of it was run"),
        (pickle.dumps({"tt9000001": 3}), "is not the pickle of MovieGraphs"),
        (b"", "ends too early"),
    ],
)
def test_graphs_that_cannot_be_read_are_refused(movies: Path, content: bytes, message: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (movies / "MovieGraph" / "mg" / "py3loader" / "2017-11-02-51-7637_py3.pkl").write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        opened(movies)
    assert not (tmp_path / "x").exists()


def test_what_cannot_be_opened_is_said(movies: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown part of MovieGraphs 'trian'; did you mean 'train'"):
        opened(movies, "trian")
    with pytest.raises(UsageError, match="unknown scene_feat_type 'mvit'; did you mean 'mvit_v1'"):
        opened(movies, scene_feat_type="mvit")
    with pytest.raises(UsageError, match="unknown argument of MovieGraphs 'pkl_nam'; did you mean 'pkl_name'"):
        opened(movies, pkl_nam="x")
    with pytest.raises(UsageError, match="unknown stream 'dialog'; did you mean 'dialogue'"):
        opened(movies, streams=("dialog",))
    with pytest.raises(DatasetError, match="there is no folder"):
        opened(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match=r"set resource_path"):
        opened(tmp_path)
    split = movies / "MovieGraph" / "resources" / "split.json"
    split.write_text(json.dumps({"train": ["tt1"]}))
    with pytest.raises(DatasetError, match=r"has no usable scene: tt1: left out: 2017-11-02-51-7637_py3.pkl has no such movie"):
        opened(movies)
    split.write_text("{")
    with pytest.raises(DatasetError, match="is not JSON"):
        opened(movies)


def test_a_file_that_has_gone_since_is_an_error_not_zeros(movies: Path) -> None:
    dataset = opened(movies)
    (movies / "mvit_v1_scene_features" / f"{dataset.name(0)}.npy").unlink()
    with pytest.raises(DatasetError, match="it changed after the data set was opened"):
        dataset.clip(0)
