"""What all nodes that judge emotions share: life cycle, pictures in, one worker, diagnostics. Written once for both runtimes."""

from __future__ import annotations

import gc
import inspect
import re
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from emotion_perception.engine.errors import InputError, UsageError
from emotion_perception.ros2_nodes.diagnostics import Statistics, status_array
from emotion_perception.ros2_nodes.images import from_rgb, to_image
from emotion_perception.ros2_nodes.messages import label_info, message, service
from emotion_perception.ros2_nodes.parameters import Setting, Settings, common
from emotion_perception.ros2_nodes.runtime import (
    Clock,
    ClockType,
    DurabilityPolicy,
    LifecycleNode,
    QoSProfile,
    ReliabilityPolicy,
    State,
    TransitionCallbackReturn,
    ok,
)
from emotion_perception.ros2_nodes.worker import Worker

if TYPE_CHECKING:
    from emotion_perception.engine.clip_pipeline import ClipPipeline
    from emotion_perception.engine.data import Image
    from emotion_perception.engine.learners import Learner
    from emotion_perception.engine.pipeline import Pipeline
    from emotion_perception.engine.target import FrameResult

P = TypeVar("P", bound="Pipeline | ClipPipeline")

_RESULT_DEPTH = 10
# A message about every frame would say nothing new thirty times a second.
_THROTTLE_S = 5.0


