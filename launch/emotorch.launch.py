"""Starts EmoTorch's node for a camera; takes the arguments of esr.launch.py, which does the work."""

from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import PathJoinSubstitution, ThisLaunchFileDir

from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    """Includes the launch file of all face nodes; `ros2 launch --show-args` lists its arguments."""
    file = PathJoinSubstitution([ThisLaunchFileDir(), "esr.launch.py"])
    return LaunchDescription(
        [IncludeLaunchDescription(PythonLaunchDescriptionSource(file), launch_arguments={"learner": "emotorch"}.items())]
    )
