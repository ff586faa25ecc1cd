"""Frames made ahead in a thread, while the ones before are judged."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Generic, TypeVar

from emotion_perception.engine.errors import UsageError

Item = TypeVar("Item")


class Ahead(Generic[Item]):
    """Takes items from an iterable in a thread, a few ahead of who uses them; an iterator and a context manager.

    The items come in their order, after them the iterable's end or the error that it raised. Memory is flat: at most ``most`` items
    wait or are being made. The end of the block waits for the item that is being made, and no longer.
    """

    def __init__(self, items: Iterable[Item], most: int = 4) -> None:
        """Keeps the source; taking starts with the block.

        Args:
            items: The source; from the start of the block on it is only used by the thread. Who made it closes it, after the block.
            most: Most items that wait, at least 1.

        Raises:
            UsageError: ``most`` is less than 1.
        """
        if most < 1:
            raise UsageError(f"most is {most}, expected at least 1 item ahead")
        self._items = items
        self._most = most
        self._ready: deque[Item] = deque()
        self._error: BaseException | None = None
        self._ended = False
        self._closed = False
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._take, name="ahead", daemon=True)

    def __enter__(self) -> Ahead[Item]:
        """Starts to take items."""
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Ends the thread, and drops what waits."""
        with self._news:
            self._closed = True
            self._ready.clear()
            self._news.notify_all()
        self._thread.join()

    def __iter__(self) -> Iterator[Item]:
        """Returns itself: each item comes once."""
        return self

    def __next__(self) -> Item:
        """Returns the next item, waiting for it; raises what the source raised, once the items before it are used up."""
        with self._news:
            while not (self._ready or self._ended or self._closed):
                self._news.wait()
            if self._ready:
                item = self._ready.popleft()
                self._news.notify_all()
                return item
            error, self._error = self._error, None
        if error is not None:
            raise error
        raise StopIteration

    def _take(self) -> None:
        error: BaseException | None = None
        try:
            for item in self._items:
                with self._news:
                    self._ready.append(item)
                    self._news.notify_all()
                    while len(self._ready) >= self._most and not self._closed:
                        self._news.wait()
                    if self._closed:
                        break
                del item  # or a frame that was used long ago would stay until the next one is there
        except BaseException as caught:  # of any kind: it is raised again where the items are used
            error = caught
        with self._news:
            self._error, self._ended = error, True
            self._news.notify_all()
