from __future__ import annotations

import csv
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from emotion_perception.commands.predict import find_pictures, save_targets
from emotion_perception.engine.datasets.files import SUFFIXES
from emotion_perception.engine.errors import UsageError


@pytest.fixture
def album(tmp_path: Path, portrait: Path) -> Path:
    """A folder with one face, in a sub-folder once more, and a picture without a face."""
    folder = tmp_path / "album"
    (folder / "more").mkdir(parents=True)
    shutil.copy(portrait, folder / "a.png")
    shutil.copy(portrait, folder / "more" / "a.png")
    PillowImage.new("RGB", (64, 48), "grey").save(folder / "wall.jpg")
    (folder / "notes.txt").write_text("not looked at")
    return folder


def test_a_folder_in_a_process_of_its_own(process, album: Path, tiny_weights: Path, tmp_path: Path) -> None:
    words = ["--weights", tiny_weights, "--detector", "haar", "--save", "out", "--csv", "faces.csv", "--jsonl", "faces.jsonl"]
    status, out, err = process("predict", "album", *words)
    assert (status, err) == (0, "annotated pictures are in out\n")
    header, *rows = out.splitlines()
    assert header.split() == ["file", "face", "box", "emotion", "confidence", "valence", "arousal"]
    assert [row.split()[0] for row in rows] == ["album/a.png", "album/more/a.png", "album/wall.jpg"]
    assert "no face found" in rows[2]
    left, top, right, bottom = (int(v) for v in rows[0].split()[2].split(","))
    assert 150 < left < 200 < right < 290
    assert 40 < top < 90 < bottom < 190

    table = list(csv.DictReader((tmp_path / "faces.csv").open()))
    assert [row["file"] for row in table] == ["album/a.png", "album/more/a.png"]
    assert sum(float(value) for name, value in table[0].items() if name.startswith("p_")) == pytest.approx(1.0, abs=1e-4)
    lines = [json.loads(line) for line in (tmp_path / "faces.jsonl").read_text().splitlines()]
    assert [(line["file"], len(line["faces"])) for line in lines] == [("album/a.png", 1), ("album/more/a.png", 1), ("album/wall.jpg", 0)]

    assert sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.*")) == [
        "a.png",
        "more/a.png",
        "wall.jpg",
    ]
    before, after = (np.asarray(PillowImage.open(tmp_path / folder / "a.png").convert("RGB")) for folder in ("album", "out"))
    changed = (before != after).any(axis=2)
    assert 200 < changed.sum() < 0.2 * changed.size


def test_json_on_stdout_for_face_crops(command, portrait: Path, tiny_weights: Path, tmp_path: Path) -> None:
    PillowImage.open(portrait).crop((170, 50, 280, 180)).save(tmp_path / "crop.png")
    status, out, err = command("predict", tmp_path / "crop.png", "--weights", tiny_weights, "--detector", "none", "--json")
    assert (status, err) == (0, "")
    (picture,) = json.loads(out)
    (face,) = picture["faces"]
    assert face["box_xyxy"] == [0, 0, 110, 130]
    assert face["emotion"] in face["probabilities"]
    assert max(face["probabilities"].values()) == face["confidence"]
    assert -1 <= face["valence"] <= 1
    assert sum(face["votes"]) == 2

    from emotion_perception.learners.esr import FacialEmotionLearner

    learner = FacialEmotionLearner(device="cpu")
    learner.load(tiny_weights)
    emotions = learner.infer(tmp_path / "crop.png")
    assert list(face["probabilities"].values()) == pytest.approx(emotions.probabilities[0].tolist(), abs=1e-5)


def test_without_yunet_the_fallback_is_said_once_and_works(command, portrait: Path, tiny_weights: Path) -> None:
    status, out, _ = command("predict", portrait, "--weights", tiny_weights)
    assert status == 0
    assert len(out.splitlines()) == 2


def test_a_picture_of_one_pixel_has_no_face_which_is_no_error(command, tiny_weights: Path, tmp_path: Path) -> None:
    PillowImage.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    words = ("predict", tmp_path / "dot.png", "--weights", tiny_weights, "--save", tmp_path / "out", "--detector")
    status, out, _ = command(*words, "haar")
    assert status == 0
    assert "no face found" in out
    assert command(*words, "none").status == 0


