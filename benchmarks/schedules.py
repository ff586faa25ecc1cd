"""Compares the two schedules of ESR: the accuracy they reach by the compute they use, both by the same ``fit``.

Compute is counted as pictures seen times branches trained (the column ``compute`` of a run's history). From the project's root::

    python -m benchmarks.schedules --data FERPlus

writes ``<date>-schedules.md``, ``.json`` and ``.png`` beside this file. A run that was interrupted goes on where it stopped; one that is
finished is only loaded, so that the other schedule can be tried with other numbers (``--joint-lr``, ``--joint-optimizer``, ``--name``).
"""

from __future__ import annotations

import argparse
import datetime
import json
import logging
import time
from pathlib import Path
from typing import Any

import numpy as np

from emotion_perception import FacialEmotionLearner
from emotion_perception.engine.datasets import EmotionDataset, FERPlus
from emotion_perception.engine.machine import machine
from emotion_perception.engine.storage import atomic_write

logger = logging.getLogger(__name__)


def main() -> None:
    """Trains with both schedules and writes the report."""
    options = _options()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    train = _some(FERPlus(options.data, "train"), options.pictures, options.seed)
    valid = _some(FERPlus(options.data, "valid"), options.validation, options.seed)
    # Branch k trains itself and the k - 1 before it.
    epochs_by_branch = [options.epochs] + [options.later_epochs] * (options.branches - 1)
    published_passes = sum(epochs * branch for branch, epochs in enumerate(epochs_by_branch, 1))
    joint_epochs = max(1, int(published_passes / 3 / (options.branches * options.share)))
    published = {"schedule": "published", "max_training_epoch": options.epochs, "later_epochs": options.later_epochs}
    joint = {"schedule": "joint", "max_training_epoch": joint_epochs, "branch_share": options.share}
    joint |= {"optimizer": options.joint_optimizer, "lr": options.joint_lr}
    runs = {str(how["schedule"]): _train(options, train, valid, how) for how in ({"lr": options.lr, **published}, joint)}
    result = {"date": datetime.date.today().isoformat(), "machine": machine(), "data": _data(train, valid), "options": _shown(options)}
    result |= {"runs": runs, "outcome": _outcome(runs)}
    target = options.output / f"{result['date']}-{options.name}"
    with atomic_write(target.with_suffix(".json")) as file:
        file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    _draw(result, target.with_suffix(".png"))
    with atomic_write(target.with_suffix(".md")) as file:
        file.write_text(_page(result, target.name), encoding="utf-8")
    logger.info("wrote %s.md, .json and .png", target)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compares ESR's training schedules: accuracy by compute.")
    parser.add_argument("--data", type=Path, required=True, help="folder of FER+, with its training and its validation part")
    parser.add_argument("--pictures", type=int, default=2000, help="training pictures, drawn at random")
    parser.add_argument("--validation", type=int, default=600, help="validation pictures, drawn at random")
    parser.add_argument("--branches", type=int, default=3)
    parser.add_argument("--size", type=int, default=54, help="side of the pictures in pixels")
    parser.add_argument("--epochs", type=int, default=5, help="published: epochs of the first branch")
    parser.add_argument("--later-epochs", type=int, default=2, help="published: epochs of every later branch")
    parser.add_argument("--share", type=float, default=1 / 3, help="joint: share of every batch that each branch learns from")
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--joint-lr", type=float, help="joint: learning rate; the learner's own if not given")
    parser.add_argument("--joint-optimizer", choices=("sgd", "adamw"), default="adamw")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--augment", action="store_true", help="change training pictures at random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, default=Path("runs/schedules"), help="folder of checkpoints and logs")
    parser.add_argument("--name", default="schedules", help="name of the report, after the date")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="folder of the report")
    return parser.parse_args()


def _some(dataset: EmotionDataset, count: int, seed: int) -> EmotionDataset:
    return dataset.subset(np.sort(np.random.default_rng(seed).permutation(len(dataset))[:count]))


def _train(options: argparse.Namespace, train: EmotionDataset, valid: EmotionDataset, how: dict[str, Any]) -> dict[str, Any]:
    """Trains once; returns the history and what the weights that `fit` leaves reach on the validation pictures."""
    learner = FacialEmotionLearner(
        batch_size=options.batch_size,
        ensemble_size=options.branches,
        input_size=options.size,
        augment=options.augment,
        seed=options.seed,
        dimensional_finetune=False,
        images_per_class=options.pictures,
        **how,
    )
    started = time.monotonic()
    folder = options.runs / f"{how['schedule']}-{learner.optimizer}-{learner.lr:g}"
    history = learner.fit(train, valid, logging_path=str(folder), silent=False)["history"]
    clock = folder / "seconds"  # over all calls that this run needed
    seconds = time.monotonic() - started + (float(clock.read_text()) if clock.is_file() else 0.0)
    clock.write_text(str(seconds))
    outcome = {"seconds": seconds, "compute": history[-1]["compute"], "accuracy": learner.eval(valid)["accuracy"]}
    return {"how": how, **outcome, "history": history}


