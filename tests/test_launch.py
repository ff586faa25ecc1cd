"""Launch files: what can be said of them anywhere, and, where ROS 2 is, what they start."""

from __future__ import annotations

import ast
import importlib.util
import runpy
from pathlib import Path

import pytest

FILES = sorted((Path(__file__).resolve().parent.parent / "launch").glob("*.launch.py"))
ARGUMENTS = {"namespace", "params_file", "image_topic", "weights", "device", "autostart", "use_sim_time", "log_level"}
# Launch file -> arguments that only it has.
OWN = {"emotx.launch.py": {"speech", "backbones"}}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_learner_with_a_launch_file_has_parameters(file: Path, root: Path) -> None:
    learner = file.name.split(".")[0]
    assert (root / "config" / f"{learner}.yaml").is_file()
    assert learner in {node.value for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.Constant)}


@pytest.mark.ros
@pytest.mark.parametrize("autostart", ["true", "false"])
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_launch_starts_one_node_and_activates_it_by_events(file: Path, root: Path, autostart: str) -> None:
    if importlib.util.find_spec("launch_ros") is None:
        pytest.skip("launch_ros is not installed; it comes with ROS 2")
    from launch.actions import DeclareLaunchArgument, EmitEvent, OpaqueFunction, RegisterEventHandler
    from launch_ros.actions import LifecycleNode

    from launch import LaunchContext

    description = runpy.run_path(str(file))["generate_launch_description"]()
    declared = [action for action in description.entities if isinstance(action, DeclareLaunchArgument)]
    own = OWN.get(file.name, set())
    assert {action.name for action in declared} == ARGUMENTS | own
    assert all(action.description and action.default_value is not None for action in declared)
    context = LaunchContext()
    given = dict.fromkeys(ARGUMENTS | own, "") | {
        "params_file": str(root / "config" / "esr.yaml"),
        "image_topic": "/camera/image",
        "log_level": "info",
        "autostart": autostart,
    }
    context.launch_configurations.update(given)
    (start,) = (action for action in description.entities if isinstance(action, OpaqueFunction))
    kinds = [type(action) for action in start.execute(context)]
    assert kinds == ([RegisterEventHandler, LifecycleNode, EmitEvent] if autostart == "true" else [LifecycleNode])


@pytest.mark.ros
@pytest.mark.parametrize("given", ["", "true", "false"])
def test_an_argument_that_was_left_out_hides_no_parameter(root: Path, given: str) -> None:
    pytest.importorskip("launch_ros", reason="launch_ros is not installed; it comes with ROS 2")
    from launch_ros.utilities import evaluate_parameters

    from emotion_perception.ros2_nodes.runtime.launching import start
    from launch import LaunchContext

    context = LaunchContext()
    names = ("namespace", "params_file", "image_topic", "weights", "device", "autostart", "use_sim_time", "log_level")
    context.launch_configurations.update(
        dict.fromkeys(names, "") | {"params_file": "some.yaml", "image_topic": "/cam", "log_level": "info", "use_sim_time": given}
    )
    (node,) = start(context, "esr", "face_emotion_node", ())
    _, values = evaluate_parameters(context, node._Node__parameters)  # launch_ros shows them nowhere else
    assert values == {"autostart": False} | ({"use_sim_time": given == "true"} if given else {})
