"""The robot's own command line, `ros2`, on our nodes: on the real rclpy and on the twin it must see the same."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.ros, pytest.mark.slow]

PATIENCE_S = 120.0
# What rclpy adds to every node from Jazzy on, and the twin leaves out.
OF_RCLPY = re.compile(r"get_type_description|start_type_description_service|qos_overrides")


@pytest.fixture
def ros2(program: Any) -> Callable[..., str]:
    """Runs `ros2` in this test's domain, without the daemon that would outlive it, and returns what it prints."""
    if shutil.which("ros2") is None:
        pytest.skip("ros2 is not on the PATH; source ROS 2's setup file")

    def run(*words: object, fails: bool = False) -> str:
        done = subprocess.run(["ros2", *map(str, words)], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        assert (done.returncode != 0) == fails, f"ros2 {' '.join(map(str, words))}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    return run


def interface(text: str) -> dict[str, set[str]]:
    """Returns what `ros2 node info` lists, by heading."""
    found: dict[str, set[str]] = {}
    heading = ""
    for line in text.splitlines()[1:]:
        if line.startswith("    "):
            found[heading].add(line.strip())
        elif line.strip():
            heading = line.strip()
            found[heading] = set()
    return {heading: {line for line in lines if not OF_RCLPY.search(line)} for heading, lines in found.items()}


def test_topics_services_and_types_are_those_that_are_documented(program: Any, ros2: Callable[..., str]) -> None:
    node = program("node", "esr")
    node.says("active: esr")
    assert "/esr" in ros2("node", "list", "--no-daemon", "--spin-time", 3).split()
    found = interface(ros2("node", "info", "/esr", "--no-daemon", "--spin-time", 3))
    assert "/image_raw: sensor_msgs/msg/Image" in found["Subscribers:"]
    assert {
        "/diagnostics: diagnostic_msgs/msg/DiagnosticArray",
        "/esr/detections: vision_msgs/msg/Detection2DArray",
        "/esr/image_annotated: sensor_msgs/msg/Image",
        "/esr/label_info: vision_msgs/msg/LabelInfo",
        "/esr/result: std_msgs/msg/String",
        "/esr/transition_event: lifecycle_msgs/msg/TransitionEvent",
        "/humans/faces/tracked: hri_msgs/msg/IdsList",
        "/parameter_events: rcl_interfaces/msg/ParameterEvent",
        "/rosout: rcl_interfaces/msg/Log",
    } <= found["Publishers:"]
    assert {
        "/esr/change_state: lifecycle_msgs/srv/ChangeState",
        "/esr/describe_parameters: rcl_interfaces/srv/DescribeParameters",
        "/esr/enable: std_srvs/srv/SetBool",
        "/esr/get_state: lifecycle_msgs/srv/GetState",
        "/esr/set_parameters_atomically: rcl_interfaces/srv/SetParametersAtomically",
    } <= found["Service Servers:"]


def test_life_cycle_and_parameters_are_driven_by_hand(program: Any, ros2: Callable[..., str]) -> None:
    node = program("node", "esr")
    node.says("active: esr")
    common = ("--no-daemon", "--spin-time", 3)
    assert "active [3]" in ros2("lifecycle", "get", "/esr", *common)
    assert "Transitioning successful" in ros2("lifecycle", "set", "/esr", "deactivate", *common)
    assert "inactive [2]" in ros2("lifecycle", "get", "/esr", *common)
    ros2("lifecycle", "set", "/esr", "activate", *common)
    names = ros2("param", "list", "/esr", *common).split()
    assert {"learner", "weights", "device", "smoothing_s", "max_faces", "use_sim_time"} <= set(names)
    assert "0.3" in ros2("param", "get", "/esr", "smoothing_s", *common)
    assert "Set parameter successful" in ros2("param", "set", "/esr", "smoothing_s", "0.5", *common)
    assert "0.5" in ros2("param", "get", "/esr", "smoothing_s", *common)
    assert "Setting parameter failed" in ros2("param", "set", "/esr", "smoothing_s", "-1.0", *common)
    told = ros2("param", "describe", "/esr", "smoothing_s", *common)
    assert "Type: double" in told
    assert "Time constant of the smoothing" in told
    assert "Min value: 0.0" in told
    assert node.end() == 0


def test_a_camera_of_ours_is_judged_and_its_results_are_echoed(program: Any, ros2: Callable[..., str], portrait: Path) -> None:
    pytest.importorskip("av")
    node = program("node", "esr")
    node.says("active: esr")
    program("camera", portrait, "--rate", 5)
    echo = ("topic", "echo", "--once", "--no-daemon", "--spin-time", 3)
    detection = ros2(*echo, "/esr/detections")
    assert "id: f00001" in detection
    assert "class_id: Happy" in detection
    assert "frame_id: camera_optical_frame" in detection
    assert "expression: happy" in ros2(*echo, "/humans/faces/f00001/expression")
    assert "encoding: rgb8" in ros2(*echo, "--no-arr", "/image_raw", "--qos-reliability", "best_effort")
    hashes = re.findall(r"Topic type hash: (\S+)", ros2("topic", "info", "-v", "/esr/detections", "--no-daemon", "--spin-time", 3))
    assert hashes
    assert all(each.startswith("RIHS01_") for each in hashes)


def test_launch_builds_starts_and_activates_it(program: Any, ros2: Callable[..., str], root: Path, tmp_path: Path, portrait: Path) -> None:
    colcon = [sys.executable, "-m", "colcon"] if shutil.which("colcon") is None else ["colcon"]
    source = tmp_path / "src" / "emotion_perception"
    shutil.copytree(root, source, ignore=shutil.ignore_patterns(".venv", ".git", "build", "*.egg-info", "out", "tests"))
    built = subprocess.run([*colcon, "build"], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    told = subprocess.run(
        ["bash", "-c", "source install/setup.bash && env -0"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    environment = dict(line.split("=", 1) for line in told.stdout.split("\0") if "=" in line)
    # The real runtime is what a launch on a robot means; where rclpy cannot be imported, this fixture has skipped before.
    environment["EMOTION_PERCEPTION_RUNTIME"] = "auto"
    log = (tmp_path / "launch.log").open("w+")
    launched = subprocess.Popen(
        ["ros2", "launch", "emotion_perception", "esr.launch.py", "namespace:=robot", "image_topic:=/image_raw"],
        env=environment,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        program("camera", portrait, "--rate", 5)
        echoed = ros2(
            "topic", "echo", "--once", "--no-daemon", "--spin-time", 10, "/robot/esr/detections", "vision_msgs/msg/Detection2DArray"
        )
        assert "header" in echoed
        assert "active [3]" in ros2("lifecycle", "get", "/robot/esr", "--no-daemon", "--spin-time", 3)
        launched.send_signal(2)
        launched.wait(60)
    finally:
        if launched.poll() is None:
            os.killpg(launched.pid, 9)
        text = (tmp_path / "launch.log").read_text()
        print(text)  # noqa: T201  # pytest shows it with a failure
    assert "active: esr" in text
    assert "Traceback" not in text
    assert "process has finished cleanly" in text


def test_both_runtimes_show_the_same_interface(program: Any, ros2: Callable[..., str], node_runtime: str) -> None:
    if node_runtime != "rclpy":
        pytest.skip("the comparison runs once, where rclpy is")
    shown = {}
    for runtime in ("rclpy", "dds"):
        node = program("node", "esr", runtime=runtime)
        node.says("active: esr")
        shown[runtime] = interface(ros2("node", "info", "/esr", "--no-daemon", "--spin-time", 3))
        names = ros2("param", "list", "/esr", "--no-daemon", "--spin-time", 3).split()
        shown[runtime]["parameters"] = {name for name in names if not OF_RCLPY.search(name)}
        assert node.end() == 0
    assert shown["dds"] == shown["rclpy"]
