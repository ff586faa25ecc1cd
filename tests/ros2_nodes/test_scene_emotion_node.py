from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emotion_perception.engine.learners import Learner
from emotion_perception.learners.esr import FacialEmotionLearner

pytest.importorskip("emotion_perception.ros2_nodes.runtime", exc_type=ImportError)

from emotion_perception.ros2_nodes import runtime
from emotion_perception.ros2_nodes.clip_emotion_node import ClipEmotionNode
from emotion_perception.ros2_nodes.face_emotion_node import FaceEmotionNode
from emotion_perception.ros2_nodes.images import from_rgb
from emotion_perception.ros2_nodes.messages import message
from emotion_perception.ros2_nodes.running import node_class
from emotion_perception.ros2_nodes.scene_emotion_node import SceneEmotionNode

SUCCESS, FAILURE = runtime.TransitionCallbackReturn.SUCCESS, runtime.TransitionCallbackReturn.FAILURE


class SceneLearner(FacialEmotionLearner):
    """Judges whole pictures with a network that has learned nothing."""

    card = FacialEmotionLearner.card.with_(learner="toy-scene", perceives="scene", crop=None)

    def load(self, path: str | Path | None = None) -> None:
        self.init_model(2)
        self.card = self.card.with_(learner="toy-scene", perceives="scene", crop=None)


class ClipLearner(FacialEmotionLearner):
    """Would judge clips."""

    card = FacialEmotionLearner.card.with_(learner="toy-clip", perceives="clip", crop=None)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registers the learners of this file for as long as the test runs."""
    classes: dict[str, type[Learner]] = {"toy-scene": SceneLearner, "toy-clip": ClipLearner, "esr": FacialEmotionLearner}
    monkeypatch.setattr("emotion_perception.engine.registry.learner_class", classes.__getitem__)


def test_a_scene_is_judged_as_a_whole(start: Callable[..., Any], until: Callable[..., None], registered: None) -> None:
    node = start(SceneEmotionNode, "toy-scene")
    assert node.get_name() == "toy_scene"  # names on the graph have no hyphens
    onlooker = runtime.Node("onlooker")
    heard: dict[str, list[Any]] = {}
    for topic, kind in (
        ("classification", "vision_msgs/msg/Classification"),
        ("result", "std_msgs/msg/String"),
        ("image_annotated", "sensor_msgs/msg/Image"),
    ):
        heard[topic] = []
        onlooker.create_subscription(message(kind), f"/toy_scene/{topic}", heard[topic].append, 10)
    camera = onlooker.create_publisher(message("sensor_msgs/msg/Image"), "/image_raw", 10)
    assert node.trigger_configure() == SUCCESS
    assert node.trigger_activate() == SUCCESS
    header = message("std_msgs/msg/Header")(frame_id="wall_camera")
    header.stamp.sec = 77

    def all_heard() -> bool:
        camera.publish(from_rgb(np.full((60, 80, 3), 120, np.uint8), header))
        return all(heard.values())

    until([node, onlooker], all_heard)
    assert (heard["classification"][0].header.stamp.sec, heard["classification"][0].header.frame_id) == (77, "wall_camera")
    assert {each.class_id for each in heard["classification"][0].results} == set(SceneLearner.card.label_set)
    (entry,) = json.loads(heard["result"][0].data)["faces"]
    assert entry["box_xyxy"] == [0, 0, 80, 60]
    assert (heard["image_annotated"][0].width, heard["image_annotated"][0].header.frame_id) == (80, "wall_camera")
    assert node.trigger_deactivate() == SUCCESS
    assert node.trigger_cleanup() == SUCCESS
    assert node.learner is None


def test_a_node_refuses_a_learner_that_perceives_something_else(
    start: Callable[..., Any], registered: None, capfd: pytest.CaptureFixture[str]
) -> None:
    node = start(FaceEmotionNode, "esr", learner="toy-scene")
    assert node.trigger_configure() == FAILURE
    said = capfd.readouterr().err
    assert "learner 'toy-scene' perceives a scene, this node takes one that perceives a face" in said
    assert "emotion-perception node toy-scene" in said
    assert "Traceback" not in said


def test_the_card_chooses_the_node(registered: None) -> None:
    assert node_class("esr") is FaceEmotionNode
    assert node_class("toy-scene") is SceneEmotionNode
    assert node_class("toy-clip") is ClipEmotionNode
