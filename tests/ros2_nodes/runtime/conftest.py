"""Another process with a node in it, and somebody who talks to it over DDS."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

PATIENCE_S = 30.0


class NodeProcess:
    """A running node; what it prints is kept."""

    def __init__(self, source: str, *arguments: str) -> None:
        """Starts Python on a source text."""
        self.process = subprocess.Popen(
            [sys.executable, "-c", source, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
        self.output = ""
        self.ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line
            if line.strip() == "ready":
                self.ready.set()
        self.process.wait()
        self.ready.set()  # it will not come any more

    def stop(self) -> int:
        """Interrupts it as Ctrl-C would, and returns its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(PATIENCE_S)
        finally:
            self.process.kill()
            self._reader.join(PATIENCE_S)


class Talk:
    """A node that asks services and listens to topics."""

    def __init__(self) -> None:
        """Makes the node, in the context that there is or a new one."""
        from emotion_perception.ros2_nodes.runtime.dds.context import init, ok
        from emotion_perception.ros2_nodes.runtime.dds.node import Node

        if not ok():
            init(args=[])
        self.node = Node("talk")
        self._clients: dict[str, Any] = {}

    def until(self, condition: Callable[[], Any]) -> None:
        """Spins until the condition holds."""
        from emotion_perception.ros2_nodes.runtime.dds.executor import spin_once

        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            spin_once(self.node, timeout_sec=0.1)

    def ask(self, service: str, name: str, **fields: Any) -> Any:
        """Calls a service and returns its answer."""
        from emotion_perception.ros2_nodes.runtime.dds.messages import get_service

        kind = get_service(service)
        if name not in self._clients:
            self._clients[name] = self.node.create_client(kind, name)
        client = self._clients[name]
        assert client.wait_for_service(timeout_sec=PATIENCE_S), name
        future = client.call_async(kind.Request(**fields))
        self.until(future.done)
        return future.result()

    def listen(self, message: str, topic: str) -> list[Any]:
        """Returns a list to which the messages of a topic will be added."""
        from emotion_perception.ros2_nodes.runtime.dds.messages import get_message

        heard: list[Any] = []
        self.node.create_subscription(get_message(message), topic, heard.append, 100)
        return heard


@pytest.fixture
def node_process(ros_domain: int) -> Callable[..., AbstractContextManager[NodeProcess]]:
    """Starts a node in another process; the block begins when it has printed "ready"."""

    @contextmanager
    def start(source: str, *arguments: str) -> Iterator[NodeProcess]:
        running = NodeProcess(source, *arguments)
        try:
            assert running.ready.wait(PATIENCE_S), running.output
            assert running.process.poll() is None, running.output
            yield running
        except BaseException:
            running.process.kill()
            print(running.output)  # noqa: T201 - pytest shows it with the failure
            raise
        assert running.stop() == 0, running.output

    return start


@pytest.fixture
def talk(ros_domain: int) -> Iterator[Talk]:
    """Somebody who talks to nodes."""
    from emotion_perception.ros2_nodes.runtime.dds.context import try_shutdown

    made = Talk()
    yield made
    made.node.destroy_node()
    try_shutdown()
