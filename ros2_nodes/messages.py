"""From results to ROS messages, every one with the header of the picture it came from (the same object, not a copy)."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from typing import Any

from emotion_perception.engine.clips import ClipResult
from emotion_perception.engine.errors import EmotionPerceptionError
from emotion_perception.engine.labels import LabelSet, concept
from emotion_perception.engine.target import BoundingBox, Category, FaceEmotion, FrameResult
from emotion_perception.ros2_nodes.runtime import get_message, get_service


@functools.cache
def message(name: str) -> Any:
    """Returns a message class by its full name, e.g. ``hri_msgs/msg/Expression``.

    Raises:
        EmotionPerceptionError: Its package is not installed (where ROS 2 is, message packages are installed one by one).
    """
    return _found(get_message, name)


@functools.cache
def service(name: str) -> Any:
    """Returns a service class by its full name; errors are those of `message`."""
    return _found(get_service, name)


def _found(get: Any, name: str) -> Any:
    try:
        return get(name)
    except (ImportError, AttributeError, KeyError, ValueError) as error:
        package = name.split("/")[0].replace("_", "-")
        way_out = f"install its package (sudo apt install ros-$ROS_DISTRO-{package}) or switch its topics off"
        raise EmotionPerceptionError(f"{name} is not to be had: {error}; {way_out}") from None


def face_id(track_id: int) -> str:
    """Returns the id that a track has on the graph: a valid ROS name, as `/humans/faces/<id>/` needs it."""
    return f"f{track_id:05d}"


def ids_list(ids: Iterable[str], header: Any) -> Any:
    """Returns ``hri_msgs/IdsList``; empty when nobody is there."""
    return message("hri_msgs/msg/IdsList")(header=header, ids=list(ids))


def region(box: BoundingBox, width: int, height: int, header: Any) -> Any:
    """Returns ``hri_msgs/NormalizedRegionOfInterest2D``: the box in units of the picture, cut at its borders, with the detector's score."""
    corners = {"xmin": box.left / width, "ymin": box.top / height, "xmax": box.right / width, "ymax": box.bottom / height}
    inside = {name: min(max(float(value), 0.0), 1.0) for name, value in corners.items()}
    return message("hri_msgs/msg/NormalizedRegionOfInterest2D")(header=header, c=min(max(float(box.score), 0.0), 1.0), **inside)


def expression(face: FaceEmotion, header: Any, contempt_word: str = "contempt") -> Any:
    """Returns ``hri_msgs/Expression``.

    Args:
        face: The face judged.
        header: The picture's.
        contempt_word: What stands for contempt, for which hri_msgs has no word.

    Returns:
        hri_msgs' own word where it has one (``scared`` for fear), else the class word in lower case; valence and arousal are NaN where
        the model gives none: 0 would mean calm and neutral.
    """
    word = concept(face.category.description)
    return message("hri_msgs/msg/Expression")(
        header=header,
        expression=contempt_word if word == "contempt" else word,
        valence=math.nan if face.valence is None else float(face.valence),
        arousal=math.nan if face.arousal is None else float(face.arousal),
        confidence=float(face.category.confidence),
    )


def hypotheses(category: Category, labels: LabelSet) -> list[Any]:
    """Returns ``vision_msgs/ObjectHypothesis`` per class, the likeliest first: ``class_id`` is the word, ``score`` the probability."""
    kind = message("vision_msgs/msg/ObjectHypothesis")
    order = sorted(range(len(labels)), key=lambda i: (-float(category.probabilities[i]), i))
    if order[0] != category.data:  # the class judged leads, also where branches voted against the mean
        order.remove(category.data)
        order.insert(0, category.data)
    return [kind(class_id=labels.words[i], score=float(category.probabilities[i])) for i in order]


def detections(result: FrameResult, header: Any) -> Any:
    """Returns ``vision_msgs/Detection2DArray``: per face its box in pixels, its id and every class; empty when nobody is there."""
    names = ["" if face.track_id is None else face_id(face.track_id) for face in result.faces]
    found = [_detection(face.box, name, face.category, result.labels, header) for name, face in zip(names, result.faces, strict=True)]
    return message("vision_msgs/msg/Detection2DArray")(header=header, detections=found)


def clip_detections(result: ClipResult, header: Any) -> Any:
    """Returns ``vision_msgs/Detection2DArray`` of the characters that the clip's last picture shows, each with every class."""
    found = []
    for name, box in result.boxes.items():
        category = result.category(name)
        if category is not None:
            found.append(_detection(box, name, category, result.labels, header))
    return message("vision_msgs/msg/Detection2DArray")(header=header, detections=found)


def _detection(box: BoundingBox, name: str, category: Category, labels: LabelSet, header: Any) -> Any:
    with_pose = message("vision_msgs/msg/ObjectHypothesisWithPose")
    results = [with_pose(hypothesis=each) for each in hypotheses(category, labels)]
    detection = message("vision_msgs/msg/Detection2D")(header=header, results=results, id=name)
    x, y = box.center_xy
    detection.bbox.center.position.x, detection.bbox.center.position.y = float(x), float(y)
    detection.bbox.size_x, detection.bbox.size_y = float(box.width), float(box.height)
    return detection


def classification(result: FrameResult, header: Any) -> Any:
    """Returns ``vision_msgs/Classification`` of a whole picture: every class with its probability."""
    return _classification(result.faces[0].category if result.faces else None, result.labels, header)


def clip_classification(result: ClipResult, header: Any) -> Any:
    """Returns ``vision_msgs/Classification`` of a clip's scene: every class with its probability; none where it was not judged."""
    return _classification(result.category(), result.labels, header)


def _classification(category: Category | None, labels: LabelSet, header: Any) -> Any:
    results = hypotheses(category, labels) if category is not None else []
    return message("vision_msgs/msg/Classification")(header=header, results=results)


def label_info(labels: LabelSet, header: Any) -> Any:
    """Returns ``vision_msgs/LabelInfo``: the class words by their index, in the model's order."""
    kind = message("vision_msgs/msg/VisionClass")
    classes = [kind(class_id=i, class_name=word) for i, word in enumerate(labels.words)]
    return message("vision_msgs/msg/LabelInfo")(header=header, class_map=classes, threshold=0.0)


def text(words: str) -> Any:
    """Returns ``std_msgs/String``."""
    return message("std_msgs/msg/String")(data=words)


def opendr_hypothesis(category: Category) -> Any:
    """Returns ``vision_msgs/ObjectHypothesis`` as OpenDR's node publishes it: ``class_id`` is the index of the class, as a string."""
    return message("vision_msgs/msg/ObjectHypothesis")(class_id=str(category.data), score=float(category.confidence))
