"""The pipeline over a recorded bag: pictures in, the node's topics out, with the stamps of the recording."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from emotion_perception.engine.errors import InputError, MissingDependencyError, UsageError
from emotion_perception.engine.storage import folder_update
from emotion_perception.ros2_nodes.images import to_image

if TYPE_CHECKING:
    from emotion_perception.engine.pipeline import Pipeline
    from emotion_perception.engine.target import FrameResult

STORAGES = ("mcap", "sqlite3")
_FILES = {".mcap", ".db3", ".bag"}
_EXPECTED = "a folder with metadata.yaml in it, or an .mcap or .db3 file"
_IMAGES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
_DEPTH = 10


@dataclass
class Summary:
    """What was done.

    Attributes:
        topic: Where the pictures were.
        frames: Pictures judged.
        faces: Faces judged, over all pictures.
        skipped: Pictures that could not be used.
        reason: Why the first of those could not.
    """

    topic: str
    frames: int = 0
    faces: int = 0
    skipped: int = 0
    reason: str = ""


class RecordedImages:
    """The pictures of one topic of a bag: a context manager, and then an iterator over (header, picture, time of recording in ns)."""

    def __init__(self, path: Path, topic: str | None = None) -> None:
        """Opens the bag and finds the topic.

        Args:
            path: A rosbag2 folder, or a single ``.mcap`` or ``.db3`` file (a ``.bag`` of ROS 1 too).
            topic: The topic; None takes the only one with pictures.

        Raises:
            InputError: There is no bag that can be read, or there are no pictures in it.
            MissingDependencyError: rosbags is not installed.
            UsageError: The topic is not in the bag or has no pictures, or several have and none was chosen.
        """
        self.path = path
        try:
            from rosbags.highlevel import AnyReader
        except ImportError:
            raise MissingDependencyError("rosbags", "reading bags", "dds") from None
        from emotion_perception.ros2_nodes.runtime.dds.messages import store

        if not path.exists():
            raise InputError(f"bag {str(path)!r} does not exist; give {_EXPECTED}")
        if not ((path / "metadata.yaml").is_file() if path.is_dir() else path.suffix in _FILES):
            raise InputError(f"{str(path)!r} is no bag; give {_EXPECTED}")
        with ExitStack() as on_error:
            try:
                self._reader = AnyReader([path], default_typestore=store())
                self._reader.open()
            except Exception as error:  # rosbags lets many kinds through when a file is damaged
                raise self._unreadable(error) from None
            on_error.callback(self._reader.close)
            self.topic = self._chosen(topic)
            self._connections = [c for c in self._reader.connections if c.topic == self.topic and c.msgtype in _IMAGES]
            on_error.pop_all()

    @property
    def message_count(self) -> int:
        """Number of pictures, as the bag says."""
        return sum(connection.msgcount for connection in self._connections)

    def __enter__(self) -> RecordedImages:
        """Returns itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Closes the bag."""
        self._reader.close()

    def __iter__(self) -> Iterator[tuple[Any, int]]:
        """Yields each message with the time of its recording, in nanoseconds."""
        messages = self._reader.messages(connections=self._connections)
        while True:
            try:
                entry = next(messages, None)
                if entry is None:
                    return
                message = self._reader.deserialize(entry[2], entry[0].msgtype)
            except Exception as error:  # as above
                raise self._unreadable(error) from None
            yield message, entry[1]

    def _chosen(self, topic: str | None) -> str:
        """Returns the topic to read."""
        kinds = {name: info.msgtype for name, info in self._reader.topics.items()}
        pictures = [name for name, kind in kinds.items() if kind in _IMAGES]
        if topic is not None:
            name = topic if topic in kinds else f"/{topic}"
            if name in pictures:
                return name
            has = f"carries {kinds[name]}" if name in kinds else "is not in it"
            raise UsageError(f"topic {topic!r} of bag {str(self.path)!r}: it {has}; with pictures: {', '.join(pictures) or 'none'}")
        if not pictures:
            others = ", ".join(f"{name} ({kind})" for name, kind in sorted(kinds.items())) or "nothing"
            raise InputError(f"bag {str(self.path)!r} has no topic with sensor_msgs Image or CompressedImage; it has {others}")
        if len(pictures) > 1:
            raise UsageError(f"bag {str(self.path)!r} has pictures on {', '.join(pictures)}; choose one with --topic")
        return pictures[0]

    def _unreadable(self, error: Exception) -> InputError:
        return InputError(f"bag {str(self.path)!r} cannot be read ({error or type(error).__name__}); give a whole MCAP or sqlite3 bag")


class ResultBag:
    """A bag of the topics that a node publishes; a context manager. After an error there is no bag."""

    def __init__(self, path: Path, node: str, storage: str = "mcap") -> None:
        """Checks the place.

        Args:
            path: Folder of the bag; it must not exist, or be empty.
            node: Full name of the node whose topics are written, "/esr".
            storage: One of `STORAGES`.

        Raises:
            UsageError: Something is there already, or the path looks like a file.
        """
        if path.suffix in _FILES:
            raise UsageError(f"{str(path)!r} ends in {path.suffix}, but a bag is a folder; give a name without it")
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise UsageError(f"{str(path)!r} exists already; give the name of a new bag")
        self._path, self._node, self._storage = path, node, storage
        self._connections: dict[str, Any] = {}
        self._stack = ExitStack()

    def __enter__(self) -> ResultBag:
        """Starts to write, beside the place."""
        from rosbags.rosbag2 import StoragePlugin, Writer

        with ExitStack() as stack:
            staging = stack.enter_context(folder_update(self._path))
            inner = staging / self._path.resolve().name  # the files of a bag are named like its folder
            stack.push(lambda kind, error, trace: _unpack(inner, staging) if kind is None else None)
            self._writer = stack.enter_context(Writer(inner, version=9, storage_plugin=StoragePlugin[self._storage.upper()]))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Puts the bag in its place, or drops it after an error."""
        self._stack.__exit__(kind, error, trace)

    def write(self, result: FrameResult, header: Any, time_ns: int, scene: bool = False) -> None:
        """Adds the result of one picture.

        Args:
            result: What was found.
            header: The picture's, which every message gets.
            time_ns: When the picture was recorded.
            scene: Whether the whole picture was judged instead of faces.
        """
        from emotion_perception.ros2_nodes import messages as to_ros

        if not self._connections:
            labels = to_ros.label_info(result.labels, header)
            self._add(f"{self._node}/label_info", "vision_msgs/msg/LabelInfo", labels, time_ns, latched=True)
        self._add(f"{self._node}/result", "std_msgs/msg/String", to_ros.text(result.to_json()), time_ns)
        if scene:
            self._add(f"{self._node}/classification", "vision_msgs/msg/Classification", to_ros.classification(result, header), time_ns)
            return
        faces = {to_ros.face_id(face.track_id): face for face in result.faces if face.track_id is not None}
        self._add(f"{self._node}/detections", "vision_msgs/msg/Detection2DArray", to_ros.detections(result, header), time_ns)
        self._add("/humans/faces/tracked", "hri_msgs/msg/IdsList", to_ros.ids_list(faces, header), time_ns)
        for name, face in faces.items():
            region = to_ros.region(face.box, result.width, result.height, header)
            self._add(f"/humans/faces/{name}/roi", "hri_msgs/msg/NormalizedRegionOfInterest2D", region, time_ns)
            self._add(f"/humans/faces/{name}/expression", "hri_msgs/msg/Expression", to_ros.expression(face, header), time_ns)

    def _add(self, topic: str, kind: str, message: Any, time_ns: int, latched: bool = False) -> None:
        from emotion_perception.ros2_nodes.runtime.dds.messages import serialize, store

        if topic not in self._connections:
            profile = [_qos(latched)]
            self._connections[topic] = self._writer.add_connection(topic, kind, typestore=store(), offered_qos_profiles=profile)
        self._writer.write(self._connections[topic], time_ns, serialize(own_class(message, kind)))


