"""The parameters of a node as one table: default, description, limits, and whether a change takes effect while the node works."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from emotion_perception.engine.devices import BACKENDS
from emotion_perception.ros2_nodes.runtime import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult

Value = bool | int | float | str
# Declared by every ROS node, or by rclpy itself.
_NOT_OURS = ("use_sim_time", "start_type_description_service", "qos_overrides.")


@dataclass(frozen=True)
class Setting:
    """One parameter.

    Attributes:
        name: Its name.
        default: Its default; it fixes the type as well.
        description: What it does, with its unit.
        low, high: Least and largest value of a number; None where there is no limit.
        choices: The words a string may be, where only some make sense.
        live: Whether a change takes effect at once; otherwise it is refused while the node is configured.
        fixed: Whether it is read once, at the start.
    """

    name: str
    default: Value
    description: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    live: bool = False
    fixed: bool = False

    def descriptor(self) -> Any:
        """Returns ``rcl_interfaces/ParameterDescriptor``, with which tools show the parameter and ROS itself keeps the range."""
        when = "Read at the start." if self.fixed else "Takes effect at once." if self.live else "Needs a new configure."
        words = f" One of: {', '.join(self.choices)}." if self.choices else ""
        made = ParameterDescriptor(name=self.name, description=f"{self.description}{words} {when}", read_only=self.fixed)
        if self.low is not None and self.high is not None:
            if isinstance(self.default, float):
                made.floating_point_range = [FloatingPointRange(from_value=float(self.low), to_value=float(self.high), step=0.0)]
            else:
                made.integer_range = [IntegerRange(from_value=int(self.low), to_value=int(self.high), step=1)]
        return made

    def refusal(self, value: Value) -> str:
        """Returns why a value of the right type cannot be used; empty if it can."""
        if self.choices and value not in self.choices:
            near = get_close_matches(str(value), self.choices, n=1)
            return (
                f"{self.name} is {value!r}, expected {'one of ' + ', '.join(self.choices)}{f'; did you mean {near[0]!r}?' if near else ''}"
            )
        if isinstance(value, float) and value != value:
            return f"{self.name} is NaN, expected a number"
        return ""


class Settings:
    """The parameters of one node, declared, checked and read where they are used."""

    def __init__(self, node: Any, table: Iterable[Setting]) -> None:
        """Declares the parameters; an initial value that cannot be used is refused by an exception, as in any ROS node.

        Args:
            node: The node.
            table: Its parameters.
        """
        self._node = node
        self._table = {setting.name: setting for setting in table}
        self.configured = False
        node.add_on_set_parameters_callback(self.check)
        for setting in self._table.values():
            node.declare_parameter(setting.name, setting.default, setting.descriptor())
        self._warn_of_unknown()

    def __getitem__(self, name: str) -> Any:
        """Returns the value that a parameter has now."""
        return self._node.get_parameter(name).value

    def check(self, parameters: Sequence[Any]) -> Any:
        """Says whether parameters may be set; changes nothing, as others may be asked after it and refuse."""
        for parameter in parameters:
            setting = self._table.get(parameter.name)
            if setting is None:
                continue
            reason = setting.refusal(parameter.value)
            if not reason and self.configured and not setting.live and parameter.value != self[setting.name]:
                reason = f"{setting.name} needs a new configure: deactivate and clean up the node, set it, configure it again"
            if reason:
                return SetParametersResult(successful=False, reason=reason)
        return SetParametersResult(successful=True, reason="")

    def _warn_of_unknown(self) -> None:
        """Warns of names in the parameter file or on the command line that no parameter has; ROS drops them without a word."""
        for name in getattr(self._node, "_parameter_overrides", {}):
            if name in self._table or name.startswith(_NOT_OURS):
                continue
            near = get_close_matches(name, self._table, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "ros2 param list shows those it has"
            self._node.get_logger().warning(f"there is no parameter {name!r}, its value is not used; {hint}")


def common(learner: str) -> list[Setting]:
    """Returns the parameters of every node that judges emotions.

    Args:
        learner: Default of the parameter ``learner``.
    """
    return [
        Setting("learner", learner, "Registered name of the learner that judges."),
        Setting("weights", "", "Folder of weights; empty = those that come with the learner."),
        Setting("device", "auto", "Where the network runs; auto = a GPU if there is one.", choices=("auto", "cpu", "cuda")),
        Setting(
            "backend",
            "auto",
            "What runs the network; auto = an exported model in the weights' folder, else the fastest, measured at the first configure on "
            "this machine; onnxruntime, tensorrt = export the model at configure if there is none.",
            choices=BACKENDS,
        ),
        Setting("confidence", 0.0, "Leave out what will not change the class, with this confidence; 0 = judge with all of it.", 0.0, 1.0),
        Setting("budget_ms", 0.0, "Most milliseconds for judging one picture's faces; 0 = no limit.", 0.0, 10000.0),
        Setting("image_transport", "raw", "Kind of the pictures; compressed = image_raw/compressed.", choices=("raw", "compressed")),
        Setting(
            "image_reliability",
            "best_effort",
            "Reliability of the subscription; best effort gets pictures from every camera.",
            choices=("best_effort", "reliable"),
        ),
        Setting("image_depth", 5, "Pictures that may wait for the callback, which only keeps the newest.", 1, 100),
        Setting("max_rate_hz", 0.0, "Most pictures judged per second; 0 = no limit.", 0.0, 1000.0, live=True),
        Setting("no_frame_warning_s", 5.0, "Warn after so many seconds without a picture; 0 = never.", 0.0, 3600.0, live=True),
        Setting("publish_result", True, "Publish ~/result, the whole result as JSON."),
        Setting("publish_annotated", True, "Offer ~/image_annotated, drawn only while somebody listens."),
        Setting("autostart", True, "Configure and activate at the start; false = wait for the life cycle's services.", fixed=True),
    ]


def smoothing() -> list[Setting]:
    """Returns what a node that judges single pictures has beside the parameters of `common`."""
    return [Setting("smoothing_s", 0.3, "Time constant of the smoothing, in seconds; 0 = off.", 0.0, 60.0, live=True)]


def finding() -> list[Setting]:
    """Returns what a node that finds faces has beside the parameters of `common`."""
    return [
        Setting("detector", "auto", "Face detector; auto = YuNet where it can be had, else Haar.", choices=("auto", "yunet", "haar")),
        Setting("detector_score", 0.6, "Least score of a face.", 0.0, 1.0, live=True),
        Setting("search_size_px", 320, "Longer side of the copy searched for faces; more finds smaller faces.", 64, 4096, live=True),
        Setting(
            "search_interval_s",
            0.25,
            "Longest time between two searches for faces, in seconds; in between they are followed. 0 = search every picture.",
            0.0,
            60.0,
            live=True,
        ),
        Setting("min_face_px", 20.0, "Faces with a shorter longer side are left out, in pixels of the picture.", 0.0, 4096.0, live=True),
        Setting("max_faces", 16, "Most faces judged in one picture; those with the best scores are kept.", 1, 1000, live=True),
        Setting("publish_detections", True, "Publish ~/detections."),
    ]


def for_faces() -> list[Setting]:
    """Returns what the node for faces has beside the parameters of `common`."""
    return [
        Setting(
            "input",
            "camera",
            "Where faces come from; ros4hri = the crops of another node's /humans/faces/tracked instead of an own detector.",
            choices=("camera", "ros4hri"),
        ),
        *smoothing(),
        *finding(),
        Setting("contempt_word", "contempt", "What /humans/faces/<id>/expression says for contempt, which hri_msgs lacks.", live=True),
        Setting("crop_width", 128, "Width of the published crops, in pixels.", 16, 2048),
        Setting("crop_height", 128, "Height of the published crops, in pixels.", 16, 2048),
        Setting("publish_roi", True, "Publish /humans/faces/<id>/roi."),
        Setting("publish_cropped", True, "Offer /humans/faces/<id>/cropped, cut only while somebody listens."),
        Setting("publish_expression", True, "Publish /humans/faces/<id>/expression."),
        Setting("opendr_topics", False, "Publish OpenDR's topics as well, for those who migrate."),
    ]


def for_clips() -> list[Setting]:
    """Returns what the node for clips has beside the parameters of `common`."""
    return [
        Setting("window_s", 20.0, "Length of the clip that is judged: the last so many seconds.", 1.0, 100.0),
        Setting("judge_every_s", 1.0, "Least time between two judgements, in seconds.", 0.0, 60.0, live=True),
        Setting("num_chars", 0, "Most faces judged at once, those seen longest first; 0 = as many as the network knows.", 0, 100),
        Setting("backbones", "", "Folder with the weights of what turns pictures, faces and words into features; empty = the usual place."),
        Setting("speech", "", "Topic of recognised speech; empty = none."),
        Setting(
            "speech_type",
            "live_speech",
            "Type of that topic: hri_msgs/LiveSpeech, of which the final text is used, or std_msgs/String.",
            choices=("live_speech", "string"),
        ),
        *finding(),
    ]
