"""Real processes with nodes in them, and a member of the graph, in this process, that looks on."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

PATIENCE_S = 60.0


class Program:
    """A process of this package, its command line unless told otherwise; what it prints is kept."""

    def __init__(self, *words: object, module: str = "emotion_perception", runtime: str = "dds") -> None:
        """Starts it, on one of the two runtimes."""
        line = [sys.executable, "-m", module, *map(str, words)]
        environment = os.environ | {"EMOTION_PERCEPTION_RUNTIME": runtime}
        self.process = subprocess.Popen(
            line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=environment
        )
        self.output = ""
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self.output += line
                self._news.notify_all()

    def says(self, words: str) -> None:
        """Waits until it has printed some words."""
        with self._news:
            assert self._news.wait_for(lambda: words in self.output, PATIENCE_S), f"{words!r} is not in:\n{self.output}"

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Sends it a signal and returns its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        return status


class Graph:
    """A node of this process that publishes pictures, listens and asks."""

    def __init__(self) -> None:
        """Joins the graph."""
        from emotion_perception.ros2_nodes import runtime

        self._runtime = runtime
        runtime.init(args=[])
        self.node = runtime.Node("onlooker")
        self._clients: dict[str, Any] = {}
        self._cameras: dict[str, Any] = {}

    def close(self) -> None:
        """Leaves it."""
        self.node.destroy_node()
        self._runtime.try_shutdown()

    def until(self, condition: Callable[[], Any], program: Program | None = None, patience_s: float = PATIENCE_S) -> Any:
        """Spins until a condition holds, and returns what it did."""
        deadline = time.monotonic() + patience_s
        while not (found := condition()):
            shown = program.output if program is not None else ""
            assert time.monotonic() < deadline, f"waited in vain\n{shown}"
            self._runtime.spin_once(self.node, timeout_sec=0.05)
        return found

    def spin(self, seconds: float) -> None:
        """Spins for some time."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._runtime.spin_once(self.node, timeout_sec=left)

    def subscribe(self, kind: str, topic: str, callback: Callable[[Any], Any], latched: bool = False) -> Any:
        """Subscribes to a topic."""
        durability = self._runtime.DurabilityPolicy.TRANSIENT_LOCAL if latched else self._runtime.DurabilityPolicy.VOLATILE
        qos = self._runtime.QoSProfile(depth=100, durability=durability)
        return self.node.create_subscription(self._runtime.get_message(kind), topic, callback, qos)

    def hear(self, kind: str, topic: str, latched: bool = False) -> list[Any]:
        """Returns a list to which the messages of a topic will be added."""
        heard: list[Any] = []
        self.subscribe(kind, topic, heard.append, latched)
        return heard

    def ask(self, kind: str, name: str, patience_s: float = PATIENCE_S, **fields: Any) -> Any:
        """Calls a service and returns its answer."""
        service = self._runtime.get_service(kind)
        if name not in self._clients:
            self._clients[name] = self.node.create_client(service, name)
        client = self._clients[name]
        self.until(client.service_is_ready)
        future = client.call_async(service.Request(**fields))
        self.until(future.done, patience_s=patience_s)
        return future.result()

    def change_state(self, node: str, transition: int, patience_s: float = PATIENCE_S) -> bool:
        """Asks for a transition: 1 configure, 2 clean up, 3 activate, 4 deactivate."""
        asked = self._runtime.get_message("lifecycle_msgs/msg/Transition")(id=transition)
        return bool(self.ask("lifecycle_msgs/srv/ChangeState", f"{node}/change_state", patience_s, transition=asked).success)

    def state(self, node: str) -> str:
        """Returns the label of a node's state."""
        return str(self.ask("lifecycle_msgs/srv/GetState", f"{node}/get_state").current_state.label)

    def set(self, node: str, name: str, value: Any) -> Any:
        """Sets a parameter and returns the result."""
        parameter = self._runtime.Parameter(name, value=value).to_parameter_msg()
        return self.ask("rcl_interfaces/srv/SetParameters", f"{node}/set_parameters", parameters=[parameter]).results[0]

    def values(self, heard: list[Any], name: str) -> dict[str, str]:
        """Returns level, message and values of a node's newest status in what was heard on /diagnostics."""
        for array in reversed(heard):
            for status in array.status:
                if status.name.startswith(f"{name}:"):
                    kind = self._runtime.get_message("diagnostic_msgs/msg/DiagnosticStatus")
                    level = next(word for word in ("OK", "WARN", "ERROR", "STALE") if getattr(kind, word) == status.level)
                    return {"level": level, "message": status.message, **{pair.key: pair.value for pair in status.values}}
        return {}

    def camera(self, topic: str) -> Any:
        """Returns the publisher of a camera of this process, once somebody listens to it."""
        if topic not in self._cameras:
            kind = self._runtime.get_message("sensor_msgs/msg/Image")
            self._cameras[topic] = self.node.create_publisher(kind, topic, 10)
        self.until(lambda: self._cameras[topic].get_subscription_count())
        return self._cameras[topic]

    def show(self, rgb: np.ndarray, topic: str = "/image_raw", frame_id: str = "camera", stamp: tuple[int, int] | None = None) -> Any:
        """Publishes a picture and returns its header, stamped now unless told otherwise."""
        from emotion_perception.ros2_nodes.images import from_rgb

        header = self._runtime.get_message("std_msgs/msg/Header")(frame_id=frame_id)
        if stamp is None:
            header.stamp = self.node.get_clock().now().to_msg()
        else:
            header.stamp.sec, header.stamp.nanosec = stamp
        self.camera(topic).publish(from_rgb(rgb, header))
        return header


