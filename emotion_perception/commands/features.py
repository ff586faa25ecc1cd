"""``emotion-perception features``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from emotion_perception.commands._common import (
    DeviceOption,
    JsonOption,
    StreamDetectorOption,
    choice,
    note,
    print_json,
    print_table,
    progress,
    waiting,
)

EXAMPLES = (
    "emotion-perception features talk.mp4 --subtitles talk.srt --npz talk.npz",
    "emotion-perception features talk.mp4 --subtitles talk.srt --names who.csv --output data --movie tt0000001 --scene scene-001",
    "emotion-perception features talk.mp4 --scene-feat-type generic --face-feat-type generic --srt-feat-pretrained --output data",
)
STREAMS = ("scene", "characters", "dialogue")


def run(
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="A video file of any common kind.")],
    subtitles: Annotated[Path | None, typer.Option("--subtitles", metavar="FILE", help="What is said, as an .srt file.")] = None,
    tracks: Annotated[
        str,
        typer.Option(
            "--tracks",
            metavar="FILE|detected",
            help="Face tracks, a CSV: track,left,top,right,bottom and frame or time_s; or a .pkl of MovieGraphs.",
        ),
    ] = "detected",
    names: Annotated[
        Path | None,
        typer.Option("--names", metavar="FILE", help="Who the tracks are, a CSV: track,name; without it, tracks that look alike are one."),
    ] = None,
    scene_feat_type: Annotated[
        str, typer.Option("--scene-feat-type", metavar="NAME", help="mvit_v1, resnet50_places or generic (ResNet-152).")
    ] = "mvit_v1",
    face_feat_type: Annotated[
        str, typer.Option("--face-feat-type", metavar="NAME", help="resnet50_fer, emo (VGG-M) or generic (Inception-ResNet-V1).")
    ] = "resnet50_fer",
    srt_feat_pretrained: Annotated[
        bool, typer.Option("--srt-feat-pretrained", help="RoBERTa as published, not fine-tuned on MovieGraphs.")
    ] = False,
    num_labels: Annotated[int, typer.Option("--labels", metavar="10|25|26", help="Labels that RoBERTa was fine-tuned for.")] = 10,
    streams: Annotated[
        str, typer.Option("--streams", metavar="NAMES", help="What to extract, with commas: scene,characters,dialogue.")
    ] = ",".join(STREAMS),
    same_person: Annotated[
        float, typer.Option("--same-person", metavar="X", min=0.0, max=1.99, help="Cosine distance up to which tracks are one person.")
    ] = 0.4,
    backbones: Annotated[
        Path | None, typer.Option("--backbones", metavar="DIR", help="Folder of the backbones' weights; without it, the cache.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", metavar="DIR", help="Write into MovieGraphs' folders below DIR.")] = None,
    movie: Annotated[str, typer.Option("--movie", metavar="NAME", help="The movie's folder in DIR, e.g. its IMDb number.")] = "clips",
    scene: Annotated[str | None, typer.Option("--scene", metavar="NAME", help="The scene's name; without it, the video's.")] = None,
    npz: Annotated[Path | None, typer.Option("--npz", metavar="FILE", help="Write one file of plain arrays with all of it.")] = None,
    detector: StreamDetectorOption = "auto",
    search_size: Annotated[
        int, typer.Option("--search-size", metavar="PX", min=64, help="Longer side of the copy searched for faces.")
    ] = 640,
    device: DeviceOption = "auto",
    json: JsonOption = False,
) -> None:
    """Extracts what EmoTx sees of a clip: features of its scenes, of its characters' faces and of its subtitles, with their times."""
    from emotion_perception.engine.errors import UsageError
    from emotion_perception.engine.vision.faces import create_detector
    from emotion_perception.engine.vision.video import read_video
    from emotion_perception.learners.emotx.features.extraction import record
    from emotion_perception.learners.emotx.features.extractors import Extractors
    from emotion_perception.learners.emotx.features.files import write_clip, write_scene

    if output is None and npz is None:
        raise UsageError("nothing says where the features go; give --output DIR (MovieGraphs' folders), --npz FILE, or both")
    wanted = [choice("--streams", name.strip(), STREAMS) for name in streams.split(",") if name.strip()]
    extractors = Extractors(
        scene_feat_type,
        face_feat_type,
        srt_feat_pretrained=srt_feat_pretrained,
        num_labels=num_labels,
        backbones=backbones,
        device=device,
        streams=wanted,
    )
    with read_video(video) as reader:
        frames = reader.frame_count_estimate
    with waiting("loading the backbones"):
        # A missing file is said at once, and not after the first minutes.
        for name, part in (("scene", "scene"), ("characters", "face"), *([("dialogue", "text")] if subtitles else [])):
            if name in wanted:
                getattr(extractors, part)
    faces = create_detector(detector, max_side=search_size) if "characters" in wanted and tracks == "detected" else None
    given = None if tracks == "detected" else tracks
    with progress(video.name, frames, "frames") as advance:
        dense = output is not None
        recording = record(extractors, video, subtitles, given, detector=faces, dense=dense, progress=advance)
    characters = recording.characters(names, same_person)
    written = []
    if output is not None:
        written += write_scene(output, movie, scene or video.stem, recording, characters, extractors, subtitles)
    clip = recording.clip(characters)
    if npz is not None:
        written.append(write_clip(npz, clip))
    rows = [("scene", clip.scene), *clip.characters.items(), ("dialogue", clip.dialogue)]
    table: list[dict[str, Any]] = []
    for name, stream in rows:
        if stream is not None:
            times = stream.times_s.tolist() or [None]
            who = characters.get(name, [])
            table.append({"stream": name, "features": len(stream), "from_s": times[0], "to_s": times[-1], "tracks": who})
    if json:
        print_json({"file": str(video), "frames": recording.frames, "streams": table, "written": written})
        return
    print_table(
        ("stream", "features", "from_s", "to_s", "tracks"),
        [(*list(row.values())[:-1], " ".join(map(str, row["tracks"])) or None) for row in table],
    )
    for file in written:
        note(f"wrote {file}")
