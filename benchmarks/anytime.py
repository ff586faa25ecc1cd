"""Measures the anytime ensemble of ESR: branches left out, accuracy and agreement kept, and time, by confidence.

From the project's root::

    python -m benchmarks.anytime --data FERPlus                             # torch, and ONNX Runtime in fp32
    python -m benchmarks.anytime --data FERPlus --optimized int8_weights    # and what was optimised and saved before

Every row judges the faces of FER+'s validation part; agreement is with the same back end and all branches. Times are those of real faces,
which leave the ensemble early or late, alone and in batches of eight, with everything that `infer` does after cropping; back ends and
confidences take turns, and a row's time per face is the mean over batches of the fastest of some rounds. It writes
``<date>-anytime.md``, ``.json`` and ``.png`` beside this file.
"""

from __future__ import annotations

import argparse
import datetime
import json
import logging
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from emotion_perception import FacialEmotionLearner
from emotion_perception.engine.datasets import EmotionDataset, FERPlus
from emotion_perception.engine.evaluation import outputs_over
from emotion_perception.engine.machine import machine
from emotion_perception.engine.storage import atomic_write
from emotion_perception.engine.target import Emotions, FloatArray
from emotion_perception.engine.vision.crops import network_input

logger = logging.getLogger(__name__)

_BATCHES = (1, 8)


def main() -> None:
    """Measures and writes the report."""
    options = _options()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    faces = FERPlus(options.data, "valid")
    if options.faces:
        faces = faces.subset(np.sort(np.random.default_rng(0).permutation(len(faces))[: options.faces]))
    settings = [None, *options.confidence]
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        learners = _learners(options, Path(scratch))
        for learner in learners:
            logger.info("judging %d faces with %s", len(faces), learner.backend_name)
            rows += _judged(learner, faces, settings)
        logger.info("measuring times")
        for row, times in zip(rows, _times(learners, settings, _inputs(learners[0], faces, options.timed), options.rounds), strict=True):
            row.update(times)
    result = {"date": datetime.date.today().isoformat(), "machine": machine(), "faces": len(faces), "timed": options.timed, "rows": rows}
    target = options.output / f"{result['date']}-anytime"
    with atomic_write(target.with_suffix(".json")) as file:
        file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    _draw(rows, target.with_suffix(".png"))
    page = _page(result, target.name)
    with atomic_write(target.with_suffix(".md")) as file:
        file.write_text(page, encoding="utf-8")
    logger.info("wrote %s.md, .json and .png\n%s", target, page)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measures the anytime ensemble of ESR.")
    parser.add_argument("--data", type=Path, required=True, help="folder of FER+, with its validation part")
    parser.add_argument("--weights", type=Path, help="folder of weights; the default ones if not given")
    parser.add_argument("--optimized", type=Path, nargs="*", default=[], help="folders with a model that was optimised and saved")
    parser.add_argument("--confidence", type=float, nargs="*", default=[1.0, 0.99, 0.95, 0.9])
    parser.add_argument("--faces", type=int, default=0, help="faces judged, drawn at random; 0: all")
    parser.add_argument("--timed", type=int, default=64, help="of these, faces that are timed")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="folder of the report")
    return parser.parse_args()


def _learners(options: argparse.Namespace, scratch: Path) -> list[FacialEmotionLearner]:
    """Loads the weights in torch, exported in fp32, and the folders that were optimised."""
    learners = []
    for folder in (options.weights, options.weights, *options.optimized):
        exported = folder in options.optimized
        learner = FacialEmotionLearner(device="cpu", temp_path=scratch, backend="auto" if exported else "torch")
        learner.load(folder)
        if len(learners) == 1:
            learner.optimize()
        learners.append(learner)
    return learners


