"""``emotion-perception bag``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emotion_perception.commands._common import (
    BackendOption,
    DeviceOption,
    JsonOption,
    LearnerOption,
    MaxFacesOption,
    SearchIntervalOption,
    SearchOption,
    SetOption,
    SmoothingOption,
    StreamDetectorOption,
    WeightsOption,
    choice,
    note,
    open_detector,
    open_learner,
    print_fields,
    print_json,
    progress,
    refuse_clips,
)

EXAMPLES = (
    "emotion-perception bag talk talk_emotions",
    "emotion-perception bag talk.mcap talk_emotions --topic /camera/image_raw --storage sqlite3",
)


def run(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A rosbag2 folder, or its .mcap or .db3 file.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the new bag; it must not exist yet.")],
    topic: Annotated[str | None, typer.Option("--topic", metavar="NAME", help="The pictures' topic, where there are several.")] = None,
    node: Annotated[
        str | None, typer.Option("--node", metavar="NAME", help="Name of the node in the topics; without it, the learner's.")
    ] = None,
    storage: Annotated[str, typer.Option("--storage", metavar="mcap|sqlite3", help="Kind of file in the new bag.")] = "mcap",
    learner: LearnerOption = "esr",
    weights: WeightsOption = None,
    device: DeviceOption = "auto",
    backend: BackendOption = "auto",
    settings: SetOption = None,
    detector: StreamDetectorOption = "auto",
    search_size: SearchOption = 320,
    search_interval: SearchIntervalOption = 0.25,
    smoothing: SmoothingOption = 0.3,
    max_faces: MaxFacesOption = 16,
    json: JsonOption = False,
) -> None:
    """Perceives emotions in the pictures of a ROS 2 bag and writes what the node would publish, with the recording's stamps."""
    from emotion_perception.engine.pipeline import Pipeline
    from emotion_perception.ros2_nodes.bag import STORAGES, RecordedImages, ResultBag, judge_bag

    refuse_clips(learner)
    choice("--storage", storage, STORAGES)
    results = ResultBag(target, f"/{(node or learner).strip('/')}", storage)
    with RecordedImages(source, topic) as images:
        model = open_learner(learner, weights, device, backend, settings, stream=True)
        found = open_detector(detector, model, search_size)
        pipeline = Pipeline(model, found, smoothing_s=smoothing, max_faces=max_faces, search_interval_s=search_interval)
        with results, progress(source.name, images.message_count, "pictures") as advance:
            summary = judge_bag(images, pipeline, results, advance)
    if summary.skipped:
        note(f"emotion-perception: warning: pictures skipped: {summary.skipped}; the first: {summary.reason}")
    values = {"topic": summary.topic, "pictures": summary.frames, "faces": summary.faces, "skipped": summary.skipped}
    if json:
        print_json({"source": str(source), "target": str(target), "learner": learner, **values})
    else:
        print_fields(values)
    note(f"wrote {target}")