@pytest.fixture(params=["dds", pytest.param("rclpy", marks=pytest.mark.ros)])
def node_runtime(request: pytest.FixtureRequest) -> str:
    """The runtime of the processes that are looked at; who looks on is always on the twin."""
    if request.param == "rclpy" and importlib.util.find_spec("rclpy") is None:
        pytest.skip("rclpy cannot be imported; it comes with ROS 2, source its setup file")
    return str(request.param)


@pytest.fixture
def program(node_runtime: str, ros_domain: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Program]]:
    """Starts processes, offline, in this test's domain; whatever still runs in the end is killed.

    Faces are found by YuNet where the test data have it, else by OpenCV's Haar cascade.
    """
    pytest.importorskip("cyclonedds", reason="the twin needs cyclonedds; pip install 'emotion_perception[dds]'")
    monkeypatch.setenv("EMOTION_PERCEPTION_RUNTIME", "dds")
    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_cyclonedds_cpp")  # services work with this one only
    monkeypatch.setenv("EMOTION_PERCEPTION_OFFLINE", "1")
    monkeypatch.setenv("EMOTION_PERCEPTION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    yunet = Path(os.environ.get("EMOTION_PERCEPTION_TEST_DATA", "")) / "weights" / "yunet" / "yunet_n_320_320.onnx"
    if yunet.is_file():
        (tmp_path / "cache").mkdir()
        shutil.copy(yunet, tmp_path / "cache")
    started: list[Program] = []

    def start(*words: object, **options: str) -> Program:
        started.append(Program(*words, **{"runtime": node_runtime} | options))
        return started[-1]

    yield start
    for each in started:
        each.end(signal.SIGKILL)
        print(f"---- {' '.join(each.process.args[3:])}\n{each.output}")  # noqa: T201  # pytest shows it with a failure


@pytest.fixture
def graph(program: Callable[..., Program]) -> Iterator[Graph]:
    """This process's own member of the graph."""
    made = Graph()
    yield made
    made.close()


@pytest.fixture(scope="session")
def happy(portrait: Path) -> np.ndarray:
    """A picture with one face, which the default weights call happy."""
    from emotion_perception.engine.data import Image

    return Image.open(portrait).rgb


@pytest.fixture(scope="session")
def empty() -> np.ndarray:
    """A picture without a face."""
    return np.full((240, 320, 3), 90, np.uint8)