def _judged(learner: FacialEmotionLearner, faces: EmotionDataset, settings: Sequence[float | None]) -> list[dict[str, Any]]:
    """Judges all faces at every confidence, the first of which is None, and compares with that."""
    rows = []
    whole: Emotions | None = None
    for confidence in settings:
        learner.confidence = confidence
        emotions = learner.emotions(outputs_over(learner, faces))
        whole = whole or emotions
        branches = int(learner.card.architecture["ensemble_size"])
        used = float(emotions.extras["votes"].sum(axis=1).mean())
        row = {"backend": learner.backend_name, "confidence": confidence, "branches": used, "left_out": 1.0 - used / branches}
        row["accuracy"] = float((emotions.index == faces.targets.index).mean())
        row["agreement"] = float((emotions.index == whole.index).mean())
        row["affect_change"] = None if emotions.affect is None else float(np.abs(emotions.affect - whole.affect).mean())
        rows.append(row)
    return rows


def _inputs(learner: FacialEmotionLearner, faces: EmotionDataset, count: int) -> FloatArray:
    """Returns some faces as the network takes them."""
    numbers = np.random.default_rng(1).permutation(len(faces))[:count]
    return network_input([faces.picture(int(i)) for i in numbers], learner.card.input)


def _times(
    learners: Sequence[FacialEmotionLearner], settings: Sequence[float | None], x: FloatArray, rounds: int
) -> list[dict[str, float]]:
    """Returns milliseconds per face of every learner at every confidence, in the order of the rows."""
    runs = [(learner, confidence) for learner in learners for confidence in settings]
    rows: list[dict[str, float]] = [{} for _ in runs]
    for name, size in zip(("ms_alone", "ms_of_eight"), _BATCHES, strict=True):
        batches = [x[i : i + size] for i in range(0, len(x), size)]
        seconds = np.empty((rounds + 1, len(batches), len(runs)))
        for turn, batch, run in np.ndindex(seconds.shape):
            learner, confidence = runs[run]
            learner.confidence = confidence
            start = time.perf_counter()
            learner.emotions(learner.outputs(batches[batch]))
            seconds[turn, batch, run] = time.perf_counter() - start
        fastest = seconds[1:].min(axis=0)  # the first round warms up
        for row, mean in zip(rows, fastest.sum(axis=0) / len(x), strict=True):
            row[name] = float(mean * 1e3)
    return rows


def _draw(rows: list[dict[str, Any]], target: Path) -> None:
    """Draws time by the branches evaluated, a line per back end."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 4.2), layout="constrained")
    axes = figure.subplots()
    for backend in dict.fromkeys(row["backend"] for row in rows):
        points = [row for row in rows if row["backend"] == backend]
        axes.plot([row["branches"] for row in points], [row["ms_alone"] for row in points], marker="o", label=backend)
        for row in points:
            place = row["branches"], row["ms_alone"]
            axes.annotate(_setting(row), place, fontsize=7, rotation=45, xytext=(0, 5), textcoords="offset points")
    axes.set_xlabel("branches evaluated, mean")
    axes.set_xlim(right=axes.get_xlim()[1] + 0.5)  # room for the words at the last points
    axes.set_ylabel("milliseconds for one face")
    axes.grid(alpha=0.3)
    axes.legend()
    with atomic_write(target) as file:
        FigureCanvasAgg(figure).print_png(str(file))


def _setting(row: dict[str, Any]) -> str:
    return "all branches" if row["confidence"] is None else f"{row['confidence']:g}"


def _page(result: dict[str, Any], name: str) -> str:
    """Writes the report as markdown."""
    lines = [
        f"# The anytime ensemble of ESR ({result['date']})",
        "",
        f"{result['faces']:,} faces of FER+'s validation part; times on {result['timed']} of them. "
        "Affect: mean absolute change of valence and arousal.",
        "",
        "| back end | confidence | branches | left out | accuracy | agreement | affect | ms, alone | ms per face, of eight |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        affect = "" if row["affect_change"] is None else f"{row['affect_change']:.3f}"
        shares = f"{row['branches']:.2f} | {row['left_out']:.1%} | {row['accuracy']:.2%} | {row['agreement']:.2%} | {affect}"
        lines.append(f"| {row['backend']} | {_setting(row)} | {shares} | {row['ms_alone']:.2f} | {row['ms_of_eight']:.2f} |")
    facts = ", ".join(f"{key} {value}" for key, value in result["machine"].items())
    lines += ["", f"![time by branches]({name}.png)", "", f"Machine: {facts}. Every number is in `{name}.json`.", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
