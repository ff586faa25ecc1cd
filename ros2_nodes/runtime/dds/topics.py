"""Publishers and subscriptions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cyclonedds.core import DDSException

from emotion_perception.engine.errors import EmotionPerceptionError, UsageError
from emotion_perception.ros2_nodes.runtime.dds.messages import deserialize, serialize, type_hash, type_name
from emotion_perception.ros2_nodes.runtime.dds.mismatch import QosMismatch
from emotion_perception.ros2_nodes.runtime.dds.qos import QoSProfile, to_dds
from emotion_perception.ros2_nodes.runtime.dds.wire import Reader, Writer

if TYPE_CHECKING:
    from emotion_perception.ros2_nodes.runtime.dds.node import Node


class InvalidHandleError(EmotionPerceptionError, RuntimeError):
    """Something is used after it was destroyed."""


class Publisher:
    """Publishes messages to a topic; any thread may."""

    def __init__(self, node: Node, msg_type: type[Any], topic: str, qos_profile: QoSProfile) -> None:
        """Makes one; `Node.create_publisher` does, and keeps it.

        Args:
            node: Whose it is.
            msg_type: From `get_message`.
            topic: The fully qualified name.
            qos_profile: The quality of service.
        """
        name = type_name(msg_type)
        self.msg_type, self.qos_profile, self.topic_name = msg_type, qos_profile, topic
        self._node, self._context = node, node.context
        self._writer: Writer | None = Writer(node.context.ports, f"rt{topic}", name, to_dds(qos_profile, f"typehash={type_hash(name)};"))
        self._mismatch = QosMismatch(node, topic, self._writer.entity)

    @property
    def topic(self) -> str:
        """The fully qualified name of the topic."""
        return self.topic_name

    def publish(self, msg: Any) -> None:
        """Publishes a message; after a shutdown, nothing happens.

        Args:
            msg: A message of the publisher's type, or its CDR.

        Raises:
            UsageError: It is of another type, or a field has a wrong one.
            InvalidHandleError: The publisher was destroyed.
        """
        if isinstance(msg, (bytes, bytearray, memoryview)):
            data = bytes(msg) + bytes(-len(msg) % 4)
        elif type(msg) is self.msg_type:
            data = serialize(msg)
        else:
            raise UsageError(f"{self.topic_name} carries {self.msg_type.__qualname__}, given {type(msg).__qualname__}")
        writer = self._writer
        try:
            if writer is None:
                raise InvalidHandleError(f"the publisher of {self.topic_name} was destroyed")
            writer.write(data)
        except (DDSException, InvalidHandleError):
            # A worker that publishes while the process ends is no error; and it may be destroyed between any two lines of this.
            if not self._context.ok():
                return
            if self._writer is None:
                raise InvalidHandleError(f"the publisher of {self.topic_name} was destroyed") from None
            raise

    def get_subscription_count(self) -> int:
        """Returns how many subscriptions of this and other processes listen."""
        writer = self._writer
        return 0 if writer is None else writer.matched()

    def gid(self) -> bytes | None:
        """Returns its id in the graph; None when it was destroyed."""
        writer = self._writer
        return None if writer is None else writer.gid

    def destroy(self) -> None:
        """Frees it; `Node.destroy_publisher` calls this."""
        writer, self._writer = self._writer, None
        if writer is not None:
            self._mismatch.close()
            writer.close()


class Subscription:
    """Has a callback called with each message of a topic."""

    rank = 1

    def __init__(
        self, node: Node, msg_type: type[Any], topic: str, callback: Callable[[Any], Any], qos_profile: QoSProfile, raw: bool = False
    ) -> None:
        """Makes one; `Node.create_subscription` does, and keeps it.

        Args:
            node: Whose it is.
            msg_type: From `get_message`.
            topic: The fully qualified name.
            callback: Called with the message.
            qos_profile: The quality of service.
            raw: Call with the CDR instead.
        """
        name = type_name(msg_type)
        self.msg_type, self.qos_profile, self.topic_name = msg_type, qos_profile, topic
        self._node, self._callback, self._raw = node, callback, raw
        self._reader: Reader | None = Reader(node.context.ports, f"rt{topic}", name, to_dds(qos_profile, f"typehash={type_hash(name)};"))
        node.executor.add(self._reader.condition, self)
        self._mismatch = QosMismatch(node, topic, self._reader.entity)

    @property
    def topic(self) -> str:
        """The fully qualified name of the topic."""
        return self.topic_name

    def take(self) -> Callable[[], Any] | None:
        """Takes one message and returns the call with it."""
        reader = self._reader
        sample = None if reader is None else reader.take()
        if sample is None:
            return None
        data = sample[0]
        if self._raw:
            return lambda: self._callback(data)
        try:
            message = deserialize(data, self.msg_type)
        except Exception as error:
            self._node.get_logger().error(
                f"dropped a message of {self.topic_name} that is no {self.msg_type.__qualname__}: {error}", throttle_duration_sec=5.0
            )
            return None
        return lambda: self._callback(message)

    def get_publisher_count(self) -> int:
        """Returns how many publishers of this and other processes it hears."""
        reader = self._reader
        return 0 if reader is None else reader.matched()

    def gid(self) -> bytes | None:
        """Returns its id in the graph; None when it was destroyed."""
        reader = self._reader
        return None if reader is None else reader.gid

    def destroy(self) -> None:
        """Frees it; `Node.destroy_subscription` calls this."""
        reader, self._reader = self._reader, None
        if reader is not None:
            self._mismatch.close()
            self._node.executor.remove(reader.condition)
            reader.close()
