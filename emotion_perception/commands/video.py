"""``emotion-perception video``."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

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
    note,
    open_detector,
    open_learner,
    print_json,
    print_table,
    progress,
    refuse_clips,
)
from emotion_perception.commands._results import CsvOption, JsonlOption, ResultFiles
from emotion_perception.engine.plain import shown

EXAMPLES = (
    "emotion-perception video talk.mp4 --save talk_emotions.mp4 --timings",
    "emotion-perception video talk.mp4 --csv talk.csv --jsonl talk.jsonl",
)


def run(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A video file of any common kind.")],
    save: Annotated[
        Path | None, typer.Option("--save", metavar="FILE", help="Write the annotated video (MP4), at the source's rate.")
    ] = None,
    timings: Annotated[bool, typer.Option("--timings", help="Write into every frame how long it took to find and judge faces.")] = False,
    csv: CsvOption = None,
    jsonl: JsonlOption = None,
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
    """Perceives emotions in every frame of a video, in flat memory, and prints a row per face seen: how long, what, how."""
    from emotion_perception.engine.errors import UsageError
    from emotion_perception.engine.pipeline import Pipeline
    from emotion_perception.engine.vision.ahead import Ahead
    from emotion_perception.engine.vision.drawing import draw, draw_timings
    from emotion_perception.engine.vision.video import VideoWriter, read_video

    refuse_clips(learner)
    if save is not None and save.resolve() == file.resolve():
        raise UsageError(f"--save {str(save)!r} is the video itself; give another name")
    if timings and save is None:
        raise UsageError("--timings writes into the frames that --save keeps; give --save FILE too")
    seen: dict[int | None, FaceSummary] = {}
    frames, spent_ms = 0, dict[str, float]()
    with ExitStack() as stack:
        source = stack.enter_context(read_video(file))
        writer = stack.enter_context(VideoWriter(save, source.rate, source.size)) if save else None
        model = open_learner(learner, weights, device, backend, settings, stream=True)
        found = open_detector(detector, model, search_size)
        pipeline = Pipeline(model, found, max_faces=max_faces, smoothing_s=smoothing, search_interval_s=search_interval)
        sinks = stack.enter_context(ResultFiles(csv, jsonl, model.card.label_set))
        advance = stack.enter_context(progress(file.name, source.frame_count_estimate, "frames"))
        for image in stack.enter_context(Ahead(source)):
            result = pipeline(image)
            sinks.write(result)
            for face in result.faces:
                seen.setdefault(face.track_id, FaceSummary()).add(face, result.stamp_s)
            if writer is not None:
                frame = image.numpy()
                draw(frame, result)
                if timings:
                    draw_timings(frame, result)
                writer.write(frame, image.stamp_s)
            frames += 1
            for stage, ms in result.latency_ms.items():
                spent_ms[stage] = spent_ms.get(stage, 0.0) + ms
            advance(1)
    what = model.card.perceives
    faces = [{what: track, **summary.to_dict()} for track, summary in seen.items()]
    if json:
        mean_ms = {stage: ms / frames for stage, ms in spent_ms.items()}
        print_json({"file": str(file), "learner": learner, "frames": frames, "fps": source.fps, "latency_ms": mean_ms, "faces": faces})
    elif faces:
        print_table(list(faces[0]), [list(face.values()) for face in faces])
    else:
        typer.echo(f"no face found in {frames} frames of {shown(file)}")
    for written in (save, csv, jsonl):
        if written is not None:
            note(f"wrote {written}")


class FaceSummary:
    """What one face showed over time, in a few numbers."""

    def __init__(self) -> None:
        """Starts with nothing seen."""
        self.frames = 0
        self.first_s: float | None = None
        self.last_s: float | None = None
        self.words: dict[str, int] = {}
        self.affect: tuple[float, float] | None = None

    def add(self, face: Any, stamp_s: float | None) -> None:
        """Counts one frame in which the face was judged."""
        self.frames += 1
        self.first_s = stamp_s if self.first_s is None else self.first_s
        self.last_s = stamp_s
        self.words[face.category.description] = self.words.get(face.category.description, 0) + 1
        if face.valence is not None:
            valence, arousal = self.affect or (0.0, 0.0)
            self.affect = valence + face.valence, arousal + face.arousal

    def to_dict(self) -> dict[str, Any]:
        """Returns times, the most frequent emotion with its share of the frames, and the mean affect, None where a model has none."""
        word, count = max(self.words.items(), key=lambda item: item[1])
        numbers = {"from_s": self.first_s, "to_s": self.last_s, "frames": self.frames, "emotion": word, "share": count / self.frames}
        valence, arousal = (None, None) if self.affect is None else (value / self.frames for value in self.affect)
        return numbers | {"valence": valence, "arousal": arousal}
