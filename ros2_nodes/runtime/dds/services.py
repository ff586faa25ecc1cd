"""Services and clients. A request and its response start with 16 bytes by which they find each other, as rmw_cyclonedds has it."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from emotion_perception.ros2_nodes.runtime.dds.messages import deserialize, serialize, type_hash
from emotion_perception.ros2_nodes.runtime.dds.qos import QoSProfile, to_dds
from emotion_perception.ros2_nodes.runtime.dds.topics import InvalidHandleError
from emotion_perception.ros2_nodes.runtime.dds.wire import Reader, Writer, instance_handle

if TYPE_CHECKING:
    from emotion_perception.ros2_nodes.runtime.dds.node import Node

_ENCAPSULATION = 4
_HEADER = 16  # a multiple of the largest alignment: the body is plain CDR
_READER_WAIT_S = 0.1
_READER_STEP_S = 0.005


class _Pair:
    """The writer and the reader of one side."""

    def __init__(self, node: Node, srv_type: type[Any], name: str, qos: QoSProfile, role: str) -> None:
        ports, service = node.context.ports, srv_type.__srvtype__
        # The same id at both tells which reader belongs to which writer.
        self.tag = f"{role}id={'.'.join(f'{byte:02x}' for byte in node.context.next_id())};"
        made: dict[str, Any] = {}
        for kind, prefix in (("Request", "rq"), ("Response", "rr")):
            ros_type, topic = f"{service}_{kind}", f"{prefix}{name}{'Request' if kind == 'Request' else 'Reply'}"
            endpoint = Writer if (kind == "Request") == (role == "client") else Reader
            made[endpoint.__name__] = endpoint(ports, topic, ros_type, to_dds(qos, f"{self.tag}typehash={type_hash(ros_type)};"), True)
        self.writer: Writer = made["Writer"]
        self.reader: Reader = made["Reader"]

    def close(self) -> None:
        self.reader.close()
        self.writer.close()


def _split(data: bytes) -> tuple[bytes, bytes]:
    """Returns header and body, the body as CDR of its own."""
    start = _ENCAPSULATION + _HEADER
    return data[_ENCAPSULATION:start], data[:_ENCAPSULATION] + data[start:]


def _join(header: bytes, body: bytes) -> bytes:
    return body[:_ENCAPSULATION] + header + body[_ENCAPSULATION:]


class _Side:
    """What a service and a client have in common."""

    rank = 4
    _role = ""

    def __init__(self, node: Node, srv_type: type[Any], srv_name: str, qos_profile: QoSProfile) -> None:
        """Makes one; `Node.create_service` and `Node.create_client` do, and keep it.

        Args:
            node: Whose it is.
            srv_type: From `get_service`.
            srv_name: The fully qualified name.
            qos_profile: The quality of service, of both directions.
        """
        self.srv_type, self.srv_name, self.qos_profile = srv_type, srv_name, qos_profile
        self._node = node
        self._pair: _Pair | None = _Pair(node, srv_type, srv_name, qos_profile, self._role)
        node.executor.add(self._pair.reader.condition, self)

    def take(self) -> Callable[[], Any] | None:
        """Takes one request or response and returns the call with it."""
        pair = self._pair
        sample = None if pair is None else pair.reader.take()
        if pair is None or sample is None or len(sample[0]) < _ENCAPSULATION + _HEADER:
            return None
        try:
            return self._call(pair, *_split(sample[0]), sample[1])
        except Exception as error:
            self._node.get_logger().error(f"dropped what is no {self._role} of {self.srv_name}: {error}", throttle_duration_sec=5.0)
            return None

    def _call(self, pair: _Pair, header: bytes, body: bytes, info: Any) -> Callable[[], Any] | None:
        raise NotImplementedError

    def gids(self) -> tuple[bytes, bytes] | None:
        """Returns the ids of reader and writer in the graph; None when it was destroyed."""
        pair = self._pair
        return None if pair is None else (pair.reader.gid, pair.writer.gid)

    def destroy(self) -> None:
        """Frees it; the node's `destroy_service` and `destroy_client` call this."""
        pair, self._pair = self._pair, None
        if pair is not None:
            self._node.executor.remove(pair.reader.condition)
            pair.close()


