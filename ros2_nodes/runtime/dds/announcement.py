"""What the other ROS processes are told: which nodes live in this one, and which readers and writers are theirs."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Protocol

import numpy as np

from emotion_perception.ros2_nodes.runtime.dds.messages import get_message, serialize, type_hash
from emotion_perception.ros2_nodes.runtime.dds.qos import qos_profile_discovery, to_dds
from emotion_perception.ros2_nodes.runtime.dds.wire import Ports, Writer

_TYPE = "rmw_dds_common/msg/ParticipantEntitiesInfo"


class Member(Protocol):
    """A node, as it is announced."""

    def get_name(self) -> str:
        """Returns the node's name."""

    def get_namespace(self) -> str:
        """Returns the node's namespace."""

    def gids(self) -> tuple[list[bytes], list[bytes]]:
        """Returns the ids of its readers and of its writers."""

    def destroy_node(self) -> None:
        """Frees it."""


class Announcement:
    """Publishes the nodes of one participant, again after every change."""

    def __init__(self, ports: Ports, gid: bytes) -> None:
        """Announces a participant without nodes."""
        self._gid = gid
        self._lock = threading.Lock()
        self._members: list[Member] = []
        self._closed = False
        self._writer = Writer(ports, "ros_discovery_info", _TYPE, to_dds(qos_profile_discovery, f"typehash={type_hash(_TYPE)};"))
        self.update()

    @property
    def members(self) -> tuple[Member, ...]:
        """The nodes."""
        return tuple(self._members)

    def add(self, member: Member) -> None:
        """Adds a node."""
        with self._lock:
            self._members.append(member)
        self.update()

    def remove(self, member: Member) -> None:
        """Removes a node; it may be gone already."""
        with self._lock:
            self._members = [other for other in self._members if other is not member]
        self.update()

    def update(self) -> None:
        """Tells the others how it is now."""
        with self._lock:
            if self._closed:
                return
            nodes = []
            for member in self._members:
                readers, writers = member.gids()
                nodes.append(
                    get_message("rmw_dds_common/msg/NodeEntitiesInfo")(
                        node_namespace=member.get_namespace(),
                        node_name=member.get_name(),
                        reader_gid_seq=_gids(readers),
                        writer_gid_seq=_gids(writers),
                    )
                )
            info = get_message(_TYPE)(gid=_gids([self._gid])[0], node_entities_info_seq=nodes)
            self._writer.write(serialize(info))

    def close(self) -> None:
        """Frees the writer; later changes are told to nobody."""
        with self._lock:
            self._closed = True
            self._writer.close()


def _gids(values: Iterable[bytes]) -> list[object]:
    gid = get_message("rmw_dds_common/msg/Gid")
    return [gid(data=np.frombuffer(value, np.uint8)) for value in values]