class EmotionNode(LifecycleNode, Generic[P]):
    """Base of the nodes: configure loads and warms up the model, activate subscribes, one worker judges the newest picture.

    A picture that cannot be used or judged is counted and said, and never ends the node. Nothing is published without the header of
    the picture it comes from.

    Attributes:
        perceives: What the learner's card must say.
        settings: The parameters.
        statistics: Counts and times.
        learner: The learner, while configured.
    """

    perceives: ClassVar[str]

    def __init__(self, learner: str, table: list[Setting], **options: Any) -> None:
        """Declares the parameters, and what is there in every state: diagnostics and ``~/enable``.

        Args:
            learner: Registered name of the learner: default of the parameter ``learner``, and of the node's name.
            table: Parameters beside the common ones.
            options: Passed on to the runtime's `LifecycleNode`.
        """
        super().__init__(re.sub(r"\W", "_", learner), **options)
        self.settings = Settings(self, [*common(learner), *table])
        self.statistics = Statistics()
        self.learner: Learner | None = None
        self._pipeline: P | None = None
        self._worker: Worker | None = None
        self._subscription: Any = None
        self._outputs: dict[str, Any] = {}
        self._phase, self._fault, self._enabled, self._starved = "unconfigured", "", True, False
        self._active_since_s, self._refused_before = 0.0, 0
        self._qos_words, self._advice = "", ""
        self._last_stamp_s: float | None = None
        self._diagnostics = self.create_publisher(message("diagnostic_msgs/msg/DiagnosticArray"), "/diagnostics", _RESULT_DEPTH)
        # By a clock of its own: with use_sim_time the node's own stands still until /clock comes, and jumps back when a bag starts again.
        self._second = self.create_timer(1.0, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._enable = self.create_service(service("std_srvs/srv/SetBool"), "~/enable", self._on_enable)

    # ---- what each node brings ----------------------------------------------------------------------------------------

    def make_pipeline(self, learner: Learner) -> P | None:
        """Makes what judges the pictures, as the parameters say; None where no whole pictures are judged."""
        raise NotImplementedError

    def make_outputs(self) -> None:
        """Makes the publishers that every picture uses, with `output`."""
        raise NotImplementedError

    def work(self, messages: Mapping[str, Any]) -> None:
        """Judges the newest messages and publishes; runs in the worker."""
        raise NotImplementedError

    def idle(self) -> None:
        """Called by the worker after every picture, and a few times a second while none comes."""

    def subscribe(self) -> None:
        """Subscribes to the pictures, while activating."""
        self._subscription = self.listen("image_raw", self.receive)
        without = ", where TOPIC is without its /compressed" if self.settings["image_transport"] == "compressed" else ""
        self._advice = f"start the camera, or remap: -r image_raw:=TOPIC{without}"

    def unsubscribe(self) -> None:
        """Ends what `subscribe` began; called in any state."""
        if self._subscription is not None:
            self.destroy_subscription(self._subscription)
            self._subscription = None

    def finish(self) -> None:
        """Says goodbye on the topics and removes what `work` made; called without a worker, while still active if that ended in time."""

    def release(self) -> None:
        """Frees what `make_pipeline` and `make_outputs` made, but for the pipeline and the outputs themselves."""

    def more_values(self) -> dict[str, str]:
        """Returns what diagnostics say beside what all nodes say, by name."""
        return {}

    # ---- for them -----------------------------------------------------------------------------------------------------

    def output(self, key: str, kind: str, topic: str, transient: bool = False) -> None:
        """Makes a publisher that is silent unless the node is active; `publish` finds it by its key."""
        durability = DurabilityPolicy.TRANSIENT_LOCAL if transient else DurabilityPolicy.VOLATILE
        qos = QoSProfile(depth=1 if transient else _RESULT_DEPTH, reliability=ReliabilityPolicy.RELIABLE, durability=durability)
        self._outputs[key] = self.create_lifecycle_publisher(message(kind), topic, qos)

    def publish(self, key: str, make: Callable[[], Any]) -> None:
        """Publishes what ``make`` returns if that output is switched on."""
        if key in self._outputs:
            self._outputs[key].publish(make())

    def wanted(self, key: str) -> bool:
        """Says whether somebody listens to an output, for those that cost something."""
        return key in self._outputs and self._outputs[key].get_subscription_count() > 0

    def listen(self, topic: str, callback: Callable[[Any], None]) -> Any:
        """Subscribes to a topic of pictures, with the parameters' transport and quality of service."""
        compressed = self.settings["image_transport"] == "compressed"
        kind = message("sensor_msgs/msg/CompressedImage" if compressed else "sensor_msgs/msg/Image")
        reliable = self.settings["image_reliability"] == "reliable"
        policy = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        qos = QoSProfile(depth=self.settings["image_depth"], reliability=policy)
        self._qos_words = f"{'reliable' if reliable else 'best effort'}, volatile, depth {self.settings['image_depth']}"
        return self.create_subscription(kind, self._compressed(topic) if compressed else topic, callback, qos)

    def _compressed(self, topic: str) -> str:
        """Returns where a topic's compressed pictures are: below the name that it is remapped to, unless they have a rule of their own."""
        own = f"{topic}/compressed"
        if self.resolve_topic_name(own) != self.resolve_topic_name(own, only_expand=True):
            return own
        return f"{self.resolve_topic_name(topic)}/compressed"

    def receive(self, picture: Any, source: str = "") -> None:
        """Keeps a picture for the worker, if it is the newest of its source; all that happens in the executor's thread."""
        self.statistics.arrived()
        worker = self._worker
        if self._enabled and worker is not None:
            worker.slot.put(picture, source)

    def forget(self, source: str) -> None:
        """Drops the picture of a source that is gone."""
        if self._worker is not None:
            self._worker.slot.forget(source)

    def converted(self, picture: Any) -> Image | None:
        """Converts a message, or counts and says why it cannot be used."""
        try:
            return to_image(picture)
        except InputError as error:
            self.statistics.counts.refused += 1
            self.get_logger().warning(f"refused a picture: {error}", throttle_duration_sec=_THROTTLE_S)
            return None

    def judged(self, result: FrameResult, one_stream: bool = True) -> None:
        """Counts a result that was published, and says where its stream started again; crops of several faces are several streams."""
        stamp_s = result.stamp_s
        age_s = None if stamp_s is None else self.get_clock().now().nanoseconds * 1e-9 - stamp_s
        self.statistics.done(age_s, result.latency_ms["total"])
        if not one_stream:
            return
        before_s, self._last_stamp_s = self._last_stamp_s, stamp_s
        if before_s is not None and stamp_s is not None and stamp_s < before_s:
            jump = f"stamps went back by {before_s - stamp_s:.3f} s, from {before_s:.3f} to {stamp_s:.3f}"
            self.get_logger().warning(f"{jump}: ids and smoothing start again", throttle_duration_sec=_THROTTLE_S)

    def publish_annotated(self, result: FrameResult, image: Image, header: Any) -> None:
        """Publishes the picture with the result drawn into it, while somebody looks."""
        if self.wanted("annotated") or self.wanted("opendr_annotated"):
            from emotion_perception.engine.vision.drawing import draw

            pixels = image.numpy()  # a copy: the picture itself may share its memory with the message
            draw(pixels, result)
            picture = from_rgb(pixels, header)
            for key in ("annotated", "opendr_annotated"):
                if self.wanted(key):
                    self.publish(key, lambda: picture)

    # ---- life cycle ---------------------------------------------------------------------------------------------------

    def on_configure(self, state: State) -> TransitionCallbackReturn:
        """Loads the model and warms it up; a failure says its cause and leaves the node unconfigured, to be tried again."""
        return self._transition("configure", "inactive", self._configure, self._release, super().on_configure, state)

    def on_activate(self, state: State) -> TransitionCallbackReturn:
        """Subscribes and starts the worker."""
        return self._transition("activate", "active", self._activate, self._stop, super().on_activate, state)

    def on_deactivate(self, state: State) -> TransitionCallbackReturn:
        """Unsubscribes and ends the worker."""
        return self._transition("deactivate", "inactive", self._stop, None, super().on_deactivate, state)

    def on_cleanup(self, state: State) -> TransitionCallbackReturn:
        """Frees the model and, where one is used, the GPU's memory."""
        return self._transition("clean up", "unconfigured", self._release, None, super().on_cleanup, state)

    def on_shutdown(self, state: State) -> TransitionCallbackReturn:
        """Frees everything, from any state."""
        return self._transition("shut down", "finalized", self.close, None, super().on_shutdown, state)

    def on_error(self, state: State) -> TransitionCallbackReturn:
        """Frees everything, so that the node can be configured again."""
        return self._transition("recover", "unconfigured", self.close, None, super().on_error, state)

    def close(self) -> None:
        """Ends the worker and frees everything; for the end of the process, in any state and more than once."""
        self._stop()
        self._release()

    def _transition(
        self,
        verb: str,
        target: str,
        do: Callable[[], None],
        undo: Callable[[], None] | None,
        default: Callable[[State], TransitionCallbackReturn],
        state: State,
    ) -> TransitionCallbackReturn:
        """Does the work of a transition; rclpy swallows what a transition raises, so it is said here and becomes FAILURE."""
        if verb in ("configure", "activate", "clean up") and not self._rested():
            self._fault = f"cannot {verb}: still judging the last picture; try again later"
            self.get_logger().error(self._fault)
            return TransitionCallbackReturn.FAILURE
        try:
            # Publishers speak while the node is active: they are switched on before the work that uses them, and off after.
            result = default(state) if verb == "activate" else TransitionCallbackReturn.SUCCESS
            do()
            if verb != "activate":
                result = default(state)
        except Exception as error:
            self._fault = f"cannot {verb}: {one_line(error)}"
            self.get_logger().error(self._fault)
            if undo is not None:
                undo()
            if verb == "activate":
                super().on_deactivate(state)
            return TransitionCallbackReturn.FAILURE
        if result != TransitionCallbackReturn.SUCCESS:
            return result
        self._phase, self._fault = target, ""
        self.settings.configured = target in ("inactive", "active")
        self.get_logger().info(f"{target}: {self._described()}")
        return result

    def _configure(self) -> None:
        from emotion_perception.engine.registry import learner_class

        name, weights = self.settings["learner"], self.settings["weights"]
        cls = learner_class(name)
        if cls.card.perceives != self.perceives:
            one = f"learner {name!r} perceives a {cls.card.perceives}, this node takes one that perceives a {self.perceives}"
            raise UsageError(f"{one}; run: emotion-perception node {name}")
        limits = {name: self.settings[name] for name in ("confidence", "budget_ms") if self.settings[name]}
        if limits and not limits.keys() <= inspect.signature(cls).parameters.keys():
            raise UsageError(f"learner {name!r} takes no {' or '.join(limits)}; set them to 0, or choose an ensemble, as esr")
        learner = cls(device=self.settings["device"], backend=self.settings["backend"], **limits)
        learner.load(Path(weights).expanduser() if weights else None)
        learner.tune()
        self.learner = learner
        self._pipeline = self.make_pipeline(learner)
        self._warm_up(learner)
        self.output("label_info", "vision_msgs/msg/LabelInfo", "~/label_info", transient=True)
        if self.settings["publish_result"]:
            self.output("result", "std_msgs/msg/String", "~/result")
        if self.settings["publish_annotated"] and self._pipeline is not None:
            self.output("annotated", "sensor_msgs/msg/Image", "~/image_annotated")
        self.make_outputs()

    def _warm_up(self, learner: Learner) -> None:
        """Runs everything once: the first call takes many times as long as the next, and shows what is missing."""
        if self._pipeline is not None:
            self._pipeline.warm_up()
            return
        import numpy as np

        learner.infer([np.zeros((learner.card.input.height, learner.card.input.width, 3), np.uint8)])

    def _activate(self) -> None:
        header = message("std_msgs/msg/Header")(stamp=self.get_clock().now().to_msg(), frame_id="")
        if self.learner is not None:
            labels = self.learner.card.label_set
            self.publish("label_info", lambda: label_info(labels, header))
        if self._pipeline is not None:
            self._pipeline.reset()
        self.statistics.start()
        self._last_stamp_s, self._starved, self._active_since_s = None, False, time.monotonic()
        self._worker = Worker(self._work, self._idle, lambda: self.settings["max_rate_hz"], self.statistics.counts, self.get_name())
        self.subscribe()
        self.get_logger().info(f"listening on {self.input_topic()} ({self._qos_words})")

    def _stop(self) -> None:
        """Unsubscribes and ends the worker, where there is one; one that does not end in time is kept until it has."""
        self.unsubscribe()
        if self._worker is not None and not self._worker.stop():
            self.get_logger().error("the picture being judged takes more than ten seconds; going on without waiting for it")
        self._rested()

    def _rested(self) -> bool:
        """Returns whether there is no worker; one that has ended is seen off first."""
        if self._worker is not None and self._worker.ended:
            self._worker = None
            if ok():
                self._guarded(self.finish, 0)
        return self._worker is None

    def _release(self) -> None:
        for publisher in self._outputs.values():
            self.destroy_lifecycle_publisher(publisher)
        self.release()
        self._outputs, self._pipeline, self.learner = {}, None, None
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available():
            gc.collect()  # what still refers to the model in a cycle would keep its memory
            torch.cuda.empty_cache()

    # ---- in the worker ------------------------------------------------------------------------------------------------

    def _work(self, messages: Mapping[str, Any]) -> None:
        self._guarded(lambda: self.work(messages), len(messages))
        self._idle()  # pictures that cannot be used, one after the other, leave the worker no other time for it

    def _idle(self) -> None:
        self._guarded(self.idle, 0)

    def _guarded(self, do: Callable[[], None], pictures: int) -> None:
        """Keeps the worker alive, whatever a picture does to it."""
        try:
            do()
            self._fault = self._fault if not pictures else ""
        except Exception as error:
            if not ok():  # the process is ending, and its publishers are gone
                return
            self.statistics.counts.failed += pictures
            self._fault = f"cannot judge: {one_line(error)}"
            self.get_logger().error(self._fault, throttle_duration_sec=_THROTTLE_S)

    # ---- in the executor ----------------------------------------------------------------------------------------------

    def _on_enable(self, request: Any, response: Any) -> Any:
        self._enabled = bool(request.data)
        response.success, response.message = True, "judging pictures" if self._enabled else "paused: pictures are not looked at"
        self.get_logger().info(response.message)
        return response

    def _look(self) -> None:
        """Once a second: says when pictures stay away, and how the node is doing; sees off a worker that ended late."""
        self._rested()
        limit, starved = self.settings["no_frame_warning_s"], False
        if self._phase == "active" and limit > 0.0:
            age = self.statistics.age_s
            starved = (time.monotonic() - self._active_since_s if age is None else age) >= limit
            if starved and not self._starved:
                self.get_logger().warning(self._missing(limit))
        self._starved = starved
        values = {"state": self._phase, "learner": self.settings["learner"], **self._hardware(), **self.more_values()}
        values["input"] = self.input_topic() or "-"
        level, words = self._health()
        name = f"{self.get_fully_qualified_name()}: emotion perception"
        stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(status_array(name, level, words, values | self.statistics.values(), self._described(), stamp))

    def input_topic(self) -> str:
        """Returns the resolved name of the topic that pictures come from; empty while there is none."""
        return str(self._subscription.topic_name) if self._subscription is not None else ""

    def _missing(self, limit_s: float) -> str:
        """Returns the line that says where pictures are missing, and what to look at."""
        topic = self.input_topic()
        publishers = self.count_publishers(topic) if topic else 0
        if not publishers:
            hint = self._advice
        elif self.settings["image_reliability"] == "reliable":
            hint = "a reliable subscription gets nothing from a best-effort camera: set image_reliability to best_effort"
        else:
            hint = "its publisher is silent, or its type or the network is not right"
        return f"no picture for {limit_s:g} s on {topic or 'any topic'} ({self._qos_words}; publishers: {publishers}); {hint}"

    def _health(self) -> tuple[str, str]:
        """Returns level and words of the diagnostics."""
        refused, self._refused_before = self.statistics.counts.refused - self._refused_before, self.statistics.counts.refused
        if self._fault:
            return "ERROR", self._fault
        if self._phase != "active":
            return "OK", self._phase
        if not self._enabled:
            return "OK", "paused by ~/enable"
        if self._starved:
            return "WARN", f"no picture on {self.input_topic() or 'any topic'}"
        if refused:
            return "WARN", f"{refused} pictures could not be used in the last second; the log says why"
        return "OK", "active"

    def _hardware(self) -> dict[str, str]:
        runs = self.learner.backend_name if self.learner is not None else ""
        backend, _, device = runs.partition(" ")
        return {"device": device or "-", "back end": backend or "-"}

    def _described(self) -> str:
        """Returns learner and back end, for people."""
        return f"{self.settings['learner']} on {self.learner.backend_name}" if self.learner is not None else self.settings["learner"]


def one_line(error: Exception) -> str:
    """Returns an error in one line, with its type unless it is one of ours, which say all that is needed."""
    from emotion_perception.engine.errors import EmotionPerceptionError

    words = " ".join(str(error).split())
    return words if isinstance(error, EmotionPerceptionError) else f"{type(error).__name__}: {words}"
