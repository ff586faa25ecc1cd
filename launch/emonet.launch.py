"""Starts EmoNet's node for scenes."""

from emotion_perception.ros2_nodes.runtime.launching import describe
from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    """Describes the node and its arguments; `ros2 launch --show-args` lists them."""
    return describe("emonet", "scene_emotion_node")
