"""Starts EmoTx's node for a camera and, where speech:=TOPIC says so, recognised speech."""

from emotion_perception.ros2_nodes.runtime.launching import describe
from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    """Describes the node and its arguments; `ros2 launch --show-args` lists them."""
    own = {
        "speech": "Topic of recognised speech; empty: as the file of parameters says.",
        "backbones": "Folder of the backbones' weights; empty: as the file of parameters says.",
    }
    return describe("emotx", "clip_emotion_node", own)
