"""The face detector of a node, as its parameters say, also while it works."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emotion_perception.engine.vision.faces import create_detector
from emotion_perception.ros2_nodes.parameters import Settings

if TYPE_CHECKING:
    from emotion_perception.engine.clip_pipeline import ClipPipeline
    from emotion_perception.engine.pipeline import Pipeline


class Finder:
    """Makes the detector and hands on what may change at once.

    Attributes:
        detector: The detector.
    """

    def __init__(self, settings: Settings) -> None:
        """Makes the detector.

        Args:
            settings: Parameters, with those of `finding`.
        """
        self._settings = settings
        self.detector = create_detector(
            settings["detector"],
            min_score=settings["detector_score"],
            min_size_px=settings["min_face_px"],
            max_side=settings["search_size_px"],
        )

    def obey(self, pipeline: Pipeline | ClipPipeline) -> None:
        """Gives detector and pipeline the values that the parameters have now."""
        pipeline.max_faces, pipeline.search_interval_s = self._settings["max_faces"], self._settings["search_interval_s"]
        self.detector.score_threshold, self.detector.max_side = self._settings["detector_score"], self._settings["search_size_px"]
        self.detector.min_size_px = self._settings["min_face_px"]
