from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from emotion_perception.engine.clips import ClipResult, SlidingStream, WatchesClips, Window
from emotion_perception.engine.data import Image
from emotion_perception.engine.errors import WeightsError
from emotion_perception.engine.labels import MOVIEGRAPHS10
from emotion_perception.engine.learners import Learner
from emotion_perception.engine.vision.faces import Face
from emotion_perception.learners.emotx.learner import EmoTxLearner
from emotion_perception.learners.esr import FacialEmotionLearner

pytest.importorskip("emotion_perception.ros2_nodes.runtime", exc_type=ImportError)

from emotion_perception.ros2_nodes import runtime
from emotion_perception.ros2_nodes.clip_emotion_node import ClipEmotionNode
from emotion_perception.ros2_nodes.images import from_rgb
from emotion_perception.ros2_nodes.messages import message, service

SUCCESS, FAILURE = runtime.TransitionCallbackReturn.SUCCESS, runtime.TransitionCallbackReturn.FAILURE
TOPICS = {
    "classification": "vision_msgs/msg/Classification",
    "detections": "vision_msgs/msg/Detection2DArray",
    "result": "std_msgs/msg/String",
    "image_annotated": "sensor_msgs/msg/Image",
}


class Brightness(Window):
    """Judges a scene by its brightness, faces by how often they are seen, and is confused by words."""

    def __init__(self, window_s: float, most: int) -> None:
        self.window_s, self.most = window_s, most
        self.reset()

    def reset(self) -> None:
        self.frames, self.words = SlidingStream(1000), SlidingStream(100)
        self.faces: Counter[str] = Counter()
        self.now_s = 0.0

    def frame(self, image: Image, faces: Mapping[str, Face]) -> None:
        self.now_s = image.stamp_s or 0.0
        self.frames.add(np.array([image.rgb.mean() / 255]), self.now_s)
        self.faces.update(list(faces))

    def speech(self, text: str, start_s: float, end_s: float) -> None:
        self.words.add(np.array([len(text)]), end_s)

    def judge(self) -> ClipResult | None:
        self.frames.forget(self.now_s - self.window_s)
        values, times = self.frames.arrays(self.now_s)
        scene = np.zeros(10, np.float32)
        scene[MOVIEGRAPHS10.index("calm")] = values.mean()
        scene[MOVIEGRAPHS10.index("confused")] = bool(len(self.words))
        seen = dict.fromkeys([name for name, _ in self.faces.most_common(self.most)], np.linspace(1, 0, 10).astype(np.float32))
        return ClipResult("toy", MOVIEGRAPHS10, (self.now_s + float(times[0]), self.now_s), scene, seen)

    def warm_up(self) -> None:
        self.warm = True


class ToyClips(FacialEmotionLearner):
    """A learner for clips that has learned nothing."""

    card = FacialEmotionLearner.card.with_(learner="toy", perceives="clip", crop=None, labels="moviegraphs10")
    opened: Window | None = None

    def load(self, path: str | Path | None = None) -> None:
        if path is not None:
            raise WeightsError(f"there is no {str(path)!r}; give the folder of some weights")

    def tune(self) -> str:
        return "nothing"

    def watch(self, *, window_s: float, num_chars: int = 0, dialogue: bool = True, backbones: str | Path | None = None) -> Window:
        if backbones is not None:
            raise WeightsError(f"there is no {str(Path(backbones) / 'eyes.pt')!r}; get it from its authors")
        self.opened = Brightness(window_s, num_chars or 4)
        return self.opened


class Deaf(FacialEmotionLearner):
    """Says that it perceives clips, and cannot watch any."""

    card = ToyClips.card.with_(learner="deaf")

    def load(self, path: str | Path | None = None) -> None:
        self.card = Deaf.card

    def tune(self) -> str:
        return "nothing"


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    classes: dict[str, type[Learner]] = {"toy": ToyClips, "deaf": Deaf, "esr": FacialEmotionLearner, "emotx": EmoTxLearner}
    monkeypatch.setattr("emotion_perception.engine.registry.learner_class", classes.__getitem__)


