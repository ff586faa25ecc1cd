"""The life of the process in ROS: init, ok, shutdown, and the membership of the DDS domain in between."""

from __future__ import annotations

import atexit
import sys
import threading
from collections.abc import Callable, Sequence

from emotion_perception.engine.errors import EmotionPerceptionError
from emotion_perception.ros2_nodes.runtime.dds import logging
from emotion_perception.ros2_nodes.runtime.dds.announcement import Announcement
from emotion_perception.ros2_nodes.runtime.dds.arguments import RosArguments, parse
from emotion_perception.ros2_nodes.runtime.dds.domain import DomainSettings, Participation
from emotion_perception.ros2_nodes.runtime.dds.signals import SignalHandlers

_LEAVE_S = 5.0


class ExternalShutdownException(Exception):  # noqa: N818 - rclpy's name
    """The context was shut down by a signal or by another thread while a node was spinning."""


class NotInitializedError(EmotionPerceptionError, RuntimeError):
    """Something needs a context, and `init` was not called or `shutdown` was."""


class Context:
    """One run between `init` and `shutdown`."""

    def __init__(self, arguments: RosArguments, settings: DomainSettings, handle_signals: bool) -> None:
        """Joins the domain.

        Args:
            arguments: From the command line.
            settings: Which domain.
            handle_signals: Shut down on SIGINT and SIGTERM.
        """
        self.arguments = arguments
        self.domain_id = settings.domain_id
        self._ok = True
        self._wakers: list[Callable[[], None]] = []
        self._lock = threading.Condition()
        self._spinning = 0
        self._closed = self._close_wanted = self._left = False
        self._ids = 0
        self.ports = Participation(settings, arguments.enclave)
        self.announcement = Announcement(self.ports, self.ports.gid)
        self._signals = SignalHandlers(self._stop, self.wake) if handle_signals else None

    def ok(self) -> bool:
        """Returns whether it was not shut down yet."""
        return self._ok

    def _stop(self) -> None:
        """Ends it. Takes no lock: signal handlers call it."""
        self._ok = False
        self.wake()

    def wake(self) -> None:
        """Has every executor look around."""
        for waker in tuple(self._wakers):
            waker()

    def add_waker(self, waker: Callable[[], None]) -> None:
        """Adds what wakes an executor."""
        self._wakers = [*self._wakers, waker]

    def remove_waker(self, waker: Callable[[], None]) -> None:
        """Removes it."""
        self._wakers = [other for other in self._wakers if other != waker]

    def next_id(self) -> bytes:
        """Returns a new id for a service or client, 16 bytes, as rmw_cyclonedds makes them."""
        with self._lock:
            self._ids += 1
            return self.ports.gid[:12] + self._ids.to_bytes(4, "big")

    def __enter__(self) -> Context:
        """Says that an executor uses the entities, so that they are not freed below its hands."""
        with self._lock:
            if self._closed or not self._ok:
                raise ExternalShutdownException
            self._spinning += 1
        return self

    def __exit__(self, *_: object) -> None:
        """Says that it does no more."""
        with self._lock:
            self._spinning -= 1
        self._close_when_idle()

    def shutdown(self) -> None:
        """Ends it: executors stop, signals get their earlier handlers back, and the domain is left as soon as nobody spins."""
        self._stop()
        if self._signals is not None:
            self._signals.close()
        self._close_wanted = True
        self._close_when_idle()

    def _close_when_idle(self) -> None:
        with self._lock:
            if self._closed or self._spinning or not self._close_wanted:
                return
            self._closed = True
        for node in self.announcement.members:
            node.destroy_node()
        self.announcement.close()
        self.ports.close()
        with self._lock:
            self._left = True
            self._lock.notify_all()

    def wait_until_left(self, timeout_s: float) -> bool:
        """Waits until the domain was left, which an executor of another thread may put off; returns whether it was."""
        with self._lock:
            return self._lock.wait_for(lambda: self._left, timeout_s)


_current: Context | None = None


def init(*, args: Sequence[str] | None = None, domain_id: int | None = None) -> None:
    """Starts ROS in this process.

    Args:
        args: The command line; None is `sys.argv`. What stands behind ``--ros-args`` is used, the rest is left alone.
        domain_id: Instead of the variable ROS_DOMAIN_ID.

    Raises:
        UsageError: An argument or variable cannot be used, or the domain cannot be joined.
        NotInitializedError: It was called before, without `shutdown`.
    """
    global _current
    if _current is not None:
        if _current.ok():
            raise NotInitializedError("init() was called twice; call shutdown() before the second time")
        _current.shutdown()
        _current.wait_until_left(_LEAVE_S)
    arguments = parse(sys.argv if args is None else args)[0]
    for name, level in arguments.log_levels:
        logging.get_logger(name).set_level(level)
    logging.set_console(arguments.stdout_logs)
    _current = Context(arguments, DomainSettings.from_environment(domain_id), handle_signals=True)


def current_context() -> Context:
    """Returns the context that `init` made.

    Raises:
        NotInitializedError: There is none, or it was shut down.
    """
    if _current is None or not _current.ok():
        raise NotInitializedError("ROS is not running in this process; call init() first")
    return _current


def ok() -> bool:
    """Returns whether `init` was called and neither `shutdown` nor a signal came since."""
    return _current is not None and _current.ok()


def shutdown() -> None:
    """Ends what `init` started.

    Raises:
        NotInitializedError: There is nothing to end.
    """
    current_context()
    try_shutdown()


def try_shutdown() -> None:
    """Ends what `init` started, if anything."""
    if _current is not None:
        _current.shutdown()


atexit.register(try_shutdown)
