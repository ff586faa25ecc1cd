"""The processes around the node that `benchmarks.ros2_node` measures: a camera and a listener. Each prints JSON, one line per event."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import emotion_perception.engine
from emotion_perception.engine.data import Image
from emotion_perception.ros2_nodes import runtime
from emotion_perception.ros2_nodes.images import from_rgb

# In the bundled photo, in pixels: where the face is and how high.
_FACE_XY, _FACE_PX = (223.0, 115.0), 113.0
# Pictures of the moving face; they are made before the first one is sent.
_POSES = 30
_FRAMES_PER_S = 30
_PERIOD_NS = 1_000_000_000 // _FRAMES_PER_S
# In fast motion somebody is there for five seconds, then nobody for five.
_VISIT = 150
_ANSWER_S = 2.0


def main() -> int:
    """Runs a camera or a listener until SIGTERM."""
    parser = argparse.ArgumentParser(description="A camera or a listener for benchmarks.ros2_node.")
    roles = parser.add_subparsers(dest="role", required=True)
    camera = roles.add_parser("camera", help="publish image_raw")
    camera.add_argument("--frames", type=int, required=True)
    camera.add_argument("--size", type=int, nargs=2, default=(640, 480), metavar=("WIDTH", "HEIGHT"))
    camera.add_argument("--fast", metavar="TOPIC", help="send on each answer on this topic of detections, with stamps 1/30 s apart")
    listener = roles.add_parser("listener", help="note when results arrive")
    listener.add_argument("--node", required=True, help="whose results, e.g. /esr")
    options = parser.parse_args()
    runtime.init(args=[])
    node = runtime.Node(f"benchmark_{options.role}")
    heard: dict[str, Any] = {}
    try:
        if options.role == "listener":
            heard = _listen(node, options.node)
        elif options.fast:
            _send_fast(node, options)
        else:
            _send(node, options)
        runtime.spin(node)
    except (KeyboardInterrupt, runtime.ExternalShutdownException):
        pass  # the way to stop
    if heard:
        _say(heard)
    runtime.try_shutdown()
    return 0


def _say(facts: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def _send(node: Any, options: argparse.Namespace) -> None:
    """Publishes best effort at 30 Hz, each frame with the time at which it is sent."""
    camera = _publisher(node, runtime.ReliabilityPolicy.BEST_EFFORT)
    pictures, header = _pictures(*options.size), runtime.get_message("std_msgs/msg/Header")
    start_s, late_s = time.monotonic(), 0.0
    for n in range(options.frames):
        ahead_s = start_s + n / _FRAMES_PER_S - time.monotonic()
        late_s = max(late_s, -ahead_s)
        time.sleep(max(0.0, ahead_s))
        stamp = node.get_clock().now().to_msg()
        camera.publish(from_rgb(pictures[n % _POSES], header(stamp=stamp, frame_id="camera")))
    _say({"sent": options.frames, "seconds": time.monotonic() - start_s, "late_ms": late_s * 1e3})


def _send_fast(node: Any, options: argparse.Namespace) -> None:
    """Publishes reliably as fast as the node answers, so that it judges every frame.

    By the stamps it is a stream of 30 Hz, with somebody there half of the time.
    """
    camera = _publisher(node, runtime.ReliabilityPolicy.RELIABLE)
    pictures, header = _pictures(*options.size), runtime.get_message("std_msgs/msg/Header")
    nobody = np.full_like(pictures[0], 90)
    ids: set[str] = set()
    answers = sent = settled = 0
    start_s, first_ns = time.monotonic(), time.time_ns() - options.frames * _PERIOD_NS

    def answered(detections: Any) -> None:
        nonlocal answers, settled
        answers += 1
        ids.update(str(each.id) for each in detections.detections)
        stamp = detections.header.stamp
        settled = 1 + (stamp.sec * 1_000_000_000 + stamp.nanosec - first_ns) // _PERIOD_NS

    node.create_subscription(runtime.get_message("vision_msgs/msg/Detection2DArray"), options.fast, answered, 100)
    _spin_until(node, lambda: node.count_publishers(options.fast))
    while sent < options.frames:
        rgb = pictures[sent % _POSES] if sent // _VISIT % 2 == 0 else nobody
        made = header(frame_id="camera")
        made.stamp.sec, made.stamp.nanosec = divmod(first_ns + sent * _PERIOD_NS, 1_000_000_000)
        camera.publish(from_rgb(rgb, made))
        sent += 1
        give_up_s = time.monotonic() + _ANSWER_S
        while settled < sent:
            runtime.spin_once(node, timeout_sec=0.5)
            if time.monotonic() > give_up_s:
                settled = sent
    seconds = time.monotonic() - start_s
    _spin(node, _ANSWER_S)
    _say({"sent": sent, "seconds": seconds, "answers": answers, "faces": len(ids)})


def _publisher(node: Any, reliability: Any) -> Any:
    """Returns the publisher of image_raw once the node listens, and says so."""
    kind = runtime.get_message("sensor_msgs/msg/Image")
    made = node.create_publisher(kind, "image_raw", runtime.QoSProfile(depth=5, reliability=reliability))
    _spin_until(node, made.get_subscription_count)
    _spin(node, 1.0)  # the other side may learn of the match a little later
    _say({"started": True})
    return made


def _listen(node: Any, of: str) -> dict[str, list[Any]]:
    """Subscribes to detections and results and returns what fills up: milliseconds from stamp to arrival, and the node's own times."""
    heard: dict[str, list[Any]] = {"detections_ms": [], "results": []}

    def on_detections(detections: Any) -> None:
        stamp = detections.header.stamp
        heard["detections_ms"].append((time.time_ns() - stamp.sec * 1_000_000_000 - stamp.nanosec) / 1e6)

    def on_result(words: Any) -> None:
        now_s, result = time.time(), json.loads(words.data)
        heard["results"].append({"age": (now_s - result["stamp_s"]) * 1e3, "faces": len(result["faces"]), **result["latency_ms"]})

    for kind, topic, callback in (
        ("vision_msgs/msg/Detection2DArray", f"{of}/detections", on_detections),
        ("std_msgs/msg/String", f"{of}/result", on_result),
    ):
        node.create_subscription(runtime.get_message(kind), topic, callback, 100)
        _spin_until(node, lambda topic=topic: node.count_publishers(topic))  # type: ignore[misc]
    _spin(node, 1.0)
    _say({"started": True})
    return heard


