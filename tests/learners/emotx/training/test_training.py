"""Training: it learns, it is resumed exactly, and it keeps the best epoch by each rule."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from emotion_perception.engine.errors import DatasetError, WeightsError
from emotion_perception.engine.training.schedules import plateau
from emotion_perception.engine.weights import load_folder
from emotion_perception.learners.emotx.card import CARD, architecture_of
from emotion_perception.learners.emotx.checkpoints import read_published
from emotion_perception.learners.emotx.model import build_network
from emotion_perception.learners.emotx.settings import Settings
from emotion_perception.learners.emotx.training.best import RULES
from emotion_perception.learners.emotx.training.fitting import train
from emotion_perception.learners.emotx.training.logs import published_numbers, published_summary

CPU = torch.device("cpu")


class Killed(BaseException):
    """Stands for what ends a process; nothing may catch it."""


def network(settings: Settings) -> torch.nn.Module:
    torch.manual_seed(settings.seed)
    return build_network(settings.architecture())


def card(settings: Settings):
    return CARD.trained_here(labels=settings.label_set.name, architecture=architecture_of(settings))


def states_equal(first, second) -> bool:
    return all(torch.equal(first[name], second[name]) for name in second)


def test_it_learns_what_can_be_learnt_and_says_so(held_clips, small_settings) -> None:
    settings = small_settings(epochs=8, batch_size=8, lr=5e-3)
    model = network(settings)
    history = train(model, settings, held_clips(64, seed=1), held_clips(30, seed=2), CPU)
    chance, last = history[0], history[-1]
    assert last["loss"] < 0.8 * chance["loss"]
    assert last["val_map_scene"] > 0.9
    assert last["val_loss"] < chance["val_loss"]
    assert {"map_scene", "map_character", "map_gm", "f1_scene", "val_recall_character", "lr"} <= set(last)
    assert [row["epoch"] for row in history] == list(range(1, 9))


@pytest.mark.parametrize("changes", [{}, {"optimizer": "adam", "shuffle_characters": True, "precision": "bf16", "loss": "mlsm"}])
def test_a_run_that_was_killed_anywhere_ends_in_the_same_weights(held_clips, small_settings, tmp_path: Path, changes) -> None:
    settings, val = small_settings(epochs=3, **changes), held_clips(8, seed=2)
    whole = network(settings)
    expected = train(whole, settings, held_clips(12, seed=1), val, CPU)

    clips = held_clips(12, seed=1)
    read, reads = clips.clip, []

    def dies(index, draw=None):
        reads.append(index)
        if len(reads) == 12 + 7:
            raise Killed
        return read(index, draw)

    clips.clip = dies
    with pytest.raises(Killed):
        train(network(settings), settings, clips, val, CPU, tmp_path)
    resumed = network(settings)
    resumed.load_state_dict(network(settings.with_(seed=9)).state_dict())  # what it starts from does not matter any more
    history = train(resumed, settings, clips, val, CPU, tmp_path)
    assert states_equal(resumed.state_dict(), whole.state_dict())
    assert [row["val_loss"] for row in history] == [row["val_loss"] for row in expected]


def test_the_seed_decides_everything(held_clips, small_settings) -> None:
    states = []
    for seed in (0, 0, 1):
        settings = small_settings(epochs=1, seed=seed)
        model = network(settings)
        train(model, settings, held_clips(8, seed=1), None, CPU)
        states.append(model.state_dict())
    assert states_equal(states[0], states[1])
    assert not states_equal(states[0], states[2])


def test_the_best_epoch_by_each_rule_is_kept(held_clips, small_settings, tmp_path: Path) -> None:
    settings = small_settings(epochs=4, save_path=str(tmp_path / "published"), model_name="films", keep="scene")
    model = network(settings)
    history = train(model, settings, held_clips(24, seed=1), held_clips(16, seed=2), CPU, tmp_path / "run", card=card(settings))
    best = json.loads((tmp_path / "run" / "best" / "best.json").read_text())
    for rule, word in RULES.items():
        row = max(reversed(history), key=lambda row: row[f"val_map_{rule}"])
        assert best[rule]["epoch"] == row["epoch"]
        assert best[rule]["map"] == pytest.approx(row[f"val_map_{rule}"])
        stored, tensors = load_folder(tmp_path / "run" / "best" / rule, "emotx")
        assert stored.scores["val"][f"map_{rule}"] == pytest.approx(row[f"val_map_{rule}"])
        sizes, published = read_published(tmp_path / "published" / f"films_{word}.pt")
        assert sizes["num_labels"] == 10
        assert states_equal(published, {name: value for name, value in tensors.items() if name in published})
        assert Settings.read(tmp_path / "run" / "best" / rule / "settings.yaml") == settings
    assert states_equal(model.state_dict(), load_folder(tmp_path / "run" / "best" / "scene", "emotx")[1])
    assert Settings.read(tmp_path / "run" / "settings.yaml") == settings
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (facts["loss"], facts["lr"], facts["monitor"], facts["seed"]) == ("bce", 3e-3, "val_map_scene", 0)
    assert "data_path" not in facts


def test_a_run_that_is_refused_leaves_the_settings_of_the_one_in_the_folder(held_clips, small_settings, tmp_path: Path) -> None:
    first = small_settings(epochs=1)
    train(network(first), first, held_clips(8, seed=1), None, CPU, tmp_path / "run")
    other = small_settings(epochs=1, lr=1e-5)
    with pytest.raises(WeightsError, match="lr"):
        train(network(other), other, held_clips(8, seed=1), None, CPU, tmp_path / "run")
    assert Settings.read(tmp_path / "run" / "settings.yaml") == first


def test_the_last_epoch_is_kept_where_that_is_asked_for(held_clips, small_settings) -> None:
    last, by_itself = (network(small_settings()) for _ in range(2))
    train(last, small_settings(keep="last", epochs=3), held_clips(12, seed=1), held_clips(8, seed=2), CPU)
    train(by_itself, small_settings(epochs=3), held_clips(12, seed=1), None, CPU)
    assert states_equal(last.state_dict(), by_itself.state_dict())


@pytest.mark.parametrize(
    "changes",
    [
        {"use_char_feats": False, "use_srt_feats": False, "get_char_targets": False},
        {"use_scene_feats": False, "use_srt_feats": False, "get_scene_targets": False},
    ],
)
def test_a_stream_that_is_not_judged_makes_no_mean_zero(held_clips, small_settings, tmp_path: Path, changes) -> None:
    settings = small_settings(**changes)
    level = "character" if settings.get_char_targets else "scene"
    history = train(network(settings), settings, held_clips(16, seed=1), held_clips(16, seed=2), CPU, tmp_path, card=card(settings))
    for row in history:
        assert row["val_map_mean"] == row[f"val_map_{level}"] == pytest.approx(row["val_map_gm"])
    assert set(json.loads((tmp_path / "best" / "best.json").read_text())) == {level, "mean", "gm"}
    numbers = published_numbers(history[-1])
    assert (f"eval_mAP_{int(level == 'scene')}" in numbers, f"eval_mAP_{int(level != 'scene')}" in numbers) == (True, False)


def test_validation_without_any_label_leaves_the_last_epoch(held_clips, small_settings) -> None:
    history = train(network(small_settings()), small_settings(), held_clips(8, seed=1), held_clips(8, seed=2, classes=()), CPU)
    assert "val_map_gm" not in history[-1]
    assert np.isfinite(history[-1]["val_loss"])


def test_published_names_of_what_is_logged(held_clips, small_settings) -> None:
    history = train(network(small_settings()), small_settings(epochs=3), held_clips(12, seed=1), held_clips(12, seed=2), CPU)
    numbers = published_numbers(history[-1])
    levels = {f"{part}_{number}_{i}" for part in ("train", "eval") for number in ("mAP", "F1", "P", "R") for i in (0, 1)}
    assert set(numbers) == levels | {"train_loss", "eval_loss", "train_mAP", "eval_mAP", "mean_F1", "mean_P", "mean_R", "lr"}
    assert numbers["eval_mAP_0"] == history[-1]["val_map_character"]
    assert numbers["mean_F1"] == pytest.approx((numbers["train_F1_0"] + numbers["train_F1_1"]) / 2)
    summary = published_summary(history)
    assert len(summary) == 12
    by_character = max(reversed(history), key=lambda row: row["val_map_character"])
    assert summary["best_eval_mAP_1_charCkpt"] == by_character["val_map_scene"]
    assert summary["best_eval_mAP_epoch_charCkpt"] == by_character["epoch"]


def test_the_published_rate_falls_on_plateaus_as_torchs_does() -> None:
    losses = [1.0, 0.9, *[0.9] * 7, 0.5, *[0.4999] * 13]
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=5, threshold=1e-3)
    for i, loss in enumerate(losses):
        schedule.step(loss)
        assert plateau(losses[: i + 1], factor=0.1, patience=5, threshold=1e-3) == pytest.approx(optimizer.param_groups[0]["lr"])
    assert plateau([], factor=0.1, patience=5, threshold=1e-3) == 1.0


def test_data_in_other_labels_or_without_clips_are_refused(held_clips, small_settings) -> None:
    settings = small_settings()
    for data, says in ((held_clips(8, "moviegraphs25"), "expected moviegraphs10"), (held_clips(0), "no clip")):
        with pytest.raises(DatasetError, match=says):
            train(network(settings), settings, data, None, CPU)
        with pytest.raises(DatasetError, match=says):
            train(network(settings), settings, held_clips(8), data, CPU)