class Onlooker:
    """Publishes pictures and words, and keeps what the node says."""

    def __init__(self, name: str) -> None:
        self.node = runtime.Node("onlooker")
        self.heard: dict[str, list[Any]] = {topic: [] for topic in TOPICS}
        for topic, kind in TOPICS.items():
            self.node.create_subscription(message(kind), f"/{name}/{topic}", self.heard[topic].append, 10)
        self.camera = self.node.create_publisher(message("sensor_msgs/msg/Image"), "/image_raw", 10)

        self.ticks = 0

    def show(self, rgb: np.ndarray) -> None:
        """Publishes a picture, stamped a tenth of a second after the one before."""
        self.ticks += 1
        header = message("std_msgs/msg/Header")(frame_id="eye")
        header.stamp.sec, header.stamp.nanosec = divmod(self.ticks * 100_000_000, 1_000_000_000)
        self.camera.publish(from_rgb(rgb, header))

    def show_all(self, rgb: np.ndarray, seconds: float, node: Any, until: Callable[..., None]) -> None:
        """Publishes a picture again and again, waits for each to be looked at, and for all that the node says."""
        for _ in range(round(seconds * 10)):
            done = node.statistics.counts.processed
            self.show(rgb)
            until([node, self.node], lambda done=done: node.statistics.counts.processed > done)
        judged = int(node.more_values()["clips judged"])
        until([node, self.node], lambda: all(len(self.heard[topic]) == judged for topic in ("result", "classification", "detections")))


