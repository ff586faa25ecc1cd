"""``emotion-perception node``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emotion_perception.commands._ros import RosCommand, ros_arguments

COMMAND = RosCommand
EXAMPLES = (
    "emotion-perception node esr",
    "emotion-perception node esr --params-file config/esr.yaml",
    "emotion-perception node esr --ros-args -r image_raw:=/camera/color/image_raw -p max_faces:=4",
)


def run(
    context: typer.Context,
    learner: Annotated[str, typer.Argument(metavar="LEARNER", help="Registered name of the learner (see: emotion-perception list).")],
    params_file: Annotated[
        Path | None, typer.Option("--params-file", metavar="FILE", help="A ROS parameter file; --ros-args come after it, and win.")
    ] = None,
    autostart: Annotated[
        bool, typer.Option("--autostart/--no-autostart", help="Configure and activate at once, or wait for the life cycle's services.")
    ] = True,
) -> None:
    """Runs a learner's ROS 2 node until Ctrl-C: on rclpy where ROS 2 is installed, else over DDS on the same wire."""
    from emotion_perception.engine.errors import UsageError
    from emotion_perception.engine.registry import learner_class

    learner_class(learner)  # a name that is not known is said before anything starts
    if params_file is not None and not params_file.is_file():
        raise UsageError(f"--params-file {str(params_file)!r} is not a file; give a ROS parameter file, such as config/{learner}.yaml")
    from emotion_perception.ros2_nodes.running import node_class, run_node

    make = node_class(learner)
    own = ["--params-file", str(params_file)] if params_file is not None else []
    own += [] if autostart else ["-p", "autostart:=false"]
    own = ["--ros-args", *own, "--"] if own else []
    run_node(lambda: make(learner), ["emotion-perception", *own, *ros_arguments(context)])
