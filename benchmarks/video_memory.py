"""Watches the memory of the command ``video`` over a long video: it must not grow with the number of frames.

From the project's root::

    python -m benchmarks.video_memory --frames 3000

makes a video of the bundled photo (the camera pans and zooms, so boxes, crops and drawing change all the time), runs ``emotion-perception
video`` on it with every output, prints the resident memory after 300 frames and at the end as JSON, and exits with 1 if they differ by more
than ``--most-mb``. Linux only: it reads ``/proc``.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import emotion_perception.engine
from emotion_perception.engine.data import Image
from emotion_perception.engine.vision.video import VideoWriter

_FIRST = 300
_SIZE = (640, 360)


def main() -> int:
    """Makes the video, watches the command and prints what it saw."""
    parser = argparse.ArgumentParser(description="Watches the memory of the command video over a long video.")
    parser.add_argument("--frames", type=int, default=3000)
    parser.add_argument("--most-mb", type=float, default=20.0, help="largest growth after the first 300 frames that is accepted")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _make_video(folder / "pan.mp4", options.frames)
        rss_mb = _watch(folder / "pan.mp4", folder)
    seen = sorted(rss_mb)
    first = next(n for n in seen if n >= _FIRST)
    growth = rss_mb[seen[-1]] - rss_mb[first]
    print(  # noqa: T201  # what the command is for
        json.dumps({"frames": seen[-1], "rss_mb": {str(n): round(rss_mb[n], 1) for n in (first, seen[-1])}, "growth_mb": round(growth, 1)})
    )
    return 0 if growth <= options.most_mb else 1


def _make_video(file: Path, frames: int) -> None:
    import cv2

    photo = Image.open(Path(emotion_perception.engine.__file__).parent / "assets" / "astronaut.png").rgb
    width, height = _SIZE
    with VideoWriter(file, 30, _SIZE) as writer:
        for n in range(frames):
            zoom = 1.0 + 0.3 * math.sin(n / 50)
            shift = width / 2 - 226 * zoom + 60 * math.sin(n / 31), 40 + 30 * math.cos(n / 23) - 60 * (zoom - 1)
            matrix = np.array([[zoom, 0.0, shift[0]], [0.0, zoom, shift[1]]])
            writer.write(cv2.warpAffine(photo, matrix, (width, height)).astype(np.uint8))


def _watch(video: Path, folder: Path) -> dict[int, float]:
    """Runs the command and returns resident memory in MB by the number of frames it had written results of."""
    outputs = folder / "out"
    outputs.mkdir()
    words = ["video", str(video), "--save", str(outputs / "a.mp4"), "--csv", str(outputs / "a.csv"), "--jsonl", str(outputs / "a.jsonl")]
    process = subprocess.Popen([sys.executable, "-m", "emotion_perception", *words], stdout=subprocess.DEVNULL)
    rss_mb: dict[int, float] = {}
    while process.poll() is None:
        # The command puts its files in place at its end; until then their names differ.
        written = [file.read_bytes().count(b"\n") for file in outputs.glob("*jsonl*")]
        status = Path(f"/proc/{process.pid}/status").read_text()
        if written and "VmRSS" in status:
            rss_mb[written[0]] = int(status.partition("VmRSS:")[2].split()[0]) / 1024
        time.sleep(0.2)
    if process.returncode:
        raise SystemExit(f"emotion-perception video failed with status {process.returncode}")
    return rss_mb


if __name__ == "__main__":
    sys.exit(main())