@pytest.mark.parametrize("kind", ["missing", "empty", "truncated", "text"])
def test_a_bad_file_is_one_line_and_leaves_nothing(
    command, bad_files: dict[str, Path], tiny_weights: Path, tmp_path: Path, kind: str
) -> None:
    words = ("--weights", tiny_weights, "--csv", tmp_path / "t.csv", "--jsonl", tmp_path / "t.jsonl", "--save", tmp_path / "out")
    status, out, err = command("predict", bad_files[kind], *words)
    assert (status, out) == (1, "")
    assert err.startswith("emotion-perception: error: ")
    assert err.count("\n") == 1
    assert bad_files[kind].name in err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad"]


def test_bad_files_in_a_batch_do_not_stop_the_others(
    command, bad_files: dict[str, Path], album: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    words = ("--weights", tiny_weights, "--detector", "haar", "--csv", tmp_path / "t.csv")
    status, out, err = command("predict", *bad_files.values(), album, *words)
    assert status == 1
    assert len(out.splitlines()) == 1 + 3
    *failures, last = err.splitlines()
    assert last == "emotion-perception: error: 4 of 7 pictures failed; they are listed above"
    assert [line.startswith("failed: ") for line in failures] == [True] * 4
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 1 + 2


@pytest.mark.skipif(sys.platform == "darwin", reason="names of files are UTF-8 there")
def test_a_name_that_is_not_utf8_is_shown_with_its_bytes(command, tiny_weights: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    file = os.fsdecode(b"caf\xe9.png")
    PillowImage.new("RGB", (64, 64), "grey").save(tmp_path / "in" / file)
    files = {name: tmp_path / f"t.{name}" for name in ("csv", "jsonl")}
    words = ("predict", tmp_path / "in", "--weights", tiny_weights, "--detector", "none", "--save", tmp_path / "out")
    status, out, _ = command(*words, "--csv", files["csv"], "--jsonl", files["jsonl"])
    assert status == 0
    shown = f"{tmp_path}/in/caf\\xe9.png"
    assert out.splitlines()[1].startswith(shown)
    assert next(iter(csv.DictReader(files["csv"].open())))["file"] == shown
    assert json.loads(files["jsonl"].read_text())["file"] == shown
    assert json.loads(command(*words, "--json").out)[0]["file"] == shown
    assert (tmp_path / "out" / file).is_file()


def test_what_names_no_picture_is_wrong_use(command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for word, says in ((tmp_path / "empty", "has no pictures"), (tmp_path / "*.png", "nothing matches")):
        status, out, err = command("predict", word)
        assert (status, out) == (2, "")
        assert says in err
        assert err.count("\n") == 1


def test_a_wrong_weights_folder_is_one_line(command, portrait: Path, tmp_path: Path) -> None:
    status, out, err = command("predict", portrait, "--weights", tmp_path)
    assert (status, out) == (1, "")
    assert err.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_one_line(command, portrait: Path, tiny_weights: Path) -> None:
    status, _, err = command("predict", portrait, "--weights", tiny_weights, "--detector", "haar", "--csv", "/dev/full")
    assert status == 1
    assert "No space left on device" in err
    assert err.count("\n") == 1


def test_a_folder_is_searched_for_the_pictures_of_data_sets_and_gifs(tmp_path: Path) -> None:
    for suffix in (*SUFFIXES, ".gif", ".txt"):
        (tmp_path / f"a{suffix}").touch()
    assert {path.suffix for path, _ in find_pictures([str(tmp_path)])} == {*SUFFIXES, ".gif"}
    assert {".pgm", ".ppm"} <= SUFFIXES


def test_globs_and_doubled_names(album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(album)
    found = [str(path) for path, _ in find_pictures(["*.png", "**/a.png", "a.png", "."])]
    assert found == ["a.png", "more/a.png", "wall.jpg"]
    targets = save_targets(find_pictures(["a.png", "more/*.png", "wall.jpg"]), Path("out"))
    assert targets == [Path("out/a.png"), Path("out/a_2.png"), Path("out/wall.jpg")]
    with pytest.raises(UsageError, match="overwrite"):
        save_targets(find_pictures(["."]), Path())
