"""Where the time of a frame goes, from the file to the drawing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from emotion_perception.engine.data import Image

if TYPE_CHECKING:
    from emotion_perception.engine.pipeline import Pipeline

STAGES = ("decode", "wait", "search", "follow", "infer", "smooth", "draw")
_RATE_HZ = 30
_WARM_UP_FRAMES = 20


def video_stages(file: str | Path, pipeline: Pipeline, frames: int = 300, ahead: bool = True) -> dict[str, Any]:
    """Judges and draws the frames of a video, as the command ``video`` does, after some to warm up; encoding is not counted.

    Args:
        file: The video; a short one starts again.
        pipeline: Fresh, with a learner for faces or scenes.
        frames: How many frames to time.
        ahead: Whether a thread decodes the frames ahead.

    Returns:
        ``faces`` per frame; ``frames_per_s``; ``ms``: mean milliseconds of each of `STAGES`, None for one that there was not; ``searched``:
        share of the frames in which faces were searched and not followed; ``first_tenth_ms`` and ``last_tenth_ms``: median of a whole
        frame, which show whether it grows. ``search`` and ``follow`` are means over the frames in which each was done. Decoded ahead,
        ``decode`` is the thread's time and ``wait`` what was waited for it.

    Raises:
        InputError: The video cannot be read.
    """
    from emotion_perception.engine.vision.ahead import Ahead
    from emotion_perception.engine.vision.drawing import draw

    decoded_ms: list[float] = []
    times: dict[str, list[float]] = {stage: [] for stage in STAGES}
    whole: list[float] = []
    faces: list[int] = []
    with ExitStack() as stack:
        images: Iterator[Image] = islice(_timed(_repeated(file), decoded_ms), _WARM_UP_FRAMES + frames)
        if ahead:
            images = stack.enter_context(Ahead(images))
        for number in range(_WARM_UP_FRAMES + frames):
            start = time.perf_counter()
            image = next(images)
            there = time.perf_counter()
            result = pipeline(image)
            judged = time.perf_counter()
            draw(image.numpy(), result)
            end = time.perf_counter()
            if number < _WARM_UP_FRAMES:
                continue
            found, inferred = result.latency_ms["detect"], result.latency_ms["infer"]
            times["wait" if ahead else "decode"].append((there - start) * 1e3)
            times["search" if pipeline.searched else "follow"].append(found)
            times["infer"].append(inferred)
            times["smooth"].append(result.latency_ms["total"] - found - inferred)
            times["draw"].append((end - judged) * 1e3)
            whole.append((end - start) * 1e3)
            faces.append(len(result.faces))
    if ahead:
        times["decode"] = decoded_ms[_WARM_UP_FRAMES:]
    tenth = max(frames // 10, 1)
    return {
        "faces": fmean(faces),
        "frames_per_s": frames * 1e3 / sum(whole),
        "ms": {stage: fmean(values) if values else None for stage, values in times.items()},
        "searched": len(times["search"]) / frames,
        "first_tenth_ms": median(whole[:tenth]),
        "last_tenth_ms": median(whole[-tenth:]),
    }


def _repeated(file: str | Path) -> Iterator[Image]:
    """Yields the frames of a video again and again, stamped as one stream."""
    from emotion_perception.engine.vision.video import read_video

    number = 0
    while True:
        with read_video(file) as video:
            for image in video:
                yield Image(image.rgb, number / _RATE_HZ)
                number += 1


def _timed(images: Iterator[Image], milliseconds: list[float]) -> Iterator[Image]:
    """Yields what comes and notes how long each took, in the thread that takes it."""
    while True:
        start = time.perf_counter()
        image = next(images)
        milliseconds.append((time.perf_counter() - start) * 1e3)
        yield image
