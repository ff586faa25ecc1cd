"""What a run writes: tables without double rows, TensorBoard events, curves, progress."""

from __future__ import annotations

import csv
import json
import logging
import time

import pytest

from emotion_perception.engine.training.logs import RunLog

ROWS = [
    {"epoch": 1, "stage": "joint", "loss": 2.0},
    {"epoch": 2, "stage": "joint", "loss": 1.0, "val_accuracy": 0.5},
    {"epoch": 3, "stage": "affect", "loss": 0.5, "val_rmse": 0.3},
]


def read(folder):
    rows = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    with (folder / "history.csv").open(newline="") as file:
        return rows, list(csv.DictReader(file))


def test_history_is_written_as_json_lines_and_as_a_table_with_all_columns(tmp_path):
    log = RunLog(tmp_path / "run", tensorboard=False)
    log.start(3, [])
    for row in ROWS:
        log.epoch(row)
    log.close()
    lines, table = read(tmp_path / "run")
    assert lines == ROWS
    assert list(table[0]) == ["epoch", "stage", "loss", "val_accuracy", "val_rmse"]
    assert [row["val_accuracy"] for row in table] == ["", "0.5", ""]
    assert (tmp_path / "run" / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_resumed_run_has_no_row_twice(tmp_path):
    first = RunLog(tmp_path)
    first.start(3, [])
    first.epoch(ROWS[0])
    first.epoch(ROWS[1])  # killed here, before the checkpoint of epoch 2 was written
    again = RunLog(tmp_path)
    again.start(3, ROWS[:1])
    again.epoch(ROWS[1])
    again.epoch(ROWS[2])
    again.close()
    first.close()
    lines, table = read(tmp_path)
    assert lines == ROWS
    assert [row["epoch"] for row in table] == ["1", "2", "3"]


def test_tensorboard_shows_every_epoch_once(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    first = RunLog(tmp_path)
    first.start(3, [])
    first.epoch(ROWS[0])
    first.epoch({**ROWS[1], "loss": 99.0})
    first.close()
    time.sleep(1.0 - time.time() % 1.0)  # TensorBoard orders its files by the second in their names
    again = RunLog(tmp_path)
    again.start(3, ROWS[:1])
    again.epoch(ROWS[1])
    again.epoch(ROWS[2])
    again.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(1, 2.0), (2, 1.0), (3, 0.5)]
    assert [event.step for event in events.Scalars("val_accuracy")] == [2]


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = RunLog(None)
    log.start(1, [])
    log.epoch(ROWS[0])
    log.close()
    assert list(tmp_path.iterdir()) == []


def test_progress_says_where_the_run_is_and_how_long_it_takes(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    log = RunLog(None, progress=True)
    log.start(2, [])
    log.step("joint", 0, 50, 200, 50, 100.0, {"loss": 1.25})  # two seconds a step, 150 steps left
    log.step("joint", 0, 51, 200, 51, 102.0, {"loss": 1.25})  # too soon after the first to be said
    log.epoch(ROWS[1])
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == "joint, epoch 1, 50/200: loss 1.2500, 5:00 left in this epoch"
    assert said[1:] == ["epoch 1/2: stage joint, loss 1, val_accuracy 0.5"]


def test_without_progress_nothing_is_said(caplog):
    caplog.set_level(logging.INFO)
    log = RunLog(None)
    log.start(1, [])
    log.step("joint", 0, 1, 1, 1, 1.0, {"loss": 1.0})
    log.epoch(ROWS[0])
    assert caplog.records == []
