"""Measures how much a face learner depends on how its faces are cut out: the same pictures, cropped tighter and wider.

From the project's root::

    python -m benchmarks.crop_scales --dataset muxspace --data muxspace.zip

prints, for every crop scale (in units of the face's box), the accuracy and the balanced accuracy over the classes that have enough
pictures to say something, and the spread of the latter over the scales, as JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from emotion_perception.engine.datasets import open_dataset
from emotion_perception.engine.registry import create_learner


def main() -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description="Measures how much a face learner depends on the crop.")
    parser.add_argument("--learner", default="esr")
    parser.add_argument("--weights", type=Path, help="folder of weights; the learner's default ones if not given")
    parser.add_argument("--dataset", default="muxspace")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="valid")
    parser.add_argument("--scales", type=float, nargs="+", default=[0.9, 1.0, 1.1, 1.2, 1.3])
    parser.add_argument("--least", type=int, default=40, help="pictures that a class needs to count")
    options = parser.parse_args()

    learner = create_learner(options.learner, batch_size=64)
    learner.load(options.weights)
    card = learner.card
    pictures = open_dataset(options.dataset, options.split, options.data, labels=card.label_set)
    judged = [word for word, count in pictures.counts().items() if count >= options.least]
    rows = {}
    for scale in options.scales:
        learner.card = card.with_(crop=replace(card.crop, scale=scale))
        scores = learner.eval(pictures)
        recall = float(np.mean([scores["per_class_recall"][word] for word in judged]))
        rows[f"{scale:g}"] = {"accuracy": round(scores["accuracy"], 4), "balanced_accuracy": round(recall, 4)}
    balanced = [row["balanced_accuracy"] for row in rows.values()]
    result = {"data": repr(pictures), "classes": judged, "scales": rows, "spread": round(max(balanced) - min(balanced), 4)}
    json.dump(result, sys.stdout, indent=1)
    print()  # noqa: T201  # what the command is for
    return 0


if __name__ == "__main__":
    sys.exit(main())
