"""How a node is doing: counts, times, and the message on ``/diagnostics`` that says so."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from emotion_perception.ros2_nodes.messages import message
from emotion_perception.ros2_nodes.worker import Counts

# Ages beyond this come from a clock that is not ours (a bag, another machine), and say nothing about the node.
_LONGEST_AGE_S = 3600.0
# The frames that percentiles are taken over: ten seconds at 30 a second.
_WINDOW = 300


class Statistics:
    """Counts and times of one node. The worker writes, the executor reads.

    Attributes:
        counts: What became of the messages, since the node was made.
    """

    def __init__(self) -> None:
        """Starts with nothing seen."""
        self.counts = Counts()
        self._lock = threading.Lock()
        self._latency_ms: deque[float] = deque(maxlen=_WINDOW)
        self._work_ms: deque[float] = deque(maxlen=_WINDOW)
        self._last_s: float | None = None

    def arrived(self) -> None:
        """Notes that a picture came in just now, whether it is used or not."""
        self._last_s = time.monotonic()

    def start(self) -> None:
        """Counts the time without a picture from now on."""
        self._last_s = None
        with self._lock:
            self._latency_ms.clear()
            self._work_ms.clear()

    def done(self, age_s: float | None, work_ms: float) -> None:
        """Notes a picture whose results were published.

        Args:
            age_s: Seconds from its stamp until now; None without a stamp.
            work_ms: Milliseconds of detection and inference.
        """
        with self._lock:
            self.counts.processed += 1
            self._work_ms.append(work_ms)
            if age_s is not None and 0.0 <= age_s < _LONGEST_AGE_S:
                self._latency_ms.append(age_s * 1e3)

    @property
    def age_s(self) -> float | None:
        """Seconds since the last picture came in; None before the first one after `start`."""
        last_s = self._last_s
        return None if last_s is None else time.monotonic() - last_s

    def values(self) -> dict[str, str]:
        """Returns counts and times by name, as text for people; ``-`` where there is nothing to say yet."""
        with self._lock:
            processed, latency, work = self.counts.processed, sorted(self._latency_ms), sorted(self._work_ms)
        age = self.age_s
        return {
            "frames received": str(self.counts.received),
            "frames processed": str(processed),
            "frames dropped": str(self.counts.dropped),
            "frames refused": str(self.counts.refused),
            "frames failed": str(self.counts.failed),
            "latency p50 (ms)": _percentile(latency, 0.50),
            "latency p95 (ms)": _percentile(latency, 0.95),
            "work p50 (ms)": _percentile(work, 0.50),
            "work p95 (ms)": _percentile(work, 0.95),
            "age of last frame (s)": "-" if age is None else f"{age:.2f}",
        }


def status_array(name: str, level: str, words: str, values: Mapping[str, str], hardware: str, stamp: Any) -> Any:
    """Returns ``diagnostic_msgs/DiagnosticArray`` with one status.

    Args:
        name: Name of the status: node and task.
        level: ``OK``, ``WARN`` or ``ERROR``.
        words: One line for people.
        values: What is known in numbers.
        hardware: What the work runs on.
        stamp: ``builtin_interfaces/Time`` of now.
    """
    kind, pair = message("diagnostic_msgs/msg/DiagnosticStatus"), message("diagnostic_msgs/msg/KeyValue")
    # Constants, as a byte is an int in one runtime and bytes in the other.
    status = kind(level=getattr(kind, level), name=name, message=words, hardware_id=hardware)
    status.values = [pair(key=key, value=value) for key, value in values.items()]
    array = message("diagnostic_msgs/msg/DiagnosticArray")(status=[status])
    array.header.stamp = stamp
    return array


def _percentile(values: list[float], share: float) -> str:
    """Returns the value below which a share of the sorted values lie, by the nearest rank."""
    return f"{values[min(int(share * len(values)), len(values) - 1)]:.1f}" if values else "-"
