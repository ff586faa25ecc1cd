"""SIGINT and SIGTERM: they end the context, also while the main thread waits inside Cyclone DDS."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

_STOP = b"\0"  # no signal has this number


class SignalHandlers:
    """Handlers that last until `close`. Outside the main thread there are none, as Python allows none there."""

    def __init__(self, on_signal: Callable[[], None], wake: Callable[[], None]) -> None:
        """Installs them.

        Args:
            on_signal: Called in the main thread, between two of its steps: takes no lock.
            wake: Called in a thread of its own at once, so that the main thread comes back to Python and calls the handler.
        """
        self._on_signal, self._wake = on_signal, wake
        self._before: dict[signal.Signals, Any] = {}
        if threading.current_thread() is not threading.main_thread():
            return
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._write_end, False)
        self._thread = threading.Thread(target=self._watch, name="signals", daemon=True)
        self._thread.start()
        self._fd_before = signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._on_signal()
        before = self._before.get(signal.Signals(number))
        if callable(before):  # SIGINT: Python's own, which raises KeyboardInterrupt
            before(number, frame)

    def _watch(self) -> None:
        while _STOP not in os.read(self._read_end, 64):
            self._wake()

    def close(self) -> None:
        """Puts the earlier handlers back. Must run in the main thread to do so; elsewhere they stay until it ends."""
        if not self._before or threading.current_thread() is not threading.main_thread():
            return
        for number, before in self._before.items():
            if signal.getsignal(number) == self._handle:
                signal.signal(number, before if before is not None else signal.SIG_DFL)
        self._before = {}
        signal.set_wakeup_fd(self._fd_before)
        os.write(self._write_end, _STOP)
        self._thread.join()
        os.close(self._read_end)
        os.close(self._write_end)
