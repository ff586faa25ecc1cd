"""``emotion-perception webcam``."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emotion_perception.commands._common import (
    BackendOption,
    DeviceOption,
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
    refuse_clips,
)
from emotion_perception.commands._results import CsvOption, JsonlOption, ResultFiles

if TYPE_CHECKING:
    from emotion_perception.engine.data import Image
    from emotion_perception.engine.target import FrameResult

EXAMPLES = ("emotion-perception webcam", "emotion-perception webcam 1 --save me.mp4 --seconds 20")
# Every saved frame keeps the time at which it was judged; this is only what the file says of itself.
_NOMINAL_FPS = 15
# make and the extra 'vision' bring an OpenCV without windows.
_WITH_WINDOW = "pip uninstall opencv-python-headless && pip install 'opencv-python>=4.8,<5'"


def run(
    index: Annotated[int, typer.Argument(metavar="[INDEX]", min=0, help="Number of the camera.")] = 0,
    save: Annotated[Path | None, typer.Option("--save", metavar="FILE", help="Write what is seen, with the emotions, as MP4.")] = None,
    csv: CsvOption = None,
    jsonl: JsonlOption = None,
    seconds: Annotated[float | None, typer.Option("--seconds", metavar="S", min=0.0, help="Stop by itself after so long.")] = None,
    window: Annotated[bool, typer.Option("--window/--no-window", help="Show a window where display and OpenCV allow it.")] = True,
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
) -> None:
    """Perceives emotions in front of a camera, always in its newest frame; stop with q, Escape or Ctrl-C."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")  # its warnings about a missing camera say less than the error that follows
    from emotion_perception.engine.errors import InputError
    from emotion_perception.engine.pipeline import Pipeline
    from emotion_perception.engine.vision.drawing import draw, draw_timings
    from emotion_perception.engine.vision.video import VideoWriter, camera

    refuse_clips(learner)
    with ExitStack() as stack:
        newest = stack.enter_context(NewestFrame(camera(index)))
        model = open_learner(learner, weights, device, backend, settings, stream=True)
        found = open_detector(detector, model, search_size)
        pipeline = Pipeline(model, found, max_faces=max_faces, smoothing_s=smoothing, search_interval_s=search_interval)
        sinks = stack.enter_context(ResultFiles(csv, jsonl, model.card.label_set))
        show = stack.enter_context(Window()) if window and can_show() else None
        if show is None and save is None:
            note(f"no window here (no display, or a headless OpenCV, see: {_WITH_WINDOW}): printing lines instead; stop with Ctrl-C")
        writer: Any = None
        judged, ended = False, None
        rate = Rate()
        start = time.monotonic()
        try:
            for image in newest:
                result = pipeline(image)
                judged = True
                fps = rate.tick()
                sinks.write(result)
                if show is None and save is None:
                    typer.echo(line(result, fps))
                if show is not None or save is not None:
                    frame = image.numpy()
                    draw(frame, result)
                    draw_timings(frame, result, fps)
                    if save is not None:
                        writer = writer or stack.enter_context(VideoWriter(save, _NOMINAL_FPS, (image.width, image.height)))
                        writer.write(frame, time.monotonic() - start)
                    if show is not None and not show.show(frame):
                        break
                if seconds is not None and time.monotonic() - start >= seconds:
                    break
        except KeyboardInterrupt:
            pass  # the way to stop: what was written until now is kept
        except (SystemExit, InputError) as error:  # it was told to stop, or the camera was unplugged
            if not judged:
                raise
            ended = error
    for written in (None if writer is None else save, csv, jsonl):
        if written is not None:
            note(f"wrote {written}")
    if ended is not None:
        raise ended


class NewestFrame:
    """Reads a camera in a thread and hands out only the newest frame, so that a slow model never falls behind; a context manager.

    An error of the camera is raised where the frames are taken.
    """

    def __init__(self, frames: Generator[Image, None, None]) -> None:
        """Keeps the source; reading starts with the block."""
        self._frames = frames
        self._news = threading.Condition()
        self._image: Image | None = None
        self._error: BaseException | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._read, name="camera", daemon=True)

    def __enter__(self) -> NewestFrame:
        """Starts to read."""
        self._thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        """Stops to read."""
        with self._news:
            self._ended = True
        self._thread.join(timeout=2.0)

    def __iter__(self) -> Iterator[Image]:
        """Yields the newest frame each time, waiting for one that was not yielded yet."""
        while True:
            with self._news:
                while self._image is None and not self._ended:
                    self._news.wait(0.2)  # in slices, or Ctrl-C would wait as well
                image, self._image = self._image, None
                error, ended = self._error, self._ended
            if image is not None:
                yield image
            elif error is not None:
                raise error
            elif ended:
                return

    def _read(self) -> None:
        error: BaseException | None = None
        try:
            with closing(self._frames) as frames:
                for image in frames:
                    with self._news:
                        self._image = image
                        self._news.notify()
                        if self._ended:
                            break
        except BaseException as caught:  # of any kind: it is raised again in the thread that waits for frames
            error = caught
        with self._news:
            self._error, self._ended = error, True
            self._news.notify()


class Rate:
    """Counts frames over the last two seconds."""

    def __init__(self) -> None:
        """Starts with none."""
        self._times: deque[float] = deque()

    def tick(self) -> float:
        """Counts a frame and returns frames per second."""
        now = time.monotonic()
        self._times.append(now)
        while now - self._times[0] > 2.0:
            self._times.popleft()
        passed = now - self._times[0]
        return (len(self._times) - 1) / passed if passed > 0 else 0.0


class Window:
    """An OpenCV window; a context manager."""

    _TITLE = "emotion-perception"

    def __enter__(self) -> Window:
        """Opens it with the first frame."""
        return self

    def __exit__(self, *error: Any) -> None:
        """Closes it."""
        import cv2

        cv2.destroyAllWindows()

    def show(self, frame_rgb: Any) -> bool:
        """Shows a frame; returns False when the user wants to stop."""
        import cv2

        cv2.imshow(self._TITLE, frame_rgb[:, :, ::-1])
        key = cv2.waitKey(1) & 0xFF
        return key not in (27, ord("q")) and cv2.getWindowProperty(self._TITLE, cv2.WND_PROP_VISIBLE) >= 1


def can_show() -> bool:
    """Says whether there is a display and an OpenCV that can open a window on it."""
    import cv2

    display = sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    gui = next((entry for entry in cv2.getBuildInformation().splitlines() if entry.strip().startswith("GUI:")), "GUI: NONE")
    return display and "NONE" not in gui


def line(result: FrameResult, fps: float) -> str:
    """Returns one line about a frame."""
    faces = []
    for face in result.faces:
        affect = "" if face.valence is None or face.arousal is None else f" valence {face.valence:+.2f} arousal {face.arousal:+.2f}"
        faces.append(f"#{face.track_id} {face.category}{affect}")
    return f"{fps:4.1f} FPS  {'; '.join(faces) or 'no face'}"
