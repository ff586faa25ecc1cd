"""What a graph does to a node: listeners that die or hang, bursts, impossible pictures, stamps from nowhere."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

LEAST_INT32, MOST_INT32, MOST_UINT32 = -(2**31), 2**31 - 1, 2**32 - 1


def stamp_of(message: Any) -> tuple[int, int]:
    return int(message.header.stamp.sec), int(message.header.stamp.nanosec)


def test_listeners_die_and_hang_and_the_others_go_on(graph: Any, program: Any, portrait: Path) -> None:
    camera = program("camera", portrait, "--rate", 20)
    node = program("node", "esr")
    results = graph.hear("std_msgs/msg/String", "/esr/result")

    def listener() -> Any:
        return program("echo", "/esr/detections", "--json")

    def prints(running: Any) -> None:
        """Waits for messages that it has not printed yet."""
        before = running.output.count('"class_id": "Happy"')
        graph.until(lambda: running.output.count('"class_id": "Happy"') >= before + 2, running)

    first, second = listener(), listener()
    prints(first)
    prints(second)
    assert first.end(signal.SIGKILL) == -signal.SIGKILL
    prints(second)
    third = listener()
    prints(third)
    # One that hangs keeps its subscription, and would keep a publisher waiting that wants everybody to have everything.
    second.process.send_signal(signal.SIGSTOP)
    results.clear()
    graph.until(lambda: len(results) >= 20, node)
    prints(third)
    second.process.send_signal(signal.SIGCONT)
    prints(second)
    assert [running.end(signal.SIGINT) for running in (second, third, node, camera)] == [0, 0, 0, 0]
    assert "Traceback" not in node.output


def test_a_burst_is_counted_and_its_last_picture_judged(graph: Any, program: Any, happy: np.ndarray) -> None:
    node = program("node", "esr", "--ros-args", "-p", "image_reliability:=reliable")
    detections = graph.hear("vision_msgs/msg/Detection2DArray", "/esr/detections")
    diagnostics = graph.hear("diagnostic_msgs/msg/DiagnosticArray", "/diagnostics")
    node.says("listening on /image_raw (reliable, volatile, depth 5)")
    small = np.ascontiguousarray(happy[:240, 100:420])
    for burst in (1, 2):
        for n in range(500):
            header = graph.show(small)
            graph.spin(0.002)
            if n == 250:  # in the middle of it
                assert graph.set("/esr", "max_faces", burst).successful
                assert graph.state("/esr") == "active"
        graph.until(lambda stamp=(header.stamp.sec, header.stamp.nanosec): detections and stamp_of(detections[-1]) == stamp, node)
    stamps = [stamp_of(each) for each in detections]
    assert stamps == sorted(set(stamps))
    assert {len(each.detections) for each in detections} == {1}

    def accounted() -> bool:
        values = graph.values(diagnostics, "/esr")
        received, processed, dropped = (int(values.get(f"frames {what}", -1)) for what in ("received", "processed", "dropped"))
        return processed == len(detections) and received == processed + dropped

    graph.until(accounted, node)
    assert int(graph.values(diagnostics, "/esr")["frames received"]) <= 1000
    assert (graph.values(diagnostics, "/esr")["level"], node.end()) == ("OK", 0)


def test_stamps_from_nowhere(graph: Any, program: Any, happy: np.ndarray) -> None:
    node = program("node", "esr")
    detections = graph.hear("vision_msgs/msg/Detection2DArray", "/esr/detections")
    results = graph.hear("std_msgs/msg/String", "/esr/result")
    diagnostics = graph.hear("diagnostic_msgs/msg/DiagnosticArray", "/diagnostics")
    node.says("active")
    strange = [(MOST_INT32, MOST_UINT32), (LEAST_INT32, 0), (0, 0), (-1, 1), (0, MOST_UINT32), (LEAST_INT32, MOST_UINT32), (MOST_INT32, 0)]
    for stamp in [*strange, *reversed(strange), *[(1000, 0), (999, 999_999_999)] * 2]:

        def judged(stamp: tuple[int, int] = stamp) -> bool:
            graph.show(happy, stamp=stamp)
            graph.spin(0.05)
            return any(stamp_of(each) == stamp for each in detections)

        detections.clear()
        graph.until(judged, node)
        assert {len(each.detections) for each in detections} == {1}
    for result in results:
        (face,) = json.loads(result.data, parse_constant=pytest.fail)["faces"]  # NaN and Infinity are no JSON
        assert face["emotion"] == "Happy"
    # A good stream after all that is as good as any.
    header = graph.show(happy)
    graph.until(lambda: stamp_of(detections[-1]) == (header.stamp.sec, header.stamp.nanosec), node)
    diagnostics.clear()
    graph.until(lambda: graph.values(diagnostics, "/esr"), node)
    assert graph.values(diagnostics, "/esr")["level"] == "OK"
    assert graph.values(diagnostics, "/esr")["frames failed"] == "0"
    assert 1 <= node.output.count("stamps went back by") < 10  # throttled, not one line for each
    assert node.end() == 0
    assert "Traceback" not in node.output


def test_impossible_pictures_are_refused_and_odd_ones_judged(graph: Any, program: Any, happy: np.ndarray) -> None:
    node = program("node", "esr", "--ros-args", "-p", "image_reliability:=reliable")
    detections = graph.hear("vision_msgs/msg/Detection2DArray", "/esr/detections")
    diagnostics = graph.hear("diagnostic_msgs/msg/DiagnosticArray", "/diagnostics")
    camera = graph.camera("/image_raw")
    impossible = [
        {"height": 3, "width": 3, "step": 9, "encoding": "rgb8\n\x1b[31m", "data": np.zeros(27, np.uint8)},
        {"height": MOST_UINT32, "width": MOST_UINT32, "step": MOST_UINT32, "encoding": "rgb8", "data": np.zeros(12, np.uint8)},
        {"height": MOST_UINT32, "width": 1, "step": 0, "encoding": "mono8"},
        {"height": 2, "width": MOST_UINT32, "step": 2, "encoding": "yuv422_yuy2", "data": np.zeros(8, np.uint8)},
        {"height": MOST_UINT32 - 1, "width": 2, "step": 2, "encoding": "nv12", "data": np.zeros(8, np.uint8)},
        {"height": 3, "width": 3, "step": 9, "encoding": "", "data": np.zeros(27, np.uint8)},
        {"height": 2, "width": 2, "step": 8, "encoding": "32FC1", "data": np.full(4, np.nan, np.float32).view(np.uint8)},
    ]
    odd = [
        {"height": 1, "width": 1, "step": 3, "encoding": "rgb8", "data": np.zeros(3, np.uint8)},
        {"height": 1, "width": 4000, "step": 12000, "encoding": "rgb8", "data": np.zeros(12000, np.uint8)},
        {"height": 4000, "width": 1, "step": 1, "encoding": "mono8", "data": np.zeros(4000, np.uint8)},
        {"height": 2, "width": 2, "step": 4, "encoding": "mono16", "data": np.full(8, 255, np.uint8)},
    ]

    def count(what: str) -> int:
        return int(graph.values(diagnostics, "/esr").get(f"frames {what}", -1))

    # One after the other is looked at, as a newer one would take its place.
    for n, fields in enumerate(impossible, 1):
        camera.publish(camera.msg_type(**fields))
        graph.until(lambda n=n: count("refused") + count("failed") + count("processed") >= n, node)
    assert (count("refused"), count("failed"), count("processed")) == (len(impossible), 0, 0), node.output
    assert detections == []
    assert "\x1b" not in node.output  # a name from the network is shown, not obeyed
    first = next(line for line in node.output.splitlines() if "refused a picture" in line)
    assert "cannot convert image encoding 'rgb8\\n\\x1b[31m'" in first
    for n, fields in enumerate(odd, 1):
        camera.publish(camera.msg_type(**fields))
        graph.until(lambda n=n: len(detections) >= n or count("failed") > 0, node)
    assert [len(each.detections) for each in detections] == [0] * len(odd), node.output
    header = graph.show(happy)
    graph.until(lambda: stamp_of(detections[-1]) == (header.stamp.sec, header.stamp.nanosec), node)
    assert [each.id for each in detections[-1].detections] == ["f00001"]
    assert node.end() == 0
    assert "Traceback" not in node.output
