"""Who publishes what, as seen by another process."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("cyclonedds")
pytest.importorskip("rosbags")

PUBLISHERS = """
from emotion_perception.ros2_nodes.runtime.dds import context, executor, messages, node, qos
context.init(args=[])
n = node.Node("talker")
text, image = (messages.get_message(name) for name in ("std_msgs/msg/String", "sensor_msgs/msg/Image"))
n.create_publisher(text, "/kept", qos.QoSProfile(depth=1, durability=qos.DurabilityPolicy.TRANSIENT_LOCAL))
n.create_publisher(image, "/image", qos.qos_profile_sensor_data)
n.create_subscription(image, "/wanted", print, 1)
gone = n.create_publisher(text, "/gone", 1)
def end_when_told():
    if n.get_publishers_info_by_topic("/go"):
        n.destroy_publisher(gone)
        again.cancel()
again = n.create_timer(0.02, end_when_told)
print("ready", flush=True)
try:
    executor.spin(n)
except (KeyboardInterrupt, context.ExternalShutdownException):
    pass
"""


def test_types_and_qos_of_what_another_process_publishes(node_process, talk: Any) -> None:
    from emotion_perception.ros2_nodes.runtime.dds.messages import get_message
    from emotion_perception.ros2_nodes.runtime.dds.qos import DurabilityPolicy, ReliabilityPolicy

    with node_process(PUBLISHERS):
        node = talk.node
        topics = ("/kept", "/image", "/gone")
        talk.until(lambda: all(node.count_publishers(topic) for topic in topics) and "/wanted" in dict(node.get_topic_names_and_types()))
        ((kept,), (image,)) = (node.get_publishers_info_by_topic(topic) for topic in topics[:2])
        assert (kept.topic_type, image.topic_type) == ("std_msgs/msg/String", "sensor_msgs/msg/Image")
        assert (kept.qos_profile.durability, kept.qos_profile.reliability) == (DurabilityPolicy.TRANSIENT_LOCAL, ReliabilityPolicy.RELIABLE)
        assert (image.qos_profile.durability, image.qos_profile.reliability) == (DurabilityPolicy.VOLATILE, ReliabilityPolicy.BEST_EFFORT)
        found = dict(node.get_topic_names_and_types())
        assert found["/wanted"] == ["sensor_msgs/msg/Image"]  # a subscription is enough for a topic to be there
        assert node.count_publishers("/wanted") == 0
        assert not [name for name in found if "Request" in name or "Reply" in name]  # services are no topics

        node.create_publisher(get_message("std_msgs/msg/String"), "/go", 1)
        talk.until(lambda: not node.count_publishers("/gone"))
        assert node.count_publishers("/kept") == 1
