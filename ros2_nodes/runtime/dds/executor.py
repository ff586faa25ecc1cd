"""The executor: one thread that waits for messages, requests, timers and shutdown, and calls back one at a time."""

from __future__ import annotations

import ctypes
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from cyclonedds.core import DDSException, Entity, GuardCondition, WaitSet
from cyclonedds.internal import dds_infinity

from emotion_perception.ros2_nodes.runtime.dds.context import Context, ExternalShutdownException
from emotion_perception.ros2_nodes.runtime.dds.wire import delete

if TYPE_CHECKING:
    from emotion_perception.ros2_nodes.runtime.dds.node import Node


class Work(Protocol):
    """What can have something to call.

    Attributes:
        rank: Whose turn it is when several are ready: timers, messages, guard conditions, responses, requests as in rclpy,
            then news of other kinds.
    """

    rank: int

    def take(self) -> Callable[[], Any] | None:
        """Takes one message, request or turn, and returns what is to be called with it; None when there is none."""


class Executor:
    """Calls back for one node. Callbacks never run at the same time."""

    def __init__(self, context: Context, node: Node) -> None:
        """Makes one; it does nothing before somebody spins."""
        self._context, self._node = context, node
        participant = context.ports.participant
        self._waitset, self._guard = WaitSet(participant), GuardCondition(participant)
        self._lock = threading.Lock()
        self._waiting: dict[int, Work] = {}
        self._ready: deque[Work] = deque()
        self._attach(self._guard)
        context.add_waker(self.wake)

    def wake(self) -> None:
        """Has it look at its timers, its guard conditions and the context; any thread may, signal handlers too."""
        self._guard._set_guardcondition(self._guard._ref, True)

    def add(self, condition: Entity, work: Work) -> None:
        """Waits for a condition from now on."""
        with self._lock:
            self._waiting[condition._ref] = work
        self._attach(condition)
        self.wake()

    def remove(self, condition: Entity) -> None:
        """Does not wait for it any more."""
        with self._lock:
            self._waiting.pop(condition._ref, None)
        self._waitset._waitset_detach(self._waitset._ref, condition._ref)

    def close(self) -> None:
        """Frees what it waits with."""
        self._context.remove_waker(self.wake)
        delete(self._waitset, self._guard)

    def spin_once(self, timeout_s: float | None = None, until: Callable[[], bool] | None = None) -> bool:
        """Calls back once.

        Args:
            timeout_s: How long to wait for something to do; None or a negative time is for ever.
            until: Stop waiting as soon as this is true.

        Returns:
            Whether there was something to call.

        Raises:
            ExternalShutdownException: The context was shut down.
        """
        deadline_ns = None if timeout_s is None or timeout_s < 0 else time.monotonic_ns() + int(timeout_s * 1e9)
        with self._context:
            call = self._next(deadline_ns, until)
            if call is not None:
                call()
        return call is not None

    def _next(self, deadline_ns: int | None, until: Callable[[], bool] | None) -> Callable[[], Any] | None:
        while True:
            while self._ready:
                call = self._ready.popleft().take()
                if call is not None:
                    return call
            if until is not None and until():
                return None
            rest_ns = dds_infinity if deadline_ns is None else max(0, deadline_ns - time.monotonic_ns())
            timers_ns = [due_ns for timer in self._node.timers if (due_ns := timer.due_in_ns()) is not None]
            triggered = self._wait(min([rest_ns, *timers_ns]))
            if not self._context.ok():
                raise ExternalShutdownException
            due = [timer for timer in self._node.timers if timer.due_in_ns() == 0]
            guards = [guard for guard in self._node.guards if guard.triggered]
            self._ready.extend(sorted([*due, *triggered, *guards], key=lambda work: work.rank))
            if not self._ready and rest_ns == 0:
                return None

    def _wait(self, timeout_ns: int) -> list[Work]:
        """Returns what became ready, in the order in which it was made."""
        with self._lock:
            size = len(self._waiting) + 1
        handles = (ctypes.c_void_p * size)()
        code = self._waitset._waitset_wait(self._waitset._ref, handles, size, timeout_ns)
        self._guard._set_guardcondition(self._guard._ref, False)
        if code < 0:
            if not self._context.ok():
                return []
            raise DDSException(code, "while waiting for messages")
        found = {handle for handle in handles[: min(code, size)] if handle}
        with self._lock:
            return [work for handle, work in self._waiting.items() if handle in found]

    def _attach(self, condition: Entity) -> None:
        code = self._waitset._waitset_attach(self._waitset._ref, condition._ref, condition._ref)
        if code < 0:
            raise DDSException(code, "while attaching to the wait set")


def spin(node: Node) -> None:
    """Calls back for a node until the context is shut down.

    Raises:
        ExternalShutdownException: It was shut down by SIGTERM or by another thread; a callback that shuts it down ends this quietly.
        KeyboardInterrupt: On SIGINT.
    """
    if not node._warns_unused_in_configure:
        node._parameters.warn_unused_overrides()
    while node.context.ok():
        node.executor.spin_once()


def spin_once(node: Node, *, timeout_sec: float | None = None) -> None:
    """Calls back for a node once, or not at all when nothing comes in time.

    Args:
        node: The node.
        timeout_sec: How long to wait; None or a negative time is for ever.

    Raises:
        ExternalShutdownException: The context was shut down.
    """
    node.executor.spin_once(timeout_sec)


def spin_until_future_complete(node: Node, future: Any, *, timeout_sec: float | None = None) -> None:
    """Calls back for a node until a future of it is done.

    Args:
        node: The node.
        future: From `Client.call_async`.
        timeout_sec: How long to wait; None or a negative time is for ever.
    """
    end_s = None if timeout_sec is None or timeout_sec < 0 else time.monotonic() + timeout_sec
    while not future.done() and node.context.ok() and (end_s is None or time.monotonic() < end_s):
        node.executor.spin_once(None if end_s is None else max(0.0, end_s - time.monotonic()), future.done)
