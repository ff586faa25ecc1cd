"""Who publishes what: the part of rclpy's graph queries that nodes and tools need, read from what DDS discovered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cyclonedds.builtin import BuiltinDataReader, BuiltinTopicDcpsPublication, BuiltinTopicDcpsSubscription
from cyclonedds.domain import DomainParticipant
from cyclonedds.qos import Policy

from emotion_perception.ros2_nodes.runtime.dds.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from emotion_perception.ros2_nodes.runtime.dds.wire import delete

# More endpoints than any robot has; what is read is a copy of each.
_MOST_ENDPOINTS = 10_000
_PREFIX = "rt"  # of the names of topics; services have others


@dataclass(frozen=True)
class TopicEndpointInfo:
    """One publisher of a topic, with the names that rclpy's class of this name has.

    Attributes:
        topic_type: Type of its messages, "sensor_msgs/msg/Image".
        qos_profile: What it offers.
    """

    topic_type: str
    qos_profile: QoSProfile


def topic_names_and_types(participant: DomainParticipant) -> list[tuple[str, list[str]]]:
    """Returns every topic that is published or subscribed to, sorted, with the types seen on it.

    Args:
        participant: Whose discovery is asked; right after it was made, others are not known yet.
    """
    found: dict[str, set[str]] = {}
    for kind in (BuiltinTopicDcpsPublication, BuiltinTopicDcpsSubscription):
        for endpoint in _endpoints(participant, kind):
            found.setdefault(endpoint.topic_name.removeprefix(_PREFIX), set()).add(_ros_type(endpoint.type_name))
    return [(name, sorted(types)) for name, types in sorted(found.items())]


def publishers_info(participant: DomainParticipant, topic: str) -> list[TopicEndpointInfo]:
    """Returns the publishers of a topic, those of this process included.

    Args:
        participant: Whose discovery is asked.
        topic: Fully qualified name, "/image_raw".
    """
    endpoints = _endpoints(participant, BuiltinTopicDcpsPublication)
    return [TopicEndpointInfo(_ros_type(e.type_name), _profile(e.qos)) for e in endpoints if e.topic_name == f"{_PREFIX}{topic}"]


def _endpoints(participant: DomainParticipant, kind: Any) -> list[Any]:
    """Returns the endpoints of ROS topics that are alive now."""
    # A new reader is given what is alive; one that is kept would also hold those that left.
    reader = BuiltinDataReader(participant, kind)
    try:
        samples = reader.read(_MOST_ENDPOINTS)
    finally:
        delete(reader)
    return [sample for sample in samples if sample.topic_name is not None and sample.topic_name.startswith(f"{_PREFIX}/")]


def _ros_type(dds_type: str) -> str:
    """Turns ``sensor_msgs::msg::dds_::Image_`` into ``sensor_msgs/msg/Image``; another name stays as it is."""
    parts = dds_type.split("::")
    return f"{parts[0]}/{parts[1]}/{parts[3].removesuffix('_')}" if len(parts) == 4 and parts[2] == "dds_" else dds_type


def _profile(qos: Any) -> QoSProfile:
    """Reads a publisher's QoS; DDS does not tell others how many messages a publisher keeps, so the depth is ROS' default."""
    reliable = qos[Policy.Reliability] != Policy.Reliability.BestEffort
    kept = qos[Policy.Durability] != Policy.Durability.Volatile
    return QoSProfile(
        depth=10,
        history=HistoryPolicy.KEEP_LAST,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if kept else DurabilityPolicy.VOLATILE,
    )
