"""Which runtime: the real rclpy where it can be imported, else its twin over DDS."""

from __future__ import annotations

import os
import platform
import sys
from importlib.util import find_spec

from emotion_perception.engine.errors import EmotionPerceptionError, UsageError

VARIABLE = "EMOTION_PERCEPTION_RUNTIME"
_TWIN_NEEDS = ("cyclonedds", "rosbags")


class NoRuntimeError(EmotionPerceptionError, ImportError):
    """Neither ROS 2 nor what its twin needs is installed."""


def installed(*modules: str) -> bool:
    """Returns whether all of some top-level modules can be found; imports none of them."""
    return all(find_spec(module) is not None for module in modules)


def choose(wanted: str | None = None) -> str:
    """Returns "rclpy" or "dds".

    Args:
        wanted: "auto", "rclpy" or "dds"; None asks the variable EMOTION_PERCEPTION_RUNTIME.

    Raises:
        UsageError: It is none of these.
        NoRuntimeError: What is wanted is not installed.
    """
    wanted = (wanted if wanted is not None else os.environ.get(VARIABLE) or "auto").lower()
    if wanted not in ("auto", "rclpy", "dds"):
        raise UsageError(f"{VARIABLE} is {wanted!r}, expected auto, rclpy or dds")
    if wanted != "dds" and installed("rclpy"):
        return "rclpy"
    if wanted == "rclpy":
        raise NoRuntimeError(f"{VARIABLE} is rclpy, and rclpy cannot be imported; install ROS 2 and source its setup.bash, or choose dds")
    if installed(*_TWIN_NEEDS):
        return "dds"
    missing = " and ".join(module for module in _TWIN_NEEDS if not installed(module))
    lacks = "" if wanted == "dds" else "rclpy is not installed, and "
    raise NoRuntimeError(f"ROS nodes cannot run: {lacks}without ROS 2 they need {missing}; {_remedy()}")


def _remedy() -> str:
    if sys.platform.startswith("linux") and platform.machine() in ("aarch64", "arm64"):
        return "for Linux on aarch64 there is no wheel of cyclonedds: install ROS 2 and source its setup.bash"
    return "run: pip install 'emotion_perception[dds]', or install ROS 2 and source its setup.bash"
