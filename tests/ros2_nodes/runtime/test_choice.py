"""The runtime is chosen by what is there and what is wanted, and a machine with neither is told what to do."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("cyclonedds")
pytest.importorskip("rosbags")

from emotion_perception.engine.errors import EmotionPerceptionError, UsageError
from emotion_perception.ros2_nodes.runtime import choice


@pytest.fixture
def present(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    modules: set[str] = set()
    monkeypatch.setattr(choice, "installed", lambda *names: set(names) <= modules)
    monkeypatch.delenv(choice.VARIABLE, raising=False)
    return modules


def test_rclpy_is_preferred_and_the_twin_is_used_without_it(present: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    present |= {"cyclonedds", "rosbags"}
    assert choice.choose() == "dds"
    present |= {"rclpy"}
    assert choice.choose() == "rclpy"
    monkeypatch.setenv(choice.VARIABLE, "dds")
    assert choice.choose() == "dds"
    monkeypatch.setenv(choice.VARIABLE, "RCLPY")
    assert choice.choose() == "rclpy"


def test_what_is_missing_is_named_with_the_way_out(present: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice.platform, "machine", lambda: "x86_64")
    with pytest.raises(ImportError, match=r"need cyclonedds and rosbags; run: pip install 'emotion_perception\[dds\]', or install ROS 2"):
        choice.choose()
    present |= {"rosbags"}
    with pytest.raises(choice.NoRuntimeError, match="need cyclonedds; run"):
        choice.choose("dds")
    with pytest.raises(choice.NoRuntimeError, match="is rclpy, and rclpy cannot be imported"):
        choice.choose("rclpy")
    monkeypatch.setattr(choice.platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(choice.sys, "platform", "linux")
    with pytest.raises(EmotionPerceptionError, match="on aarch64 there is no wheel of cyclonedds: install ROS 2"):
        choice.choose()
    with pytest.raises(UsageError, match="expected auto, rclpy or dds"):
        choice.choose("fast")


def test_both_runtimes_offer_the_same_names(root: os.PathLike[str]) -> None:
    import ast
    from pathlib import Path

    from emotion_perception.ros2_nodes import runtime

    folder = Path(root) / "ros2_nodes" / "runtime"

    def offered(file: str) -> list[str]:
        tree = ast.parse((folder / file).read_text(encoding="utf-8"))
        return next(ast.literal_eval(n.value) for n in tree.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "__all__")

    assert offered("_rclpy.py") == offered("_dds.py") == [n for n in runtime.__all__ if n not in {"RUNTIME", "NoRuntimeError"}]
    assert {name: hasattr(runtime, name) for name in runtime.__all__} == dict.fromkeys(runtime.__all__, True)


def test_a_program_that_cannot_have_a_runtime_gets_one_line() -> None:
    code = (
        "import sys; sys.modules['rclpy'] = None\n"
        "from importlib.util import find_spec\n"
        "import importlib.util as u; u.find_spec = lambda name: None\n"
        "from emotion_perception.engine.errors import EmotionPerceptionError\n"
        "try:\n    import emotion_perception.ros2_nodes.runtime\n"
        "except EmotionPerceptionError as error:\n    print(error)\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != choice.VARIABLE}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout.startswith("ROS nodes cannot run: "), done.stderr
    assert len(done.stdout.splitlines()) == 1
