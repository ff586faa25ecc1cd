"""``emotion-perception train``."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emotion_perception.commands._common import DeviceOption, SetOption, note, print_fields, print_table
from emotion_perception.commands._configured import check_kind, list_skipped, read_settings, refuse, skipped_lines, split_named
from emotion_perception.commands._datasets import KINDS, PARTED, TESTED_ON, hold_out, open_part
from emotion_perception.commands._settings import parse_settings, settings_of
from emotion_perception.engine.settings import SETTINGS_NAME

if TYPE_CHECKING:
    from emotion_perception.engine.datasets import EmotionDataset
    from emotion_perception.engine.learners import Learner

EXAMPLES = (
    "emotion-perception train esr --dataset ferplus --data FERPlus --epochs 9 --output runs/esr",
    "emotion-perception train esr --dataset folder --data my_pictures momentum=0.95",
    "emotion-perception train esr --dataset ferplus --data FERPlus --per-class all --dataset folder --data more --per-class 500",
    "emotion-perception train emotx --data data --output runs/emotx top_k=25 scene_feat_type=mvit_v1 wandb.logging=True",
    "torchrun --nproc_per_node 2 -m emotion_perception train esr --dataset ferplus --data FERPlus",
)
_MOST_COLUMNS = 12
# Option -> the names a learner's constructor may give it, best first.
_OPTIONS = {
    "epochs": ("max_training_epoch", "epochs", "iters"),
    "batch_size": ("batch_size",),
    "lr": ("lr",),
    "seed": ("seed",),
    "schedule": ("schedule",),
    "branches": ("ensemble_size", "branches"),
}


def run(
    learner: Annotated[str, typer.Argument(metavar="LEARNER", help="Registered name of the learner.")],
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Options of the learner, as --set takes them.")
    ] = None,
    dataset: Annotated[
        list[str] | None, typer.Option("--dataset", metavar="KIND", help=f"{KINDS}. Give it, with --data, once per data set.")
    ] = None,
    data: Annotated[
        list[Path] | None, typer.Option("--data", metavar="PATH", help="Where the data set lies: folder, zip file or table.")
    ] = None,
    split: Annotated[
        list[str] | None, typer.Option("--split", metavar="PART", help="Part to train on, once per data set; train where a set has parts.")
    ] = None,
    per_class: Annotated[
        list[str] | None,
        typer.Option("--per-class", metavar="N|all", help="Most pictures of a class to train on, drawn by the seed; once per data set."),
    ] = None,
    val_dataset: Annotated[
        str | None, typer.Option("--val-dataset", metavar="KIND", help="Kind of the validation data; else the first --dataset.")
    ] = None,
    val_data: Annotated[
        Path | None, typer.Option("--val-data", metavar="PATH", help="Where the validation data lies; else the first --data.")
    ] = None,
    val_split: Annotated[
        str | None, typer.Option("--val-split", metavar="PART", help="Part to validate on; else valid, or a tenth held out.")
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", metavar="DIR", help="Logs and checkpoints go here, the weights into DIR/weights.")
    ] = Path("runs/train"),
    epochs: Annotated[int | None, typer.Option("--epochs", metavar="N", min=1, help="Passes over the training data.")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", metavar="N", min=1, help="Pictures per step.")] = None,
    lr: Annotated[float | None, typer.Option("--lr", metavar="RATE", help="Learning rate.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", help="Seed of everything random.")] = None,
    schedule: Annotated[
        str | None, typer.Option("--schedule", metavar="NAME", help="How it is trained; esr: joint|published, others: one_cycle|published.")
    ] = None,
    branches: Annotated[int | None, typer.Option("--branches", metavar="N", min=1, help="Members of the ensemble.")] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", metavar="DIR", help="Start from these weights instead of fresh ones.")
    ] = None,
    settings: SetOption = None,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="YAML with settings, for a learner that has some (emotx).")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume/--no-resume", help="Go on with an unfinished run in the output folder, or refuse a used one.")
    ] = True,
    device: DeviceOption = "auto",
) -> None:
    """Trains a learner; run again after an interruption, the same command goes on where it stopped."""
    from emotion_perception.engine.errors import UsageError
    from emotion_perception.engine.registry import learner_class

    cls = learner_class(learner)
    options = [*(settings or []), *(words or [])]
    given = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "seed": seed, "schedule": schedule, "branches": branches}
    if not resume and output.is_dir() and any(output.iterdir()):
        raise UsageError(f"--no-resume: {str(output)!r} holds a run already; give another --output, or empty it")
    if cls.settings_class is not None or config is not None:
        read = read_settings(cls, config, options, data or [], {k: given[k] for k in ("epochs", "batch_size", "lr", "seed")})
        refuse(cls, {"schedule": schedule, "branches": branches, "per-class": per_class, "val-dataset": val_dataset})
        check_kind(cls, dataset or [])
        if split and len(split) > 1:
            raise UsageError(f"got {len(split)} --split, {learner!r} takes one")
        arguments: dict[str, Any] = {"device": device, "settings": read}
        train = read.open(split_named(split[0] if split else None, "train"))
        valid = (read if val_data is None else read.with_(data_path=str(val_data))).open(split_named(val_split, "val"))
    else:
        arguments = {"device": device} | _arguments(cls, given) | parse_settings(cls, options)
        train, valid = _open(cls, dataset or [], data or [], split or [], per_class or [], (val_dataset, val_data, val_split), seed or 0)
    first = int(os.environ.get("RANK", "0")) == 0  # under torchrun every process trains and the first one speaks
    model = cls(**arguments)
    if weights is not None:
        model.load(weights)
    if first:
        logging.getLogger("emotion_perception").setLevel(logging.INFO)  # progress comes through the log
        kind = "pictures" if cls.settings_class is None else "clips"
        note(f"training {learner} on {len(train)} {kind}, validating on {len(valid)}; logs in {output}")
    outcome = model.fit(train, valid, logging_path=str(output), silent=not first)
    if not first:
        return
    saved = model.save(output / "weights")
    if cls.settings_class is not None:
        arguments["settings"].write(saved / SETTINGS_NAME)
        list_skipped(skipped_lines([train, valid]), output / "skipped.txt")
    _print_row(outcome.get("history", []))
    typer.echo(str(saved))


def _print_row(history: list[dict[str, Any]]) -> None:
    """Prints the numbers of the last epoch."""
    if not history:
        return
    row = history[-1]
    if len(row) <= _MOST_COLUMNS:
        print_table(list(row), [list(row.values())])
    else:
        print_fields(row)


def _arguments(cls: type[Learner], given: dict[str, Any]) -> dict[str, Any]:
    """Returns constructor arguments for the options that were given; one that the learner does not have raises `UsageError`."""
    from emotion_perception.engine.errors import UsageError

    known = settings_of(cls)
    arguments: dict[str, Any] = {}
    for option, value in given.items():
        if value is None:
            continue
        name = next((name for name in _OPTIONS[option] if name in known), None)
        if name is None:
            raise UsageError(f"learner {cls.card.learner!r} has no --{option.replace('_', '-')}; its options are: {', '.join(known)}")
        arguments[name] = value
    return arguments


def _open(
    cls: type[Learner],
    kinds: list[str],
    places: list[Path],
    splits: list[str],
    most: list[str],
    validation: tuple[str | None, Path | None, str | None],
    seed: int,
) -> tuple[EmotionDataset, EmotionDataset]:
    """Opens the training and the validation data; where nothing says what to validate on, a tenth of the training data is held out."""
    from emotion_perception.engine.datasets import ConcatDataset
    from emotion_perception.engine.errors import UsageError

    if not kinds:
        raise UsageError("got no data set; give --dataset KIND and --data PATH, once per data set")
    if len(places) != len(kinds) or not {len(splits), len(most)} <= {0, len(kinds)}:
        counts = f"{len(kinds)} --dataset, {len(places)} --data, {len(splits)} --split and {len(most)} --per-class"
        raise UsageError(f"got {counts}; give --data once per --dataset, --split and --per-class either not at all or once per --dataset")
    labels = cls.card.label_set
    wanted: list[str | None] = [*splits] or [None] * len(kinds)
    # Pictures without a majority among the raters still teach their distribution.
    parts = [open_part(*part, labels, mode="distribution") for part in zip(kinds, places, wanted, strict=True)]
    parts = [_drawn(part, word, seed) for part, word in zip(parts, most or ["all"] * len(parts), strict=True)]
    train = parts[0] if len(parts) == 1 else ConcatDataset(parts)
    kind, place, split = validation
    if not any(validation) and (kinds[0] not in PARTED or kinds[0] in TESTED_ON):
        return hold_out(train, 0.1, seed)
    return train, open_part(kind or kinds[0], place or places[0], split, labels, default="valid")


def _drawn(dataset: EmotionDataset, most: str, seed: int) -> EmotionDataset:
    """Returns at most so many pictures of every class, and those without a single class only if all are wanted."""
    from emotion_perception.engine.errors import UsageError
    from emotion_perception.engine.training.subsets import balanced_subset

    if most == "all":
        return dataset
    if not most.isdecimal() or int(most) < 1:
        raise UsageError(f"--per-class is {most!r}, expected a number from 1, or: all")
    return dataset.subset(balanced_subset(dataset.targets.index, int(most), seed))
