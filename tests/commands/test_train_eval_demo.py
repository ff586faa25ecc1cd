from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

TINY = (
    "--epochs",
    1,
    "--branches",
    1,
    "--batch-size",
    8,
    "--schedule",
    "joint",
    "--lr",
    0.01,
    "--set",
    "input_size=54",
    "branch_share=1",  # a word by itself is an option, too
)


def test_training_makes_weights_that_eval_measures_and_a_second_call_does_not_train_again(
    command, class_folders: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    words = ("train", "esr", "--dataset", "folder", "--data", class_folders, "--val-data", class_folders, "--output", output, *TINY)
    status, out, err = command(*words)
    assert status == 0
    assert out.splitlines()[-1] == str(output / "weights")
    assert "training esr on 24 pictures, validating on 24" in err
    card = json.loads((output / "weights" / "card.json").read_text())
    assert card["architecture"]["ensemble_size"] == 1
    assert card["input"]["height"] == 54
    stored = (output / "weights" / "model.safetensors").read_bytes()

    assert command(*words).status == 0
    assert (output / "weights" / "model.safetensors").read_bytes() == stored
    status, _, err = command(*words, "--no-resume")
    assert status == 2
    assert "holds a run already" in err

    measured = ("eval", "esr", "--dataset", "folder", "--data", class_folders, "--weights", output / "weights")
    status, out, err = command(*measured, "--json", "--report", tmp_path / "report")
    assert status == 0
    scores = json.loads(out)
    assert scores["pictures"] == 24
    assert scores["crop_scale"] == 1.0
    assert 0 <= scores["accuracy"] <= 1
    assert np.sum(scores["confusion_matrix"]) == 24
    assert sorted(p.name for p in (tmp_path / "report").iterdir()) == ["confusion.png", "result.json"]
    assert err.count("wrote ") == 2

    status, out, _ = command(*measured, "--crop-scale", "0.7")
    assert status == 0
    assert "accuracy" in out
    assert "Happy" in out


def test_without_validation_data_a_tenth_is_held_out(class_folders: Path) -> None:
    from emotion_perception.commands._datasets import hold_out, open_part
    from emotion_perception.engine.labels import AFFECTNET8

    whole = open_part("folder", class_folders, None, AFFECTNET8)
    train, valid = hold_out(whole, 0.1, seed=3)
    assert (len(train), len(valid)) == (22, 2)
    names = [part.name(i) for part in (train, valid) for i in range(len(part))]
    assert sorted(names) == sorted(whole.name(i) for i in range(24))
    again = hold_out(whole, 0.1, seed=3)[1]
    assert [again.name(i) for i in range(2)] == [valid.name(i) for i in range(2)]


def test_no_training_sees_what_it_will_be_measured_on(command, tmp_path: Path) -> None:
    from emotion_perception.commands._datasets import open_part
    from emotion_perception.commands.train import _open
    from emotion_perception.engine.labels import AFFECTNET8
    from emotion_perception.learners.esr import FacialEmotionLearner

    usages = ["Training"] * 20 + ["PublicTest"] * 6 + ["PrivateTest"] * 4
    lines = [f"{i % 7},{' '.join([str(i)] * 2304)},{usage}" for i, usage in enumerate(usages)]
    (tmp_path / "fer2013.csv").write_text("\n".join(["emotion,pixels,Usage", *lines]))
    train, valid = _open(FacialEmotionLearner, ["fer2013"], [tmp_path / "fer2013.csv"], [], [], (None, None, None), 0)
    assert (len(train), len(valid)) == (20, 6)
    assert len(open_part("fer2013", tmp_path / "fer2013.csv", None, AFFECTNET8, "valid")) == 6

    raf = tmp_path / "raf"
    (raf / "EmoLabel").mkdir(parents=True)
    (raf / "Image" / "aligned").mkdir(parents=True)
    names = [f"{part}_{i:05d}" for part, count in (("train", 20), ("test", 5)) for i in range(count)]
    (raf / "EmoLabel" / "list_patition_label.txt").write_text("\n".join(f"{name}.jpg {i % 7 + 1}" for i, name in enumerate(names)))
    for name in names:
        PillowImage.new("RGB", (100, 100)).save(raf / "Image" / "aligned" / f"{name}_aligned.jpg")
    train, valid = _open(FacialEmotionLearner, ["rafdb"], [raf], [], [], (None, None, None), 0)
    assert len(train) + len(valid) == 20  # its other part is the test part: a tenth of this one is held out
    assert len(open_part("rafdb", raf, None, AFFECTNET8, "valid")) == 5

    (tmp_path / "a.png").write_bytes((raf / "Image" / "aligned" / "train_00000_aligned.jpg").read_bytes())
    table = tmp_path / "labels.csv"
    table.write_text("file,label,split\na.png,Happy,train\na.png,Happy,test\n")
    for verb in ("train", "eval"):
        status, _, err = command(verb, "esr", "--dataset", "csv", "--data", table)
        assert (status, err.count("\n")) == (2, 1)
        assert "has the parts test, train; say which with --split" in err
    assert len(open_part("csv", table, "test", AFFECTNET8)) == 1
    table.write_text("file,label,split\na.png,Happy,train\n")
    assert len(open_part("csv", table, None, AFFECTNET8)) == 1


def test_each_data_set_has_its_own_limit_per_class(command, class_folders: Path) -> None:
    from emotion_perception.commands.train import _open
    from emotion_perception.learners.esr import FacialEmotionLearner

    kinds, places, valid = ["folder"] * 2, [class_folders] * 2, ("folder", class_folders, None)
    train, _ = _open(FacialEmotionLearner, kinds, places, [], ["all", "3"], valid, 0)
    assert {word: count for word, count in train.counts().items() if count} == {"Neutral": 11, "Happy": 11, "Sad": 11}
    again, _ = _open(FacialEmotionLearner, kinds, places, [], ["all", "3"], valid, 0)
    other, _ = _open(FacialEmotionLearner, kinds, places, [], ["all", "3"], valid, 1)
    names, same, another = ([data.name(i) for i in range(len(data))] for data in (train, again, other))
    assert names == same != another

    status, _, err = command("train", "esr", "--dataset", "folder", "--data", class_folders, "--per-class", "few")
    assert status == 2
    assert "--per-class is 'few', expected a number from 1, or: all" in err
    twice = ("--dataset", "folder", "--data", class_folders) * 2
    status, _, err = command("train", "esr", *twice, "--per-class", "3")
    assert status == 2
    assert "2 --dataset, 2 --data, 0 --split and 1 --per-class" in err


@pytest.mark.parametrize("verb", ["train", "eval"])
def test_missing_and_empty_data_are_one_line(command, tmp_path: Path, verb: str) -> None:
    (tmp_path / "empty").mkdir()
    for place in ("missing", "empty"):
        status, out, err = command(verb, "esr", "--dataset", "folder", "--data", tmp_path / place)
        assert (status, out) == (1, "")
        assert err.startswith("emotion-perception: error: ")
        assert err.count("\n") == 1


def test_demo_prints_the_face_and_draws_two_pictures(command, tiny_weights: Path, tmp_path: Path) -> None:
    status, out, _ = command("demo", "--weights", tiny_weights, "--output", tmp_path / "out", "--no-ros")
    assert status == 0
    header, row, *_ = out.splitlines()
    assert header.split()[:4] == ["file", "face", "box", "emotion"]
    assert row.split()[:2] == ["astronaut.png", "1"]
    assert "valence: -1 unpleasant to 1 pleasant" in out
    assert PillowImage.open(tmp_path / "out" / "demo.png").size == (512, 512)
    plot = np.asarray(PillowImage.open(tmp_path / "out" / "valence_arousal.png").convert("RGB"))
    assert plot.shape == (720, 720, 3)
    # Beside grey lines and words there is the coloured point.
    assert (np.ptp(plot.astype(int), axis=2) > 100).sum() > 50


def test_demo_shows_what_camera_and_node_send(command, tiny_weights: Path, tmp_path: Path) -> None:
    pytest.importorskip("cyclonedds", reason="cyclonedds is not installed; it comes with the extra 'dds'")
    status, out, _ = command("demo", "--weights", tiny_weights, "--output", tmp_path / "out")
    assert status == 0, (tmp_path / "out" / "ros2_node.log").read_text()
    assert "$ emotion-perception node esr" in out
    assert "ids: [f00001]" in out or "- f00001" in out
    assert [line for line in out.splitlines() if line.startswith("expression: ")]
    assert "published" in (tmp_path / "out" / "ros2_node.log").read_text()  # the camera was ended, and said so
