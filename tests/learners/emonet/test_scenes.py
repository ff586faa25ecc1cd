"""What a user does with a scene learner: pictures, videos, data sets of videos, training, tables."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image as PillowImage

from emotion_perception.engine.datasets import VideoFolder
from emotion_perception.engine.errors import InputError, NotLoadedError, UsageError
from emotion_perception.engine.labels import KRAGEL20
from emotion_perception.engine.vision.video import VideoWriter, read_video
from emotion_perception.learners.emonet import EmoNetLearner

SMALL = {"width": 0.0625, "device": "cpu", "precision": "fp32", "batch_size": 8}
WORDS = ("Joy", "Fear", "Awe")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A folder of a small network that has learned nothing."""
    learner = EmoNetLearner(**SMALL, affect="fc7")
    learner.init_model()
    return learner.save(tmp_path_factory.mktemp("weights") / "emonet")


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Two videos of 7 frames for each of three classes, told apart by their colours, in class folders."""
    pytest.importorskip("av")
    root = tmp_path_factory.mktemp("videos")
    for number, word in enumerate(WORDS):
        (root / word).mkdir()
        for take in range(2):
            with VideoWriter(root / word / f"{take}.mp4", 7, (96, 64)) as writer:
                for frame in range(7):
                    pixels = np.full((64, 96, 3), 40 + 10 * take, np.uint8)
                    pixels[:, frame : frame + 40, number] = 220
                    writer.write(pixels)
    return root


@pytest.fixture
def main(capsys):
    """Runs the command line; returns status, stdout and stderr."""
    from emotion_perception.commands import main

    def run(*words):
        status = main([str(word) for word in words])
        return status, *capsys.readouterr()

    return run


def test_a_picture_is_judged_as_a_whole_drawn_and_explained(weights, portrait, tmp_path, main):
    given = ("--learner", "emonet", "--weights", weights, "--device", "cpu")
    status, out, _ = main("predict", portrait, *given, "--save", tmp_path / "drawn", "--csv", tmp_path / "t.csv")
    header, row = out.splitlines()
    assert status == 0
    assert header.split() == ["file", "scene", "box", "emotion", "confidence", "valence", "arousal"]
    assert "0,0,512,512" in row
    before, after = (np.asarray(PillowImage.open(file).convert("RGB")) for file in (portrait, tmp_path / "drawn" / portrait.name))
    assert (np.abs(before.astype(int) - after) > 60).any(axis=2).sum() > 2000
    (line,) = csv.DictReader((tmp_path / "t.csv").open())
    assert sum(float(line[f"p_{word.lower().replace(' ', '_')}"]) for word in KRAGEL20) == pytest.approx(1.0, abs=1e-4)
    status, out, _ = main("explain", portrait, *given, "--class", "Aesthetic Appreciation", "--out", tmp_path / "why")
    assert (status, out.split()[0]) == (0, "scene")
    (why,) = (json.loads(file.read_text()) for file in (tmp_path / "why").glob("*.json"))
    assert np.array(why["classes"]["Aesthetic Appreciation"]["map"]).shape == (13, 13)


def test_a_video_is_one_scene_with_a_row_per_frame(weights, videos, tmp_path, main):
    video = videos / "Joy" / "0.mp4"
    files = ("--save", tmp_path / "out.mp4", "--csv", tmp_path / "t.csv")
    status, out, _ = main("video", video, "--learner", "emonet", "--weights", weights, "--device", "cpu", *files)
    header, row = out.splitlines()
    assert status == 0
    assert header.split()[0] == "scene"
    assert row.split()[3] == "7"
    assert [line["frame"] for line in csv.DictReader((tmp_path / "t.csv").open())] == [str(n) for n in range(7)]
    with read_video(tmp_path / "out.mp4") as drawn:
        assert sum(1 for _ in drawn) == 7


def test_a_model_without_affect_has_none_in_the_summary_of_a_video(videos, tmp_path, main):
    learner = EmoNetLearner(**SMALL)
    learner.init_model()
    folder = learner.save(tmp_path / "plain")
    status, out, _ = main("video", videos / "Joy" / "0.mp4", "--learner", "emonet", "--weights", folder, "--device", "cpu", "--json")
    (scene,) = json.loads(out)["faces"]
    assert (status, scene["valence"], scene["arousal"]) == (0, None, None)


def test_videos_are_measured_per_frame_and_per_video(weights, videos, tmp_path, main):
    broken = videos / "Awe" / "broken.mp4"
    broken.write_bytes(b"no video" * 20)
    rows = tmp_path / "rows.csv"
    words = ("eval", "emonet", "--weights", weights, "--dataset", "videos", "--data", videos, "--device", "cpu", "--rows", rows)
    status, out, err = main(*words, "--json")
    broken.unlink()
    assert status == 1  # a video is missing, the rest is measured
    assert err.splitlines()[-2].startswith("failed: ")
    assert "broken.mp4" in err.splitlines()[-2]
    assert err.splitlines()[-1].endswith("videos that could not be read and were left out: 1; they are listed above")
    scores = json.loads(out)
    table = list(csv.DictReader(rows.open()))
    assert [(row["video"], row["frame"], row["label"]) for row in table] == [
        (f"{word}/{take}.mp4", str(frame), word) for word in sorted(WORDS) for take in range(2) for frame in (0, 5)
    ]
    names = [f"p_{word.lower().replace(' ', '_')}" for word in KRAGEL20]
    shares = np.array([[float(row[name]) for name in names] for row in table])
    truth = np.array([KRAGEL20.index(row["label"]) for row in table])
    assert scores["accuracy"] == pytest.approx((shares.argmax(1) == truth).mean())
    assert scores["top5_accuracy"] == pytest.approx((np.argsort(-shares)[:, :5] == truth[:, None]).any(1).mean())
    # Two frames to a video.
    pairs = {"mean_probabilities": shares.reshape(6, 2, 20).mean(1), "mean_logits": np.log(shares).reshape(6, 2, 20).mean(1)}
    assert scores["per_video"]["videos"] == 6
    for way, together in pairs.items():
        assert scores["per_video"][way]["accuracy"] == pytest.approx((together.argmax(1) == truth[::2]).mean())
        assert scores["per_video"][way]["auc"] is not None


def test_the_tables_of_an_evaluation_show_videos(weights, videos, main):
    status, out, _ = main("eval", "emonet", "--weights", weights, "--dataset", "videos", "--data", videos, "--device", "cpu")
    assert status == 0
    assert "mean of logits" in out
    assert "class among the five most probable" in out


def test_parquet_has_the_types(weights, videos, tmp_path, main):
    parquet = pytest.importorskip("pyarrow.parquet")
    given = ("--weights", weights, "--device", "cpu")
    assert main("eval", "emonet", *given, "--dataset", "videos", "--data", videos, "--rows", tmp_path / "rows.parquet")[0] == 0
    table = parquet.read_table(tmp_path / "rows.parquet")
    assert (table.num_rows, table.column("frame").to_pylist()[:2]) == (12, [0, 5])
    assert {str(table.schema.field(name).type) for name in ("confidence", "p_joy", "valence")} == {"double"}
    assert main("video", videos / "Joy" / "0.mp4", "--learner", "emonet", *given, "--csv", tmp_path / "v.parquet")[0] == 0
    assert parquet.read_table(tmp_path / "v.parquet").column("frame").to_pylist() == list(range(7))


@pytest.mark.parametrize("freeze", ["trunk", "backbone", "none"])
def test_training_changes_what_is_not_frozen(freeze, videos, weights):
    options = {"lr": 1e-3, "max_training_epoch": 1, "task": "categorical", "class_weights": "balanced"}
    learner = EmoNetLearner(**SMALL, **options, freeze=freeze, augment=False)
    learner.load(weights)
    before = {name: value.clone() for name, value in learner.model.state_dict().items()}
    learner.fit(VideoFolder(videos, None, KRAGEL20))
    changed = {name.split(".")[0] for name, value in learner.model.state_dict().items() if not value.equal(before[name])}
    layers = {"trunk": {"classifier"}, "backbone": {"classifier", "conv_5", "conv_6"}}
    assert changed == layers.get(freeze, {"classifier", *(f"conv_{n}" for n in range(7))})


def test_colours_are_learnt_from_videos_by_the_command(videos, tmp_path, main):
    words = ("--set", "width=0.0625", "--set", "augment=no", "--set", "dropout=0", "--epochs", 6, "--lr", 0.002, "--batch-size", 6)
    given = ("--dataset", "videos", "--data", videos, "--val-dataset", "videos", "--val-data", videos)
    status, out, _ = main("train", "emonet", *given, *words, "--output", tmp_path / "run", "--device", "cpu")
    assert status == 0
    learner = EmoNetLearner(device="cpu")
    learner.load(out.splitlines()[-1])
    scores = learner.eval(VideoFolder(videos, None, KRAGEL20))
    assert scores["accuracy"] > 0.6
    assert scores["per_video"]["mean_logits"]["accuracy"] > 0.6


def test_valence_and_arousal_are_added_to_a_network_and_learnt(videos):
    learner = EmoNetLearner(**SMALL, freeze="trunk", task="dimensional", augment=False, max_training_epoch=1)
    learner.init_model()
    dataset = VideoFolder(videos, None, KRAGEL20)
    assert learner.infer(dataset.picture(0)).affect is None
    logits = learner.infer(dataset.picture(0)).extras["logits"]
    dataset.targets = type(dataset.targets)(dataset.targets.index, affect=np.full((len(dataset), 2), 0.5, np.float32))
    learner.fit(dataset)
    emotions = learner.infer(dataset.picture(0))
    assert emotions.affect is not None
    assert learner.card.architecture["affect"] == "fc7"
    np.testing.assert_array_equal(emotions.extras["logits"], logits)
    with pytest.raises(UsageError, match="has a head for affect already"):
        learner.add_affect()


def test_features_come_in_batches_from_any_picture(weights, portrait):
    learner = EmoNetLearner(device="cpu", batch_size=2)
    with pytest.raises(NotLoadedError):
        learner.features(portrait)
    learner.load(weights)
    pictures = [portrait, np.zeros((30, 40, 3), np.uint8), np.full((300, 300), 255, np.uint8)]
    assert learner.features(pictures).shape == (3, 256)
    assert learner.features(portrait, "conv5").shape == (1, 16, 13, 13)
    np.testing.assert_allclose(learner.features(pictures, "fc8"), learner.infer(pictures).extras["logits"], atol=1e-5)
    with pytest.raises(InputError, match="no picture"):
        learner.features([])


def test_arguments_that_cannot_be_are_refused():
    for arguments, words in (
        ({"freeze": "head"}, "freeze is 'head'"),
        ({"affect": "fc8"}, "affect is 'fc8'"),
        ({"interpolation": "lanczos"}, "expected one of area, bicubic"),
        ({"input_size": 224}, "EmoNet takes 227 pixels only"),
        ({"small_epochs": 1}, "EmoNet takes 227 pixels only"),
        ({"width": 0.0}, "expected above 0"),
    ):
        with pytest.raises(UsageError, match=words):
            EmoNetLearner(**arguments)
