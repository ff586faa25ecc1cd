"""Loggers with rclpy's calls and line format; lines go to standard error and, for nodes, to /rosout."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from enum import IntEnum
from types import FrameType
from typing import Any

_FORMAT_VARIABLE = "RCUTILS_CONSOLE_OUTPUT_FORMAT"
_FORMAT = "[{severity}] [{time}] [{name}]: {message}"
_COLORS = {10: "32", 20: "0", 30: "33", 40: "31", 50: "31"}


class LoggingSeverity(IntEnum):
    """How grave a line is."""

    UNSET = 0
    DEBUG = 10
    INFO = 20
    WARN = 30
    ERROR = 40
    FATAL = 50


# A sink gets (severity, logger's name, text, stamp in ns, caller's frame).
Sink = Callable[[LoggingSeverity, str, str, int, FrameType], None]


class _State:
    """What all loggers of the process share."""

    def __init__(self) -> None:
        self.levels: dict[str, LoggingSeverity] = {}
        self.sinks: dict[str, Sink] = {}
        self.to_console = True
        self.lock = threading.Lock()


_state = _State()


class Logger:
    """A named logger. Its level is its own, or that of the nearest parent by dots, or the default."""

    def __init__(self, name: str) -> None:
        """Makes one; loggers of the same name are alike."""
        self.name = name
        self._calls: dict[tuple[str, int, int], float] = {}

    def get_child(self, name: str) -> Logger:
        """Returns the logger below this one."""
        return Logger(f"{self.name}.{name}" if self.name else name)

    def set_level(self, level: int) -> None:
        """Sets the least severity that is logged."""
        _state.levels[self.name] = LoggingSeverity(level)

    def get_effective_level(self) -> LoggingSeverity:
        """Returns the least severity that is logged."""
        return next((level for name in _parents(self.name) if (level := _state.levels.get(name))), LoggingSeverity.INFO)

    def is_enabled_for(self, severity: int) -> bool:
        """Returns whether lines of a severity are logged."""
        return severity >= self.get_effective_level()

    def log(self, message: object, severity: int, **options: Any) -> bool:
        """Logs a line.

        Args:
            message: The text.
            severity: A `LoggingSeverity`.
            **options: `throttle_duration_sec`: not again from this line of code for so long; `once`: only the first time;
                `skip_first`: all but the first time.

        Returns:
            Whether it was logged.
        """
        return self._log(message, LoggingSeverity(severity), options)

    def debug(self, message: object, **options: Any) -> bool:
        """Logs what helps to find a fault; options are those of `log`."""
        return self._log(message, LoggingSeverity.DEBUG, options)

    def info(self, message: object, **options: Any) -> bool:
        """Logs what happens; options are those of `log`."""
        return self._log(message, LoggingSeverity.INFO, options)

    def warning(self, message: object, **options: Any) -> bool:
        """Logs what should not be, but can be lived with; options are those of `log`."""
        return self._log(message, LoggingSeverity.WARN, options)

    warn = warning

    def error(self, message: object, **options: Any) -> bool:
        """Logs what failed; options are those of `log`."""
        return self._log(message, LoggingSeverity.ERROR, options)

    def fatal(self, message: object, **options: Any) -> bool:
        """Logs what ends the program; options are those of `log`."""
        return self._log(message, LoggingSeverity.FATAL, options)

    def _log(self, message: object, severity: LoggingSeverity, options: dict[str, Any]) -> bool:
        frame = sys._getframe(2)
        if not self.is_enabled_for(severity) or (options and not self._passes(frame, **options)):
            return False
        stamp_ns, text = time.time_ns(), str(message)
        if _state.to_console:
            _print(severity, self.name, text, stamp_ns, frame)
        sink = next((sink for name in _parents(self.name) if (sink := _state.sinks.get(name))), None)
        if sink is not None:
            sink(severity, self.name, text, stamp_ns, frame)
        return True

    def _passes(
        self,
        frame: FrameType,
        throttle_duration_sec: float = 0.0,
        throttle_time_source_type: Any = None,
        once: bool = False,
        skip_first: bool = False,
    ) -> bool:
        """Decides by the line of code that logs, as rclpy does."""
        caller = (frame.f_code.co_filename, frame.f_lineno, frame.f_lasti)
        clock = throttle_time_source_type
        now_s = time.monotonic() if clock is None else clock.now().nanoseconds / 1e9
        with _state.lock:
            last_s = self._calls.get(caller)
            if (last_s is not None and (once or now_s - last_s < throttle_duration_sec)) or (last_s is None and skip_first):
                self._calls.setdefault(caller, now_s - throttle_duration_sec)
                return False
            self._calls[caller] = now_s
        return True


def _parents(name: str) -> list[str]:
    """Returns a name, what is left of each of its dots from the right, and the default's empty name."""
    found = [name]
    while "." in name:
        name = name.rpartition(".")[0]
        found.append(name)
    return [*found, ""] if name else found


def _print(severity: LoggingSeverity, name: str, text: str, stamp_ns: int, frame: FrameType) -> None:
    seconds, rest = divmod(stamp_ns, 1_000_000_000)
    line = os.environ.get(_FORMAT_VARIABLE) or _FORMAT
    values = {
        "severity": severity.name,
        "time": f"{seconds}.{rest:09d}",
        "name": name,
        "function_name": frame.f_code.co_name,
        "file_name": frame.f_code.co_filename,
        "line_number": str(frame.f_lineno),
        "message": text,
    }
    for key, value in values.items():
        line = line.replace(f"{{{key}}}", value)
    stream = sys.stderr
    if stream is None:
        return
    try:
        colored = os.environ.get("RCUTILS_COLORIZED_OUTPUT") or ("1" if stream.isatty() else "0")
        stream.write(f"\033[{_COLORS[severity]}m{line}\033[0m\n" if colored == "1" else f"{line}\n")
        stream.flush()
    except (OSError, ValueError):  # nobody reads it any more; that must not end the node
        pass


def get_logger(name: str) -> Logger:
    """Returns the logger of a name."""
    return Logger(name)


def set_default_level(level: LoggingSeverity) -> None:
    """Sets the level of all loggers that have none of their own."""
    _state.levels[""] = level


def set_console(enabled: bool) -> None:
    """Turns the lines on standard error on or off."""
    _state.to_console = enabled


def add_sink(name: str, sink: Sink) -> None:
    """Has the lines of a logger and of those below it told to a sink too."""
    _state.sinks[name] = sink


def remove_sink(name: str) -> None:
    """Ends that; it may have ended already."""
    _state.sinks.pop(name, None)
