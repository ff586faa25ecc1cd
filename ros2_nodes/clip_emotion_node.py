"""The node for clips: a camera and, where there is one, recognised speech in; the emotions of the last seconds out, of scene and faces."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from emotion_perception.engine.clips import WatchesClips
from emotion_perception.engine.errors import UsageError
from emotion_perception.ros2_nodes.emotion_node import EmotionNode
from emotion_perception.ros2_nodes.finding import Finder
from emotion_perception.ros2_nodes.images import stamp_of
from emotion_perception.ros2_nodes.messages import clip_classification, clip_detections, face_id, message, text
from emotion_perception.ros2_nodes.parameters import for_clips
from emotion_perception.ros2_nodes.runtime import QoSProfile

if TYPE_CHECKING:
    from emotion_perception.engine.clip_pipeline import ClipPipeline
    from emotion_perception.engine.learners import Learner

# Parameter speech_type -> type of the topic and the field that holds the words.
_SPEECH = {"live_speech": ("hri_msgs/msg/LiveSpeech", "final"), "string": ("std_msgs/msg/String", "data")}
# Utterances that wait for the next picture; more come only while no picture does.
_MOST_WAITING = 100


class ClipEmotionNode(EmotionNode["ClipPipeline"]):
    """Judges the last seconds of what a camera saw and a microphone heard, again and again: the scene, and every face that it follows."""

    perceives: ClassVar[str] = "clip"

    def __init__(self, learner: str = "emotx", **options: Any) -> None:
        """Makes the node, unconfigured.

        Args:
            learner: Registered name of the learner: default of the parameter ``learner``, and of the node's name.
            options: Passed on to the runtime's `LifecycleNode`.
        """
        self._finder: Finder | None = None
        self._speech: Any = None
        # Words, stamp and when they came, by the clock that nobody sets. Filled in the executor's thread, emptied in the worker's.
        self._heard: deque[tuple[str, float | None, float]] = deque(maxlen=_MOST_WAITING)
        self._counts = {"utterances heard": 0, "utterances dropped": 0, "clips judged": 0}
        super().__init__(learner, for_clips(), **options)

    # ---- life cycle ---------------------------------------------------------------------------------------------------

    def make_pipeline(self, learner: Learner) -> ClipPipeline:
        """Opens the learner's window, which names the files that are missing, and puts detector and pipeline around it."""
        from emotion_perception.engine.clip_pipeline import ClipPipeline

        if not isinstance(learner, WatchesClips):
            raise UsageError(f"learner {learner.name!r} perceives clips, but has no watch(); see WatchesClips in engine/clips.py")
        window = learner.watch(
            window_s=self.settings["window_s"],
            num_chars=self.settings["num_chars"],
            dialogue=bool(self.settings["speech"]),
            backbones=Path(self.settings["backbones"]).expanduser() if self.settings["backbones"] else None,
        )
        self._finder = Finder(self.settings)
        return ClipPipeline(learner, window, self._finder.detector, name=face_id)

    def make_outputs(self) -> None:
        """Makes the topics of the classes; a speech type whose package is missing shows here."""
        self.output("classification", "vision_msgs/msg/Classification", "~/classification")
        if self.settings["publish_detections"]:
            self.output("detections", "vision_msgs/msg/Detection2DArray", "~/detections")
        if self.settings["speech"]:
            message(_SPEECH[self.settings["speech_type"]][0])

    def subscribe(self) -> None:
        """Subscribes to the camera, and to speech where the parameter ``speech`` names a topic."""
        super().subscribe()
        self._heard.clear()
        if self.settings["speech"]:
            kind = message(_SPEECH[self.settings["speech_type"]][0])
            self._speech = self.create_subscription(kind, self.settings["speech"], self._on_speech, QoSProfile(depth=10))

    def unsubscribe(self) -> None:
        """Ends both subscriptions."""
        super().unsubscribe()
        if self._speech is not None:
            self.destroy_subscription(self._speech)
            self._speech = None

    def release(self) -> None:
        """Frees the detector."""
        self._finder = None

    def more_values(self) -> dict[str, str]:
        """Returns the detector in use, where speech comes from, and what became of it."""
        detector = "-" if self._finder is None else self._finder.detector.name
        speech = "-" if self._speech is None else str(self._speech.topic_name)
        return {"detector": detector, "speech": speech} | {name: str(count) for name, count in self._counts.items()}

    # ---- in the executor ----------------------------------------------------------------------------------------------

    def _on_speech(self, said: Any) -> None:
        """Keeps an utterance for the worker; a recogniser's unfinished sentences are not looked at."""
        words = str(getattr(said, _SPEECH[self.settings["speech_type"]][1])).strip()
        if not words or not self._enabled:
            return
        self._counts["utterances heard"] += 1
        self._counts["utterances dropped"] += len(self._heard) == _MOST_WAITING
        self._heard.append((words, stamp_of(said.header) if hasattr(said, "header") else None, time.monotonic()))

    # ---- in the worker ------------------------------------------------------------------------------------------------

    def work(self, messages: Mapping[str, Any]) -> None:
        """Adds the newest picture and what was said to the window, and publishes when a judgement was due."""
        (picture,) = messages.values()
        image = self.converted(picture)
        if image is None or self._pipeline is None or self._finder is None:
            return
        self._finder.obey(self._pipeline)
        self._pipeline.judge_every_s = self.settings["judge_every_s"]
        self._hand_on_speech(self._pipeline)
        watched, header = self._pipeline(image), picture.header
        if (clip := watched.clip) is not None:
            self._counts["clips judged"] += 1
            self.publish("classification", lambda: clip_classification(clip, header))
            self.publish("detections", lambda: clip_detections(clip, header))
            self.publish("result", lambda: text(clip.to_json()))
        self.judged(watched.frame)
        self.publish_annotated(watched.frame, image, header)

    def _hand_on_speech(self, pipeline: ClipPipeline) -> None:
        """Gives the pipeline what was said since the last picture, but for what is over: without a stamp it would count as said now."""
        oldest_s = time.monotonic() - self.settings["window_s"]
        while self._heard:
            words, end_s, came_s = self._heard.popleft()
            if came_s < oldest_s:
                self._counts["utterances dropped"] += 1
            else:
                pipeline.speech(words, end_s)


def main(arguments: list[str] | None = None) -> int:
    """Runs the node until it is stopped: ``ros2 run emotion_perception clip_emotion_node [LEARNER] --ros-args ...``.

    Args:
        arguments: The words of the command line, the program's name first; those of the process if None.

    Returns:
        The exit status.
    """
    from emotion_perception.ros2_nodes.running import run_program

    return run_program(ClipEmotionNode, sys.argv if arguments is None else arguments, "emotx")


if __name__ == "__main__":
    sys.exit(main())