def _outcome(runs: dict[str, Any]) -> dict[str, Any]:
    """Says at which compute the joint schedule reaches what the published one ends with."""
    goal, whole = runs["published"]["accuracy"], runs["published"]["compute"]
    reached = next((row["compute"] for row in runs["joint"]["history"] if row["val_accuracy"] >= goal), None)
    share = None if reached is None else reached / whole
    return {"goal_accuracy": goal, "published_compute": whole, "joint_compute": reached, "share": share}


def _data(train: EmotionDataset, valid: EmotionDataset) -> dict[str, Any]:
    most = max(valid.counts().values()) / len(valid)
    counts = {"training": len(train), "validation": len(valid), "training_counts": train.counts()}
    return {"name": "FER+, majority labels", **counts, "validation_share_of_largest_class": most}


def _shown(options: argparse.Namespace) -> dict[str, Any]:
    return {name: value for name, value in vars(options).items() if not isinstance(value, Path)}


def _draw(result: dict[str, Any], target: Path) -> None:
    """Draws validation accuracy by compute."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 4.2), layout="constrained")
    axes = figure.subplots()
    for name, run in result["runs"].items():
        rows = [row for row in run["history"] if "val_accuracy" in row]
        axes.plot([row["compute"] for row in rows], [row["val_accuracy"] for row in rows], marker="o", label=name)
    axes.axhline(result["outcome"]["goal_accuracy"], color="grey", linestyle="--", label="where published ends")
    axes.axvline(result["outcome"]["published_compute"] / 3, color="grey", linestyle=":", label="a third of its compute")
    axes.set_xlabel("compute: pictures seen x branches trained")
    axes.set_ylabel("validation accuracy of the ensemble")
    axes.grid(alpha=0.3)
    axes.legend()
    with atomic_write(target) as file:
        FigureCanvasAgg(figure).print_png(str(file))


def _page(result: dict[str, Any], name: str) -> str:
    """Writes the report as markdown."""
    outcome, data, machine, options = (result[key] for key in ("outcome", "data", "machine", "options"))
    if outcome["share"] is None:
        best = max(row["val_accuracy"] for row in result["runs"]["joint"]["history"])
        verdict = f"**joint did not reach it**: its best was {best:.3f}, with at most a third of the compute"
    else:
        verdict = f"**joint reached it with {outcome['joint_compute']:,.0f}, {outcome['share']:.2f} of that**"
    lines = [
        f"# ESR's schedules: accuracy by compute ({result['date']})",
        "",
        f"published ended with accuracy {outcome['goal_accuracy']:.3f} after a compute of {outcome['published_compute']:,.0f} "
        f"(pictures seen x branches trained); {verdict}.",
        "",
        f"![accuracy by compute]({name}.png)",
        "",
        f"Data: {data['name']}, {data['training']:,} training and {data['validation']:,} validation pictures, drawn at random. "
        "One seed, so differences of two points between single rows mean little. "
        f"The largest class has {data['validation_share_of_largest_class']:.3f} of the validation pictures.",
        "",
        "Options: " + ", ".join(f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}" for key, value in options.items()),
        "",
        "Machine: " + ", ".join(f"{key} {value}" for key, value in machine.items()),
        "",
        "| schedule | stage | epoch | compute | loss | accuracy, validation |",
        "|---|---|---|---|---|---|",
    ]
    for schedule, run in result["runs"].items():
        for row in run["history"]:
            accuracy = f"{row['val_accuracy']:.3f}" if "val_accuracy" in row else ""
            lines.append(f"| {schedule} | {row['stage']} | {row['epoch']} | {row['compute']:,.0f} | {row['loss']:.3f} | {accuracy} |")
    lines += ["", "| schedule | accuracy of the weights that `fit` leaves | compute | minutes |", "|---|---|---|---|"]
    for schedule, run in result["runs"].items():
        lines.append(f"| {schedule} | {run['accuracy']:.3f} | {run['compute']:,.0f} | {run['seconds'] / 60:.1f} |")
    lines += ["", f"Every number is in `{name}.json`.", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
