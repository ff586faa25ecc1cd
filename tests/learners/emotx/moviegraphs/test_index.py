"""The index is made once, remade when a file changes, and survives a kill."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from emotion_perception.learners.emotx.moviegraphs import MovieGraphs, indexing


def opened(root: Path, **given: object) -> MovieGraphs:
    return MovieGraphs(root, "train", **{"face_feat_type": "generic", **given})


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts how often an index is made."""
    counts: list[int] = []
    make = indexing.make_index

    def counted(*arguments):
        counts.append(1)
        return make(*arguments)

    monkeypatch.setattr(indexing, "make_index", counted)
    return counts


def same(one: MovieGraphs, other: MovieGraphs) -> bool:
    assert [one.name(i) for i in range(len(one))] == [other.name(i) for i in range(len(other))]
    for index in range(len(one)):
        first, second = one.clip(index), other.clip(index)
        assert first.utterances == second.utterances
        assert list(first.characters) == list(second.characters)
        streams = [(first.scene, second.scene), (first.dialogue, second.dialogue)]
        for a, b in [*streams, *((first.characters[name], second.characters[name]) for name in first.characters)]:
            np.testing.assert_array_equal(a.features, b.features)
            np.testing.assert_array_equal(a.times_s, b.times_s)
    return list(one.skipped) == list(other.skipped)


def test_it_is_made_once_and_for_all_label_sets(movies: Path, made: list[int]) -> None:
    first = opened(movies, srt_feat_pretrained=True)
    assert same(first, opened(movies, srt_feat_pretrained=True))
    assert len(made) == 1


def test_it_is_remade_when_a_file_changes_or_appears(movies: Path, made: list[int]) -> None:
    first = opened(movies)
    file = movies / "character_tracks" / f"{first.name(0)}.pkl"
    os.utime(file, ns=(1, 1))
    opened(movies)
    assert len(made) == 2
    (file.with_name("scene-999.pkl")).write_bytes(file.read_bytes())
    opened(movies)
    assert len(made) == 3
    opened(movies)
    assert len(made) == 3


def test_other_settings_have_an_index_of_their_own(movies: Path, made: list[int], own_cache: Path) -> None:
    opened(movies)
    opened(movies, character_name_selection_threshold=0.7)
    opened(movies)
    assert len(made) == 2
    assert len(list((own_cache / "moviegraphs").iterdir())) == 2


def test_a_damaged_index_is_made_again(movies: Path, made: list[int], own_cache: Path) -> None:
    whole = opened(movies)
    (folder,) = (own_cache / "moviegraphs").iterdir()
    for number, (name, content) in enumerate([("index.json", b"{"), ("texts.npy", b"\x93NUMPY"), ("face_rows.npy", b"")], 2):
        (folder / name).write_bytes(content)
        assert same(opened(movies), whole)
        assert len(made) == number


def test_a_kill_while_it_is_made_leaves_nothing_that_is_taken_for_whole(movies: Path, made: list[int], own_cache: Path) -> None:
    program = (
        "import os, sys, numpy as np\n"
        "from emotion_perception.learners.emotx.moviegraphs import MovieGraphs\n"
        "save, count = np.save, [0]\n"
        "def dying(*arguments):\n"
        "    count[0] += 1\n"
        "    save(*arguments)\n"
        "    if count[0] == 3: os.kill(os.getpid(), 9)\n"
        "np.save = dying\n"
        "MovieGraphs(sys.argv[1], 'train', face_feat_type='generic')\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(movies)], check=False, capture_output=True)
    assert killed.returncode == -9, killed.stderr
    first = opened(movies)
    assert len(made) == 1
    assert same(first, opened(movies))
    assert len(made) == 1
    assert len([entry for entry in (own_cache / "moviegraphs").iterdir() if not entry.name.startswith(".")]) == 1


def test_without_a_cache_to_write_it_is_kept_in_memory(movies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    (tmp_path / "file").write_text("")
    whole = opened(movies)
    monkeypatch.setenv("EMOTION_PERCEPTION_CACHE", str(tmp_path / "file"))
    assert same(opened(movies), whole)
    assert "the index of MovieGraphs is not kept" in caplog.text


def test_a_relative_path_is_the_same_source_wherever_one_goes(movies: Path, made: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = opened(movies)
    monkeypatch.chdir(movies.parent)
    relative = opened(Path(movies.name))
    monkeypatch.chdir("/")
    assert same(relative, whole)
    assert len(made) == 1


def test_workers_and_threads_read_the_same(movies: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    dataset = opened(movies)
    with ThreadPoolExecutor(4) as pool:
        scenes = list(pool.map(lambda index: dataset.clip(index).scene.features, list(range(len(dataset))) * 3))
    for index in range(len(dataset)):
        for repeat in range(3):
            np.testing.assert_array_equal(scenes[index + repeat * len(dataset)], dataset.clip(index).scene.features)
