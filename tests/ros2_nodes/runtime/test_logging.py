"""Log lines: rclpy's format, levels by name, once, throttled, and to /rosout."""

from __future__ import annotations

import re
import sys

import pytest

pytest.importorskip("cyclonedds")
pytest.importorskip("rosbags")

from emotion_perception.ros2_nodes.runtime.dds import logging
from emotion_perception.ros2_nodes.runtime.dds.logging import LoggingSeverity, get_logger


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "_state", logging._State())
    monkeypatch.setenv("RCUTILS_COLORIZED_OUTPUT", "0")
    monkeypatch.delenv("RCUTILS_CONSOLE_OUTPUT_FORMAT", raising=False)


def test_lines_look_like_rclpys(capsys: pytest.CaptureFixture[str]) -> None:
    logger = get_logger("ns.esr")
    assert logger.info("hello")
    logger.warning("careful")
    logger.warn("careful too")
    logger.error("oh")
    logger.fatal("end")
    assert not logger.debug("hidden")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("]")[0] for line in lines] == ["[INFO", "[WARN", "[WARN", "[ERROR", "[FATAL"]
    assert re.fullmatch(r"\[INFO\] \[\d{10}\.\d{9}\] \[ns\.esr\]: hello", lines[0])


def test_format_and_color_are_the_environments(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RCUTILS_CONSOLE_OUTPUT_FORMAT", "{severity}|{name}|{message}|{function_name}")
    get_logger("a").info("b {name}")
    monkeypatch.setenv("RCUTILS_COLORIZED_OUTPUT", "1")
    get_logger("a").error("c")
    plain, colored = capsys.readouterr().err.splitlines()
    assert plain == "INFO|a|b {name}|test_format_and_color_are_the_environments"
    assert colored.startswith("\033[31mERROR|a|c")


def test_levels_are_inherited_by_dots() -> None:
    logging.set_default_level(LoggingSeverity.ERROR)
    get_logger("ns").set_level(LoggingSeverity.DEBUG)
    get_logger("ns.quiet").set_level(LoggingSeverity.FATAL)
    assert get_logger("ns.esr").get_effective_level() == LoggingSeverity.DEBUG
    assert get_logger("ns").get_child("quiet").get_child("more").get_effective_level() == LoggingSeverity.FATAL
    assert not get_logger("other").is_enabled_for(LoggingSeverity.WARN)
    assert get_logger("other").is_enabled_for(LoggingSeverity.ERROR)


def test_once_skip_first_and_throttle_count_per_line_of_code(capsys: pytest.CaptureFixture[str]) -> None:
    logger = get_logger("n")
    assert [logger.info("once", once=True) for _ in range(3)] == [True, False, False]
    assert [logger.info("later", skip_first=True) for _ in range(3)] == [False, True, True]
    assert [logger.info("rare", throttle_duration_sec=3600.0) for _ in range(3)] == [True, False, False]
    assert [logger.info("often", throttle_duration_sec=0.0) for _ in range(3)] == [True, True, True]
    assert [bool(logger.info("a", once=True)), bool(logger.info("b", once=True))] == [True, True]
    assert [logger.info("c", once=True, throttle_duration_sec=0.0) for _ in range(2)] == [True, False]
    with pytest.raises(TypeError):
        logger.info("x", no_such_option=1)


def test_a_closed_stream_does_not_end_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed:
        def write(self, _: str) -> None:
            raise BrokenPipeError

        def isatty(self) -> bool:
            return False

    monkeypatch.setattr(sys, "stderr", Closed())
    assert get_logger("n").error("nobody reads this")
    monkeypatch.setattr(sys, "stderr", None)
    assert get_logger("n").error("nor this")


def test_lines_go_to_rosout(ros_domain: int, capsys: pytest.CaptureFixture[str]) -> None:
    from emotion_perception.ros2_nodes.runtime.dds.context import init
    from emotion_perception.ros2_nodes.runtime.dds.executor import spin_once
    from emotion_perception.ros2_nodes.runtime.dds.messages import get_message
    from emotion_perception.ros2_nodes.runtime.dds.node import Node
    from emotion_perception.ros2_nodes.runtime.dds.qos import qos_profile_rosout

    init(args=["--ros-args", "--disable-stdout-logs", "--log-level", "talker:=debug"])
    talker, listener = Node("talker", namespace="/a"), Node("listener")
    log, heard = get_message("rcl_interfaces/msg/Log"), []  # type: Any, list[Any]
    talker.get_logger().get_child("part").warning("before anybody listens")
    listener.create_subscription(log, "/rosout", heard.append, qos_profile_rosout)
    while not heard:
        spin_once(listener, timeout_sec=10.0)
    line = heard[0]
    assert (line.level, line.name, line.msg) == (log.WARN, "a.talker.part", "before anybody listens")
    assert line.file == __file__
    assert capsys.readouterr().err == ""
