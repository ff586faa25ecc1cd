"""The environment's variables, and domains that nobody can join."""

from __future__ import annotations

import os
import sys

import pytest

pytest.importorskip("cyclonedds")
pytest.importorskip("rosbags")

from emotion_perception.engine.errors import UsageError
from emotion_perception.ros2_nodes.runtime.dds.context import NotInitializedError, init, ok, shutdown, try_shutdown
from emotion_perception.ros2_nodes.runtime.dds.domain import DomainSettings, Participation

BUFFERS = '<Internal><SocketReceiveBufferSize max="64MB"/></Internal>'


def settings(**environment: str) -> DomainSettings:
    return DomainSettings.from_environment(environment=environment)


def test_the_defaults_are_those_of_ros_with_larger_buffers() -> None:
    assert settings() == DomainSettings(0, f"<CycloneDDS><Domain>{BUFFERS}</Domain></CycloneDDS>")
    assert settings(ROS_DOMAIN_ID="").domain_id == 0
    assert settings(ROS_DOMAIN_ID="42").domain_id == 42
    assert DomainSettings.from_environment(7, {"ROS_DOMAIN_ID": "42"}).domain_id == 7


def test_ranges_of_discovery() -> None:
    local = settings(ROS_AUTOMATIC_DISCOVERY_RANGE="LOCALHOST").config
    assert "<AllowMulticast>false</AllowMulticast>" in local
    assert '<Peers><Peer address="localhost"/></Peers>' in local
    assert settings(ROS_LOCALHOST_ONLY="1").config == local
    assert settings(ROS_LOCALHOST_ONLY="0").config == settings().config
    off = settings(ROS_AUTOMATIC_DISCOVERY_RANGE="off", ROS_STATIC_PEERS="10.0.0.1").config
    assert f"<Tag>ros_discovery_off_{os.getpid()}</Tag>" in off
    assert "10.0.0.1" not in off
    peers = settings(ROS_STATIC_PEERS="10.0.0.1; host<2>;").config
    assert '<Peers><Peer address="10.0.0.1"/><Peer address="host&lt;2&gt;"/></Peers>' in peers
    assert "AllowMulticast" not in peers
    assert "Peers" not in settings(ROS_AUTOMATIC_DISCOVERY_RANGE="SYSTEM_DEFAULT", ROS_STATIC_PEERS="10.0.0.1").config


def test_ones_own_configuration_comes_last() -> None:
    config = settings(CYCLONEDDS_URI="file:///etc/cyclone.xml").config
    assert config.endswith("</CycloneDDS>,file:///etc/cyclone.xml")
    assert BUFFERS in config


@pytest.mark.parametrize("number", ["-1", "233", "x", "1.5", "٣"])
def test_domains_that_do_not_exist_are_refused(number: str) -> None:
    with pytest.raises(UsageError, match="expected a number from 0 to 232"):
        settings(ROS_DOMAIN_ID=number)


def test_ranges_that_do_not_exist_are_refused() -> None:
    with pytest.raises(UsageError, match="SUBNET, LOCALHOST, OFF, SYSTEM_DEFAULT"):
        settings(ROS_AUTOMATIC_DISCOVERY_RANGE="EARTH")


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("<CycloneDDS><Domain><Nope/></Domain></CycloneDDS>", "Nope: unknown element"),
        ("<CycloneDDS><Dom", "parser error"),
        ("file:///no/such.xml", "can't open configuration file"),
        (
            "<CycloneDDS><Domain><General><Interfaces><NetworkInterface name='eth77'/></Interfaces></General></Domain></CycloneDDS>",
            "eth77: does not match an available interface",
        ),
        ("<CycloneDDS><Domain><Ä/></Domain></CycloneDDS>", "ascii"),
    ],
    ids=["element", "xml", "file", "interface", "letters"],
)
def test_a_domain_nobody_can_join_is_one_clear_line(
    ros_domain: int, uri: str, reason: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    loopback = os.environ["CYCLONEDDS_URI"]
    monkeypatch.setenv("CYCLONEDDS_URI", uri)
    with pytest.raises(UsageError, match=reason) as caught:
        init(args=[])
    assert str(caught.value).startswith(f"cannot join DDS domain {ros_domain}: ")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""
    assert not ok()
    monkeypatch.setenv("CYCLONEDDS_URI", loopback)
    init(args=[])  # nothing stays behind that would be in the way
    assert ok()


def test_a_domain_is_left_and_can_be_joined_again(ros_domain: int) -> None:
    for _ in range(3):
        Participation(DomainSettings.from_environment()).close()


def test_init_and_shutdown_are_in_order(ros_domain: int) -> None:
    with pytest.raises(NotInitializedError, match="init"):
        shutdown()
    try_shutdown()
    init(args=[])
    with pytest.raises(NotInitializedError, match="twice"):
        init(args=[])
    shutdown()
    assert not ok()
    init(args=[], domain_id=ros_domain)
    assert ok()


def test_the_command_line_is_used_when_none_is_given(ros_domain: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["program", "--ros-args", "--nonsense"])
    with pytest.raises(UsageError, match="--nonsense"):
        init()
    assert not ok()
