"""The runtime is chosen by what is there and what is wanted, and a machine with neither is told what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from emotion_perception.engine.errors import EmotionPerceptionError, UsageError
from emotion_perception.ros2_nodes import choice


@pytest.fixture
def present(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    modules: set[str] = set()
    monkeypatch.setattr(choice, "installed", lambda *names: set(names) <= modules)
    monkeypatch.setitem(sys.modules, "rclpy", None)
    monkeypatch.delenv(choice.VARIABLE, raising=False)
    return modules


@pytest.fixture
def foreign_rclpy(present: set[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An rclpy whose libraries are of another Python."""
    (tmp_path / "rclpy").mkdir()
    (tmp_path / "rclpy" / "__init__.py").write_text("raise ImportError('No module named\\n_rclpy_pybind11', name='rclpy._rclpy_pybind11')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "rclpy")


def test_rclpy_is_preferred_and_the_twin_is_used_without_it(
    present: set[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    present |= {"cyclonedds", "rosbags"}
    assert choice.choose() == "dds"
    assert not caplog.records
    monkeypatch.setitem(sys.modules, "rclpy", ModuleType("rclpy"))
    assert choice.choose() == "rclpy"
    monkeypatch.setenv(choice.VARIABLE, "dds")
    assert choice.choose() == "dds"
    monkeypatch.setenv(choice.VARIABLE, "RCLPY")
    assert choice.choose() == "rclpy"


def test_an_rclpy_of_another_python_is_passed_over(
    present: set[str], foreign_rclpy: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    present |= {"cyclonedds", "rosbags"}
    assert choice.choose("dds") == "dds"
    assert not caplog.records  # nobody asked for rclpy
    assert choice.choose() == "dds"
    (record,) = caplog.records
    assert "cannot be loaded by this Python" in record.message
    assert "(No module named _rclpy_pybind11); going on over DDS: set EMOTION_PERCEPTION_RUNTIME=dds, or use" in record.message
    with pytest.raises(choice.NoRuntimeError, match=r"is rclpy, and rclpy is there, but .*_rclpy_pybind11.*; use .* or set \w+=dds$"):
        choice.choose("rclpy")
    present -= {"cyclonedds"}
    monkeypatch.setattr(choice.platform, "machine", lambda: "x86_64")
    with pytest.raises(
        choice.NoRuntimeError, match=r"_rclpy_pybind11\), and without rclpy they need cyclonedds; run: .*_RUNTIME=dds, or use"
    ):
        choice.choose()


def test_doctor_says_so_too(foreign_rclpy: None) -> None:
    from emotion_perception.commands import doctor

    check = doctor._ros()
    assert (check.state, check.found) == ("warning", choice.rclpy_fault())
    assert "cannot be loaded by this Python" in check.found
    assert "(No module named _rclpy_pybind11)" in check.found
    assert "EMOTION_PERCEPTION_RUNTIME=dds" in check.advice


def test_what_is_missing_is_named_with_the_way_out(present: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice.platform, "machine", lambda: "x86_64")
    with pytest.raises(ImportError, match=r"need cyclonedds and rosbags; run: pip install 'emotion_perception\[dds\]', or install ROS 2"):
        choice.choose()
    present |= {"rosbags"}
    with pytest.raises(choice.NoRuntimeError, match="need cyclonedds; run"):
        choice.choose("dds")
    with pytest.raises(
        choice.NoRuntimeError, match=r"is rclpy, and rclpy is not installed; install ROS 2 .*, or set EMOTION_PERCEPTION_RUNTIME=dds"
    ):
        choice.choose("rclpy")
    monkeypatch.setattr(choice.platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(choice.sys, "platform", "linux")
    with pytest.raises(EmotionPerceptionError, match="on aarch64 there is no wheel of cyclonedds: install ROS 2"):
        choice.choose()
    with pytest.raises(UsageError, match="expected auto, rclpy or dds"):
        choice.choose("fast")


def test_both_runtimes_offer_the_same_names(root: os.PathLike[str]) -> None:
    import ast

    pytest.importorskip("cyclonedds")
    pytest.importorskip("rosbags")
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
