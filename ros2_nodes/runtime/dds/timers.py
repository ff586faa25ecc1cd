"""Timers and guard conditions: work that no message starts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from emotion_perception.engine.errors import UsageError
from emotion_perception.ros2_nodes.runtime.dds.clock import Clock

if TYPE_CHECKING:
    from emotion_perception.ros2_nodes.runtime.dds.executor import Executor


class Timer:
    """Calls back at a fixed rate; calls that came too late are left out, not made up for."""

    rank = 0

    def __init__(self, executor: Executor, clock: Clock, period_s: float, callback: Callable[[], Any]) -> None:
        """Starts it; the first call comes one period from now."""
        if not period_s >= 0:
            raise UsageError(f"timer period is {period_s!r} s, expected 0 or more seconds")
        self.timer_period_ns = int(period_s * 1e9)
        self._executor, self._clock, self._callback = executor, clock, callback
        self._canceled = False
        self._simulated = clock.ros_time_is_active
        self._last_ns = clock.timer_ns()
        self._next_ns = self._last_ns + self.timer_period_ns

    def due_in_ns(self) -> int | None:
        """Returns how long it is to the next call, 0 when it is due; None when none will come of itself."""
        if self._canceled:
            return None
        now = self._clock.timer_ns()
        # Another time base, or a time before the last call, as when a bag starts again: count from now.
        if self._clock.ros_time_is_active != self._simulated or now < self._last_ns:
            self._simulated = self._clock.ros_time_is_active
            self._last_ns, self._next_ns = now, now + self.timer_period_ns
        rest = self._next_ns - now
        return max(0, rest) if rest <= 0 or not self._simulated else None  # simulated time moves by messages

    def take(self) -> Callable[[], Any] | None:
        """Returns the call that is due, and sets the time of the next."""
        if self.due_in_ns() != 0:
            return None
        now, period = self._clock.timer_ns(), self.timer_period_ns
        self._last_ns = now
        self._next_ns += period
        if period and self._next_ns < now:
            self._next_ns += -(-(now - self._next_ns) // period) * period
        return self._callback

    def is_canceled(self) -> bool:
        """Returns whether it was cancelled."""
        return self._canceled

    def cancel(self) -> None:
        """Stops it; `reset` starts it again."""
        self._canceled = True

    def reset(self) -> None:
        """Starts it again, one period from now."""
        self._next_ns = self._clock.timer_ns() + self.timer_period_ns
        self._canceled = False
        self._executor.wake()

    def destroy(self) -> None:
        """Stops it for good."""
        self._canceled = True


class GuardCondition:
    """Has something called in the executor's thread, when any thread says so."""

    rank = 2

    def __init__(self, executor: Executor, callback: Callable[[], Any]) -> None:
        """Makes one that is not triggered."""
        self._executor, self._callback = executor, callback
        self.triggered = False

    def trigger(self) -> None:
        """Has the callback called once, however often it is triggered before that."""
        self.triggered = True
        self._executor.wake()

    def take(self) -> Callable[[], Any] | None:
        """Returns the callback when it was triggered."""
        if not self.triggered:
            return None
        self.triggered = False
        return self._callback

    def destroy(self) -> None:
        """Makes later triggers do nothing."""
        self._callback = _nothing


def _nothing() -> None:
    pass
