"""The names of the runtime from the twin of rclpy: the same topics, services and types on the wire, without a ROS installation."""

from __future__ import annotations

from emotion_perception.ros2_nodes.runtime.dds.arguments import remove_ros_args
from emotion_perception.ros2_nodes.runtime.dds.clock import Clock, ClockType
from emotion_perception.ros2_nodes.runtime.dds.context import ExternalShutdownException, init, ok, shutdown, try_shutdown
from emotion_perception.ros2_nodes.runtime.dds.executor import spin, spin_once, spin_until_future_complete
from emotion_perception.ros2_nodes.runtime.dds.lifecycle import LifecycleNode, State, TransitionCallbackReturn
from emotion_perception.ros2_nodes.runtime.dds.messages import get_message, get_service
from emotion_perception.ros2_nodes.runtime.dds.node import Node
from emotion_perception.ros2_nodes.runtime.dds.parameter import Parameter
from emotion_perception.ros2_nodes.runtime.dds.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSProfile,
    ReliabilityPolicy,
    qos_profile_sensor_data,
)

ParameterDescriptor = get_message("rcl_interfaces/msg/ParameterDescriptor")
FloatingPointRange = get_message("rcl_interfaces/msg/FloatingPointRange")
IntegerRange = get_message("rcl_interfaces/msg/IntegerRange")
SetParametersResult = get_message("rcl_interfaces/msg/SetParametersResult")

__all__ = [
    "Clock",
    "ClockType",
    "DurabilityPolicy",
    "ExternalShutdownException",
    "FloatingPointRange",
    "HistoryPolicy",
    "IntegerRange",
    "LifecycleNode",
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
