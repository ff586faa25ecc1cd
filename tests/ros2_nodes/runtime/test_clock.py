"""Times, durations, and clocks that follow a simulation."""

from __future__ import annotations

import time

import pytest

pytest.importorskip("cyclonedds")
pytest.importorskip("rosbags")

from emotion_perception.ros2_nodes.runtime.dds.clock import Clock, ClockType, Duration, Time
from emotion_perception.ros2_nodes.runtime.dds.messages import get_message
from emotion_perception.ros2_nodes.runtime.dds.timers import Timer


def test_times_and_durations_reckon() -> None:
    a, b = Time(seconds=5, nanoseconds=7), Time(seconds=2)
    assert (a - b) == Duration(seconds=3, nanoseconds=7)
    assert b + Duration(nanoseconds=1) == Time(seconds=2, nanoseconds=1)
    assert (b - Duration(seconds=1)).seconds_nanoseconds() == (1, 0)
    assert b < a
    assert Time.from_msg(a.to_msg()) == a
    message = Duration(nanoseconds=-1).to_msg()
    assert (message.sec, message.nanosec) == (-1, 999_999_999)


def test_the_clock_is_the_systems_until_it_follows() -> None:
    clock = Clock()
    before = time.time_ns()
    assert before <= clock.now().nanoseconds <= time.time_ns()
    stamp = clock.now().to_msg()
    assert type(stamp) is get_message("builtin_interfaces/msg/Time")
    clock.follow(0)
    assert clock.ros_time_is_active
    assert clock.now().nanoseconds == 0
    clock.follow(3_000_000_000)
    assert clock.now().to_msg().sec == 3
    clock.follow(None)
    assert clock.now().nanoseconds >= before


class Awake:
    """What a timer needs of an executor."""

    def wake(self) -> None:
        """Does nothing."""


def test_timers_skip_what_they_missed_and_follow_the_clock() -> None:
    clock = Clock()
    clock.follow(0)
    timer = Timer(Awake(), clock, 1.0, lambda: None)  # type: ignore[arg-type]
    assert timer.due_in_ns() is None  # only a message moves the time
    assert timer.take() is None
    clock.follow(1_000_000_000)
    assert timer.due_in_ns() == 0
    assert timer.take() is not None
    assert timer.take() is None
    clock.follow(5_500_000_000)
    assert timer.take() is not None
    assert timer.take() is None  # 3, 4 and 5 s were left out
    clock.follow(6_000_000_000)
    assert timer.take() is not None
    timer.cancel()
    clock.follow(9_000_000_000)
    assert timer.take() is None
    timer.reset()
    clock.follow(10_000_000_000)
    assert timer.take() is not None
    clock.follow(None)
    due = timer.due_in_ns()
    assert due is not None
    assert 0 < due <= 1_000_000_000


def test_timers_start_again_when_the_clock_does() -> None:
    clock = Clock()
    clock.follow(60_000_000_000)
    timer = Timer(Awake(), clock, 1.0, lambda: None)  # type: ignore[arg-type]
    clock.follow(61_000_000_000)
    assert timer.take() is not None
    clock.follow(500_000_000)  # a bag that is played again
    assert timer.take() is None
    clock.follow(1_400_000_000)
    assert timer.take() is None
    clock.follow(1_500_000_000)
    assert timer.take() is not None


def test_a_steady_clock_goes_on_whatever_the_node_follows(ros_domain: int) -> None:
    from emotion_perception.ros2_nodes.runtime.dds.context import init
    from emotion_perception.ros2_nodes.runtime.dds.executor import spin_once
    from emotion_perception.ros2_nodes.runtime.dds.node import Node

    init(args=["--ros-args", "-p", "use_sim_time:=true"])
    node, clock = Node("robot"), Clock(clock_type=ClockType.STEADY_TIME)
    before = clock.now()
    called: list[int] = []
    node.create_timer(0.01, lambda: called.append(1), clock=clock)
    node.create_timer(0.01, lambda: called.append(2))  # nobody publishes /clock
    while len(called) < 3:
        spin_once(node, timeout_sec=10.0)
    assert set(called) == {1}
    assert before < clock.now()


def test_a_node_follows_slash_clock_when_told(ros_domain: int) -> None:
    from emotion_perception.ros2_nodes.runtime.dds.context import init
    from emotion_perception.ros2_nodes.runtime.dds.executor import spin_once
    from emotion_perception.ros2_nodes.runtime.dds.node import Node
    from emotion_perception.ros2_nodes.runtime.dds.parameter import Parameter

    init(args=["--ros-args", "-p", "use_sim_time:=true"])
    node = Node("robot")
    clock_type = get_message("rosgraph_msgs/msg/Clock")
    publisher = node.create_publisher(clock_type, "/clock", 10)
    called: list[int] = []
    node.create_timer(1.0, lambda: called.append(node.get_clock().now().nanoseconds))
    assert node.get_clock().now().nanoseconds == 0
    for second in (1, 2, 7):
        publisher.publish(clock_type(clock=Time(seconds=second).to_msg()))
        while len(called) < 1 or called[-1] != second * 1_000_000_000:
            spin_once(node, timeout_sec=10.0)
    assert called == [1_000_000_000, 2_000_000_000, 7_000_000_000]
    assert node.set_parameters([Parameter("use_sim_time", value=False)])[0].successful
    assert node.get_clock().now().nanoseconds > 10**18
    assert not node.set_parameters([Parameter("use_sim_time", value=3)])[0].successful
