"""Videos as a data set of their frames."""

from __future__ import annotations

import csv
import logging
from pathlib import Path

import numpy as np
import pytest

from emotion_perception.engine.datasets import ConcatDataset, VideoFolder, open_dataset, split_by_source
from emotion_perception.engine.datasets.videos import find_videos
from emotion_perception.engine.errors import DatasetError, UsageError
from emotion_perception.engine.labels import KRAGEL20
from emotion_perception.engine.vision.video import VideoWriter, read_video

pytest.importorskip("av")


def write_video(file: Path, level: int, frames: int = 11) -> Path:
    """Writes frames of one grey, that become lighter by two from one to the next."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(file, 10, (64, 48)) as writer:
        for number in range(frames):
            writer.write(np.full((48, 64, 3), level + 2 * number, np.uint8))
    return file


def write_table(file: Path, rows: list[tuple[str, ...]], header: tuple[str, ...] = ("video", "emotion")) -> None:
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """The published layout: tables for both parts, a list of censored videos, and folders per class."""
    for number, (word, level) in enumerate((("Joy", 40), ("Joy", 80), ("Fear", 120), ("Awe", 160), ("Anger", 200))):
        write_video(tmp_path / word / f"{number:04d}.mp4", level)
    write_table(tmp_path / "kragel2019_train_video_ids.csv", [("0000.mp4", "Joy"), ("0001.mp4", "Joy"), ("0004.mp4", "Anger")])
    write_table(tmp_path / "kragel2019_test_video_ids.csv", [("0002.mp4", "Fear"), ("0003.mp4", "Awe")])
    write_table(tmp_path / "cowen2017_censored_video_ids.csv", [("0001.mp4", "0003.mp4"), ("", "0009.mp4")], ("very.bad", "less.bad"))
    return tmp_path


def test_frames_of_the_part_are_decoded_with_their_class_and_source(published: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        train = VideoFolder(published, "train", KRAGEL20)
    assert "left out the videos of classes that kragel20 lacks: Anger" in caplog.text
    assert repr(train) == "VideoFolder(6 frames of 2 videos, kragel20)"
    assert [train.frame(n) for n in range(6)] == [(f"Joy/{video}.mp4", n) for video in ("0000", "0001") for n in (0, 5, 10)]
    assert train.name(4) == "Joy/0001.mp4#5"
    assert set(train.targets.index.tolist()) == {KRAGEL20.index("Joy")}
    assert [round(float(train.picture(n).mean())) for n in range(6)] == pytest.approx([40, 50, 60, 80, 90, 100], abs=2)
    assert train.picture(0).shape == (48, 64, 3)
    assert len({train.source(n) for n in range(6)}) == 2
    every = VideoFolder(published, "test", KRAGEL20, every=1)
    assert every.counts()["Awe"] == every.counts()["Fear"] == 11


def test_censored_videos_are_left_out_where_that_is_asked_for(published: Path) -> None:
    assert VideoFolder(published, "train-censored", KRAGEL20).videos == ["Joy/0000.mp4"]
    assert VideoFolder(published, "test-censored", KRAGEL20).videos == ["Fear/0002.mp4"]
    (published / "cowen2017_censored_video_ids.csv").unlink()
    with pytest.raises(DatasetError, match=r"should hold one \*censored\*.csv"):
        VideoFolder(published, "test-censored", KRAGEL20)


def test_a_split_divides_no_video(published: Path) -> None:
    both = ConcatDataset([VideoFolder(published, part, KRAGEL20) for part in ("train", "test")])
    train, valid = split_by_source(both, 0.3, seed=1)
    videos = [{part.frame(n)[0] for n in range(len(part))} for part in (train, valid)]
    assert videos[0] & videos[1] == set()
    assert len(videos[0] | videos[1]) == 4


def test_class_folders_need_no_table(tmp_path: Path) -> None:
    write_video(tmp_path / "Joy" / "a.mp4", 50)
    write_video(tmp_path / "Romance" / "deeper" / "b.mp4", 90, frames=3)
    found = open_dataset(tmp_path, labels=KRAGEL20)
    assert isinstance(found, VideoFolder)
    assert [found.frame(n) for n in range(len(found))][-2:] == [("Joy/a.mp4", 10), ("Romance/deeper/b.mp4", 0)]
    assert (found.counts()["Joy"], found.counts()["Romance"]) == (3, 1)


def test_what_cannot_be_read_is_listed_and_the_rest_is_used(published: Path, caplog: pytest.LogCaptureFixture) -> None:
    (published / "Joy" / "0001.mp4").write_bytes((published / "Joy" / "0001.mp4").read_bytes()[:200])
    rows = [("0000.mp4", "Joy"), ("0001.mp4", "Joy"), ("0777.mp4", "Awe")]
    write_table(published / "kragel2019_train_video_ids.csv", rows)
    train = VideoFolder(published, "train", KRAGEL20)
    assert train.videos == ["Joy/0000.mp4"]
    assert train.skipped == 2
    assert "0001.mp4" in train.failures[0]
    assert train.failures[1] == "video '0777.mp4' is in the table but not in the folder"
    assert "left out 2 of 3 videos" in caplog.text
    assert train.subset([0]).failures == train.failures


def test_a_video_that_ends_early_shows_its_last_frame(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = VideoFolder(published, "train", KRAGEL20)
    write_video(published / "Joy" / "0000.mp4", 40, frames=6)
    assert train.picture(2).mean() == pytest.approx(50, abs=2)


def test_memory_for_frames_is_bounded(published: Path) -> None:
    train = VideoFolder(published, "train", KRAGEL20, cache_mb=0)
    assert [train.picture(n).mean() for n in (0, 3, 0)] == pytest.approx([40, 80, 40], abs=2)
    assert len(train._cache) == 1


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (
            lambda p: write_table(p / "kragel2019_train_video_ids.csv", [("a", "b")], ("file", "emotion")),
            DatasetError,
            "lacks the column 'video'",
        ),
        (lambda p: write_table(p / "kragel2019_train_video_ids.csv", [("0004.mp4", "Anger")]), DatasetError, "no usable video of a class"),
        (lambda p: (p / "kragel2019_train_video_ids.csv").write_text("video,emotion\n"), DatasetError, "has no rows"),
        (lambda p: (p / "kragel2019_train_video_ids.csv").unlink(), UsageError, "unknown part"),
    ],
)
def test_wrong_tables_are_one_line(published: Path, change, error, words: str) -> None:
    change(published)
    with pytest.raises(error, match=words) as raised:
        VideoFolder(published, "train", KRAGEL20)
    assert "\n" not in str(raised.value)


def test_wrong_arguments_are_one_line(published: Path, tmp_path: Path) -> None:
    for arguments, words in (((published, None), "say which part"), ((tmp_path / "nowhere", "train"), "there is no folder")):
        with pytest.raises((UsageError, DatasetError), match=words):
            VideoFolder(*arguments, KRAGEL20)
    with pytest.raises(UsageError, match="every is 0"):
        VideoFolder(published, "train", KRAGEL20, every=0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="no usable video"):
        VideoFolder(tmp_path / "empty", None, KRAGEL20)


def test_affect_in_the_table_is_a_target(published: Path) -> None:
    header = ("video", "emotion", "valence", "arousal")
    write_table(published / "kragel2019_test_video_ids.csv", [("0002.mp4", "Fear", "-0.5", "0.75"), ("0003.mp4", "Awe", "", "")], header)
    affect = VideoFolder(published, "test", KRAGEL20).targets.affect
    assert affect is not None
    np.testing.assert_allclose(affect[:3], [[-0.5, 0.75]] * 3)
    assert np.isnan(affect[3:]).all()


def test_frames_are_counted_without_decoding(tmp_path: Path) -> None:
    with read_video(write_video(tmp_path / "a.mp4", 10, frames=17)) as reader:
        assert reader.count() == 17
        assert sum(1 for _ in reader) == 17


def test_the_published_tables_have_the_published_counts(test_data: Path) -> None:
    place = test_data / "data" / "emonet"
    listed = {part: find_videos(place, part, KRAGEL20) for part in ("train", "train-censored", "test", "test-censored")}
    counts = {part: len(videos) for part, videos in listed.items()}
    assert counts == {"train": 1626, "train-censored": 1626 - 239, "test": 400, "test-censored": 400 - 57}
    assert {part: len({video.name for video in videos}) for part, videos in listed.items()} == counts
    of_train, of_test = (np.bincount([video.label for video in listed[part]], minlength=20) for part in ("train", "test"))
    assert (of_train.max(), of_test.max()) == (440, 110)
    assert (KRAGEL20.words[of_train.argmax()], of_test[KRAGEL20.index("Surprise")]) == ("Amusement", 9)
    assert {video.name for video in listed["train"]} & {video.name for video in listed["test"]} == set()
