"""Partners that cannot match are told about, in rclpy's words."""

from __future__ import annotations

import time

import pytest

pytest.importorskip("cyclonedds")
pytest.importorskip("rosbags")

from emotion_perception.ros2_nodes.runtime.dds.context import init
from emotion_perception.ros2_nodes.runtime.dds.executor import spin_once
from emotion_perception.ros2_nodes.runtime.dds.messages import get_message
from emotion_perception.ros2_nodes.runtime.dds.node import Node
from emotion_perception.ros2_nodes.runtime.dds.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data

String = get_message("std_msgs/msg/String")


def test_both_sides_say_which_policy_keeps_them_apart(ros_domain: int, capsys: pytest.CaptureFixture[str]) -> None:
    init(args=[])
    node = Node("node")
    node.create_publisher(String, "image_raw", qos_profile_sensor_data)
    node.create_subscription(String, "image_raw", print, 10)
    node.create_publisher(String, "labels", 10)
    node.create_subscription(String, "labels", print, QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))
    end_s, said = time.monotonic() + 20.0, ""
    while said.count("\n") < 4 and time.monotonic() < end_s:
        spin_once(node, timeout_sec=0.1)
        said += capsys.readouterr().err
    for topic, policy in (("image_raw", "RELIABILITY"), ("labels", "DURABILITY")):
        assert (
            f"New publisher discovered on topic '/{topic}', offering incompatible QoS. No messages will be received from it. "
            f"Last incompatible policy: {policy}" in said
        )
        assert (
            f"New subscription discovered on topic '/{topic}', requesting incompatible QoS. No messages will be sent to it. "
            f"Last incompatible policy: {policy}" in said
        )
    spin_once(node, timeout_sec=0.1)
    assert capsys.readouterr().err == ""  # once
