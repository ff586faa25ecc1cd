"""A camera made of a video file, a picture or a webcam, so that nodes can be tried without a robot."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emotion_perception.engine.data import Image
from emotion_perception.engine.errors import InputError, UsageError
from emotion_perception.ros2_nodes.images import compressed_from_rgb, from_rgb
from emotion_perception.ros2_nodes.runtime import Node, QoSProfile, ReliabilityPolicy, get_message, ok

_PICTURES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
_PICTURE_RATE_HZ = 10.0
_RETRY_S = 2.0
# A source further behind than this goes on from where it is instead of hurrying after its own clock.
_MOST_BEHIND_S = 0.2
_DEPTH = 5


@dataclass(frozen=True)
class Shot:
    """One frame of a source.

    Attributes:
        image: The frame.
        due_s: When it is to be shown, in seconds from the first one; None for a camera, whose frames are shown at once.
    """

    image: Image
    due_s: float | None


class Source:
    """A video file, a picture that is repeated, or a webcam that may be unplugged and plugged in again."""

    def __init__(self, name: str, rate_hz: float | None = None, loop: bool = False) -> None:
        """Opens it.

        Args:
            name: A file, or the number of a camera (``0``, ``/dev/video0``).
            rate_hz: Frames per second; by default a video's own, 10 for a picture, and what a camera gives.
            loop: Whether a video starts again at its end. A picture is repeated anyway.

        Raises:
            InputError: The file or camera cannot be opened.
            UsageError: A rate out of range.
        """
        if rate_hz is not None and not 0.0 < rate_hz <= 1000.0:
            raise UsageError(f"the rate is {rate_hz} Hz, expected a number above 0 and up to 1000")
        self.name, self._rate_hz, self._loop = name, rate_hz, loop
        number = re.fullmatch(r"(?:/dev/video)?(\d+)", name)
        if number and not Path(name).is_file():
            self._opened = _open_camera(int(number[1]))
            self._index: int | None = int(number[1])
            return
        self._index = None
        if Path(name).suffix.lower() in _PICTURES:
            self._opened = Image.open(name)
        else:
            from emotion_perception.engine.vision.video import read_video

            self._opened = read_video(name)

    def shots(self, stop: threading.Event, log: Callable[[str], object]) -> Iterator[Shot]:
        """Yields the frames, a video's until its end, others' until ``stop`` is set.

        Args:
            stop: Ends the waiting for a camera.
            log: Is told, in one line, when a camera goes and when it is back.
        """
        if self._index is not None:
            yield from self._camera_shots(self._index, stop, log)
        elif isinstance(self._opened, Image):
            rate_hz, n = self._rate_hz or _PICTURE_RATE_HZ, 0
            while not stop.is_set():
                yield Shot(self._opened, n / rate_hz)
                n += 1
        else:
            for n, (image, own_s) in enumerate(self._video_frames()):
                yield Shot(image, own_s if self._rate_hz is None else n / self._rate_hz)

    def _video_frames(self) -> Iterator[tuple[Image, float]]:
        """Yields frames and their times, which go on growing when the video starts again."""
        from emotion_perception.engine.vision.video import read_video

        video, start_s = self._opened, 0.0
        while True:
            own_s = start_s
            with video:
                for image in video:
                    own_s = start_s + (image.stamp_s or 0.0)
                    yield image, own_s
            if not self._loop:
                return
            start_s = own_s + 1.0 / video.fps
            video = read_video(self.name)

    def _camera_shots(self, index: int, stop: threading.Event, log: Callable[[str], object]) -> Iterator[Shot]:
        pictures, next_s = self._opened, 0.0
        while not stop.is_set():
            try:
                with closing(pictures):
                    for image in pictures:
                        now_s = time.monotonic()
                        if self._rate_hz is not None and now_s < next_s:
                            continue
                        if self._rate_hz is not None:
                            next_s = max(next_s + 1.0 / self._rate_hz, now_s)
                        yield Shot(image, None)
            except InputError as error:
                log(f"{error}; trying again every {_RETRY_S:g} s")
            pictures = self._reopened(index, stop)
            if pictures is not None:
                log(f"camera {index} is back")

    def _reopened(self, index: int, stop: threading.Event) -> Any:
        while not stop.wait(_RETRY_S):
            try:
                return _open_camera(index)
            except InputError:
                continue
        return None


def _open_camera(index: int) -> Any:
    from emotion_perception.engine.vision.video import camera

    return camera(index)


class CameraNode(Node):
    """Publishes the frames of a source, each with the time at which it is published, from a thread of its own.

    Topics: ``image_raw`` (sensor_msgs/Image, rgb8) or ``image_raw/compressed`` (sensor_msgs/CompressedImage, JPEG). There is no
    camera_info, as nothing is calibrated.

    Attributes:
        topic: The topic's full name, remappings applied.
        published: Number of frames published.
        error: What ended the source too early, or None.
    """

    def __init__(
        self,
        source: Source,
        *,
        topic: str = "image_raw",
        reliability: str = "reliable",
        width: int | None = None,
        frame_id: str = "camera_optical_frame",
        compressed: bool = False,
        wait: bool = False,
    ) -> None:
        """Makes the node; `start` lets it publish.

        Args:
            source: Where the frames come from.
            topic: Name of the topic; ``/compressed`` is added to it for compressed pictures.
            reliability: ``reliable``, which every subscriber can receive, or ``best_effort``, as most cameras are.
            width: Width to scale to, in pixels, proportions kept; None keeps the size.
            frame_id: Name of the camera's coordinate frame, for the headers.
            compressed: Whether to publish JPEG pictures instead of pixels.
            wait: Whether to hold the first frame back until somebody listens.
        """
        super().__init__("camera")
        self._source, self._width, self._frame_id, self._compressed, self._wait = source, width, frame_id, compressed, wait
        policy = ReliabilityPolicy.RELIABLE if reliability == "reliable" else ReliabilityPolicy.BEST_EFFORT
        kind = "sensor_msgs/msg/CompressedImage" if compressed else "sensor_msgs/msg/Image"
        name = f"{topic.rstrip('/')}/compressed" if compressed else topic
        self._publisher = self.create_publisher(get_message(kind), name, QoSProfile(depth=_DEPTH, reliability=policy))
        self.topic = str(self._publisher.topic_name)  # now, as it is still asked for when the publisher is gone
        self._header = get_message("std_msgs/msg/Header")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="camera", daemon=True)
        self.published = 0
        self.error: Exception | None = None

    @property
    def ended(self) -> bool:
        """Whether the source has ended after `start`."""
        return self._thread.ident is not None and not self._thread.is_alive()

    def start(self) -> None:
        """Lets the frames go out."""
        self._thread.start()

    def destroy_node(self) -> Any:
        """Stops to publish, then leaves the graph."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=5.0)
        return super().destroy_node()

    def _run(self) -> None:
        try:
            while self._wait and not self._publisher.get_subscription_count() and not self._stop.wait(0.05):
                pass
            start_s = time.monotonic()
            for shot in self._source.shots(self._stop, self.get_logger().warning):
                if shot.due_s is not None:
                    ahead_s = start_s + shot.due_s - time.monotonic()
                    if ahead_s < -_MOST_BEHIND_S:
                        start_s -= ahead_s
                    self._stop.wait(max(ahead_s, 0.0))
                if self._stop.is_set():
                    return
                self._publish(shot.image)
        except Exception as error:  # the thread that spins raises it
            if ok():  # else the graph was left in the middle of publishing
                self.error = error

    def _publish(self, image: Image) -> None:
        rgb = image.rgb
        if self._width is not None and self._width != image.width:
            from emotion_perception.engine.vision.crops import resized

            rgb = resized(rgb, max(round(image.height * self._width / image.width), 1), self._width)
        header = self._header()
        header.stamp, header.frame_id = self.get_clock().now().to_msg(), self._frame_id
        self._publisher.publish(compressed_from_rgb(rgb, header) if self._compressed else from_rgb(rgb, header))
        self.published += 1
