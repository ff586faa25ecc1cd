"""A partner that never matches because of its quality of service: said once per partner, as rclpy does, or nobody would know why."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cyclonedds.core import DDSStatus
from cyclonedds.pub import DataWriter
from cyclonedds.sub import DataReader

if TYPE_CHECKING:
    from emotion_perception.ros2_nodes.runtime.dds.node import Node

# DDS numbers its policies; these are the ones that ROS lets one choose, and the encoding, which only others' DDS programs get wrong.
_POLICIES = {2: "DURABILITY", 4: "DEADLINE", 8: "LIVELINESS", 11: "RELIABILITY", 23: "DATA REPRESENTATION"}


class QosMismatch:
    """Watches one reader or writer while its node spins."""

    rank = 5

    def __init__(self, node: Node, topic: str, entity: DataReader[object] | DataWriter[object]) -> None:
        """Starts to watch.

        Args:
            node: Whose it is.
            topic: The fully qualified name.
            entity: Reader or writer.
        """
        self._node, self._topic, self._reads = node, topic, isinstance(entity, DataReader)
        self._entity: Any = entity
        entity.set_status_mask(DDSStatus.RequestedIncompatibleQos if self._reads else DDSStatus.OfferedIncompatibleQos)
        node.executor.add(entity, self)

    def take(self) -> Callable[[], None] | None:
        """Takes the news and returns the call that logs it."""
        if self._reads:
            status = self._entity.get_requested_incompatible_qos_status()
            text = "New publisher discovered on topic '{}', offering incompatible QoS. No messages will be received from it."
        else:
            status = self._entity.get_offered_incompatible_qos_status()
            text = "New subscription discovered on topic '{}', requesting incompatible QoS. No messages will be sent to it."
        if status.total_count_change <= 0:
            return None
        policy = _POLICIES.get(status.last_policy_id, f"number {status.last_policy_id}")
        return lambda: self._log(f"{text.format(self._topic)} Last incompatible policy: {policy}")

    def _log(self, text: str) -> None:
        self._node.get_logger().warning(text)

    def close(self) -> None:
        """Stops to watch; comes before the entity is freed."""
        self._node.executor.remove(self._entity)
