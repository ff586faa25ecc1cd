"""Time: stamps, durations and the clock of a node, which can follow /clock."""

from __future__ import annotations

import time
from enum import IntEnum
from functools import total_ordering
from typing import Any

from emotion_perception.ros2_nodes.runtime.dds.messages import get_message

_NS = 1_000_000_000


@total_ordering
class Duration:
    """A span of time in whole nanoseconds."""

    def __init__(self, *, seconds: float = 0, nanoseconds: int = 0) -> None:
        """Adds up both arguments."""
        self.nanoseconds = int(seconds * _NS) + int(nanoseconds)

    def __eq__(self, other: object) -> bool:
        """Compares with another duration."""
        return isinstance(other, Duration) and self.nanoseconds == other.nanoseconds

    def __lt__(self, other: Duration) -> bool:
        """Compares with another duration."""
        return self.nanoseconds < other.nanoseconds

    def __hash__(self) -> int:
        """Agrees with the comparison."""
        return hash(self.nanoseconds)

    def __repr__(self) -> str:
        """Shows the nanoseconds."""
        return f"Duration(nanoseconds={self.nanoseconds})"

    def to_msg(self) -> Any:
        """Returns it as builtin_interfaces/Duration."""
        seconds, nanoseconds = divmod(self.nanoseconds, _NS)
        return get_message("builtin_interfaces/msg/Duration")(sec=seconds, nanosec=nanoseconds)


@total_ordering
class Time:
    """A point in time in whole nanoseconds since 1970, or since the start of a simulation."""

    def __init__(self, *, seconds: float = 0, nanoseconds: int = 0) -> None:
        """Adds up both arguments."""
        self.nanoseconds = int(seconds * _NS) + int(nanoseconds)

    @classmethod
    def from_msg(cls, message: Any) -> Time:
        """Makes one from builtin_interfaces/Time."""
        return cls(nanoseconds=message.sec * _NS + message.nanosec)

    def seconds_nanoseconds(self) -> tuple[int, int]:
        """Returns whole seconds and the rest."""
        return divmod(self.nanoseconds, _NS)

    def to_msg(self) -> Any:
        """Returns it as builtin_interfaces/Time."""
        seconds, nanoseconds = divmod(self.nanoseconds, _NS)
        return get_message("builtin_interfaces/msg/Time")(sec=seconds, nanosec=nanoseconds)

    def __add__(self, other: Duration) -> Time:
        """Moves it by a duration."""
        return Time(nanoseconds=self.nanoseconds + other.nanoseconds)

    def __sub__(self, other: Any) -> Any:
        """Returns the duration between two times, or the time a duration earlier."""
        difference = self.nanoseconds - other.nanoseconds
        return Duration(nanoseconds=difference) if isinstance(other, Time) else Time(nanoseconds=difference)

    def __eq__(self, other: object) -> bool:
        """Compares with another time."""
        return isinstance(other, Time) and self.nanoseconds == other.nanoseconds

    def __lt__(self, other: Time) -> bool:
        """Compares with another time."""
        return self.nanoseconds < other.nanoseconds

    def __hash__(self) -> int:
        """Agrees with the comparison."""
        return hash(self.nanoseconds)

    def __repr__(self) -> str:
        """Shows the nanoseconds."""
        return f"Time(nanoseconds={self.nanoseconds})"


class ClockType(IntEnum):
    """What a clock shows, by rclpy's names and numbers."""

    ROS_TIME = 1
    SYSTEM_TIME = 2
    STEADY_TIME = 3


class Clock:
    """The system's clock; that of a node shows with `use_sim_time` what /clock said last (0 before it said anything)."""

    def __init__(self, *, clock_type: ClockType = ClockType.SYSTEM_TIME) -> None:
        """Makes one.

        Args:
            clock_type: STEADY_TIME shows the nanoseconds since some moment, which nobody sets back; the others show the system's time
                until they are told to follow another.
        """
        self.clock_type = clock_type
        self._simulated_ns: int | None = None

    @property
    def ros_time_is_active(self) -> bool:
        """Whether it follows /clock."""
        return self._simulated_ns is not None

    def now(self) -> Time:
        """Returns the time."""
        if self.clock_type == ClockType.STEADY_TIME:
            return Time(nanoseconds=time.monotonic_ns())
        simulated = self._simulated_ns
        return Time(nanoseconds=time.time_ns() if simulated is None else simulated)

    def follow(self, simulated_ns: int | None) -> None:
        """Sets the simulated time; None goes back to the system's."""
        self._simulated_ns = simulated_ns

    def timer_ns(self) -> int:
        """Returns the time by which timers run: simulated, or one that nobody can set back."""
        simulated = self._simulated_ns
        return time.monotonic_ns() if simulated is None else simulated