def _spin_until(node: Any, condition: Callable[[], Any]) -> None:
    while not condition():
        runtime.spin_once(node, timeout_sec=0.1)


def _spin(node: Any, seconds: float) -> None:
    end_s = time.monotonic() + seconds
    while (left_s := end_s - time.monotonic()) > 0:
        runtime.spin_once(node, timeout_sec=left_s)


def _pictures(width: int, height: int) -> list[NDArray[np.uint8]]:
    """Returns pictures of the bundled photo's face, half as high as they are, which moves a little in a circle."""
    import cv2

    photo = Image.open(Path(emotion_perception.engine.__file__).parent / "assets" / "astronaut.png").rgb
    scale = height / 2 / _FACE_PX
    scaled = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    pictures = []
    for n in range(_POSES):
        angle = 2 * math.pi * n / _POSES
        x = width / 2 - scale * _FACE_XY[0] + 0.02 * width * math.cos(angle)
        y = height / 2 - scale * _FACE_XY[1] + 0.02 * height * math.sin(angle)
        moved = np.array([[1.0, 0.0, x], [0.0, 1.0, y]])
        pictures.append(cv2.warpAffine(scaled, moved, (width, height), borderMode=cv2.BORDER_REPLICATE).astype(np.uint8))
    return pictures


if __name__ == "__main__":
    sys.exit(main())
