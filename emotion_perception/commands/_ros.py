"""What the commands that put a node on the graph share: ROS arguments on their command line, and a clean start and end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from emotion_perception.commands._group import Command

_KEY = "emotion_perception.ros_arguments"
RELIABILITIES = ("reliable", "best_effort")
ReliabilityOption = Annotated[str, typer.Option("--reliability", metavar="|".join(RELIABILITIES), help="QoS of what is published.")]


class RosCommand(Command):
    """A command that takes ``--ros-args ... [--]`` as every ROS 2 program does; its module says ``COMMAND = RosCommand``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Sets the ROS arguments aside before the command's own options are read."""
        own, ctx.meta[_KEY] = split_ros_arguments(args)
        return super().parse_args(ctx, own)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Adds the ROS arguments to the usage line."""
        return [*super().collect_usage_pieces(ctx), "[--ros-args ...]"]


def split_ros_arguments(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Returns a command's own words and those between ``--ros-args`` and ``--`` (or the end), both markers included."""
    own: list[str] = []
    ros: list[str] = []
    inside = False
    for word in words:
        starts, ends = word == "--ros-args", inside and word == "--"
        (ros if inside or starts else own).append(word)
        inside = (inside or starts) and not ends
    return own, ros


def ros_arguments(context: typer.Context) -> list[str]:
    """Returns the ROS arguments of a `RosCommand` that runs."""
    return list(context.meta.get(_KEY, []))


@contextmanager
def session(arguments: Sequence[str]) -> Iterator[None]:
    """Joins the graph for the block and leaves it in the end; Ctrl-C and SIGTERM end the block, and are no failure.

    Args:
        arguments: ROS arguments, from `ros_arguments`.
    """
    from emotion_perception.ros2_nodes import runtime

    runtime.init(args=list(arguments))
    try:
        yield
    except (KeyboardInterrupt, runtime.ExternalShutdownException):
        pass  # the way to stop
    except SystemExit as end:
        if end.code != 143:  # SIGTERM, which a runtime may leave to the command line's own handler
            raise
    finally:
        runtime.try_shutdown()
