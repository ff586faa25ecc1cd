"""The node for scenes: for learners that judge the whole picture, without looking for faces."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from emotion_perception.ros2_nodes.emotion_node import EmotionNode
from emotion_perception.ros2_nodes.messages import classification, text
from emotion_perception.ros2_nodes.parameters import smoothing

if TYPE_CHECKING:
    from emotion_perception.engine.learners import Learner
    from emotion_perception.engine.pipeline import Pipeline


class SceneEmotionNode(EmotionNode["Pipeline"]):
    """Judges a camera's newest picture as a whole."""

    perceives: ClassVar[str] = "scene"

    def __init__(self, learner: str, **options: Any) -> None:
        """Makes the node, unconfigured.

        Args:
            learner: Registered name of the learner: default of the parameter ``learner``, and of the node's name.
            options: Passed on to the runtime's `LifecycleNode`.
        """
        super().__init__(learner, smoothing(), **options)

    def make_pipeline(self, learner: Learner) -> Pipeline:
        """Makes the pipeline, which needs no detector."""
        from emotion_perception.engine.pipeline import Pipeline

        return Pipeline(learner, smoothing_s=self.settings["smoothing_s"])

    def make_outputs(self) -> None:
        """Makes the topic of the classes."""
        self.output("classification", "vision_msgs/msg/Classification", "~/classification")

    def work(self, messages: Mapping[str, Any]) -> None:
        """Judges the newest picture."""
        (picture,) = messages.values()
        image = self.converted(picture)
        if image is None or self._pipeline is None:
            return
        self._pipeline.smoothing_s = self.settings["smoothing_s"]
        result, header = self._pipeline(image), picture.header
        self.publish("classification", lambda: classification(result, header))
        self.publish("result", lambda: text(result.to_json()))
        self.judged(result)
        self.publish_annotated(result, image, header)


def main(arguments: list[str] | None = None) -> int:
    """Runs the node until it is stopped: ``ros2 run emotion_perception scene_emotion_node LEARNER --ros-args ...``.

    Args:
        arguments: The words of the command line, the program's name first; those of the process if None.

    Returns:
        The exit status.
    """
    from emotion_perception.ros2_nodes.running import run_program

    return run_program(SceneEmotionNode, sys.argv if arguments is None else arguments)


if __name__ == "__main__":
    sys.exit(main())
