"""Several processes at once: cameras and nodes that die and come back, namespaces, one node feeding another."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest


def test_camera_and_node_die_and_come_back_without_the_others(graph: Any, program: Any, portrait: Path, root: Path) -> None:
    pytest.importorskip("av")
    results = graph.hear("std_msgs/msg/String", "/esr/result")
    detections = graph.hear("vision_msgs/msg/Detection2DArray", "/esr/detections")
    images = graph.hear("sensor_msgs/msg/Image", "/image_raw")

    def camera() -> Any:
        return program("camera", portrait, "--rate", 10)

    def node() -> Any:
        return program("node", "esr", "--params-file", root / "config" / "esr.yaml")

    def flows() -> None:
        results.clear()
        graph.until(lambda: len(results) >= 3)
        frame = json.loads(results[-1].data)
        assert [face["emotion"] for face in frame["faces"]] == ["Happy"]
        assert frame["frame_id"] == "camera_optical_frame"

    first_camera, first_node = camera(), node()
    flows()
    stamps = [(each.header.stamp.sec, each.header.stamp.nanosec) for each in detections]
    assert stamps == sorted(stamps)
    assert set(stamps) <= {(each.header.stamp.sec, each.header.stamp.nanosec) for each in images}
    assert "no parameter" not in first_node.output  # the file that comes with the package names those there are

    assert first_node.end(signal.SIGKILL) == -signal.SIGKILL
    second_node = node()
    flows()
    assert json.loads(results[-1].data)["faces"][0]["track_id"] == 1  # it knows nothing of the one before

    assert first_camera.end(signal.SIGKILL) == -signal.SIGKILL
    second_camera = camera()
    flows()
    assert second_camera.end() == 0
    assert second_node.end() == 0
    assert "Traceback" not in second_node.output


def test_nodes_in_two_namespaces_do_not_meet(graph: Any, program: Any, happy: np.ndarray, empty: np.ndarray) -> None:
    nodes = [program("node", "esr", "--ros-args", "-r", f"__ns:=/{name}") for name in ("left", "right")]
    heard = {name: graph.hear("vision_msgs/msg/Detection2DArray", f"/{name}/esr/detections") for name in ("left", "right")}
    for node in nodes:
        node.says("active")

    def both() -> bool:
        graph.show(happy, "/left/image_raw", "left_eye")
        graph.show(empty, "/right/image_raw", "right_eye")
        graph.spin(0.1)
        return all(heard.values())

    graph.until(both)
    assert {each.header.frame_id for each in heard["left"]} == {"left_eye"}
    assert {len(each.detections) for each in heard["left"]} == {1}
    assert {each.header.frame_id for each in heard["right"]} == {"right_eye"}
    assert {len(each.detections) for each in heard["right"]} == {0}
    assert graph.state("/left/esr") == graph.state("/right/esr") == "active"
    assert [node.end(signal.SIGINT) for node in nodes] == [0, 0]


def test_a_node_judges_the_faces_that_another_one_tracks(graph: Any, program: Any, happy: np.ndarray, empty: np.ndarray) -> None:
    finder = program("node", "esr", "--ros-args", "-r", "__node:=finder", "-p", "publish_expression:=false", "-p", "publish_result:=false")
    judge = program("node", "esr", "--ros-args", "-p", "input:=ros4hri")
    expressions = graph.hear("hri_msgs/msg/Expression", "/humans/faces/f00001/expression")
    results = graph.hear("std_msgs/msg/String", "/esr/result")
    diagnostics = graph.hear("diagnostic_msgs/msg/DiagnosticArray", "/diagnostics")
    finder.says("listening on /image_raw")
    judge.says("listening on /humans/faces/tracked (reliable, volatile, depth 10)")
    sent = set()

    def judged() -> bool:
        header = graph.show(happy, frame_id="head_camera")
        sent.add((header.stamp.sec, header.stamp.nanosec))
        graph.spin(0.1)
        return bool(expressions and results)

    graph.until(judged)
    assert {each.expression for each in expressions} == {"happy"}
    assert {each.header.frame_id for each in expressions} == {"head_camera"}
    assert {(each.header.stamp.sec, each.header.stamp.nanosec) for each in expressions} <= sent
    (face,) = json.loads(results[-1].data)["faces"]
    assert (face["hri_id"], face["emotion"], face["box_xyxy"]) == ("f00001", "Happy", [0, 0, 128, 128])
    graph.until(lambda: graph.values(diagnostics, "/esr").get("level") == "OK", judge)
    assert graph.values(diagnostics, "/esr")["detector"] == "-"

    # A list with names that no topic can have does no harm.
    from emotion_perception.ros2_nodes.messages import message

    kind = message("hri_msgs/msg/IdsList")
    strange = graph.node.create_publisher(kind, "/humans/faces/tracked", 10)
    graph.until(strange.get_subscription_count)
    strange.publish(kind(ids=["a/b", "", "23bd5", "f00001"]))
    judge.says("ignored the face 'a/b'")
    expressions.clear()
    graph.until(judged)
    assert finder.end() == 0
    assert judge.end() == 0
    assert "Traceback" not in judge.output


def test_compressed_pictures(graph: Any, program: Any, happy: np.ndarray) -> None:
    from emotion_perception.ros2_nodes.images import compressed_from_rgb
    from emotion_perception.ros2_nodes.messages import message

    node = program("node", "esr", "--ros-args", "-p", "image_transport:=compressed", "-p", "image_reliability:=reliable")
    detections = graph.hear("vision_msgs/msg/Detection2DArray", "/esr/detections")
    node.says("listening on /image_raw/compressed (reliable, volatile, depth 5)")
    camera = graph.node.create_publisher(message("sensor_msgs/msg/CompressedImage"), "/image_raw/compressed", 10)
    header = message("std_msgs/msg/Header")(frame_id="jpeg_camera")
    header.stamp.sec = 5

    def heard() -> bool:
        camera.publish(compressed_from_rgb(happy, header))
        graph.spin(0.1)
        return bool(detections)

    graph.until(heard, node)
    assert detections[0].header.frame_id == "jpeg_camera"
    assert detections[0].detections[0].results[0].hypothesis.class_id == "Happy"
    assert node.end() == 0


def test_what_a_launch_file_starts(graph: Any, program: Any, happy: np.ndarray, tmp_path: Path) -> None:
    # The words that launch_ros makes of esr.launch.py, its events done by hand.
    file = tmp_path / "launch_params.yaml"
    file.write_text("/**:\n  ros__parameters:\n    weights: ''\n    autostart: false\n")
    words = ["esr", "--ros-args", "--log-level", "info", "--ros-args", "-r", "__node:=esr", "-r", "__ns:=/robot", "--params-file", file]
    words += ["-r", "image_raw:=/head/color"]
    node = program(*words, module="emotion_perception.ros2_nodes.face_emotion_node")
    events = graph.hear("lifecycle_msgs/msg/TransitionEvent", "/robot/esr/transition_event")
    detections = graph.hear("vision_msgs/msg/Detection2DArray", "/robot/esr/detections")
    assert graph.state("/robot/esr") == "unconfigured"
    assert graph.change_state("/robot/esr", 1)
    graph.until(lambda: ("configuring", "inactive") in [(each.start_state.label, each.goal_state.label) for each in events], node)
    assert graph.change_state("/robot/esr", 3)
    node.says("listening on /head/color")

    def heard() -> bool:
        graph.show(happy, "/head/color")
        graph.spin(0.1)
        return bool(detections)

    graph.until(heard, node)
    assert node.end(signal.SIGINT) == 0
