"""``emotion-perception timeline``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emotion_perception.commands._common import (
    BackendOption,
    DeviceOption,
    JsonOption,
    WeightsOption,
    note,
    open_learner,
    print_json,
    print_table,
    progress,
    waiting,
)

if TYPE_CHECKING:
    from emotion_perception.learners.emotx.clips import ClipFeatures
    from emotion_perception.learners.emotx.learner import EmoTxLearner
    from emotion_perception.learners.emotx.timeline.timeline import Timeline

EXAMPLES = (
    "emotion-perception timeline --data moviegraphs --scene tt0000001/001 --weights run/best/gm --output out",
    "emotion-perception timeline talk.mp4 --subtitles talk.srt --weights run/best/gm --backbones backbones",
    "emotion-perception timeline talk.npz --weights run/best/gm --window 5 --json",
)
_IN_TABLE = 3  # emotions


def run(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="A video, or features of one (.npz, see: emotion-perception features).")
    ] = None,
    data: Annotated[Path | None, typer.Option("--data", metavar="DIR", help="Folder of MovieGraphs, instead of a file.")] = None,
    scene: Annotated[str | None, typer.Option("--scene", metavar="MOVIE/SCENE", help="Which of its scenes.")] = None,
    weights: WeightsOption = None,
    output: Annotated[Path, typer.Option("--output", metavar="DIR", help="Folder for the pictures and a JSON file.")] = Path("out"),
    window: Annotated[
        float | None,
        typer.Option("--window", metavar="SECONDS", help="Length of the sliding window; a third of the clip, at most 10, if not given."),
    ] = None,
    step: Annotated[
        float | None,
        typer.Option("--step", metavar="SECONDS", help="Time from window to window; a sixth of the window, at most 1, if not given."),
    ] = None,
    emotions: Annotated[int, typer.Option("--emotions", metavar="N", min=1, max=7, help="Most emotions in a picture.")] = 5,
    subtitles: Annotated[Path | None, typer.Option("--subtitles", metavar="FILE", help="What is said in a video, as .srt.")] = None,
    tracks: Annotated[Path | None, typer.Option("--tracks", metavar="FILE", help="Face tracks of a video; else they are found.")] = None,
    names: Annotated[Path | None, typer.Option("--names", metavar="FILE", help="Who the tracks of a video are.")] = None,
    backbones: Annotated[
        Path | None,
        typer.Option("--backbones", metavar="DIR", help="Folder of the backbones' weights, for a video; without it, the cache."),
    ] = None,
    device: DeviceOption = "auto",
    backend: BackendOption = "auto",
    json: JsonOption = False,
) -> None:
    """Draws what EmoTx says of a clip over time, for the scene and each character, with the dialogue; and what each emotion attends to."""
    from emotion_perception.engine.errors import UsageError
    from emotion_perception.learners.emotx.timeline.plots import write_timeline
    from emotion_perception.learners.emotx.timeline.timeline import watch_clip

    if (file is None) == (data is None):
        raise UsageError("give either a FILE (a video, or features as .npz) or --data DIR with --scene MOVIE/SCENE")
    learner: EmoTxLearner = open_learner("emotx", weights, device, backend)  # type: ignore[assignment]  # registered under that name
    if file is None:
        assert data is not None
        clip = _scene(learner, data, scene)
    elif file.suffix == ".npz":
        from emotion_perception.learners.emotx.features.files import read_clip

        clip = read_clip(file)
    else:
        clip = _video(learner, file, subtitles, tracks, names, backbones)
    with waiting("judging and drawing"):
        timeline = watch_clip(learner, clip, window, step)
        files = write_timeline(timeline, output, emotions)
    if json:
        print_json(timeline.to_dict() | {"files": files})
        return
    print_table(("who", "likeliest over the whole clip", "most at (s)"), _rows(timeline))
    for written in files:
        note(f"wrote {written}")


def _scene(learner: EmoTxLearner, data: Path, scene: str | None) -> ClipFeatures:
    """Returns a scene of MovieGraphs, whatever part it belongs to, with the features that the weights were trained on."""
    from emotion_perception.engine.errors import DatasetError, UsageError, unknown_name

    if scene is None:
        raise UsageError("--data is a folder of many scenes; give one with --scene MOVIE/SCENE")
    settings = learner.settings.with_(data_path=str(data))
    known: list[str] = []
    problems: list[DatasetError] = []
    for split in ("train", "val", "test"):
        try:
            dataset = settings.open(split)
        except DatasetError as error:  # a part may be missing, as long as another has the scene
            problems.append(error)
            continue
        own = [dataset.name(index) for index in range(len(dataset))]
        if scene in own:
            return dataset.clip(own.index(scene))
        known += own
    if not known:
        raise problems[0]
    raise unknown_name("scene", scene, known)


def _video(
    learner: EmoTxLearner, file: Path, subtitles: Path | None, tracks: Path | None, names: Path | None, backbones: Path | None
) -> ClipFeatures:
    """Extracts the features that the weights were trained on."""
    from emotion_perception.engine.vision.video import read_video
    from emotion_perception.learners.emotx.watching import extractors_of

    with read_video(file) as reader:
        frames = reader.frame_count_estimate
    extractors = extractors_of(learner, backbones=backbones)
    with progress(file.name, frames, "frames") as advance:
        return extractors.clip_features(file, subtitles, tracks, names, progress=advance)


def _rows(timeline: Timeline) -> list[list[Any]]:
    import numpy as np

    rows = []
    for who, values in timeline.whole.items():
        top = timeline.top(who, _IN_TABLE)
        curve = timeline.curves[who][:, top[0]]
        peak = float(timeline.times_s[int(np.nanargmax(curve))]) if np.isfinite(curve).any() else None
        rows.append([who, ", ".join(f"{timeline.labels.words[k]} {values[k]:.2f}" for k in top), peak])
    return rows
