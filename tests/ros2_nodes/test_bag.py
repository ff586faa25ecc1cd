"""Bags in, bags out, through the command: what is read back is what the source said."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

pytest.importorskip("rosbags")
try:
    import emotion_perception.ros2_nodes.runtime  # noqa: F401
except ImportError as error:
    pytest.skip(str(error), allow_module_level=True)

from rosbags.highlevel import AnyReader
from rosbags.interfaces import QosDurability
from rosbags.rosbag2 import StoragePlugin, Writer

from emotion_perception.commands import main
from emotion_perception.engine.labels import AFFECTNET8
from emotion_perception.engine.target import BoundingBox, Category, FaceEmotion, FrameResult
from emotion_perception.ros2_nodes.bag import ResultBag, own_class
from emotion_perception.ros2_nodes.runtime.dds.messages import get_message, serialize, store

START_NS = 1_700_000_000_123_456_789
STEP_NS = 40_000_000
IMAGE, COMPRESSED, TEXT = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage", "std_msgs/msg/String"


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of weights of a small ESR that has learned nothing."""
    from emotion_perception.learners.esr import FacialEmotionLearner

    learner = FacialEmotionLearner(ensemble_size=1, seed=1)
    learner.init_model()
    return learner.save(tmp_path_factory.mktemp("weights") / "esr1")


@pytest.fixture(scope="session")
def face(portrait: Path) -> np.ndarray:
    return np.asarray(PillowImage.open(portrait).convert("RGB").crop((100, 0, 356, 256)))


def image_message(pixels: np.ndarray, stamp_ns: int, encoding: str = "rgb8") -> Any:
    message = get_message(IMAGE)(encoding=encoding, height=pixels.shape[0], width=pixels.shape[1], step=pixels.shape[1] * 3)
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 10**9)
    message.header.frame_id = "cam"
    message.data = np.ascontiguousarray(pixels).reshape(-1)
    return message


def compressed_message(pixels: np.ndarray, stamp_ns: int) -> Any:
    import cv2

    message = get_message(COMPRESSED)(format="jpeg", data=cv2.imencode(".jpg", pixels[:, :, ::-1])[1].reshape(-1))
    message.header = image_message(pixels, stamp_ns).header
    return message


def write_bag(path: Path, topics: dict[str, tuple[str, list[Any]]], storage: str = "mcap") -> Path:
    """Topic -> type and messages; they are recorded 5 ms after their step."""
    with Writer(path, version=9, storage_plugin=StoragePlugin[storage.upper()]) as writer:
        for topic, (kind, messages) in topics.items():
            connection = writer.add_connection(topic, kind, typestore=store())
            for i, message in enumerate(messages):
                writer.write(connection, START_NS + i * STEP_NS + 5_000_000, serialize(message))
    return path


@pytest.fixture
def recording(face: np.ndarray, tmp_path: Path) -> Path:
    """Five pictures with a face that moves, two without one, and other topics."""
    frames = [np.roll(face, 2 * i, axis=1) for i in range(5)] + [np.zeros_like(face)] * 2
    images = [image_message(frame, START_NS + i * STEP_NS) for i, frame in enumerate(frames)]
    return write_bag(tmp_path / "in", {"/image_raw": (IMAGE, images), "/chat": (TEXT, [get_message(TEXT)(data="hello")])})


