"""OpenCV, imported where it is used: it costs a tenth of a second and is an extra."""

from __future__ import annotations

import os
import sys
from typing import Any

from emotion_perception.engine.errors import MissingDependencyError


def opencv(purpose: str) -> Any:
    """Returns the module ``cv2``, which works in one thread unless the program that uses this one has imported it before.

    Args:
        purpose: What it is needed for, as the start of an error message ("face detection").

    Raises:
        MissingDependencyError: It is not installed.
    """
    known = "cv2" in sys.modules
    try:
        import cv2
    except ImportError:
        raise MissingDependencyError("OpenCV", purpose, "vision") from None
    # A second thread makes neither YuNet nor the small pictures here faster (6.4 against 6.6 ms for YuNet on 320x180), and would fight
    # the network and the decoder for two cores. OpenCV's own variable is the way to choose otherwise.
    if not known and "OPENCV_FOR_THREADS_NUM" not in os.environ:
        cv2.setNumThreads(1)
    return cv2
