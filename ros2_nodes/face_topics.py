"""The topics of ROS4HRI: who is there, and for each face a set of topics that lives as long as the face."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from emotion_perception.engine.cards import CropSpec
from emotion_perception.ros2_nodes.images import from_rgb
from emotion_perception.ros2_nodes.messages import expression, face_id, ids_list, message, region
from emotion_perception.ros2_nodes.runtime import QoSProfile

if TYPE_CHECKING:
    from emotion_perception.engine.data import Image
    from emotion_perception.engine.target import BoundingBox, FaceEmotion, FrameResult
    from emotion_perception.ros2_nodes.emotion_node import EmotionNode

TRACKED = "/humans/faces/tracked"
KINDS = {
    "roi": "hri_msgs/msg/NormalizedRegionOfInterest2D",
    "cropped": "sensor_msgs/msg/Image",
    "expression": "hri_msgs/msg/Expression",
}


class FacePublishers:
    """Publishers below ``/humans/faces/<id>/``, made when a face is first seen and removed when it is gone.

    They are made and removed in one thread, the worker's: as they come and go while the node is active, they are no part of its life
    cycle.
    """

    def __init__(self, node: EmotionNode[Any], kinds: Sequence[str]) -> None:
        """Starts without faces.

        Args:
            node: Who publishes.
            kinds: Which of `KINDS` every face has.
        """
        self._node = node
        self._kinds = kinds
        self._faces: dict[str, dict[str, Any]] = {}
        for kind in kinds:
            message(KINDS[kind])  # a package that is missing shows now, not with the first face

    def meet(self, names: Iterable[str]) -> None:
        """Makes the topics of faces that have none yet."""
        for name in names:
            if name not in self._faces:
                self._faces[name] = {
                    kind: self._node.create_publisher(message(KINDS[kind]), f"/humans/faces/{name}/{kind}", QoSProfile(depth=10))
                    for kind in self._kinds
                }

    def publish(self, name: str, kind: str, make: Callable[[], Any]) -> None:
        """Publishes what ``make`` returns, if that kind is switched on."""
        publisher = self._faces.get(name, {}).get(kind)
        if publisher is not None:
            publisher.publish(make())

    def wanted(self, name: str, kind: str) -> bool:
        """Says whether somebody listens to a topic of a face."""
        publisher = self._faces.get(name, {}).get(kind)
        return publisher is not None and publisher.get_subscription_count() > 0

    def keep(self, names: Collection[str]) -> None:
        """Removes the topics of all other faces."""
        for name in [name for name in self._faces if name not in names]:
            for publisher in self._faces.pop(name).values():
                self._node.destroy_publisher(publisher)


class TrackedFaces:
    """Publishes the faces of a camera's pictures as ROS4HRI wants them."""

    def __init__(self, node: EmotionNode[Any], kinds: Sequence[str], crop: CropSpec | None, crop_size_hw: tuple[int, int]) -> None:
        """Makes the list's publisher.

        Args:
            node: Who publishes, with `EmotionNode.output`.
            kinds: Which of `KINDS` every face has.
            crop: How the learner's card cuts a face out; None cuts along the box.
            crop_size_hw: Height and width of published crops, in pixels.
        """
        self._node = node
        self._publishers = FacePublishers(node, kinds)
        # REP-155: what lies outside the picture is zero.
        self._crop = replace(crop or CropSpec(), border="constant")
        self._crop_size_hw = crop_size_hw
        self._shown = False
        self._header: Any = None
        node.output("tracked", "hri_msgs/msg/IdsList", TRACKED)

    def publish(self, result: FrameResult, image: Image, header: Any, alive: Collection[int], contempt_word: str) -> None:
        """Publishes one frame.

        Args:
            result: What was found.
            image: The picture it was found in.
            header: The picture's.
            alive: Track ids that may still come back; topics of others are removed.
            contempt_word: What an expression says for contempt.
        """
        names = {face_id(face.track_id): face for face in result.faces if face.track_id is not None}
        self._publishers.meet(names)
        self._node.publish("tracked", lambda: ids_list(names, header))
        self._shown, self._header = bool(names), header
        for name, face in names.items():
            self._publish_face(name, face, result, header, contempt_word)
        for name, face in names.items():  # after all that is cheap
            if self._publishers.wanted(name, "cropped"):
                self._publish_crop(name, face, image, header)
        self._publishers.keep({face_id(track_id) for track_id in alive})

    def _publish_face(self, name: str, face: FaceEmotion, result: FrameResult, header: Any, contempt_word: str) -> None:
        self._publishers.publish(name, "roi", lambda: region(face.box, result.width, result.height, header))
        self._publishers.publish(name, "expression", lambda: expression(face, header, contempt_word))

    def _publish_crop(self, name: str, face: FaceEmotion, image: Image, header: Any) -> None:
        crop = padded_crop(image, face.box, self._crop, self._crop_size_hw)
        self._publishers.publish(name, "cropped", lambda: from_rgb(crop, header))

    def clear(self) -> None:
        """Says that nobody is there any more, as the pictures have stopped, and removes all topics of faces."""
        if self._shown:
            self._node.publish("tracked", lambda: ids_list((), self._header))
            self._shown = False
        self._publishers.keep(())


def padded_crop(image: Image, box: BoundingBox, crop: CropSpec, size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Cuts a face out in its own proportions: the square crop as large as it fits, centred, on black."""
    from emotion_perception.engine.vision.crops import face_crop

    height, width = size_hw
    side = min(size_hw)
    square = face_crop(image, box, crop, (side, side))
    if height == width:
        return square
    padded = np.zeros((height, width, 3), np.uint8)
    top, left = (height - side) // 2, (width - side) // 2
    padded[top : top + side, left : left + side] = square
    return padded
