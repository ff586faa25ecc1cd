"""Two processes over loopback: pictures, bursts, services, late joiners, and partners that die and come back."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("cyclonedds")
pytest.importorskip("rosbags")

from emotion_perception.ros2_nodes.runtime.dds.context import init, try_shutdown
from emotion_perception.ros2_nodes.runtime.dds.executor import spin_once, spin_until_future_complete
from emotion_perception.ros2_nodes.runtime.dds.messages import get_message, get_service
from emotion_perception.ros2_nodes.runtime.dds.node import Node
from emotion_perception.ros2_nodes.runtime.dds.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data

PATIENCE_S = 30.0
START = """
import sys, time, hashlib
import numpy as np
from emotion_perception.ros2_nodes.runtime.dds.context import ExternalShutdownException, init, ok, try_shutdown
from emotion_perception.ros2_nodes.runtime.dds.executor import spin
from emotion_perception.ros2_nodes.runtime.dds.messages import get_message, get_service
from emotion_perception.ros2_nodes.runtime.dds.node import Node
from emotion_perception.ros2_nodes.runtime.dds.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
init(args=[])
node = Node("partner")
String, Image = get_message("std_msgs/msg/String"), get_message("sensor_msgs/msg/Image")
"""
END = """
print("ready", flush=True)
try:
    spin(node)
except (KeyboardInterrupt, ExternalShutdownException):
    pass
"""
CAMERA = """
publisher = node.create_publisher(Image, "image_raw", qos_profile_sensor_data)
count = 0
def shoot():
    global count
    if publisher.get_subscription_count() and count < 60:
        data = np.random.default_rng(count).integers(0, 256, 480 * 640 * 3, dtype=np.uint8)
        image = Image(height=480, width=640, step=1920, encoding="rgb8", data=data)
        image.header.stamp.sec, image.header.frame_id = count, "camera"
        publisher.publish(image)
        count += 1
node.create_timer(1 / 30, shoot)
"""
BURST = """
publisher = node.create_publisher(String, "burst", QoSProfile(depth=2000))
def send(request, response):
    for i in range(2000):
        publisher.publish(String(data=str(i)))
    response.success = True
    return response
node.create_service(get_service("std_srvs/srv/Trigger"), "send", send)
"""
LABELS = """
publisher = node.create_publisher(String, "labels", QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))
publisher.publish(String(data="first"))
publisher.publish(String(data=sys.argv[1]))
"""
ECHO = """
publisher = node.create_publisher(String, "answer", 10)
node.create_subscription(String, "question", publisher.publish, 10)
"""


class Partner:
    """A process with a node."""

    def __init__(self, body: str, *arguments: str) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", START + body + END, *arguments], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def kill(self) -> None:
        """Kills it without a word of farewell to the others."""
        self.process.kill()
        self.process.wait()


@pytest.fixture
def partners(ros_domain: int) -> Iterator[list[Partner]]:
    started: list[Partner] = []
    yield started
    for partner in started:
        partner.kill()


@pytest.fixture
def node(ros_domain: int) -> Iterator[Node]:
    init(args=[])
    made = Node("here")
    yield made
    made.destroy_node()
    try_shutdown()


def until(node: Node, condition: Any) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s, "waited in vain"
        spin_once(node, timeout_sec=0.1)


def test_pictures_of_a_camera_arrive_whole_and_in_order(node: Node, partners: list[Partner]) -> None:
    seen: list[int] = []

    def see(image: Any) -> None:
        number = image.header.stamp.sec
        expected = np.random.default_rng(number).integers(0, 256, 480 * 640 * 3, dtype=np.uint8)
        assert np.array_equal(image.data, expected)
        assert image.header.frame_id == "camera"
        seen.append(number)

    node.create_subscription(get_message("sensor_msgs/msg/Image"), "image_raw", see, qos_profile_sensor_data)
    partners.append(Partner(CAMERA))
    until(node, lambda: seen and seen[-1] == 59)
    assert seen == sorted(set(seen))
    assert len(seen) >= 30  # best effort, and the machine may be busy


def test_a_reliable_burst_loses_nothing(node: Node, partners: list[Partner]) -> None:
    heard: list[str] = []
    text = get_message("std_msgs/msg/String")
    subscription = node.create_subscription(text, "burst", lambda m: heard.append(m.data), QoSProfile(depth=2000))
    trigger = get_service("std_srvs/srv/Trigger")
    client = node.create_client(trigger, "send")
    partners.append(Partner(BURST))
    assert client.wait_for_service(timeout_sec=PATIENCE_S)
    until(node, lambda: subscription.get_publisher_count() == 1)
    future = client.call_async(trigger.Request())
    spin_until_future_complete(node, future, timeout_sec=PATIENCE_S)
    assert future.result().success
    until(node, lambda: len(heard) == 2000)
    assert heard == [str(i) for i in range(2000)]


def test_who_comes_late_gets_the_last_label(node: Node, partners: list[Partner]) -> None:
    partners.append(Partner(LABELS, "happy"))
    heard: list[str] = []
    kept = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    node.create_subscription(get_message("std_msgs/msg/String"), "labels", lambda m: heard.append(m.data), kept)
    until(node, lambda: heard)
    assert heard == ["happy"]
    partners.append(Partner(LABELS, "sad"))
    until(node, lambda: heard[-1] == "sad")


def test_a_partner_that_is_killed_comes_back_without_a_restart_of_this_one(node: Node, partners: list[Partner]) -> None:
    text = get_message("std_msgs/msg/String")
    heard: list[str] = []
    node.create_subscription(text, "answer", lambda m: heard.append(m.data), 10)
    publisher = node.create_publisher(text, "question", 10)
    for life in ("one", "two", "three"):
        partners.append(Partner(ECHO))
        timer = node.create_timer(0.02, lambda life=life: publisher.publish(text(data=life)))
        until(node, lambda life=life: life in heard)
        node.destroy_timer(timer)
        partners[-1].kill()
