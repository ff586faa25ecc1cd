"""The ROS runtime of the nodes: the real rclpy, or its twin over DDS with the same names. Nodes import from here and nowhere else.

The variable EMOTION_PERCEPTION_RUNTIME chooses (auto, rclpy, dds); `RUNTIME` says what was chosen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emotion_perception.ros2_nodes.choice import NoRuntimeError, choose

RUNTIME = choose()

if TYPE_CHECKING or RUNTIME == "dds":
    from emotion_perception.ros2_nodes.runtime._dds import (
        Clock,
        ClockType,
        DurabilityPolicy,
        ExternalShutdownException,
        FloatingPointRange,
        HistoryPolicy,
        IntegerRange,
        LifecycleNode,
        Node,
        Parameter,
        ParameterDescriptor,
        QoSProfile,
        ReliabilityPolicy,
        SetParametersResult,
        State,
        TransitionCallbackReturn,
        get_message,
        get_service,
        init,
        ok,
        qos_profile_sensor_data,
        remove_ros_args,
        shutdown,
        spin,
        spin_once,
        spin_until_future_complete,
        try_shutdown,
    )
else:
    from emotion_perception.ros2_nodes.runtime._rclpy import *  # noqa: F403 - its __all__ is the list below

__all__ = [
    "RUNTIME",
    "Clock",
    "ClockType",
    "DurabilityPolicy",
    "ExternalShutdownException",
    "FloatingPointRange",
    "HistoryPolicy",
    "IntegerRange",
    "LifecycleNode",
    "NoRuntimeError",
    "Node",
    "Parameter",
    "ParameterDescriptor",
    "QoSProfile",
    "ReliabilityPolicy",
    "SetParametersResult",
    "State",
    "TransitionCallbackReturn",
    "get_message",
    "get_service",
    "init",
    "ok",
    "qos_profile_sensor_data",
    "remove_ros_args",
    "shutdown",
    "spin",
    "spin_once",
    "spin_until_future_complete",
    "try_shutdown",
]
