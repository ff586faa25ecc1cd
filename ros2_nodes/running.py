"""A node as a program: started from the command line or by a launch file, ended by SIGINT or SIGTERM."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from emotion_perception.engine.errors import EmotionPerceptionError, UsageError
from emotion_perception.ros2_nodes.emotion_node import EmotionNode, one_line
from emotion_perception.ros2_nodes.runtime import (
    ExternalShutdownException,
    TransitionCallbackReturn,
    init,
    ok,
    remove_ros_args,
    spin,
    try_shutdown,
)


def node_class(learner: str) -> Callable[[str], EmotionNode[Any]]:
    """Returns the class of the node for a learner, by what its card says it perceives.

    Raises:
        UsageError: Unknown learner.
    """
    from emotion_perception.engine.registry import learner_class
    from emotion_perception.ros2_nodes.clip_emotion_node import ClipEmotionNode
    from emotion_perception.ros2_nodes.face_emotion_node import FaceEmotionNode
    from emotion_perception.ros2_nodes.scene_emotion_node import SceneEmotionNode

    classes: dict[str, Callable[[str], EmotionNode[Any]]] = {"face": FaceEmotionNode, "scene": SceneEmotionNode, "clip": ClipEmotionNode}
    return classes[learner_class(learner).card.perceives]


def run_program(make: Callable[[str], EmotionNode[Any]], words: Sequence[str], default: str | None = None) -> int:
    """Runs a node with the words of a command line: an optional learner, and ROS arguments.

    Args:
        make: The node's class.
        words: The program's name, then its arguments.
        default: The learner where none is given.

    Returns:
        The exit status: 0, 1 (failed) or 2 (used wrongly); why is said on stderr.
    """
    try:
        own = remove_ros_args(list(words))[1:]
        learner = own[0] if own else default
        if learner is None or len(own) > 1:
            raise UsageError(f"expected the name of one learner, got {' '.join(own) or 'none'}; run: emotion-perception list")
        run_node(lambda: make(learner), words)
    except EmotionPerceptionError as error:
        sys.stderr.write(f"{Path(words[0]).name}: error: {error}\n")
        return error.exit_status
    return 0


def run_node(make: Callable[[], EmotionNode[Any]], words: Sequence[str]) -> None:
    """Runs a node until SIGINT or SIGTERM.

    With the parameter ``autostart`` it configures and activates itself; where that fails it stays, unconfigured, to be tried again.

    Args:
        make: Makes the node.
        words: The program's name, then its arguments, ROS arguments among them.

    Raises:
        UsageError: ROS arguments, a parameter file or values of parameters that cannot be used.
    """
    try:
        init(args=list(words))
    except Exception as error:  # of the runtime's own kinds
        raise _refused(error) from None
    node: EmotionNode[Any] | None = None
    engine = logging.getLogger("emotion_perception")
    try:
        try:
            node = make()
        except (KeyboardInterrupt, ExternalShutdownException):
            raise
        except Exception as error:
            raise _refused(error) from None
        engine.addHandler(_Forward(node))
        engine.propagate = False
        if node.settings["autostart"] and node.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            node.trigger_activate()
        _spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass  # the way to stop
    except SystemExit as end:
        if end.code != 128 + signal.SIGTERM:  # the command line's own handler, which a runtime may call after its own
            raise
    finally:
        if node is not None:
            node.close()
            node.destroy_node()
        try_shutdown()


def _spin(node: EmotionNode[Any]) -> None:
    """Spins until the graph is left; what a callback raises is said, and ends nothing.

    rclpy raises where a life cycle service is asked for a transition that there is not, from the state that the node is in.
    """
    while ok():
        try:
            spin(node)
        except (KeyboardInterrupt, ExternalShutdownException):
            raise
        except Exception as error:
            if ok():  # else it is of the end
                node.get_logger().error(f"going on after: {one_line(error)}")


def _refused(error: Exception) -> EmotionPerceptionError:
    """Returns an error of the runtime as one line of ours."""
    if isinstance(error, EmotionPerceptionError):
        return error
    return UsageError(
        f"the node cannot be made: {' '.join(str(error).split()) or type(error).__name__}; see its ROS arguments and parameters"
    )


class _Forward(logging.Handler):
    """Shows what the engine logs (a missing GPU, another face detector) as the node's own words."""

    def __init__(self, node: Any) -> None:
        super().__init__(logging.INFO)
        self._logger = node.get_logger()

    def emit(self, record: logging.LogRecord) -> None:
        """Hands a record on."""
        words = record.getMessage()
        if record.levelno >= logging.ERROR:
            self._logger.error(words)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(words)
        else:
            self._logger.info(words)
