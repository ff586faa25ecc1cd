"""Raw CDR over Cyclone DDS: readers and writers whose entities are freed when told, not when Python gets round to it."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any, Protocol

from cyclonedds._clayer import ddspy_take, ddspy_write
from cyclonedds.core import DDSException, Entity, InstanceState, ReadCondition, SampleState, ViewState
from cyclonedds.domain import DomainParticipant
from cyclonedds.idl import make_idl_struct, types
from cyclonedds.internal import dds_c_t
from cyclonedds.pub import DataWriter, Publisher
from cyclonedds.qos import Policy, Qos
from cyclonedds.sub import DataReader, Subscriber
from cyclonedds.topic import Topic
from rosbags.interfaces import Nodetype

from emotion_perception.engine.errors import UsageError
from emotion_perception.ros2_nodes.runtime.dds.messages import store
from emotion_perception.ros2_nodes.runtime.dds.names import dds_type_name

_ANY = SampleState.Any | ViewState.Any | InstanceState.Any
_BASE: dict[str, Any] = {
    "bool": bool,
    "string": str,
    **dict.fromkeys(("byte", "char", "octet"), types.uint8),
    **{f"{sign}int{bits}": getattr(types, f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "float32": types.float32,
    "float64": types.float64,
}


class Ports(Protocol):
    """What endpoints are made on: a participant with its one publisher and its one subscriber."""

    participant: DomainParticipant
    publisher: Publisher
    subscriber: Subscriber


@cache
def idl_type(ros_type: str, with_header: bool = False) -> type[Any]:
    """Returns the IDL struct that gives a topic its type. Samples never pass through it: Cyclone DDS only checks their CDR by it.

    Args:
        ros_type: "sensor_msgs/msg/Image".
        with_header: Put the two leading fields of a request or response in front (client's id, number of the request).
    """
    members: dict[str, Any] = {"client_guid_": types.uint64, "sequence_number_": types.int64} if with_header else {}
    members |= {name: _idl_field(desc) for name, desc in store().fielddefs[ros_type][1]}
    made: type[Any] = make_idl_struct(ros_type.rsplit("/", 1)[1] + "_", dds_type_name(ros_type), members)
    return made


def _idl_field(desc: Any) -> Any:
    kind, inner = desc
    if kind == Nodetype.BASE:
        return _BASE[inner[0]]
    if kind == Nodetype.NAME:
        return idl_type(inner)
    item, length = _idl_field(inner[0]), inner[1]
    maker: Any = types.array if kind == Nodetype.ARRAY else types.sequence
    return maker[item, length] if kind == Nodetype.ARRAY else maker[item]


def delete(*entities: Entity) -> None:
    """Frees entities now. What was freed already, with its participant for example, is passed over."""
    for entity in entities:
        Entity._entities.pop(entity._ref, None)  # or its __del__ would free it again
        entity._delete(entity._ref)


class Writer:
    """Writes CDR to one topic; any thread may."""

    def __init__(self, ports: Ports, topic: str, ros_type: str, qos: Qos, with_header: bool = False) -> None:
        """Makes topic and writer.

        Args:
            ports: Participant and publisher.
            topic: Its name in DDS, "rt/image_raw".
            ros_type: "sensor_msgs/msg/Image".
            qos: From `qos.to_dds`.
            with_header: The data starts with a service header.

        Raises:
            UsageError: Cyclone DDS refuses it.
        """
        try:
            self._topic = Topic(ports.participant, topic, idl_type(ros_type, with_header))
            self.entity = DataWriter(ports.publisher, self._topic, qos=qos)
        except DDSException as error:
            raise UsageError(f"cannot write {ros_type} to the DDS topic {topic}: {error}") from error
        self.gid = self.entity.guid.bytes

    def write(self, cdr: bytes) -> None:
        """Writes one sample; its length is a multiple of four.

        Raises:
            DDSException: The writer was freed, or its history is full.
        """
        code = ddspy_write(self.entity._ref, cdr)
        if code < 0:
            raise DDSException(code, "while writing a sample")

    def matched(self) -> int:
        """Returns how many readers there are."""
        return max(0, int(self.entity._get_matched_subscriptions(self.entity._ref, None, 0)))

    def reader_user_data(self) -> list[bytes]:
        """Returns the user data of every matched reader."""
        found = (self.entity.get_matched_subscription_data(handle) for handle in self.entity.get_matched_subscriptions())
        return [_user_data(data) for data in found if data is not None]

    def close(self) -> None:
        """Frees writer and topic."""
        delete(self.entity, self._topic)


class Reader:
    """Takes CDR from one topic, and has a condition that a wait set can wait for."""

    def __init__(self, ports: Ports, topic: str, ros_type: str, qos: Qos, with_header: bool = False) -> None:
        """Makes topic, reader and condition; arguments and errors are those of `Writer`."""
        try:
            self._topic = Topic(ports.participant, topic, idl_type(ros_type, with_header))
            self.entity = DataReader(ports.subscriber, self._topic, qos=qos)
            self.condition = ReadCondition(self.entity, _ANY)
        except DDSException as error:
            raise UsageError(f"cannot read {ros_type} from the DDS topic {topic}: {error}") from error
        self.gid = self.entity.guid.bytes

    def take(self) -> tuple[bytes, Any] | None:
        """Returns the oldest sample and its SampleInfo; None when there is none, or the reader was freed."""
        while True:
            samples = ddspy_take(self.entity._ref, _ANY, 1)
            if isinstance(samples, int) or not samples:
                return None
            data, info = samples[0]
            if info.valid_data:  # otherwise a writer went away, which ROS does not tell
                return data, info

    def matched(self) -> int:
        """Returns how many writers there are."""
        return max(0, int(self.entity._get_matched_publications(self.entity._ref, None, 0)))

    def writer_user_data(self, handle: int) -> bytes | None:
        """Returns the user data of the matched writer that a sample came from; None when it is gone."""
        data = self.entity.get_matched_publication_data(handle)
        return None if data is None else _user_data(data)

    def close(self) -> None:
        """Frees condition, reader and topic."""
        delete(self.condition, self.entity, self._topic)


def _user_data(endpoint: Any) -> bytes:
    return next((bytes(policy.data) for policy in endpoint.qos if isinstance(policy, Policy.Userdata)), b"")


def instance_handle(entity: Entity) -> int:
    """Returns the 64 bits by which the others know a writer."""
    handle = dds_c_t.instance_handle()
    entity._get_instance_handle(entity._ref, ctypes.byref(handle))
    return int(handle.value) & (2**64 - 1)