@pytest.fixture
def bag(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Runs the command on the folder's bags; returns status, output and errors."""
    monkeypatch.setenv("EMOTION_PERCEPTION_OFFLINE", "1")
    monkeypatch.setenv("EMOTION_PERCEPTION_CACHE", str(tmp_path / "cache"))

    def run(source: object, target: object, *words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(["bag", *(str(w) for w in (source, target, "--weights", weights, "--detector", "haar", *words))])
        return (status, *capsys.readouterr())

    return run


def contents(path: Path) -> dict[str, list[tuple[int, Any]]]:
    found = defaultdict(list)
    with AnyReader([path]) as reader:
        for connection, time_ns, data in reader.messages():
            found[connection.topic].append((time_ns, reader.deserialize(data, connection.msgtype)))
    return dict(found)


def stamp_ns(message: Any) -> int:
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_the_nodes_topics_with_the_stamps_of_the_source(bag, recording: Path, tmp_path: Path, storage: str) -> None:
    status, out, err = bag(recording, tmp_path / "out", "--storage", storage)
    assert (status, err) == (0, f"wrote {tmp_path / 'out'}\n")
    assert [line.split() for line in out.splitlines()] == [["topic", "/image_raw"], ["pictures", "7"], ["faces", "5"], ["skipped", "0"]]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["metadata.yaml", "out.db3" if storage == "sqlite3" else "out.mcap"]

    found = contents(tmp_path / "out")
    face_topics = {f"/humans/faces/f00001/{kind}" for kind in ("roi", "expression")}
    assert set(found) == {"/esr/label_info", "/esr/result", "/esr/detections", "/humans/faces/tracked", *face_topics}
    stamps = [START_NS + i * STEP_NS for i in range(7)]
    for topic in ("/esr/detections", "/humans/faces/tracked", *face_topics):
        expected = stamps[: 5 if topic in face_topics else 7]
        assert [time_ns for time_ns, _ in found[topic]] == [ns + 5_000_000 for ns in expected]
        assert [stamp_ns(message) for _, message in found[topic]] == expected
        assert {message.header.frame_id for _, message in found[topic]} == {"cam"}
    assert [list(message.ids) for _, message in found["/humans/faces/tracked"]] == [["f00001"]] * 5 + [[]] * 2

    results = [json.loads(message.data) for _, message in found["/esr/result"]]
    assert [result["frame"] for result in results] == list(range(7))
    for i in range(5):
        (face,) = results[i]["faces"]
        (detection,) = found["/esr/detections"][i][1].detections
        expression = found["/humans/faces/f00001/expression"][i][1]
        assert expression.valence == pytest.approx(face["valence"], abs=1e-6)
        assert {r.hypothesis.class_id: r.hypothesis.score for r in detection.results} == pytest.approx(face["probabilities"], abs=1e-6)
        left, _, right, _ = face["box_xyxy"]
        assert detection.bbox.center.position.x == pytest.approx((left + right) / 2, abs=0.01)
        assert found["/humans/faces/f00001/roi"][i][1].xmax == pytest.approx(min(right / 256, 1.0), abs=1e-4)
    assert not found["/esr/detections"][6][1].detections
    ((_, labels),) = found["/esr/label_info"]
    assert [entry.class_name for entry in labels.class_map] == list(results[0]["faces"][0]["probabilities"])


def test_late_joiners_of_a_played_bag_get_the_labels(bag, recording: Path, tmp_path: Path) -> None:
    assert bag(recording, tmp_path / "out")[0] == 0
    with AnyReader([tmp_path / "out"]) as reader:
        durability = {c.topic: c.ext.offered_qos_profiles[0].durability for c in reader.connections}
    assert durability.pop("/esr/label_info") is QosDurability.TRANSIENT_LOCAL
    assert set(durability.values()) == {QosDurability.VOLATILE}


def test_a_file_a_name_and_json(bag, recording: Path, tmp_path: Path) -> None:
    status, out, _ = bag(recording / "in.mcap", tmp_path / "new" / "out", "--node", "/robot/esr", "--json")
    assert status == 0
    assert json.loads(out) | {"source": "", "target": ""} == {
        "source": "",
        "target": "",
        "learner": "esr",
        "topic": "/image_raw",
        "pictures": 7,
        "faces": 5,
        "skipped": 0,
    }
    assert "/robot/esr/result" in contents(tmp_path / "new" / "out")


def test_compressed_pictures_and_the_choice_of_a_topic(bag, face: np.ndarray, tmp_path: Path) -> None:
    messages = {
        "/a/image_raw": (IMAGE, [image_message(face, START_NS)]),
        "/b/image_raw/compressed": (COMPRESSED, [compressed_message(face, START_NS + i * STEP_NS) for i in range(3)]),
    }
    source = write_bag(tmp_path / "in", messages, "sqlite3")
    status, _, err = bag(source, tmp_path / "out")
    assert status == 2
    assert "/a/image_raw, /b/image_raw/compressed; choose one with --topic" in err
    assert bag(source, tmp_path / "out", "--topic", "b/image_raw/compressed")[0] == 0
    assert [stamp_ns(message) for _, message in contents(tmp_path / "out")["/esr/detections"]] == [START_NS + i * STEP_NS for i in range(3)]
    for topic, words in (("/c", "is not in it"), ("/chat", "is not in it")):
        status, _, err = bag(source, tmp_path / "out2", "--topic", topic)
        assert status == 2
        assert words in err


def test_pictures_that_cannot_be_used_are_counted(bag, face: np.ndarray, tmp_path: Path) -> None:
    good, strange, short = (image_message(face, START_NS + i * STEP_NS) for i in range(3))
    strange.encoding = "jpeg2000"
    short.data = short.data[:100]
    source = write_bag(tmp_path / "in", {"/image_raw": (IMAGE, [strange, good, short])})
    status, out, err = bag(source, tmp_path / "out")
    assert status == 0
    assert "skipped   2" in out
    assert "pictures skipped: 2; the first: cannot convert image encoding 'jpeg2000'" in err
    source = write_bag(tmp_path / "bad", {"/image_raw": (IMAGE, [strange, short])})
    status, out, err = bag(source, tmp_path / "out2")
    assert (status, out) == (1, "")
    assert err.count("\n") == 1
    assert "jpeg2000" in err
    assert not (tmp_path / "out2").exists()


def test_without_stamps_the_time_of_recording_counts(bag, face: np.ndarray, tmp_path: Path) -> None:
    source = write_bag(tmp_path / "in", {"/image_raw": (IMAGE, [image_message(face, 0)] * 2)})
    assert bag(source, tmp_path / "out")[0] == 0
    found = contents(tmp_path / "out")
    assert [stamp_ns(message) for _, message in found["/esr/detections"]] == [0, 0]  # no stamp is made up
    assert json.loads(found["/esr/result"][1][1].data)["stamp_s"] == pytest.approx((START_NS + STEP_NS) * 1e-9 + 0.005, abs=1e-3)


def damage(recording: Path, kind: str) -> Path:
    file = recording / "in.mcap"
    if kind == "missing":
        return recording.parent / "nothing"
    if kind == "no bag":
        (recording / "metadata.yaml").unlink()
    elif kind == "metadata":
        (recording / "metadata.yaml").write_text("rosbag2_bagfile_information: [")
    elif kind == "cut":
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    elif kind == "empty":
        file.write_bytes(b"")
    elif kind == "no pictures":
        return write_bag(recording.parent / "chat", {"/chat": (TEXT, [get_message(TEXT)(data="hello")])})
    elif kind == "picture":
        return Path(__file__)
    return recording


@pytest.mark.parametrize("kind", ["missing", "no bag", "metadata", "cut", "empty", "no pictures", "picture"])
def test_a_bad_bag_is_one_line_and_leaves_nothing(bag, recording: Path, tmp_path: Path, kind: str) -> None:
    source = damage(recording, kind)
    before = sorted(p.name for p in tmp_path.iterdir())
    status, out, err = bag(source, tmp_path / "out")
    assert (status, out) == (1, "")
    assert err.startswith("emotion-perception: error: ")
    assert err.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "cache") == [name for name in before if name != "cache"]


@pytest.mark.parametrize("target", ["in", "full", "file", "new.mcap"])
def test_what_is_there_is_never_overwritten(bag, recording: Path, tmp_path: Path, target: str) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("x")
    (tmp_path / "file").write_text("x")
    status, _, err = bag(recording, tmp_path / target)
    assert status == 2
    assert err.count("\n") == 1
    assert (tmp_path / "file").read_text() == (tmp_path / "full" / "x").read_text() == "x"


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_what_ends_it_early_leaves_nothing(face: np.ndarray, weights: Path, tmp_path: Path, sent: signal.Signals, status: int) -> None:
    image = image_message(face, START_NS)
    write_bag(tmp_path / "in", {"/image_raw": (IMAGE, [image] * 600)})
    line = [sys.executable, "-m", "emotion_perception", "bag", "in", "out", "--weights", str(weights), "--detector", "haar"]
    # Where the tests run in the background of a shell, SIGINT is ignored, and a child would inherit that.
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    running = subprocess.Popen(line, cwd=tmp_path, env=os.environ | {"EMOTION_PERCEPTION_OFFLINE": "1"}, preexec_fn=heed)
    try:
        until = time.monotonic() + 60
        while not list(tmp_path.glob(".out.*.saving/out/*.mcap")) and running.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        running.send_signal(sent)
        assert running.wait(60) == status
    finally:
        running.kill()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in"]


def test_a_whole_picture_has_the_topics_of_the_scene_node(tmp_path: Path) -> None:
    category = Category(1, AFFECTNET8.words[1], 0.5, np.full(8, 0.5 / 7, np.float32))
    result = FrameResult((FaceEmotion(BoundingBox(0, 0, 4, 4), category),), "scenes", AFFECTNET8, 4, 4)
    header = get_message("std_msgs/msg/Header")(frame_id="cam")
    with ResultBag(tmp_path / "out", "/scenes") as target:
        target.write(result, header, START_NS, scene=True)
    found = contents(tmp_path / "out")
    assert set(found) == {"/scenes/label_info", "/scenes/result", "/scenes/classification"}
    ((_, classification),) = found["/scenes/classification"]
    assert classification.results[0].class_id == AFFECTNET8.words[1]
    assert classification.header.frame_id == "cam"


def test_messages_of_the_other_runtime_are_copied() -> None:
    # The same fields, in classes that rosbags does not know.
    stamp = SimpleNamespace(sec=1, nanosec=2, get_fields_and_field_types=lambda: {"sec": "int32", "nanosec": "uint32"})
    words = {"stamp": "builtin_interfaces/Time", "frame_id": "string"}
    header = SimpleNamespace(stamp=stamp, frame_id="cam", get_fields_and_field_types=lambda: words)
    point = SimpleNamespace(class_id=3, class_name="Sad", get_fields_and_field_types=lambda: {"class_id": "uint16", "class_name": "string"})
    kinds = {"header": "std_msgs/Header", "class_map": "sequence<vision_msgs/VisionClass>", "threshold": "float"}
    info = SimpleNamespace(header=header, class_map=[point], threshold=0.5, get_fields_and_field_types=lambda: kinds)
    copied = own_class(info, "vision_msgs/msg/LabelInfo")
    read = store().deserialize_cdr(serialize(copied), "vision_msgs/msg/LabelInfo")
    assert (read.header.stamp.sec, read.header.frame_id, read.threshold) == (1, "cam", 0.5)
    assert [(entry.class_id, entry.class_name) for entry in read.class_map] == [(3, "Sad")]
