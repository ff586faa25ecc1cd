"""The node for faces: a camera in, per-face emotions with valence and arousal out, for any learner that judges faces."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from emotion_perception.ros2_nodes.emotion_node import EmotionNode
from emotion_perception.ros2_nodes.face_topics import KINDS, TrackedFaces
from emotion_perception.ros2_nodes.finding import Finder
from emotion_perception.ros2_nodes.hri_faces import QOS_WORDS, HriFaces
from emotion_perception.ros2_nodes.messages import detections, opendr_hypothesis, text
from emotion_perception.ros2_nodes.parameters import for_faces

if TYPE_CHECKING:
    from emotion_perception.engine.learners import Learner
    from emotion_perception.engine.pipeline import Pipeline
    from emotion_perception.engine.target import FrameResult

# After so long without a picture that could be judged, nobody is known to be there.
_GONE_S = 2.0


class FaceEmotionNode(EmotionNode["Pipeline"]):
    """Finds, tracks and judges the faces in a camera's newest picture, or judges the faces that another node tracks."""

    perceives: ClassVar[str] = "face"

    def __init__(self, learner: str = "esr", **options: Any) -> None:
        """Makes the node, unconfigured.

        Args:
            learner: Registered name of the learner: default of the parameter ``learner``, and of the node's name.
            options: Passed on to the runtime's `LifecycleNode`.
        """
        self._tracked: TrackedFaces | None = None
        self._hri: HriFaces | None = None
        self._finder: Finder | None = None
        self._judged_s = 0.0
        super().__init__(learner, for_faces(), **options)

    # ---- life cycle ---------------------------------------------------------------------------------------------------

    def make_pipeline(self, learner: Learner) -> Pipeline | None:
        """Makes detector and pipeline; where another node finds the faces, neither is needed."""
        if self.settings["input"] == "ros4hri":
            return None
        from emotion_perception.engine.pipeline import Pipeline

        self._finder = Finder(self.settings)
        return Pipeline(learner, self._finder.detector, smoothing_s=self.settings["smoothing_s"])

    def make_outputs(self) -> None:
        """Makes the topics; what a crop cannot tell, its place in a picture, is only published for a camera."""
        settings = self.settings
        if settings["input"] == "ros4hri":
            self._hri = HriFaces(self, settings["publish_expression"])
            return
        kinds = [kind for kind in KINDS if settings[f"publish_{kind}"]]
        size_hw = settings["crop_height"], settings["crop_width"]
        if kinds and self.learner is not None:
            self._tracked = TrackedFaces(self, kinds, self.learner.card.crop, size_hw)
        if settings["publish_detections"]:
            self.output("detections", "vision_msgs/msg/Detection2DArray", "~/detections")
        if settings["opendr_topics"]:
            self.output("opendr", "vision_msgs/msg/ObjectHypothesis", "/opendr/facial_emotion_estimation")
            self.output("opendr_word", "std_msgs/msg/String", "/opendr/facial_emotion_estimation_description")
            self.output("opendr_annotated", "sensor_msgs/msg/Image", "/opendr/image_emotion_estimation_annotated")

    def subscribe(self) -> None:
        """Subscribes to the camera, or to the list of the faces that another node tracks."""
        if self._hri is None:
            super().subscribe()
        else:
            self._subscription = self._hri.subscribe()
            self._qos_words, self._advice = QOS_WORDS, "start the node that finds faces, or use input: camera"

    def unsubscribe(self) -> None:
        """Ends all subscriptions to pictures."""
        super().unsubscribe()
        if self._hri is not None:
            self._hri.unsubscribe()

    def input_topic(self) -> str:
        """Returns where pictures come from: of faces that another node tracks, the crops of one, else the list of them."""
        return (self._hri.crop_topic() if self._hri is not None else "") or super().input_topic()

    def finish(self) -> None:
        """Says that nobody is there any more, and removes the topics of faces."""
        for part in (self._tracked, self._hri):
            if part is not None:
                part.clear()

    def release(self) -> None:
        """Frees the detector."""
        self._tracked = self._hri = self._finder = None

    def more_values(self) -> dict[str, str]:
        """Returns the detector in use, which need not be the one wished for."""
        return {"detector": "-" if self._finder is None else self._finder.detector.name}

    # ---- in the worker ------------------------------------------------------------------------------------------------

    def work(self, messages: Mapping[str, Any]) -> None:
        """Judges the newest picture, or the newest crop of every face."""
        if self._hri is not None:
            for result in self._hri.work(messages, self.settings["smoothing_s"], self.settings["contempt_word"]):
                self.judged(result, one_stream=False)
            return
        (picture,) = messages.values()
        image = self.converted(picture)
        if image is None or self._pipeline is None or self._finder is None:
            return
        self._finder.obey(self._pipeline)
        self._pipeline.smoothing_s = self.settings["smoothing_s"]
        result, header = self._pipeline(image), picture.header
        self._judged_s = time.monotonic()
        self.publish("detections", lambda: detections(result, header))
        self._publish_opendr(result)
        self.publish("result", lambda: text(result.to_json()))
        if self._tracked is not None:
            self._tracked.publish(result, image, header, self._pipeline.track_ids, self.settings["contempt_word"])
        self.judged(result)
        self.publish_annotated(result, image, header)

    def idle(self) -> None:
        """Says that nobody is there any more once no picture is judged, and removes what faces that are gone have left."""
        if self._hri is not None:
            self._hri.forget_gone()
        elif self._tracked is not None and time.monotonic() - self._judged_s > _GONE_S:
            self._tracked.clear()

    def _publish_opendr(self, result: FrameResult) -> None:
        """Publishes what OpenDR's node does: one face without a header. Here it is the largest, there the last one found."""
        if "opendr" in self._outputs and result.faces:
            category = max(result.faces, key=lambda face: face.box.width * face.box.height).category
            self.publish("opendr", lambda: opendr_hypothesis(category))
            self.publish("opendr_word", lambda: text(category.description))


def main(arguments: list[str] | None = None) -> int:
    """Runs the node until it is stopped: ``ros2 run emotion_perception face_emotion_node [LEARNER] --ros-args ...``.

    Args:
        arguments: The words of the command line, the program's name first; those of the process if None.

    Returns:
        The exit status.
    """
    from emotion_perception.ros2_nodes.running import run_program

    return run_program(FaceEmotionNode, sys.argv if arguments is None else arguments, "esr")


if __name__ == "__main__":
    sys.exit(main())
