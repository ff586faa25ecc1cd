"""Launch files: what can be said of them anywhere, and, where ROS 2 is, what they start."""

from __future__ import annotations

import ast
import importlib.util
import runpy
from pathlib import Path

import pytest

FILES = sorted((Path(__file__).resolve().parent.parent / "launch").glob("*.launch.py"))
# The file that declares the arguments and starts the node; the others include it.
WHOLE = next(file for file in FILES if file.name == "esr.launch.py")
ARGUMENTS = {"learner", "namespace", "params_file", "image_topic", "weights", "device", "autostart", "use_sim_time", "log_level"}


def declared(file: Path) -> dict[str, ast.Call]:
    """Returns the calls that declare arguments, by the argument's name."""
    calls = [node for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    named = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "DeclareLaunchArgument"]
    return {ast.literal_eval(call.args[0]): call for call in named}


def test_every_argument_is_declared_with_description_and_default() -> None:
    found = declared(WHOLE)
    assert set(found) == ARGUMENTS
    for name, call in found.items():
        assert {"description", "default_value"} <= {keyword.arg for keyword in call.keywords}, name


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_learner_with_a_launch_file_has_parameters(file: Path, root: Path) -> None:
    assert (root / "config" / f"{file.name.split('.')[0]}.yaml").is_file()


@pytest.mark.parametrize("file", [file for file in FILES if file != WHOLE], ids=lambda file: file.name)
def test_the_other_files_include_it_with_their_learner(file: Path) -> None:
    texts = {node.value for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.Constant)}
    assert {"esr.launch.py", "learner", file.name.split(".")[0]} <= texts
    assert declared(file) == {}


@pytest.mark.ros
@pytest.mark.parametrize("autostart", ["true", "false"])
def test_launch_starts_one_node_and_activates_it_by_events(root: Path, autostart: str) -> None:
    if importlib.util.find_spec("launch_ros") is None:
        pytest.skip("launch_ros is not installed; it comes with ROS 2")
    from launch.actions import DeclareLaunchArgument, EmitEvent, RegisterEventHandler
    from launch_ros.actions import LifecycleNode

    from launch import LaunchContext

    made = runpy.run_path(str(WHOLE))
    description = made["generate_launch_description"]()
    assert {action.name for action in description.entities if isinstance(action, DeclareLaunchArgument)} == ARGUMENTS
    context = LaunchContext()
    given = dict.fromkeys(ARGUMENTS, "") | {
        "learner": "esr",
        "params_file": str(root / "config" / "esr.yaml"),
        "image_topic": "/camera/image",
        "log_level": "info",
    }
    context.launch_configurations.update(given)
    kinds = [type(action) for action in made["start"](context)]
    assert kinds == ([RegisterEventHandler, LifecycleNode, EmitEvent] if autostart == "true" else [LifecycleNode])
