"""The commands camera and echo as processes of their own, over the wire."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from emotion_perception.engine.vision.video import VideoWriter

pytest.importorskip("av")
try:
    import emotion_perception.ros2_nodes.runtime  # noqa: F401
except ImportError as error:
    pytest.skip(str(error), allow_module_level=True)

PATIENCE_S = 60.0


class Running:
    """A command that runs; its lines are read as they come."""

    def __init__(self, *words: object) -> None:
        # Where the tests run in the background of a shell, SIGINT is ignored, and a child would inherit that.
        heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
        line = [sys.executable, "-m", "emotion_perception", *(str(word) for word in words)]
        self.process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed)
        self.out: queue.Queue[str | None] = queue.Queue()
        self.err: queue.Queue[str | None] = queue.Queue()
        self.seen: list[str] = []
        for pipe, lines in ((self.process.stdout, self.out), (self.process.stderr, self.err)):
            threading.Thread(target=self._read, args=(pipe, lines), daemon=True).start()

    def _read(self, pipe, lines: queue.Queue[str | None]) -> None:
        for text in pipe:
            lines.put(text.rstrip("\n"))
        lines.put(None)

    def says(self, words: str) -> str:
        """Waits for a line on stderr."""
        until = time.monotonic() + PATIENCE_S
        while True:
            text = self.err.get(timeout=max(until - time.monotonic(), 0.01))
            assert text is not None, f"ended without {words!r}: {self.seen}"
            self.seen.append(text)
            if words in text:
                return text

    def prints(self, count: int) -> list[str]:
        """Waits for lines on stdout."""
        lines = [self.out.get(timeout=PATIENCE_S) for _ in range(count)]
        assert None not in lines, (lines, self.rest(self.err))
        return lines

    def ends(self, sent: signal.Signals | None = None) -> int:
        if sent is not None:
            self.process.send_signal(sent)
        return self.process.wait(PATIENCE_S)

    @staticmethod
    def rest(lines: queue.Queue[str | None]) -> list[str]:
        """The lines that were not taken yet, to the end."""
        return list(iter(lambda: lines.get(timeout=PATIENCE_S), None))


@pytest.fixture
def start(ros_domain: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts a command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EMOTION_PERCEPTION_DEBUG", raising=False)
    started: list[Running] = []

    def run(*words: object) -> Running:
        started.append(Running(*words))
        return started[-1]

    yield run
    for running in started:
        running.process.kill()
        running.process.wait()


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A video of 12 frames at 12 frames a second, each brighter than the one before."""
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, 12, (64, 48)) as writer:
        for i in range(12):
            writer.write(np.full((48, 64, 3), 20 * i, np.uint8))
    return path


def test_a_whole_video_arrives_in_order(start, clip: Path) -> None:
    echo = start("echo", "/cam/picture", "--count", 12, "--json")
    echo.says("waiting for a publisher of /cam/picture")
    before_s = time.time()
    camera = start("camera", clip, "--wait", "--frame-id", "lens", "--ros-args", "-r", "__ns:=/cam", "-r", "image_raw:=picture")
    assert "on /cam/picture" in camera.says("publishing")
    messages = [json.loads(line) for line in echo.prints(12)]
    assert (echo.ends(), camera.ends()) == (0, 0)
    camera.says("published 12 frames")

    assert [round(np.mean(message["data"]) / 20) for message in messages] == list(range(12))
    stamps = [m["header"]["stamp"]["sec"] + m["header"]["stamp"]["nanosec"] * 1e-9 for m in messages]
    assert stamps == sorted(set(stamps))
    assert before_s - 1 < stamps[0] < stamps[-1] < time.time() + 1
    for message in messages:
        assert (message["width"], message["height"], message["encoding"], message["step"]) == (64, 48, "rgb8", 192)
        assert message["header"]["frame_id"] == "lens"


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_both_end_when_told_to(start, portrait: Path, sent: signal.Signals) -> None:
    camera = start("camera", portrait, "--rate", 50, "--width", 32, "--compressed", "--reliability", "best_effort", "--topic", "/a/b")
    assert "on /a/b/compressed" in camera.says("publishing")
    echo = start("echo", "/a/b/compressed")
    lines = echo.prints(20)
    assert lines[0] == "header:"
    assert any(line.startswith("data: [255, 216, 255, ") and line.endswith(" values") for line in lines)
    assert 'format: "rgb8; jpeg compressed bgr8"' in lines
    for running in (echo, camera):
        assert running.ends(sent) == 0
        assert "Traceback" not in "\n".join(running.rest(running.err) + running.seen)


def test_what_a_publisher_keeps_reaches_a_late_echo(start, ros_domain: int) -> None:
    source = """
from emotion_perception.ros2_nodes import runtime as r
r.init(args=[])
node = r.Node("labels")
kind = r.get_message("std_msgs/msg/String")
p = node.create_publisher(kind, "~/info", r.QoSProfile(depth=1, durability=r.DurabilityPolicy.TRANSIENT_LOCAL))
p.publish(kind(data="kept"))
print("ready", flush=True)
try:
    r.spin(node)
except (KeyboardInterrupt, r.ExternalShutdownException):
    pass
"""
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True) as publisher:
        try:
            assert publisher.stdout is not None
            assert publisher.stdout.readline() == "ready\n"
            echo = start("echo", "labels/info", "--count", 1)
            assert echo.prints(2) == ["data: kept", "---"]
            assert echo.ends() == 0
        finally:
            publisher.kill()


def test_a_reader_that_has_enough_ends_the_echo(start, portrait: Path) -> None:
    camera = start("camera", portrait, "--rate", 50, "--width", 32)
    camera.says("publishing")
    line = f"{sys.executable} -m emotion_perception echo image_raw --json | head -c 100"
    done = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=PATIENCE_S, env=os.environ)
    assert len(done.stdout) == 100
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (("camera", "nothing.mp4"), 1, "cannot read video 'nothing.mp4'"),
        (("camera", "97"), 1, "camera 97 cannot be opened"),
        (("camera", "x.png", "--reliability", "sure"), 2, "unknown value of --reliability: 'sure'"),
        (("camera", "x.png", "--rate", "0"), 2, "the rate is 0.0 Hz"),
        (("echo", "/a", "--type", "std_msgs/msg/Strin"), 2, "Strin"),
        (("echo", "/a", "--reliability", "best"), 2, "'best'; known: best_effort, reliable"),
        (("echo", "/a b", "--type", "std_msgs/msg/String"), 2, "'/a b'"),
        (("echo", "/a", "--ros-args", "-r", "nonsense"), 2, "nonsense"),
        (("bag", "nothing", "out"), 1, "bag 'nothing' does not exist"),
    ],
)
def test_a_mistake_is_one_line(start, words: tuple[str, ...], status: int, message: str) -> None:
    command = start(*words)
    assert command.ends() == status
    assert command.rest(command.out) == []
    (line,) = command.rest(command.err)
    assert line.startswith("emotion-perception: error: ")
    assert message in line
