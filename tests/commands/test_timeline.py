from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from emotion_perception.engine.labels import MOVIEGRAPHS10

pytest.importorskip("matplotlib")


@pytest.fixture(scope="session")
def movies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up MovieGraphs of a few scenes."""
    from emotion_perception.learners.emotx.moviegraphs import write_synthetic

    return write_synthetic(tmp_path_factory.mktemp("movies") / "data", movies=3, scenes=2)


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a narrow EmoTx for features of the published kinds, which have learned nothing."""
    from emotion_perception.learners.emotx.learner import EmoTxLearner

    learner = EmoTxLearner(hidden_dim=16, num_enc_layers=1, device="cpu")
    learner.init_model()
    return learner.save(tmp_path_factory.mktemp("weights") / "emotx")


def scene_of(movies: Path) -> str:
    from emotion_perception.learners.emotx.settings import Settings

    dataset = Settings(data_path=str(movies)).open("val")
    return dataset.name(0)


def test_a_scene_of_moviegraphs(command, movies: Path, weights: Path, tmp_path: Path) -> None:
    scene = scene_of(movies)
    words = ("timeline", "--data", movies, "--scene", scene, "--weights", weights, "--output", tmp_path / "out", "--device", "cpu")
    status, out, err = command(*words)
    assert status == 0, err
    lines = out.splitlines()
    assert lines[0].split() == ["who", "likeliest", "over", "the", "whole", "clip", "most", "at", "(s)"]
    assert lines[1].startswith("scene")
    stem = re.sub(r"\W", "_", scene)
    assert f"{stem}_timeline.png" in err
    assert (tmp_path / "out" / f"{stem}_timeline.png").is_file()
    stored = json.loads((tmp_path / "out" / f"{stem}_timeline.json").read_text())
    assert set(stored["whole"]["scene"]) == set(MOVIEGRAPHS10)
    assert {line.split("  ")[0] for line in lines[1:]} == set(stored["whole"])

    status, out, err = command(*words, "--json", "--window", 4, "--emotions", 2)
    assert status == 0, err
    printed = json.loads(out)
    assert printed["window_s"] == 4.0
    assert all(Path(file).is_file() for file in printed["files"])


def test_features_in_a_file(command, weights: Path, tmp_path: Path) -> None:
    from emotion_perception.learners.emotx.clips import ClipFeatures, Stream
    from emotion_perception.learners.emotx.features.files import write_clip

    scene = Stream(np.ones((5, 768), np.float32), np.arange(5, dtype=np.float32))
    file = write_clip(tmp_path / "talk.npz", ClipFeatures(scene, name="talk"))
    status, out, err = command("timeline", file, "--weights", weights, "--output", tmp_path, "--json", "--step", 1)
    assert status == 0, err
    assert json.loads(out)["times_s"] == [0, 1, 2, 3, 4]
    assert (tmp_path / "talk_attention_scene.png").is_file()


def test_a_video(command, tiny_emotx: Path, portrait: Path, tmp_path: Path) -> None:
    pytest.importorskip("av")
    from fractions import Fraction

    from emotion_perception.engine.data import Image
    from emotion_perception.engine.vision.video import VideoWriter

    rgb = Image.open(portrait).rgb
    with VideoWriter(tmp_path / "talk.mp4", Fraction(12), (rgb.shape[1], rgb.shape[0])) as writer:
        for n in range(24):
            writer.write(rgb.copy(), n / 12)
    (tmp_path / "talk.srt").write_text("1\n00:00:00,500 --> 00:00:01,500\nYou came back.\n", encoding="utf-8")
    places = ("--weights", tiny_emotx / "weights", "--backbones", tiny_emotx / "backbones", "--output", tmp_path)
    status, out, err = command("timeline", tmp_path / "talk.mp4", "--subtitles", tmp_path / "talk.srt", *places, "--json")
    assert status == 0, err
    printed = json.loads(out)
    assert list(printed["whole"]) == ["scene", "person 1"]
    assert set(printed["attention"]["scene"]["happy"]) == {"scene", "person 1", "dialogue"}
    assert "talk_timeline.png" in printed["files"][0]


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ((), 2, "give either a FILE (a video, or features as .npz) or --data DIR"),
        (("talk.mp4", "--data", "x"), 2, "give either a FILE"),
        (("--data", "MOVIES"), 2, "give one with --scene MOVIE/SCENE"),
        (("--data", "MOVIES", "--scene", "tt9/1"), 2, "unknown scene 'tt9/1'"),
        (("--data", "nowhere", "--scene", "tt9/1"), 1, "nowhere"),
        (("nowhere.npz",), 1, "cannot read features 'nowhere.npz'"),
        (("nowhere.mp4",), 1, "cannot read video 'nowhere.mp4'"),
    ],
)
def test_bad_words_are_one_line(command, movies: Path, weights: Path, words: tuple[str, ...], status: int, message: str) -> None:
    given = [movies if word == "MOVIES" else word for word in words]
    done = command("timeline", *given, "--weights", weights, "--device", "cpu")
    assert (done.status, done.out) == (status, "")
    assert message in done.err
    assert done.err.count("\n") == 1


def test_weights_are_needed(command) -> None:
    done = command("timeline", "talk.npz")
    assert done.status == 2
    assert "no default weights" in done.err
