"""``emotion-perception camera``."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from emotion_perception.commands._common import choice, note
from emotion_perception.commands._ros import RELIABILITIES, ReliabilityOption, RosCommand, ros_arguments, session

COMMAND = RosCommand
EXAMPLES = (
    "emotion-perception camera talk.mp4 --loop",
    "emotion-perception camera 0 --width 640 --ros-args -r __ns:=/robot",
)


def run(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="FILE_OR_INDEX", help="A video, a picture (repeated), or a camera's number.")],
    topic: Annotated[str, typer.Option("--topic", metavar="NAME", help="Where to publish.")] = "image_raw",
    rate: Annotated[float | None, typer.Option("--rate", metavar="HZ", help="Frames per second; without it a video's own.")] = None,
    loop: Annotated[bool, typer.Option("--loop", help="Start a video again at its end.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Hold the first frame back until somebody listens.")] = False,
    reliability: ReliabilityOption = "reliable",
    width: Annotated[int | None, typer.Option("--width", metavar="PX", min=1, help="Scale to this width.")] = None,
    frame_id: Annotated[str, typer.Option("--frame-id", metavar="NAME", help="Coordinate frame in the headers.")] = "camera_optical_frame",
    compressed: Annotated[bool, typer.Option("--compressed", help="Publish JPEG pictures on NAME/compressed instead.")] = False,
) -> None:
    """Publishes a video file, a picture or a webcam as sensor_msgs/Image, stamped with the time; stop with Ctrl-C."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")  # its warnings about a missing camera say less than the error that follows
    choice("--reliability", reliability, RELIABILITIES)
    from emotion_perception.ros2_nodes import runtime
    from emotion_perception.ros2_nodes.camera_node import CameraNode, Source

    opened = Source(source, rate, loop)
    with session(ros_arguments(context)):
        node = CameraNode(opened, topic=topic, reliability=reliability, width=width, frame_id=frame_id, compressed=compressed, wait=wait)
        try:
            note(f"publishing {source} on {node.topic}; stop with Ctrl-C")
            node.start()
            while runtime.ok() and not node.ended:
                runtime.spin_once(node, timeout_sec=0.2)
        finally:
            node.destroy_node()
            note(f"published {node.published} frames on {node.topic}")
        if node.error is not None:
            raise node.error
