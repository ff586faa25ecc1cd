"""Starts ESR's node for a camera: ros2 launch emotion_perception esr.launch.py image_topic:=/camera/color/image_raw."""

from emotion_perception.ros2_nodes.runtime.launching import describe
from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    """Describes the node and its arguments; `ros2 launch --show-args` lists them."""
    return describe("esr")
