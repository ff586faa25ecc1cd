"""``emotion-perception explain``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emotion_perception.commands._common import (
    DETECTORS,
    DIGITS,
    DetectorOption,
    DeviceOption,
    JsonOption,
    LearnerOption,
    WeightsOption,
    choice,
    fail,
    note,
    open_detector,
    open_learner,
    print_json,
    print_table,
    refuse_clips,
    waiting,
)
from emotion_perception.engine.data import Image
from emotion_perception.engine.plain import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from emotion_perception.engine.evaluation.explanation import Explanation
    from emotion_perception.engine.learners import Learner

EXAMPLES = (
    "emotion-perception explain photo.jpg",
    "emotion-perception explain photo.jpg --class Happy --class Sad --output why --json",
    "emotion-perception explain crop.png --detector none",
)


def run(
    picture: Annotated[Path, typer.Argument(metavar="PICTURE", help="The picture.")],
    learner: LearnerOption = "esr",
    classes: Annotated[
        list[str] | None, typer.Option("--class", metavar="WORD", help="Class to explain, once per class; else the three most probable.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "--out", metavar="DIR", help="Folder for a picture and JSON per face.")] = Path(
        "explained"
    ),
    weights: WeightsOption = None,
    device: DeviceOption = "auto",
    detector: DetectorOption = "auto",
    json: JsonOption = False,
) -> None:
    """Shows where in each face a learner sees a class (Grad-CAM), branch by branch for an ensemble, and which branches disagree."""
    from emotion_perception.engine.evaluation.explanation import explain, plot
    from emotion_perception.engine.evaluation.report import write_json
    from emotion_perception.engine.registry import learner_class

    refuse_clips(learner)
    choice("--detector", detector, (*DETECTORS, "none"))
    wanted = [learner_class(learner).card.label_set.index(word) for word in classes or ()]
    image = Image.open(picture)
    model = open_learner(learner, weights, device, "torch")
    found: list[dict[str, Any]] = []
    rows: list[list[Any]] = []
    for number, (box, crop) in enumerate(_inputs(model, image, detector), 1):
        with waiting("explaining"):
            why = explain(model, crop)
        stem = f"{picture.stem}_{number}"
        entry = {"file": str(picture), "face": number, "box_xyxy": box} | why.to_dict(wanted or None)
        drawn = plot(why, output / f"{stem}.png", wanted, f"{shown(picture.name)}, {number}: {why.category}")
        written = write_json(entry, output / f"{stem}.json", DIGITS)
        found.append(entry)
        rows.append([number, why.category.description, why.category.confidence, _dissent(why)])
        note(f"wrote {drawn} and {written}")
    if not found:
        raise fail(f"there is no face in {str(picture)!r}; give a face crop with --detector none, or another picture")
    if json:
        print_json(found)
    else:
        print_table((model.card.perceives, "emotion", "confidence", "branches that disagree"), rows)


def _inputs(model: Learner, image: Image, detector: str) -> Iterator[tuple[list[float] | None, NDArray[np.uint8]]]:
    """Yields what the network is shown: every face as the card cuts it, left to right, or the whole picture; and where it is."""
    from emotion_perception.engine.vision.crops import face_crop

    find = None if detector == "none" else open_detector(detector, model)
    if find is None or model.card.crop is None:
        yield None, image.rgb
        return
    size = model.card.input.height, model.card.input.width
    for face in sorted(find(image), key=lambda face: face.box.left):
        yield face.box.xyxy.tolist(), face_crop(image, face.box, model.card.crop, size)


def _dissent(why: Explanation) -> str:
    """Names the branches that disagree and what they say."""
    branches = len(why.branch_probabilities)
    if branches == 1:
        return "-"
    judged = why.branch_probabilities.argmax(axis=1)
    words = [f"{branch + 1} {why.labels.words[int(judged[branch])]}" for branch in why.dissenting]
    return f"{len(words)} of {branches}" + (f": {', '.join(words)}" if words else "")
