"""What all nodes share, in this process: a worker that is stuck, clocks that stand still, names of topics."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from emotion_perception.learners.esr import FacialEmotionLearner

pytest.importorskip("emotion_perception.ros2_nodes.runtime", exc_type=ImportError)

from emotion_perception.ros2_nodes import runtime
from emotion_perception.ros2_nodes.face_emotion_node import FaceEmotionNode
from emotion_perception.ros2_nodes.images import from_rgb
from emotion_perception.ros2_nodes.messages import message

SUCCESS, FAILURE = runtime.TransitionCallbackReturn.SUCCESS, runtime.TransitionCallbackReturn.FAILURE
PATIENCE_S = 30.0
FACE = "/humans/faces/f00001/expression"


class Untaught(FacialEmotionLearner):
    """Judges faces with a network that has learned nothing, and only while it may."""

    may = threading.Event()
    begun = threading.Event()

    def load(self, path: str | Path | None = None) -> None:
        self.init_model(1)

    def tune(self) -> str:
        return "nothing"

    def infer(self, *arguments: Any, **options: Any) -> Any:
        self.begun.set()
        assert self.may.wait(PATIENCE_S)
        return super().infer(*arguments, **options)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registers the learner of this file for as long as the test runs."""
    Untaught.may.set()
    monkeypatch.setattr("emotion_perception.engine.registry.learner_class", {"esr": Untaught}.__getitem__)


@pytest.fixture
def node(start: Callable[..., Any], registered: None) -> Any:
    """A configured node for faces."""
    made = start(FaceEmotionNode, "esr", detector="haar")
    assert made.trigger_configure() == SUCCESS
    return made


@pytest.fixture(scope="module")
def face(portrait: Path) -> Any:
    """A message with one face."""
    from emotion_perception.engine.data import Image

    return from_rgb(Image.open(portrait).rgb, message("std_msgs/msg/Header")())


def test_pictures_that_cannot_be_judged_leave_nobody_behind(
    node: Any, until: Callable[..., None], face: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1000.0
    onlooker = runtime.Node("onlooker")
    tracked: list[list[str]] = []
    listening = onlooker.create_subscription(
        message("hri_msgs/msg/IdsList"), "/humans/faces/tracked", lambda ids: tracked.append(list(ids.ids)), 10
    )
    assert node.trigger_activate() == SUCCESS
    assert node._worker.stop()  # its part is played here, picture by picture
    monkeypatch.setattr("emotion_perception.ros2_nodes.face_emotion_node.time", SimpleNamespace(monotonic=lambda: now_s))
    until([node, onlooker], listening.get_publisher_count)
    broken = message("sensor_msgs/msg/Image")(height=4, width=4, encoding="rgb9", step=12, data=np.zeros(48, np.uint8).tobytes())

    def raising(image: Any) -> Any:
        raise RuntimeError("no more memory")

    judge = node._pipeline
    for picture, pipeline in ((broken, judge), (face, raising)):
        node._pipeline = judge
        node._work({"": face})
        until([node, onlooker], lambda: tracked and tracked[-1])
        node._pipeline = pipeline
        for _ in range(2):
            now_s += 1.5
            node._work({"": picture})
        until([node, onlooker], lambda: not tracked[-1])
        tracked.clear()
    assert (node.statistics.counts.refused, node.statistics.counts.failed) == (2, 2)


def test_a_worker_that_is_stuck_is_waited_for_before_the_next_one(
    node: Any, face: Any, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emotion_perception.ros2_nodes.worker._STOP_S", 0.05)
    assert node.trigger_activate() == SUCCESS
    Untaught.begun.clear()
    Untaught.may.clear()
    worker = node._worker
    node.receive(face)
    assert Untaught.begun.wait(PATIENCE_S)
    assert node.trigger_deactivate() == SUCCESS
    assert "takes more than ten seconds" in capfd.readouterr().err
    assert node.trigger_activate() == FAILURE
    assert node.trigger_cleanup() == FAILURE
    said = capfd.readouterr().err
    assert "cannot activate: still judging the last picture; try again later" in said
    assert "cannot clean up: still judging the last picture; try again later" in said
    assert node.learner is not None
    assert node.count_publishers(FACE) == 0
    Untaught.may.set()
    monkeypatch.setattr("emotion_perception.ros2_nodes.worker._STOP_S", PATIENCE_S)
    assert worker.stop()
    assert node.count_publishers(FACE) == 1  # the last picture made it
    assert node.trigger_activate() == SUCCESS
    assert node.count_publishers(FACE) == 0
    assert node._worker is not worker
    assert node.trigger_deactivate() == SUCCESS
    assert node.trigger_cleanup() == SUCCESS


def test_diagnostics_and_warnings_come_without_a_clock(
    start: Callable[..., Any], until: Callable[..., None], registered: None, capfd: pytest.CaptureFixture[str]
) -> None:
    node = start(FaceEmotionNode, "esr", detector="haar", use_sim_time="true", no_frame_warning_s=0.1)
    onlooker = runtime.Node("onlooker", parameter_overrides=[runtime.Parameter("use_sim_time", value=False)])
    statuses: list[Any] = []
    onlooker.create_subscription(message("diagnostic_msgs/msg/DiagnosticArray"), "/diagnostics", statuses.append, 10)
    assert node.trigger_configure() == SUCCESS
    assert node.trigger_activate() == SUCCESS
    until([node, onlooker], lambda: statuses and statuses[-1].status[0].message == "no picture on /image_raw")
    assert "no picture for 0.1 s on /image_raw" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("rules", "topic"),
    [
        (["image_raw:=/cam/image"], "/cam/image/compressed"),
        (["image_raw/compressed:=/jpeg"], "/jpeg"),
        (["image_raw:=/cam/image", "image_raw/compressed:=/jpeg"], "/jpeg"),
        (["__ns:=/robot", "image_raw:=cam"], "/robot/cam/compressed"),
        ([], "/image_raw/compressed"),
    ],
)
def test_compressed_pictures_follow_the_rule_for_the_topic(ros_domain: int, registered: None, rules: list[str], topic: str) -> None:
    runtime.init(args=["test", "--ros-args", "-p", "image_transport:=compressed", *(word for rule in rules for word in ("-r", rule))])
    node = FaceEmotionNode("esr")
    node.subscribe()
    found = node.input_topic()
    node.close()
    node.destroy_node()
    assert found == topic


def test_lists_of_faces_without_their_crops_are_missing_pictures(
    start: Callable[..., Any], until: Callable[..., None], registered: None
) -> None:
    node = start(FaceEmotionNode, "esr", input="ros4hri")
    assert node.trigger_configure() == SUCCESS
    assert node.trigger_activate() == SUCCESS
    onlooker = runtime.Node("onlooker")
    kind = message("hri_msgs/msg/IdsList")
    finder = onlooker.create_publisher(kind, "/humans/faces/tracked", 10)
    until([node, onlooker], finder.get_subscription_count)
    finder.publish(kind(ids=["anna"]))
    until([node, onlooker], lambda: node.input_topic() == "/humans/faces/anna/cropped")
    assert node.statistics.age_s is None
    assert "on /humans/faces/anna/cropped (best effort, volatile, depth 5; publishers: 0)" in node._missing(5.0)
    finder.publish(kind(ids=[]))  # nobody there is as good as a picture
    until([node, onlooker], lambda: node.statistics.age_s is not None)
    assert node.input_topic() == "/humans/faces/tracked"