def test_scene_faces_and_speech(
    start: Callable[..., Any], until: Callable[..., None], registered: None, portrait: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMOTION_PERCEPTION_OFFLINE", "1")
    node = start(ClipEmotionNode, "toy", detector="haar", speech="/asr", speech_type="live_speech", judge_every_s=0.5, window_s=3.0)
    onlooker = Onlooker("toy")
    live = message("hri_msgs/msg/LiveSpeech")
    voice = onlooker.node.create_publisher(live, "/asr", 10)
    assert isinstance(ToyClips(), WatchesClips)
    assert node.trigger_configure() == SUCCESS
    assert node.trigger_activate() == SUCCESS
    until([node, onlooker.node], lambda: voice.get_subscription_count() and onlooker.camera.get_subscription_count())
    voice.publish(live(incremental="I am not"))
    voice.publish(live(final="I am not sure"))
    until([node, onlooker.node], lambda: node.more_values()["utterances heard"] == "1")
    onlooker.show_all(Image.open(portrait).rgb, 5.0, node, until)
    result = json.loads(onlooker.heard["result"][-1].data)
    assert set(result["scene"]["probabilities"]) == set(MOVIEGRAPHS10)
    assert result["scene"]["probabilities"]["confused"] == 1.0
    assert result["frame_id"] == "eye"
    first_s, last_s = result["span_s"]
    assert last_s - first_s == pytest.approx(3.0)
    (name,) = result["characters"]
    assert (name, result["characters"][name]["probabilities"]["happy"]) == ("f00001", 1.0)
    scene = onlooker.heard["classification"][-1]
    assert [each.class_id for each in scene.results][:2] == ["confused", "calm"]
    assert len(scene.results) == 10
    assert scene.header.frame_id == "eye"
    assert scene.header.stamp.sec + scene.header.stamp.nanosec * 1e-9 == pytest.approx(last_s)
    assert len(onlooker.heard["image_annotated"]) > 5
    (found,) = onlooker.heard["detections"][-1].detections
    assert (found.id, found.results[0].hypothesis.class_id, len(found.results)) == ("f00001", "happy", 10)
    box = result["characters"][name]["box_xyxy"]
    assert found.bbox.center.position.x == pytest.approx((box[0] + box[2]) / 2, abs=0.1)
    values = node.more_values()
    assert (values["detector"], values["speech"], values["utterances dropped"]) == ("haar", "/asr", "0")
    assert int(values["clips judged"]) == 10
    assert node.trigger_deactivate() == SUCCESS
    assert node.trigger_cleanup() == SUCCESS
    assert node.more_values()["speech"] == "-"


def test_plain_text_as_speech_and_none_while_paused(start: Callable[..., Any], until: Callable[..., None], registered: None) -> None:
    node = start(ClipEmotionNode, "toy", detector="haar", speech="asr", speech_type="string", publish_detections="false")
    onlooker = Onlooker("toy")
    voice = onlooker.node.create_publisher(message("std_msgs/msg/String"), "/asr", 200)
    assert node.trigger_configure() == SUCCESS
    assert node.trigger_activate() == SUCCESS
    until([node, onlooker.node], voice.get_subscription_count)
    for count in range(103):  # nobody looks: the oldest give way
        voice.publish(message("std_msgs/msg/String")(data=f"word {count}"))
        until([node, onlooker.node], lambda count=count: node.more_values()["utterances heard"] == str(count + 1))
    assert node.more_values()["utterances dropped"] == "3"

    def heard() -> bool:
        onlooker.show(np.full((60, 80, 3), 51, np.uint8))
        return bool(onlooker.heard["result"])

    until([node, onlooker.node], heard)
    result = json.loads(onlooker.heard["result"][0].data)
    assert result["scene"]["probabilities"]["confused"] == 1.0
    assert result["scene"]["probabilities"]["calm"] == pytest.approx(0.2)
    assert result["characters"] == {}
    assert len(node.learner.opened.words) == 100
    assert onlooker.heard["detections"] == []

    switch = service("std_srvs/srv/SetBool")
    client = onlooker.node.create_client(switch, "/toy/enable")
    until([node, onlooker.node], client.service_is_ready)
    answer = client.call_async(switch.Request(data=False))
    until([node, onlooker.node], answer.done)
    paused_s = time.monotonic()
    voice.publish(message("std_msgs/msg/String")(data="nobody listens"))
    onlooker.show(np.full((60, 80, 3), 51, np.uint8))
    until([node, onlooker.node], lambda: node.statistics.age_s < time.monotonic() - paused_s)  # a picture came since
    assert node.more_values()["utterances heard"] == "103"


def test_what_was_said_long_before_the_next_picture_is_dropped(
    start: Callable[..., Any], until: Callable[..., None], registered: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1000.0
    monkeypatch.setattr("emotion_perception.ros2_nodes.clip_emotion_node.time", SimpleNamespace(monotonic=lambda: now_s))
    node = start(ClipEmotionNode, "toy", detector="haar", speech="asr", speech_type="string", window_s=20.0)
    onlooker = Onlooker("toy")
    voice = onlooker.node.create_publisher(message("std_msgs/msg/String"), "/asr", 10)
    assert node.trigger_configure() == SUCCESS
    assert node.trigger_activate() == SUCCESS
    until([node, onlooker.node], lambda: voice.get_subscription_count() and onlooker.camera.get_subscription_count())
    for count in ("1", "2", "3"):  # the camera is away meanwhile
        voice.publish(message("std_msgs/msg/String")(data=f"word {count}"))
        until([node, onlooker.node], lambda count=count: node.more_values()["utterances heard"] == count)
        now_s += 8.0
    onlooker.show_all(np.full((60, 80, 3), 51, np.uint8), 0.1, node, until)
    assert node.more_values()["utterances dropped"] == "1"  # the others were said within the window
    assert len(node.learner.opened.words) == 2


@pytest.mark.parametrize(
    ("learner", "parameters", "words"),
    [
        ("emotx", {}, "cannot configure: emotx comes without weights; give the folder of some"),
        ("toy", {"weights": "/nowhere"}, "cannot configure: there is no '/nowhere'; give the folder of some weights"),
        ("toy", {"backbones": "/nowhere"}, "cannot configure: there is no '/nowhere/eyes.pt'; get it from its authors"),
        ("deaf", {}, "cannot configure: learner 'deaf' perceives clips, but has no watch()"),
        ("esr", {}, "cannot configure: learner 'esr' perceives a face, this node takes one that perceives a clip"),
    ],
)
def test_what_is_missing_is_said_in_one_line(
    start: Callable[..., Any], registered: None, capfd: pytest.CaptureFixture[str], learner: str, parameters: dict[str, str], words: str
) -> None:
    node = start(ClipEmotionNode, learner, **parameters)
    assert node.trigger_configure() == FAILURE
    said = capfd.readouterr().err
    assert words in said
    assert "Traceback" not in said


def test_emotx_says_which_backbone_is_missing(
    start: Callable[..., Any], registered: None, tiny_emotx: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    node = start(ClipEmotionNode, "emotx", weights=tiny_emotx / "weights", backbones=tmp_path, device="cpu")
    assert node.trigger_configure() == FAILURE
    (line,) = [line for line in capfd.readouterr().err.splitlines() if "ERROR" in line]
    assert "cannot configure: " in line
    assert "needs 'MVIT_B_32x3_f294077834.pyth', which is not in" in line


def test_emotx_judges_what_it_sees_and_hears(
    start: Callable[..., Any],
    until: Callable[..., None],
    registered: None,
    tiny_emotx: Path,
    portrait: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EMOTION_PERCEPTION_OFFLINE", "1")
    places = {"weights": tiny_emotx / "weights", "backbones": tiny_emotx / "backbones", "device": "cpu"}
    node = start(ClipEmotionNode, "emotx", **places, detector="haar", speech="/asr", speech_type="string", window_s=5.0, judge_every_s=0.0)
    onlooker = Onlooker("emotx")
    voice = onlooker.node.create_publisher(message("std_msgs/msg/String"), "/asr", 10)
    assert node.trigger_configure() == SUCCESS
    assert node.trigger_activate() == SUCCESS
    until([node, onlooker.node], lambda: voice.get_subscription_count() and onlooker.camera.get_subscription_count())
    rgb = Image.open(portrait).rgb
    onlooker.show_all(rgb, 2.0, node, until)
    before = json.loads(onlooker.heard["result"][-1].data)
    voice.publish(message("std_msgs/msg/String")(data="you came back"))
    until([node, onlooker.node], lambda: node.more_values()["utterances heard"] == "1")
    onlooker.show_all(rgb, 0.5, node, until)
    after = json.loads(onlooker.heard["result"][-1].data)
    assert before["span_s"] == [0.1, 2.0]
    assert set(after["scene"]["probabilities"]) == set(MOVIEGRAPHS10)
    assert list(after["characters"]) == ["f00001"]
    assert after["scene"]["probabilities"] != before["scene"]["probabilities"]
    clip = node._pipeline.window.clip()
    assert clip.scene is not None
    assert clip.dialogue is not None
    assert (len(clip.scene), len(clip.dialogue)) == (2, 1)
    assert onlooker.heard["detections"][-1].detections[0].id == "f00001"
    assert onlooker.heard["classification"][-1].results[0].score == pytest.approx(max(after["scene"]["probabilities"].values()), abs=1e-6)
    assert node.statistics.counts.failed == 0


def test_every_parameter_of_the_file_is_one_of_the_node(start: Callable[..., Any], root: Path) -> None:
    yaml = pytest.importorskip("ruamel.yaml").YAML(typ="safe")
    given = yaml.load(root / "config" / "emotx.yaml")["/**"]["ros__parameters"]
    node = start(ClipEmotionNode, "emotx")
    assert {name: node.settings[name] for name in given} == given
