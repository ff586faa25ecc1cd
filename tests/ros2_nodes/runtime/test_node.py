"""A node: its names, what it makes and frees, and what the others see of it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("cyclonedds")
pytest.importorskip("rosbags")

from emotion_perception.engine.errors import UsageError
from emotion_perception.ros2_nodes.runtime.dds.announcement import _TYPE as DISCOVERY_TYPE
from emotion_perception.ros2_nodes.runtime.dds.context import NotInitializedError, init, try_shutdown
from emotion_perception.ros2_nodes.runtime.dds.executor import spin_once, spin_until_future_complete
from emotion_perception.ros2_nodes.runtime.dds.messages import deserialize, get_message, get_service, type_hash
from emotion_perception.ros2_nodes.runtime.dds.node import Node
from emotion_perception.ros2_nodes.runtime.dds.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSProfile,
    qos_profile_sensor_data,
    to_dds,
)
from emotion_perception.ros2_nodes.runtime.dds.topics import InvalidHandleError
from emotion_perception.ros2_nodes.runtime.dds.wire import Reader

String = get_message("std_msgs/msg/String")
SetBool = get_service("std_srvs/srv/SetBool")
PATIENCE_S = 20.0


@pytest.fixture
def start(ros_domain: int) -> Iterator[Callable[..., None]]:
    def begin(*arguments: str) -> None:
        init(args=["program", *arguments])

    yield begin
    try_shutdown()


def until(node: Node, condition: Callable[[], Any]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s, "waited in vain"
        spin_once(node, timeout_sec=0.1)


def test_a_node_needs_init(ros_domain: int) -> None:
    with pytest.raises(NotInitializedError, match="init"):
        Node("node")


def test_names_come_from_code_and_command_line(start: Callable[..., None]) -> None:
    start("--ros-args", "-r", "__ns:=/robot", "-r", "image_raw:=/camera/image", "-r", "~/result:=said")
    node = Node("esr", namespace="ignored")
    assert (node.get_name(), node.get_namespace(), node.get_fully_qualified_name()) == ("esr", "/robot", "/robot/esr")
    assert node.get_logger().name == "robot.esr"
    assert node.create_subscription(String, "image_raw", print, 1).topic_name == "/camera/image"
    assert node.create_publisher(String, "~/result", 1).topic_name == "/robot/said"
    assert node.create_publisher(String, "~/other", 1).topic_name == "/robot/esr/other"
    assert node.create_service(SetBool, "~/enable", lambda q, a: a).srv_name == "/robot/esr/enable"
    alone = Node("esr", use_global_arguments=False, cli_args=["-r", "__ns:=/own", "-p", "k:=2"])
    assert alone.get_fully_qualified_name() == "/own/esr"
    assert alone.declare_parameter("k", 1).value == 2


@pytest.mark.parametrize("wrong", ["1a", "a/b", ""])
def test_invalid_names_are_refused(start: Callable[..., None], wrong: str) -> None:
    start()
    with pytest.raises(UsageError, match="invalid"):
        Node(wrong)


def test_every_node_has_use_sim_time(start: Callable[..., None]) -> None:
    start()
    assert Node("node").get_parameter("use_sim_time").value is False


def test_messages_arrive_as_they_were_sent(start: Callable[..., None]) -> None:
    start()
    node = Node("node")
    image = get_message("sensor_msgs/msg/Image")
    heard: list[Any] = []
    raw: list[bytes] = []
    node.create_subscription(image, "a", heard.append, qos_profile_sensor_data)
    node.create_subscription(image, "a", raw.append, qos_profile_sensor_data, raw=True)
    publisher = node.create_publisher(image, "a", 10)
    sent = image(height=2, width=3, encoding="rgb8", step=9, data=np.arange(18, dtype=np.uint8))
    sent.header.stamp.sec, sent.header.frame_id = 7, "camera"
    publisher.publish(sent)
    until(node, lambda: heard and raw)
    assert heard[0] == sent == deserialize(raw[0], image)
    publisher.publish(raw[0])
    until(node, lambda: len(heard) == 2)
    assert heard[1] == sent
    with pytest.raises(UsageError, match="/a carries"):
        publisher.publish(String())


def test_counts_follow_who_listens(start: Callable[..., None]) -> None:
    start()
    node = Node("node")
    publisher = node.create_publisher(String, "a", 10)
    assert publisher.get_subscription_count() == 0
    first, second = (node.create_subscription(String, "a", print, 10) for _ in range(2))
    assert publisher.get_subscription_count() == 2
    assert first.get_publisher_count() == 1
    node.destroy_subscription(first)
    assert publisher.get_subscription_count() == 1
    assert node.destroy_subscription(second)
    assert not node.destroy_subscription(second)
    assert publisher.get_subscription_count() == 0
    assert second.get_publisher_count() == 0
    node.create_subscription(String, "a", print, QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))
    assert publisher.get_subscription_count() == 0  # it asks for more than is offered
    assert node.count_publishers("a") == 1


def test_late_joiners_get_what_is_kept_for_them(start: Callable[..., None]) -> None:
    start()
    node = Node("node")
    kept = QoSProfile(depth=2, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    publisher = node.create_publisher(String, "a", kept)
    for word in ("1", "2", "3"):
        publisher.publish(String(data=word))
    heard: list[str] = []
    node.create_subscription(String, "a", lambda m: heard.append(m.data), kept)
    until(node, lambda: len(heard) == 2)
    assert heard == ["2", "3"]


def test_a_service_answers_and_a_client_waits_for_its_own_answer(start: Callable[..., None]) -> None:
    start()
    node = Node("node")

    def answer(request: Any, response: Any) -> Any:
        response.success, response.message = request.data, f"was {request.data}"
        return response

    clients = [node.create_client(SetBool, "~/enable") for _ in range(2)]
    assert not clients[0].service_is_ready()
    assert not clients[0].wait_for_service(timeout_sec=0.01)
    service = node.create_service(SetBool, "~/enable", answer)
    assert all(client.wait_for_service(timeout_sec=PATIENCE_S) for client in clients)
    futures = [client.call_async(SetBool.Request(data=value)) for client in clients for value in (True, False)]
    done: list[Any] = []
    futures[0].add_done_callback(done.append)
    for future in futures:
        spin_until_future_complete(node, future, timeout_sec=PATIENCE_S)
    assert [future.result().message for future in futures] == ["was True", "was False"] * 2
    assert done == [futures[0]]
    cancelled = clients[0].call_async(SetBool.Request())
    cancelled.cancel()
    assert cancelled.cancelled()
    assert cancelled.done()
    until(node, lambda: not clients[0]._pending)
    node.destroy_service(service)
    assert not clients[0].service_is_ready()
    node.destroy_client(clients[0])
    with pytest.raises(InvalidHandleError, match="destroyed"):
        clients[0].call_async(SetBool.Request())


def test_a_service_that_breaks_off_says_so_in_the_executor(start: Callable[..., None]) -> None:
    start()
    node = Node("node")
    node.create_service(SetBool, "broken", lambda request, response: 1 / 0)
    client = node.create_client(SetBool, "broken")
    assert client.wait_for_service(timeout_sec=PATIENCE_S)
    client.call_async(SetBool.Request())
    with pytest.raises(ZeroDivisionError):
        until(node, lambda: False)


def test_what_was_destroyed_cannot_be_used(start: Callable[..., None]) -> None:
    start()
    node = Node("node")
    publisher = node.create_publisher(String, "a", 10)
    node.destroy_publisher(publisher)
    with pytest.raises(InvalidHandleError, match="/a"):
        publisher.publish(String())
    other = node.create_publisher(String, "a", 10)
    node.destroy_node()
    node.destroy_node()
    with pytest.raises(InvalidHandleError):
        node.create_publisher(String, "b", 10)
    try_shutdown()
    other.publish(String())  # a worker that is a moment too late is no error


def test_workers_may_make_publish_and_destroy_while_the_node_spins(start: Callable[..., None]) -> None:
    start()
    node = Node("node")
    heard: list[str] = []
    node.create_subscription(String, "shared", lambda m: heard.append(m.data), QoSProfile(history=HistoryPolicy.KEEP_ALL))
    shared = node.create_publisher(String, "shared", QoSProfile(history=HistoryPolicy.KEEP_ALL))
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for i in range(30):
                own = node.create_publisher(String, f"own_{number}", 10)
                own.publish(String(data="x"))
                shared.publish(String(data=f"{number} {i}"))
                subscription = node.create_subscription(String, f"own_{number}", lambda _: None, 10)
                node.destroy_subscription(subscription)
                node.destroy_publisher(own)
        except BaseException as error:
            failures.append(error)

    workers = [threading.Thread(target=work, args=(n,)) for n in range(3)]
    for worker in workers:
        worker.start()
    until(node, lambda: len(heard) == 90)
    for worker in workers:
        worker.join()
    assert failures == []
    for number in range(3):
        assert [word for word in heard if word.startswith(f"{number} ")] == [f"{number} {i}" for i in range(30)]


def resident_kb() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="reads /proc")
def test_making_and_destroying_leaves_nothing(start: Callable[..., None]) -> None:
    start()
    node = Node("node")
    image = get_message("sensor_msgs/msg/Image")
    message = image(data=bytes(10_000))

    def round_trip() -> None:
        publisher = node.create_publisher(image, "a", 10)
        subscription = node.create_subscription(image, "a", lambda _: None, 10)
        service = node.create_service(SetBool, "s", lambda request, response: response)
        client = node.create_client(SetBool, "s")
        publisher.publish(message)
        spin_once(node, timeout_sec=PATIENCE_S)
        for destroy, entity in (
            (node.destroy_publisher, publisher),
            (node.destroy_subscription, subscription),
            (node.destroy_service, service),
            (node.destroy_client, client),
        ):
            assert destroy(entity)

    from cyclonedds.core import Entity

    for _ in range(100):
        round_trip()
    before_kb, entities, handles = resident_kb(), len(Entity._entities), len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(300):
        round_trip()
    assert len(Entity._entities) == entities
    assert len(list(Path("/proc/self/fd").iterdir())) == handles
    assert resident_kb() - before_kb < 3_000


def test_the_graph_is_told_who_is_here(start: Callable[..., None]) -> None:
    start("--ros-args", "-r", "__ns:=/robot")
    node = Node("watcher", start_parameter_services=False)
    qos = QoSProfile(history=HistoryPolicy.KEEP_ALL, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    reader = Reader(node.context.ports, "ros_discovery_info", DISCOVERY_TYPE, to_dds(qos, ""))

    def latest() -> dict[str, Any]:
        found: list[Any] = []
        while (sample := reader.take()) is not None:
            found.append(deserialize(sample[0], get_message(DISCOVERY_TYPE)))
        assert bytes(found[-1].gid.data) == node.context.ports.participant.guid.bytes
        return {f"{n.node_namespace}/{n.node_name}": n for n in found[-1].node_entities_info_seq}

    def gids(sequence: Any) -> set[bytes]:
        return {bytes(gid.data) for gid in sequence}

    publisher = node.create_publisher(String, "a", 1)
    subscription = node.create_subscription(String, "b", print, 1)
    seen = latest()
    assert set(seen) == {"/robot/watcher"}
    assert publisher.gid() in gids(seen["/robot/watcher"].writer_gid_seq)
    assert subscription.gid() in gids(seen["/robot/watcher"].reader_gid_seq)
    gid = publisher.gid()
    other = Node("other")
    node.destroy_publisher(publisher)
    seen = latest()
    assert set(seen) == {"/robot/watcher", "/robot/other"}
    assert gid not in gids(seen["/robot/watcher"].writer_gid_seq)
    assert len(seen["/robot/other"].reader_gid_seq) == 6  # the services of parameters
    other.destroy_node()
    assert set(latest()) == {"/robot/watcher"}
    reader.close()


def test_endpoints_carry_hash_and_ids_as_rmw_writes_them(start: Callable[..., None]) -> None:
    start()
    node = Node("node", start_parameter_services=False)
    service, client = node.create_service(SetBool, "s", lambda q, a: a), node.create_client(SetBool, "s")
    assert client.wait_for_service(timeout_sec=PATIENCE_S)
    assert service._pair is not None
    assert client._pair is not None
    (request_reader,) = client._pair.writer.reader_user_data()
    (response_reader,) = service._pair.writer.reader_user_data()
    names = {"serviceid": request_reader, "clientid": response_reader}
    for name, data in names.items():
        first, second, rest = data.decode().split(";")
        kind = "Request" if name == "serviceid" else "Response"
        assert first.startswith(f"{name}=")
        assert len(first.split("=")[1].split(".")) == 16
        assert second == f"typehash={type_hash(f'std_srvs/srv/SetBool_{kind}')}"
        assert rest == ""


def test_unused_values_of_the_command_line_are_told_when_it_spins(
    start: Callable[..., None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from emotion_perception.ros2_nodes.runtime.dds.executor import spin

    start("--ros-args", "-p", "treshold:=0.5")
    node = Node("node")
    node.declare_parameter("threshold", 0.1)
    node.create_timer(0.0, try_shutdown)
    spin(node)
    assert "treshold" in capsys.readouterr().err
