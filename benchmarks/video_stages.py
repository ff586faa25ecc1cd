"""Measures the whole way of a video on this machine: frames a second, and where the time of a frame goes.

From the project's root::

    python -m benchmarks.video_stages                                # the bundled photo, panned and zoomed
    python -m benchmarks.video_stages talk.mp4 --weights optimised   # a video of yours, with an optimised model

The video is judged at 640x360 and at 1280x720, and one with five faces, made of the bundled photo, at 1280x720. Each is judged in two ways:
with faces searched in every frame and frames decoded in turn, and as the command ``video`` does it, with faces followed between searches
and frames decoded ahead. Encoding is not counted. It prints a table; ``--output FOLDER`` keeps it, with a JSON file beside it. The last two
columns of a run of ``--frames 10000`` show whether time per frame grows.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import emotion_perception.engine
from emotion_perception.commands._common import open_detector, open_learner
from emotion_perception.engine.data import Image
from emotion_perception.engine.evaluation.benchmark.stages import STAGES, video_stages
from emotion_perception.engine.learners import Learner
from emotion_perception.engine.machine import machine
from emotion_perception.engine.pipeline import Pipeline
from emotion_perception.engine.vision.opencv import opencv
from emotion_perception.engine.vision.video import VideoWriter, read_video

_RATE_HZ = 30
_SIZES = ((640, 360), (1280, 720))
_MADE_FRAMES = 300
_COLUMNS = ("video", "faces", "way", "frames/s", *(f"{stage} ms" for stage in STAGES), "searched", "first tenth ms", "last tenth ms")
# Name, seconds between searches, whether frames are decoded ahead.
_WAYS = (("search all, decode in turn", 0.0, False), ("follow, decode ahead", 0.25, True))


def main() -> int:
    """Makes the videos, measures and prints."""
    parser = argparse.ArgumentParser(description="Measures the whole way of a video.")
    parser.add_argument("video", type=Path, nargs="?", help="a video with one face; the bundled photo, panned, if not given")
    parser.add_argument("--learner", default="esr")
    parser.add_argument("--weights", type=Path, help="folder of weights; the learner's default ones if not given")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--set", action="append", metavar="NAME=VALUE", help="any other option of the learner, as confidence=0.99")
    parser.add_argument("--detector", default="auto")
    parser.add_argument("--frames", type=int, default=300, help="frames judged per row; short videos start again")
    parser.add_argument("--only", default="", metavar="WORDS", help="only videos with these words in their name, as 640x360")
    parser.add_argument("--output", type=Path, help="folder for the report")
    options = parser.parse_args()
    learner = open_learner(options.learner, options.weights, backend=options.backend, settings=options.set, stream=True)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        videos = {f"{width}x{height}": _scaled(options.video, folder, (width, height)) for width, height in _SIZES}
        videos["five faces 1280x720"] = _made(folder / "five.mp4", (1280, 720), 5)
        for title, file in ((title, file) for title, file in videos.items() if options.only in title):
            for way, interval_s, ahead in _WAYS:
                detector = open_detector(options.detector, learner, 320)
                pipeline = Pipeline(learner, detector, search_interval_s=interval_s)
                rows.append({"video": title, "way": way} | video_stages(file, pipeline, options.frames, ahead))
    facts = {"learner": learner.name, "backend": learner.backend_name, "settings": options.set or [], "frames": options.frames}
    report = {**facts, "rows": rows, "machine": machine()}
    table = _table(rows)
    print(table)  # noqa: T201  # what the command is for
    if options.output is not None:
        options.output.mkdir(parents=True, exist_ok=True)
        stem = f"{datetime.date.today().isoformat()}-video-stages"
        (options.output / f"{stem}.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        (options.output / f"{stem}.md").write_text(_page(report, learner, table), encoding="utf-8")
    return 0


def _scaled(video: Path | None, folder: Path, size: tuple[int, int]) -> Path:
    """Writes the video, or the panned photo, at a size; returns the file."""
    width, height = size
    file = folder / f"{width}x{height}.mp4"
    if video is None:
        return _made(file, size, 1)
    cv2 = opencv("scaling the video")
    with read_video(video) as source, VideoWriter(file, _RATE_HZ, size) as writer:
        for image in source:
            writer.write(cv2.resize(image.rgb, size, interpolation=cv2.INTER_LINEAR))
    return file


def _made(file: Path, size: tuple[int, int], faces: int) -> Path:
    """Writes a video in which the bundled photo, once per face, pans and zooms beside itself; returns the file."""
    cv2 = opencv("making the video")
    photo = Image.open(Path(emotion_perception.engine.__file__).parent / "assets" / "astronaut.png").rgb[10:210, 125:325]
    width, height = size
    column = width / faces
    with VideoWriter(file, _RATE_HZ, size) as writer:
        for n in range(_MADE_FRAMES):
            frame = np.full((height, width, 3), 90, np.uint8)
            for i in range(faces):
                turn = 2 * math.pi * n / _MADE_FRAMES + i  # whole turns, so that the video can start again without a jump
                zoom = min(column, height) / 200 * (0.9 + 0.1 * math.sin(3 * turn))
                left = column * (i + 0.5) - 100 * zoom + 0.03 * column * math.sin(5 * turn)
                top = height / 2 - 100 * zoom + 0.05 * height * math.cos(4 * turn)
                matrix = np.array([[zoom, 0.0, left], [0.0, zoom, top]])
                cv2.warpAffine(photo, matrix, size, dst=frame, borderMode=cv2.BORDER_TRANSPARENT)
            writer.write(frame)
    return file


def _table(rows: list[dict[str, Any]]) -> str:
    """Returns the rows as a Markdown table."""
    lines = [" | ".join(_COLUMNS), " | ".join("---" for _ in _COLUMNS)]
    for row in rows:
        stages = [row["ms"][stage] for stage in STAGES]
        numbers = [*stages, row["searched"], row["first_tenth_ms"], row["last_tenth_ms"]]
        cells = [row["video"], f"{row['faces']:.1f}", row["way"], f"{row['frames_per_s']:.1f}"]
        lines.append(" | ".join([*cells, *("-" if value is None else f"{value:.2f}" for value in numbers)]))
    return "\n".join(f"| {line} |" for line in lines)


def _page(report: dict[str, Any], learner: Learner, table: str) -> str:
    """Returns the report as a page."""
    facts = ", ".join(f"{name} {value}" for name, value in report["machine"].items())
    return (
        f"# Video by stages: {' '.join([learner.name, *report['settings']])} on {learner.backend_name}\n\n{table}\n\n"
        f"Means over {report['frames']} frames, in milliseconds; `search` and `follow` over the frames in which each was done, `searched` "
        "is the share of the first. With frames decoded ahead, `decode` is the thread's time and `wait` what was waited for it. "
        f"Tenths: median time of a whole frame.\n\nMachine: {facts}.\n"
    )


if __name__ == "__main__":
    sys.exit(main())