class Service(_Side):
    """Answers requests with a callback."""

    _role = "service"

    def __init__(
        self, node: Node, srv_type: type[Any], srv_name: str, callback: Callable[[Any, Any], Any], qos_profile: QoSProfile
    ) -> None:
        """Makes one.

        Args:
            node: Whose it is.
            srv_type: From `get_service`.
            srv_name: The fully qualified name.
            callback: Called with the request and an empty response; returns the response.
            qos_profile: The quality of service, of both directions.
        """
        self._callback = callback
        self._known_clients: set[int] = set()
        super().__init__(node, srv_type, srv_name, qos_profile)

    def _call(self, pair: _Pair, header: bytes, body: bytes, info: Any) -> Callable[[], Any]:
        request = deserialize(body, self.srv_type.Request)
        return lambda: self._answer(pair, header, request, info.publication_handle)

    def _answer(self, pair: _Pair, header: bytes, request: Any, client: int) -> None:
        response = serialize(self._callback(request, self.srv_type.Response()))
        if self._pair is pair and self._hears(pair, client):  # else destroyed by the callback, or the client has gone
            pair.writer.write(_join(header, response))

    def _hears(self, pair: _Pair, client: int) -> bool:
        """Waits until the client's reader is known here: what is written before it is known never reaches it."""
        if client in self._known_clients:
            return True
        data = pair.reader.writer_user_data(client)
        if data is None:
            return False
        tag = next((part for part in data.split(b";") if part.startswith(b"clientid=")), b"")
        end_s = time.monotonic() + _READER_WAIT_S
        while tag and not any(tag in theirs for theirs in pair.writer.reader_user_data()):
            if time.monotonic() > end_s:
                return False
            time.sleep(_READER_STEP_S)
        self._known_clients = {client, *list(self._known_clients)[-100:]}
        return True


class Future:
    """What a call will have returned; done when the response came or it was cancelled."""

    def __init__(self) -> None:
        """Makes one that is not done."""
        self._done = self._cancelled = False
        self._result: Any = None
        self._callbacks: list[Callable[[Future], Any]] = []

    def done(self) -> bool:
        """Returns whether there is a result, or will never be one."""
        return self._done

    def cancelled(self) -> bool:
        """Returns whether it was cancelled."""
        return self._cancelled

    def result(self) -> Any:
        """Returns the response, None before it came."""
        return self._result

    def exception(self) -> None:
        """Returns None: a service of ROS cannot fail, only answer that it did."""
        return None

    def add_done_callback(self, callback: Callable[[Future], Any]) -> None:
        """Has something called with this future when it is done, at once if it is already."""
        if self._done:
            callback(self)
        else:
            self._callbacks.append(callback)

    def cancel(self) -> None:
        """Gives up waiting."""
        if not self._done:
            self._cancelled = True
            self._finish()

    def set_result(self, result: Any) -> None:
        """Makes it done."""
        self._result = result
        self._finish()

    def _finish(self) -> None:
        self._done = True
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)


class Client(_Side):
    """Calls a service."""

    rank = 3
    _role = "client"

    def __init__(self, node: Node, srv_type: type[Any], srv_name: str, qos_profile: QoSProfile) -> None:
        """Makes one; the arguments are those of `_Side`."""
        self._pending: dict[int, Future] = {}
        self._number = 0
        self._lock = threading.Lock()
        super().__init__(node, srv_type, srv_name, qos_profile)
        assert self._pair is not None
        self._guid = instance_handle(self._pair.writer.entity)

    def call_async(self, request: Any) -> Future:
        """Sends a request. The future is done while the node spins, when the response comes.

        Args:
            request: A request of the service's type.

        Raises:
            InvalidHandleError: The client was destroyed.
        """
        pair = self._pair
        if pair is None:
            raise InvalidHandleError(f"the client of {self.srv_name} was destroyed")
        future = Future()
        with self._lock:
            self._number += 1
            number = self._number
            self._pending[number] = future
        # A future that nobody waits for any more must not stay.
        future.add_done_callback(lambda _: self._pending.pop(number, None))
        pair.writer.write(_join(struct.pack("<Qq", self._guid, number), serialize(request)))
        return future

    def _call(self, pair: _Pair, header: bytes, body: bytes, info: Any) -> Callable[[], Any] | None:
        guid, number = struct.unpack("<Qq" if body[1] else ">Qq", header)
        future = self._pending.get(number) if guid == self._guid else None
        if future is None:
            return None  # another client's response, or a cancelled call's
        response = deserialize(body, self.srv_type.Response)
        return lambda: future.set_result(response)

    def service_is_ready(self) -> bool:
        """Returns whether there is a service that would hear a request and whose response would be heard."""
        pair = self._pair
        return pair is not None and pair.writer.matched() > 0 and pair.reader.matched() > 0

    def wait_for_service(self, timeout_sec: float | None = None) -> bool:
        """Waits for such a service.

        Args:
            timeout_sec: How long, in seconds; None is for ever.

        Returns:
            Whether there is one.
        """
        end_s = None if timeout_sec is None else time.monotonic() + timeout_sec
        while not self.service_is_ready():
            if not self._node.context.ok() or (end_s is not None and time.monotonic() > end_s):
                return False
            time.sleep(_READER_STEP_S)
        return True
