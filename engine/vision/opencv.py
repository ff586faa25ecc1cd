"""OpenCV, imported where it is used: it costs a tenth of a second and is an extra."""

from __future__ import annotations

from typing import Any

from emotion_perception.engine.errors import MissingDependencyError


def opencv(purpose: str) -> Any:
    """Returns the module ``cv2``.

    Args:
        purpose: What it is needed for, as the start of an error message ("face detection").

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        import cv2
    except ImportError:
        raise MissingDependencyError("OpenCV", purpose, "vision") from None
    return cv2