def judge_bag(images: RecordedImages, pipeline: Pipeline, target: ResultBag, advance: Any = lambda steps: None) -> Summary:
    """Judges every picture and writes the results.

    Args:
        images: The pictures, in the order of their recording.
        pipeline: Who judges.
        target: Where the results go; a context manager that has been entered.
        advance: Is called with 1 after every picture.

    Raises:
        InputError: Not one picture could be used.
    """
    from emotion_perception.ros2_nodes.messages import message as message_class

    summary = Summary(images.topic)
    for message, time_ns in images:
        try:
            image = to_image(message)
        except InputError as error:
            summary.skipped += 1
            summary.reason = summary.reason or str(error)
            continue
        finally:
            advance(1)
        if image.stamp_s is None:  # ids and smoothing need the time that passed
            image = replace(image, stamp_s=time_ns * 1e-9)
        header = message_class("std_msgs/msg/Header")(frame_id=image.frame_id)
        header.stamp.sec, header.stamp.nanosec = int(message.header.stamp.sec), int(message.header.stamp.nanosec)
        result = pipeline(image)
        target.write(result, header, time_ns, pipeline.learner.card.perceives == "scene")
        summary.frames += 1
        summary.faces += len(result.faces)
    if not summary.frames:
        reason = summary.reason or "the topic has no message"
        raise InputError(f"no picture on {images.topic} of bag {str(images.path)!r} could be used: {reason}")
    return summary


def own_class(message: Any, name: str) -> Any:
    """Returns a message as an instance of the class that rosbags writes; one of rclpy is copied, field by field.

    Args:
        message: A message of either runtime.
        name: Its type, "hri_msgs/msg/Expression".
    """
    from emotion_perception.ros2_nodes.runtime.dds.messages import get_message

    kind = get_message(name)
    if isinstance(message, kind):
        return message
    copied = kind()
    for field, words in message.get_fields_and_field_types().items():
        value = getattr(message, field)
        inner = re.search(r"(\w+)/(\w+)", words)
        if inner is not None:
            inner_name = f"{inner[1]}/msg/{inner[2]}"
            many = isinstance(value, (list, tuple))
            value = [own_class(entry, inner_name) for entry in value] if many else own_class(value, inner_name)
        setattr(copied, field, value)
    return copied


def _qos(latched: bool) -> Any:
    """Returns what the node's publishers offer, so that a bag is played as the node would have published."""
    from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime

    forever = QosTime(9223372036, 854775807)
    durability, depth = (QosDurability.TRANSIENT_LOCAL, 1) if latched else (QosDurability.VOLATILE, _DEPTH)
    return Qos(
        history=QosHistory.KEEP_LAST,
        depth=depth,
        reliability=QosReliability.RELIABLE,
        durability=durability,
        deadline=forever,
        lifespan=forever,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=forever,
        avoid_ros_namespace_conventions=False,
    )


def _unpack(inner: Path, staging: Path) -> None:
    """Moves the files of a finished bag up, from where they all go to their place."""
    for file in list(inner.iterdir()):
        file.rename(staging / file.name)
    inner.rmdir()
