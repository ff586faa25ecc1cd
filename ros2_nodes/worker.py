"""Between the callback and the model: a slot that holds only the newest message, and the one thread that works on it.

Inference inside a callback would queue frames that are old before they are judged, and would keep parameters and services waiting.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

# How long a worker waits before it looks whether the stream has dried up, or the rate has changed.
_LOOK_S = 0.25
# The longest that stopping waits for the frame being judged.
_STOP_S = 10.0


@dataclass
class Counts:
    """What became of the messages.

    Attributes:
        received: Came in.
        processed: Led to results.
        dropped: Were replaced by a newer one before anybody could look at them.
        refused: Were no usable pictures.
        failed: Could not be judged, for another reason.
    """

    received: int = 0
    processed: int = 0
    dropped: int = 0
    refused: int = 0
    failed: int = 0


class NewestSlot:
    """Holds the newest message per source until it is taken; what it replaces is dropped and counted."""

    def __init__(self, counts: Counts) -> None:
        """Makes an empty slot.

        Args:
            counts: Where received and dropped messages are counted.
        """
        self._counts = counts
        self._news = threading.Condition()
        self._items: dict[str, Any] = {}
        self._closed = False

    def put(self, item: Any, source: str = "") -> None:
        """Stores a message; never waits."""
        with self._news:
            if self._closed:
                return
            self._counts.received += 1
            self._counts.dropped += source in self._items
            self._items[source] = item
            self._news.notify()

    def forget(self, source: str) -> None:
        """Drops what a source that is gone has left."""
        with self._news:
            self._counts.dropped += self._items.pop(source, None) is not None

    def take(self, timeout_s: float) -> Mapping[str, Any]:
        """Returns the newest message of every source that has one, waiting for the first; empty after the time, or once closed."""
        with self._news:
            self._news.wait_for(lambda: self._items or self._closed, timeout_s)
            items, self._items = self._items, {}
            return items

    def pause(self, seconds: float) -> None:
        """Waits, but not longer than until the slot is closed."""
        with self._news:
            self._news.wait_for(lambda: self._closed, seconds)

    def close(self) -> None:
        """Lets everyone who waits go on; nothing can be put in or taken afterwards."""
        with self._news:
            self._closed = True
            self._counts.dropped += len(self._items)
            self._items = {}
            self._news.notify_all()

    @property
    def closed(self) -> bool:
        """Whether the slot was closed."""
        return self._closed


class Worker:
    """The thread that works on the newest messages, one call at a time."""

    def __init__(
        self,
        work: Callable[[Mapping[str, Any]], None],
        idle: Callable[[], None],
        max_rate_hz: Callable[[], float],
        counts: Counts,
        name: str,
    ) -> None:
        """Starts the thread.

        Args:
            work: Takes the newest message of every source. It handles its own errors.
            idle: Called a few times a second while nothing arrives.
            max_rate_hz: Most calls of ``work`` per second, read a few times a second; 0 = no limit.
            counts: Where received and dropped messages are counted.
            name: Name of the thread, for debuggers.
        """
        self.slot = NewestSlot(counts)
        self._work, self._idle, self._max_rate_hz = work, idle, max_rate_hz
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def stop(self) -> bool:
        """Ends the thread after what it is working on; returns whether it has ended."""
        self.slot.close()
        self._thread.join(_STOP_S)
        return self.ended

    @property
    def ended(self) -> bool:
        """Whether the thread has ended."""
        return not self._thread.is_alive()

    def _run(self) -> None:
        begun = -math.inf
        while not self.slot.closed:
            rate = self._max_rate_hz()
            due = begun + 1.0 / rate if rate > 0.0 else begun
            wait = due - time.monotonic()
            if wait > 0.0:
                self.slot.pause(min(wait, _LOOK_S))
                continue
            items = self.slot.take(_LOOK_S)
            if items:
                # From the due time, not from now: waiting always takes a little longer than asked, which would add up to a lower rate.
                now = time.monotonic()
                begun = max(due, now - 1.0 / rate) if rate > 0.0 else now
                self._work(items)
            elif not self.slot.closed:
                self._idle()
