"""What goes to Weights and Biases, under the published names: 0 stands for characters, 1 for scenes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from emotion_perception.engine.training.wandb_log import WandbLog
from emotion_perception.learners.emotx.settings import Settings
from emotion_perception.learners.emotx.training.best import RULES

_LEVELS = ("character", "scene")
_NUMBERS = {"mAP": "map", "F1": "f1", "P": "precision", "R": "recall"}
_FOLDER = "wandb"


def published_log(settings: Settings, folder: Path | None, first_loss: Callable[[], float | None]) -> list[WandbLog]:
    """Returns the sink of a run.

    Args:
        settings: Of the run.
        folder: Of the run; wandb's files go below it.
        first_loss: Measures the loss on the validation clips before any training.
    """
    first = first_loss()

    def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return ({} if first is None else {"first_eval_loss": first}) | published_summary(rows)

    where = settings.wandb
    return [
        WandbLog(
            project=where.project,
            entity=where.entity,
            mode=where.mode,
            name=settings.name,
            config=asdict(settings),
            folder=folder and folder / _FOLDER,
            numbers=published_numbers,
            summary=summary,
        )
    ]


def published_numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """Returns a row of history under the published names. ``mean_F1``, ``mean_P`` and ``mean_R`` are of training, as published."""
    return dict(_named(row))


def published_summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Returns the mAPs and the epoch, from 1, of the best epoch by each rule: ``best_eval_mAP_{0,1,epoch}_{scene,char,avg,gm}Ckpt``."""
    summary: dict[str, float] = {}
    for rule, word in RULES.items():
        judged = [row for row in rows if f"val_map_{rule}" in row]
        if judged:
            best = max(reversed(judged), key=lambda row: float(row[f"val_map_{rule}"]))
            summary |= {f"best_eval_mAP_{i}_{word}Ckpt": best[key] for i, key in _keys("val_map") if key in best}
            summary[f"best_eval_mAP_epoch_{word}Ckpt"] = best["epoch"]
    return summary


def _named(row: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    plain = {"train_loss": "loss", "eval_loss": "val_loss", "train_mAP": "map_mean", "eval_mAP": "val_map_mean", "lr": "lr"}
    yield from ((name, row[key]) for name, key in plain.items() if key in row)
    for name, number in _NUMBERS.items():
        for part, prefix in (("train", ""), ("eval", "val_")):
            yield from ((f"{part}_{name}_{i}", row[key]) for i, key in _keys(f"{prefix}{number}") if key in row)
        known = [row[key] for _, key in _keys(number) if key in row]
        if known and name != "mAP":
            yield f"mean_{name}", sum(known) / len(known)


def _keys(number: str) -> list[tuple[int, str]]:
    return [(i, f"{number}_{level}") for i, level in enumerate(_LEVELS)]
