"""The ten documented trainings of EmoTx as commands, and what else they say and write; on a made-up MovieGraphs and a tiny network."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from emotion_perception.learners.emotx.moviegraphs import write_synthetic
from emotion_perception.learners.emotx.settings import Settings

pytest.importorskip("omegaconf", reason="omegaconf is not installed; it comes with the extra 'emotx'")

TINY = ("hidden_dim=16", "num_enc_layers=1", "epochs=1", "batch_size=8", "precision=fp32")
DOCUMENTED = {
    "default": (),
    "25 labels": ("top_k=25",),
    "Emotic": ("use_emotic_mapping=True",),
    "scene features": ("scene_feat_type=mvit_v1",),
    "face features": ("face_feat_type=resnet50_fer",),
    "text features": ("srt_feat_pretrained=False",),
    "scene only": ("use_char_feats=False", "use_srt_feats=False", "get_char_targets=False"),
    "faces only": ("use_scene_feats=False", "use_srt_feats=False", "get_scene_targets=False"),
    "scene and dialogue": ("use_char_feats=False", "get_char_targets=False"),
    "wandb": ("wandb.logging=True", "wandb.project=films", "wandb.entity=me"),
}


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up MovieGraphs of three movies."""
    return write_synthetic(tmp_path_factory.mktemp("films") / "data", movies=3, scenes=4)


@pytest.mark.parametrize("words", DOCUMENTED.values(), ids=DOCUMENTED)
def test_a_documented_training_runs_as_a_command(command, films: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    if "wandb.logging=True" in words:
        if importlib.util.find_spec("wandb") is None:
            pytest.skip("wandb is not installed; it comes with the extra 'wandb'")
        words = (*words, "wandb.mode=offline")
    status, out, err = command("train", "emotx", "--data", films, "--output", tmp_path / "run", *words, *TINY)
    assert status == 0, err
    assert out.splitlines()[-1] == str(tmp_path / "run" / "weights")
    used = Settings.read(None, [*words, *TINY, f"data_path={films}"])
    assert Settings.read(tmp_path / "run" / "settings.yaml") == used
    card = json.loads((tmp_path / "run" / "weights" / "card.json").read_text())
    assert card["labels"] == used.label_set.name
    assert (card["architecture"]["streams"], card["architecture"]["judges"]) == (list(used.streams), list(used.judges))
    (row,) = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    levels = {"scene": "scene" in used.judges, "character": "characters" in used.judges}
    assert {level: f"val_map_{level}" in row for level in levels} == levels
    assert row["val_map_gm"] > 0
    assert list((tmp_path / "run" / "tensorboard").iterdir())
    assert "left out, or handled by a rule:" in err
    assert "an emotion of the label set" in (tmp_path / "run" / "skipped.txt").read_text()


def test_a_second_split_is_refused(command, films: Path, tmp_path: Path) -> None:
    outcome = command("train", "emotx", "--data", films, "--output", tmp_path / "run", "--split", "train", "--split", "val")
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err == "emotion-perception: error: got 2 --split, 'emotx' takes one\n"


def test_a_trained_run_is_measured_on_the_test_part_and_compared(command, films: Path, tmp_path: Path) -> None:
    for seed in (0, 1):
        words = ("--set", "hidden_dim=16", "--epochs", "2", "--seed", seed, "--output", tmp_path / f"run{seed}", *TINY[1:2], *TINY[3:])
        assert command("train", "emotx", "--dataset", "moviegraphs", f"data_path={films}", *words).status == 0
        weights = tmp_path / f"run{seed}" / "weights"
        measured = ("eval", "emotx", "--weights", weights, "--data", films, "--split", "test")
        status, out, err = command(*measured, "--json", "--report", tmp_path / f"run{seed}" / "test")
        assert status == 0, err
        scores = json.loads(out)
        assert (scores["split"], scores["clips"], set(scores["scene"]["per_class_ap"])) == ("test", 5, set(Settings().label_set.words))
    assert scores["map_gm"] == pytest.approx((scores["map_scene"] * scores["map_character"]) ** 0.5, abs=1e-5)
    status, out, _ = command(*measured)
    assert status == 0
    assert "geometric mean" in out
    assert "surprise" in out

    status, out, err = command("compare", tmp_path / "run0", tmp_path / "run1")
    assert status == 0, err
    assert "judged at the epoch with the best val_map_gm" in out
    assert "mean and spread of 2" in out
    status, out, _ = command("compare", tmp_path / "run0", tmp_path / "run1", "--results", "test", "--json")
    assert status == 0
    assert json.loads(out)["kinds"][0]["runs"][1]["map_gm"] == pytest.approx(scores["map_gm"], abs=1e-5)


def test_settings_come_from_a_file_too_and_words_win(command, films: Path, tmp_path: Path) -> None:
    Settings.read(None, [*TINY, "top_k=25", f"data_path={films}"]).write(tmp_path / "my.yaml")
    output = ("--output", tmp_path / "run")
    status, _, err = command("train", "emotx", f"config={tmp_path / 'my.yaml'}", "seed=3", *output)
    assert status == 0, err
    read = Settings.read(tmp_path / "run" / "settings.yaml")
    assert (read.top_k, read.seed, read.hidden_dim) == (25, 3, 16)
    status, _, err = command("train", "emotx", "--config", tmp_path / "my.yaml", "seed=4", *output)
    assert status == 1
    assert "other options (seed)" in err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("emotx", "topk=25"), "unknown setting of emotx 'topk'; did you mean 'top_k'?"),
        (("emotx", "--set", "wandb.loging=True"), "did you mean 'wandb.logging'?"),
        (("emotx",), "data_path is not set; give the folder of MovieGraphs: --data DIR, or data_path=DIR"),
        (("emotx", "--dataset", "moviegraf"), "did you mean 'moviegraphs'?"),
        (("emotx", "--schedule", "joint"), "--schedule is not for 'emotx'"),
        (("emotx", "--data", "a", "--split", "tain"), "did you mean 'train'?"),
        (("emotx", "--data", "a", "--data", "b"), "got 2 --data"),
        (("esr",), "give --dataset KIND and --data PATH"),
        (("esr", "--dataset", "folder", "--data", "a", "momentun=0.9"), "did you mean 'momentum'?"),
        (("esr", "--dataset", "folder", "--data", "a", "0.9"), "write --set name=value"),
        (("esr", "--dataset", "folder", "--data", "a", "--config", "b.yaml"), "'esr' has no settings file"),
    ],
)
def test_wrong_use_is_one_line(command, words: tuple[str, ...], says: str) -> None:
    status, out, err = command("train", *words)
    assert (status, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1


def test_logging_to_wandb_without_it_is_one_line(command, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(importlib.import_module("sys").modules, "wandb", None)
    status, _, err = command("train", "emotx", "--data", films, "--output", tmp_path / "run", "wandb.logging=True", *TINY)
    assert status == 1
    assert err.splitlines()[-1] == (
        "emotion-perception: error: wandb.logging=True needs wandb, which is not installed; run: pip install 'emotion_perception[wandb]'"
    )
