"""A DDS domain for each test, on the loopback interface alone, so that runs do not meet."""

from __future__ import annotations

import random
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

PATIENCE_S = 60.0

# Above 101 the domain's ports lie where Linux takes those of ordinary connections from.
_DOMAINS = range(1, 101)
_INTERFACE = '<NetworkInterface address="127.0.0.1" multicast="false"/>'
_LOOPBACK = f"<CycloneDDS><Domain><General><Interfaces>{_INTERFACE}</Interfaces></General></Domain></CycloneDDS>"


def _reserve() -> tuple[int, socket.socket]:
    """Returns a domain and a TCP socket on its first port: whoever holds that has the domain, on the whole machine."""
    for domain in random.SystemRandom().sample(_DOMAINS, len(_DOMAINS)):
        held = socket.socket()
        try:
            held.bind(("127.0.0.1", 7400 + 250 * domain))
            held.listen(1)
        except OSError:
            held.close()
            continue
        return domain, held
    pytest.fail("no DDS domain is free")


@pytest.fixture
def ros_domain(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The number of a domain that no other test uses; processes that the test starts are in it too."""
    domain, held = _reserve()
    for name in ("ROS_LOCALHOST_ONLY", "ROS_STATIC_PEERS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    monkeypatch.setenv("CYCLONEDDS_URI", _LOOPBACK)
    monkeypatch.setenv("RCUTILS_COLORIZED_OUTPUT", "0")
    yield domain
    # Where rclpy is the runtime, tests of the twin use the twin all the same.
    for name in ("runtime", "runtime.dds.context"):
        module = sys.modules.get(f"emotion_perception.ros2_nodes.{name}")
        if module is not None:
            module.try_shutdown()
    held.close()


@pytest.fixture
def start(ros_domain: int) -> Iterator[Callable[..., Any]]:
    """Makes a node of this process, with parameters as on the command line; it is closed in the end."""
    from emotion_perception.ros2_nodes import runtime

    made: list[Any] = []

    def make(kind: Callable[..., Any], name: str, /, **parameters: object) -> Any:
        words = [word for each, value in parameters.items() for word in ("-p", f"{each}:={value}")]
        runtime.init(args=["test", "--ros-args", *words])
        made.append(kind(name))
        return made[0]

    yield make
    for node in made:
        node.close()
        node.destroy_node()
    runtime.try_shutdown()


@pytest.fixture
def until() -> Callable[[list[Any], Callable[[], Any]], None]:
    """Spins nodes in turn until a condition holds."""
    from emotion_perception.ros2_nodes import runtime

    def spin(nodes: list[Any], condition: Callable[[], Any]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            for node in nodes:
                runtime.spin_once(node, timeout_sec=0.02)

    return spin
