"""Runs compared at one rule, with their spread over seeds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_ind

from emotion_perception.engine.errors import DatasetError, UsageError
from emotion_perception.engine.training.comparison import compare


@pytest.fixture
def run(tmp_path: Path):
    """Writes the folder of a run from its numbers per epoch."""

    def make(name: str, values: list[float], seed: int = 0, other: list[float] | None = None, **facts) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        rows = [
            {"epoch": i + 1, "stage": "emotx", "val_loss": 1.0 - v, "val_map_scene": (other or values)[i], "val_map_gm": v}
            for i, v in enumerate(values)
        ]
        (folder / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (folder / "run.json").write_text(json.dumps({"loss": "bce", "monitor": "val_map_gm", **facts, "seed": seed}))
        return folder

    return make


def test_every_run_is_judged_at_the_same_kind_of_epoch(run) -> None:
    bce, mlsm = run("bce", [0.1, 0.34, 0.30]), run("mlsm", [0.2, 0.33, 0.32], loss="mlsm")
    best, last, second = (compare([bce, mlsm], at=at) for at in ("best", "last", 1))
    assert [kind["runs"][0]["epoch"] for kind in best["kinds"]] == [2, 2]
    assert [kind["mean"]["val_map_gm"] for kind in best["kinds"]] == [0.34, 0.33]
    assert [kind["mean"]["val_map_gm"] for kind in last["kinds"]] == [0.30, 0.32]
    assert [kind["runs"][0]["epoch"] for kind in second["kinds"]] == [1, 1]
    assert (best["rule"], last["rule"], second["rule"]) == ("the epoch with the best val_map_gm", "the last epoch", "epoch 1")
    assert [kind["name"] for kind in best["kinds"]] == ["loss=bce", "loss=mlsm"]
    assert best["metrics"] == ["val_map_scene", "val_map_gm"]


def test_the_best_epoch_is_one_that_the_run_still_holds(run) -> None:
    staged = run("staged", [0.4, 0.3, 0.35, 0.2])
    rows = [json.loads(line) for line in (staged / "history.jsonl").read_text().splitlines()]
    stages = ["branch 1", "branch 2", "branch 2", "affect"]
    rows = [row | {"stage": stage} for row, stage in zip(rows, stages, strict=True)]
    del rows[-1]["val_map_gm"]  # the stage that leaves the classes as they are does not measure them
    (staged / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert compare([staged], metrics=["val_map_gm"])["kinds"][0]["runs"][0]["epoch"] == 3
    assert compare([staged], by="val_loss", metrics=["val_loss"])["kinds"][0]["runs"][0]["epoch"] == 4


def test_the_best_epoch_can_be_chosen_by_another_number(run) -> None:
    one = run("one", [0.3, 0.4, 0.2], other=[0.9, 0.1, 0.2])
    assert compare([one], by="val_map_scene")["kinds"][0]["runs"][0]["epoch"] == 1
    assert compare([one], by="val_loss", metrics=["val_map_gm"])["kinds"][0]["runs"][0]["epoch"] == 2  # the lowest loss
    with pytest.raises(UsageError, match="did you mean 'val_map_gm'"):
        compare([one], by="val_map_gn")


def test_runs_that_differ_in_their_seed_only_are_one_kind_with_a_spread(run) -> None:
    values = {"bce": [0.30, 0.33, 0.36], "mlsm": [0.31, 0.35, 0.36]}
    folders = [run(f"{kind}{i}", [value], seed=i, loss=kind) for kind, each in values.items() for i, value in enumerate(each)]
    found = compare(folders)
    first, _ = found["kinds"]
    assert first["mean"]["val_map_gm"] == pytest.approx(0.33)
    assert first["sd"]["val_map_gm"] == pytest.approx(np.std(values["bce"], ddof=1))
    difference = next(each for each in found["differences"] if each["metric"] == "val_map_gm")
    test = ttest_ind(values["mlsm"], values["bce"])
    interval = test.confidence_interval(0.95)
    assert difference["difference"] == pytest.approx(np.mean(values["mlsm"]) - 0.33)
    assert difference["noise"] == pytest.approx((interval.high - interval.low) / 2)
    assert difference["verdict"] == "within the noise"


def test_a_large_difference_is_beyond_the_noise_and_one_run_each_says_nothing(run) -> None:
    small = [run(f"small{i}", [0.30 + 0.001 * i], seed=i) for i in range(3)]
    large = run("large", [0.40], loss="mlsm")
    assert compare([*small, large])["differences"][0]["verdict"] == "beyond the noise"
    alone = compare([small[0], large])["differences"][0]
    assert (alone["noise"], alone["verdict"]) == (None, "unknown: give runs of several seeds")


def test_results_of_a_test_part_are_compared_in_place_of_the_history(run) -> None:
    folders = [run(f"run{i}", [0.3], seed=i) for i in range(2)]
    for folder, value in zip(folders, (0.2, 0.4), strict=True):
        (folder / "test").mkdir()
        (folder / "test" / "result.json").write_text(json.dumps({"split": "test", "map_scene": value, "map_gm": value, "threshold": 0.5}))
    found = compare(folders, results="test")
    assert found["metrics"] == ["map_scene", "map_gm"]
    assert found["kinds"][0]["mean"]["map_gm"] == pytest.approx(0.3)
    with pytest.raises(DatasetError, match="--report"):
        compare(folders, results="val")


def test_what_cannot_be_compared_is_refused(run, tmp_path: Path) -> None:
    one, twin = run("one", [0.3]), run("twin", [0.3])
    with pytest.raises(UsageError, match="given twice"):
        compare([one, one])
    with pytest.raises(UsageError, match="same seed"):
        compare([one, twin])
    with pytest.raises(UsageError, match="epochs 1 to 1, not 2"):
        compare([one], at=2)
    with pytest.raises(DatasetError, match="--output"):
        compare([tmp_path])
    with pytest.raises(UsageError, match="say which counts with --by"):
        compare([one, run("other", [0.3], monitor="val_map_scene")])
    (one / "history.jsonl").write_text("{")
    with pytest.raises(DatasetError, match="train it again"):
        compare([one])
