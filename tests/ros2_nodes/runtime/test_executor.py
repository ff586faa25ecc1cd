"""One thread calls back, in order; signals and shutdown end it, and nothing stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("cyclonedds")
pytest.importorskip("rosbags")

from emotion_perception.ros2_nodes.runtime.dds.context import ExternalShutdownException, init, ok, shutdown, try_shutdown
from emotion_perception.ros2_nodes.runtime.dds.executor import spin, spin_once
from emotion_perception.ros2_nodes.runtime.dds.messages import get_message
from emotion_perception.ros2_nodes.runtime.dds.node import Node

String = get_message("std_msgs/msg/String")
PATIENCE_S = 20.0


@pytest.fixture
def node(ros_domain: int) -> Iterator[Node]:
    init(args=[])
    made = Node("node")
    yield made
    made.destroy_node()
    try_shutdown()


def test_spin_once_calls_one_thing_or_waits_in_vain(node: Node) -> None:
    heard: list[str] = []
    node.create_subscription(String, "a", lambda m: heard.append(m.data), 10)
    publisher = node.create_publisher(String, "a", 10)
    spin_once(node, timeout_sec=0.0)
    assert heard == []
    for word in ("1", "2", "3"):
        publisher.publish(String(data=word))
    while len(heard) < 2:
        before = len(heard)
        spin_once(node, timeout_sec=PATIENCE_S)
        assert len(heard) <= before + 1
    spin_once(node, timeout_sec=PATIENCE_S)
    assert heard == ["1", "2", "3"]


def test_timers_come_before_messages(node: Node) -> None:
    order: list[str] = []
    node.create_subscription(String, "a", lambda m: order.append("message"), 10)
    publisher = node.create_publisher(String, "a", 10)
    publisher.publish(String())
    timer = node.create_timer(0.0, lambda: order.append("timer"))
    spin_once(node, timeout_sec=PATIENCE_S)
    assert order == ["timer"]
    node.destroy_timer(timer)
    while "message" not in order:
        spin_once(node, timeout_sec=PATIENCE_S)


def test_timers_keep_coming_until_cancelled(node: Node) -> None:
    calls: list[int] = []
    timer = node.create_timer(0.001, lambda: calls.append(len(calls)))
    while len(calls) < 5:
        spin_once(node, timeout_sec=PATIENCE_S)
    timer.cancel()
    spin_once(node, timeout_sec=0.01)
    assert calls == [0, 1, 2, 3, 4]
    timer.reset()
    while len(calls) < 6:
        spin_once(node, timeout_sec=PATIENCE_S)


def test_an_exception_of_a_callback_comes_out_of_spin(node: Node) -> None:
    def fail() -> None:
        raise RuntimeError("of the callback")

    node.create_timer(0.0, fail)
    with pytest.raises(RuntimeError, match="of the callback"):
        spin(node)
    assert ok()


def test_callbacks_of_other_threads_wishes_run_in_the_spinning_thread(node: Node) -> None:
    threads: list[threading.Thread] = []
    guard = node.create_guard_condition(lambda: threads.append(threading.current_thread()))
    worker = threading.Thread(target=guard.trigger)
    worker.start()
    while not threads:
        spin_once(node, timeout_sec=PATIENCE_S)
    worker.join()
    assert threads == [threading.current_thread()]


def test_what_another_thread_makes_wakes_a_waiting_executor(node: Node) -> None:
    done = threading.Event()
    worker = threading.Thread(target=lambda: node.create_timer(0.0, done.set))
    waiting = threading.Timer(0.1, worker.start)
    waiting.start()
    while not done.is_set():
        spin_once(node, timeout_sec=PATIENCE_S)
    worker.join()


def test_a_callback_may_shut_down_and_spin_returns(node: Node) -> None:
    node.create_timer(0.0, shutdown)
    spin(node)
    assert not ok()


def test_another_thread_may_shut_down_and_spin_says_so(node: Node) -> None:
    threading.Timer(0.1, shutdown).start()
    with pytest.raises(ExternalShutdownException):
        spin(node)
    with pytest.raises(ExternalShutdownException):
        spin_once(node, timeout_sec=0.0)
    spin(node)  # returns at once


def test_a_subscription_may_be_destroyed_by_its_callback(node: Node) -> None:
    heard: list[Any] = []

    def hear(message: Any) -> None:
        heard.append(message)
        node.destroy_subscription(subscription)

    subscription = node.create_subscription(String, "a", hear, 10)
    publisher = node.create_publisher(String, "a", 10)
    for _ in range(3):
        publisher.publish(String())
    while not heard:
        spin_once(node, timeout_sec=PATIENCE_S)
    spin_once(node, timeout_sec=0.05)
    assert len(heard) == 1


PROGRAM = """
import sys, threading
from emotion_perception.ros2_nodes.runtime.dds.context import ExternalShutdownException, init, ok, try_shutdown
from emotion_perception.ros2_nodes.runtime.dds.executor import spin
from emotion_perception.ros2_nodes.runtime.dds.node import Node
init(args=[])
node = Node("node")
if "busy" in sys.argv:
    from emotion_perception.ros2_nodes.runtime.dds.messages import get_message
    text = get_message("std_msgs/msg/String")
    publisher = node.create_publisher(text, "a", 10)
    node.create_subscription(text, "a", lambda m: None, 10)
    def work():
        while ok():
            publisher.publish(text(data="x" * 100))
    threading.Thread(target=work).start()
ended = "returned"
try:
    print("ready", flush=True)
    spin(node)
except KeyboardInterrupt:
    ended = "interrupted"
except ExternalShutdownException:
    ended = "shut down"
print(ended, ok())
if "tidy" in sys.argv:
    node.destroy_node()
    try_shutdown()
    print([t.name for t in threading.enumerate() if t is not threading.main_thread() and "busy" not in sys.argv])
"""


@pytest.mark.parametrize("how", ["tidy", "untidy", "tidy busy"])
@pytest.mark.parametrize(("number", "ended"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "shut down")])
def test_signals_end_a_node_and_leave_nothing(ros_domain: int, how: str, number: signal.Signals, ended: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *how.split()], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    try:
        out, err = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    assert process.returncode == 0, err
    first, *rest = out.splitlines()
    # As in rclpy, a SIGTERM between two callbacks makes spin return, one while it waits makes it raise.
    assert first in {f"{ended} False", *(["returned False"] if number == signal.SIGTERM else [])}
    assert rest == (["[]"] if "tidy" in how.split() else [])
    assert err == ""


def test_handlers_are_put_back(ros_domain: int) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    threads = threading.active_count()
    init(args=[])
    assert signal.getsignal(signal.SIGTERM) != before[1]
    shutdown()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert threading.active_count() == threads
