"""Which runtime: the real rclpy where it can be imported, else its twin over DDS. Importing this chooses nothing yet."""

from __future__ import annotations

import logging
import os
import platform
import sys
from importlib import import_module
from importlib.util import find_spec

from emotion_perception.engine.errors import EmotionPerceptionError, UsageError

VARIABLE = "EMOTION_PERCEPTION_RUNTIME"
ABSENT = "rclpy is not installed"
_TWIN_NEEDS = ("cyclonedds", "rosbags")

logger = logging.getLogger(__name__)


class NoRuntimeError(EmotionPerceptionError, ImportError):
    """Neither ROS 2 nor what its twin needs can be used."""


def installed(*modules: str) -> bool:
    """Returns whether all of some top-level modules can be found; imports none of them."""
    return all(find_spec(module) is not None for module in modules)


def choose(wanted: str | None = None) -> str:
    """Returns "rclpy" or "dds"; warns where there is an rclpy and it has to be passed over.

    Args:
        wanted: "auto", "rclpy" or "dds"; None asks the variable EMOTION_PERCEPTION_RUNTIME.

    Raises:
        UsageError: It is none of these.
        NoRuntimeError: What is wanted is not installed, or cannot be loaded.
    """
    wanted = (wanted if wanted is not None else os.environ.get(VARIABLE) or "auto").lower()
    if wanted not in ("auto", "rclpy", "dds"):
        raise UsageError(f"{VARIABLE} is {wanted!r}, expected auto, rclpy or dds")
    fault = "" if wanted == "dds" else rclpy_fault()
    if wanted != "dds" and not fault:
        return "rclpy"
    broken = fault not in ("", ABSENT)
    ros = "use the Python that this ROS 2 is for" if broken else "install ROS 2 and source its setup.bash"
    if wanted == "rclpy":
        raise NoRuntimeError(f"{VARIABLE} is rclpy, and {fault}; {ros}, or set {VARIABLE}=dds")
    missing = " and ".join(module for module in _TWIN_NEEDS if not installed(module))
    if missing:
        lacks = f"{fault}, and " if fault else ""
        remedy = f"run: pip install 'emotion_perception[dds]'{f' and set {VARIABLE}=dds' if broken else ''}, or {ros}"
        if sys.platform.startswith("linux") and platform.machine() in ("aarch64", "arm64"):
            remedy = f"for Linux on aarch64 there is no wheel of cyclonedds: {ros}"
        raise NoRuntimeError(f"ROS nodes cannot run: {lacks}without rclpy they need {missing}; {remedy}")
    if broken:
        logger.warning("%s; going on over DDS: set %s=dds, or %s", fault, VARIABLE, ros)
    return "dds"


def rclpy_fault() -> str:
    """Imports rclpy; returns why that cannot be done: `ABSENT`, or how one that is there fails, as one of another Python. Empty: it can."""
    try:
        import_module("rclpy")
    except Exception as error:  # a broken binary raises anything
        if isinstance(error, ModuleNotFoundError) and error.name == "rclpy":
            return ABSENT
        return f"rclpy is there, but cannot be loaded by this Python {platform.python_version()} ({' '.join(str(error).split())})"
    return ""
