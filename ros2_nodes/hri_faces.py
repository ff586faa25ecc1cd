"""Faces that another node of ROS4HRI finds and cuts out: this one only says what they express."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from emotion_perception.engine.vision.smoothing import Smoother
from emotion_perception.ros2_nodes.face_topics import TRACKED, FacePublishers
from emotion_perception.ros2_nodes.messages import expression, message, text
from emotion_perception.ros2_nodes.runtime import QoSProfile

if TYPE_CHECKING:
    from emotion_perception.engine.target import FrameResult
    from emotion_perception.ros2_nodes.emotion_node import EmotionNode

QOS_WORDS = "reliable, volatile, depth 10"


class HriFaces:
    """Subscribes to the crops of all tracked faces and judges the newest of each in one batch, as they are."""

    def __init__(self, node: EmotionNode[Any], publish_expression: bool) -> None:
        """Starts without faces.

        Args:
            node: Who subscribes and publishes.
            publish_expression: Whether each face gets its ``expression``.
        """
        self._node = node
        self._publishers = FacePublishers(node, ("expression",) if publish_expression else ())
        self._crops: dict[str, Any] = {}
        # The worker's: a number for results, and the smoothing, of every face.
        self._numbers: dict[str, int] = {}
        self._smoothers: dict[str, Smoother] = {}
        self._next_number = 1

    # ---- in the executor ----------------------------------------------------------------------------------------------

    def subscribe(self) -> Any:
        """Subscribes to the list of faces and returns that subscription."""
        return self._node.create_subscription(message("hri_msgs/msg/IdsList"), TRACKED, self._on_tracked, QoSProfile(depth=10))

    def unsubscribe(self) -> None:
        """Ends the subscriptions to crops."""
        for name in list(self._crops):
            self._leave(name)

    def crop_topic(self) -> str:
        """Returns the topic of one face's crops; empty while nobody is there."""
        return next((str(subscription.topic_name) for subscription in self._crops.values()), "")

    def _on_tracked(self, tracked: Any) -> None:
        if not tracked.ids:  # where somebody is there, crops have to come
            self._node.statistics.arrived()
        names = set()
        for name in map(str, tracked.ids):
            if re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
                names.add(name)
            else:
                words = f"ignored the face {name!r} on {TRACKED}: its id has to be letters, digits and underscores, no digit first"
                self._node.get_logger().warning(words, throttle_duration_sec=5.0)
        for name in set(self._crops) - names:
            self._leave(name)
        for name in names - set(self._crops):
            self._crops[name] = self._node.listen(f"/humans/faces/{name}/cropped", partial(self._node.receive, source=name))

    def _leave(self, name: str) -> None:
        self._node.destroy_subscription(self._crops.pop(name))
        self._node.forget(name)

    # ---- in the worker ------------------------------------------------------------------------------------------------

    def work(self, pictures: Mapping[str, Any], smoothing_s: float, contempt_word: str) -> list[FrameResult]:
        """Judges the newest crop of every face that has a new one, and publishes.

        Args:
            pictures: The messages by the face's id.
            smoothing_s: Time constant of the smoothing, in seconds.
            contempt_word: What an expression says for contempt.

        Returns:
            A result per crop that could be used.
        """
        from emotion_perception.engine.pipeline import judge_crops

        crops = {name: image for name, picture in pictures.items() if (image := self._node.converted(picture)) is not None}
        learner = self._node.learner
        if not crops or learner is None:
            return []
        self.forget_gone()
        numbers = [self._number(name) for name in crops]
        smoothers = [self._smoother(name, smoothing_s) for name in crops]
        results = judge_crops(learner, list(crops.values()), numbers, smoothers)
        self._publishers.meet(crops)
        for name, result in zip(crops, results, strict=True):
            self._publish(name, result, pictures[name].header, contempt_word)
        return results

    def _publish(self, name: str, result: FrameResult, header: Any, contempt_word: str) -> None:
        (face,) = result.faces
        named = replace(result, faces=(replace(face, extras={"hri_id": name, **face.extras}),))
        self._publishers.publish(name, "expression", lambda: expression(face, header, contempt_word))
        self._node.publish("result", lambda: text(named.to_json()))

    def forget_gone(self) -> None:
        """Removes the topics and the past of faces that are no longer tracked."""
        tracked = set(self._crops)
        for name in set(self._numbers) - tracked:
            del self._numbers[name]
            self._smoothers.pop(name, None)
        self._publishers.keep(tracked)

    def clear(self) -> None:
        """Removes all topics of faces."""
        self._numbers, self._smoothers = {}, {}
        self._publishers.keep(())

    def _number(self, name: str) -> int:
        if name not in self._numbers:
            self._numbers[name] = self._next_number
            self._next_number += 1
        return self._numbers[name]

    def _smoother(self, name: str, smoothing_s: float) -> Smoother:
        # One for each face: their crops come with stamps of their own, and a smoother starts again where stamps go back.
        smoother = self._smoothers.get(name)
        if smoother is None or smoother.time_constant_s != smoothing_s:
            smoother = self._smoothers[name] = Smoother(smoothing_s)
        return smoother
