"""The names of the runtime from the real rclpy, as they are. Only what Humble and Jazzy both have."""

from __future__ import annotations

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy import init, ok, shutdown, spin, spin_once, spin_until_future_complete, try_shutdown
from rclpy.clock import Clock, ClockType
from rclpy.executors import ExternalShutdownException
from rclpy.lifecycle import LifecycleNode, State, TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from rclpy.utilities import remove_ros_args
from rosidl_runtime_py.utilities import get_message, get_service

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
