"""A package of somebody else brings a learner with one entry point, and gets the command line and the contract suite for it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Installs the package beside this environment and runs Python programs that see both."""
    folder = tmp_path_factory.mktemp("plugin")
    source = shutil.copytree(Path(__file__).parent, folder / "source", ignore=shutil.ignore_patterns("__pycache__"))

    def run(*words: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(folder / "site"), "EMOTION_PERCEPTION_OFFLINE": "1", "COLUMNS": "120"}
        done = subprocess.run([sys.executable, *words], cwd=source, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    run("-m", "pip", "install", "--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--target", str(folder / "site"), ".")
    # From here on only the installed copy can be imported.
    (source / "toy_emotions.py").unlink()
    shutil.rmtree(source / "build", ignore_errors=True)
    return run


def test_the_command_line_lists_it_beside_our_own(run: Run) -> None:
    listed = {learner["name"]: learner for learner in json.loads(run("-m", "emotion_perception", "list", "--json"))}
    assert {"esr", "toy"} <= set(listed)
    assert listed["toy"]["licence"] == "Apache-2.0"


def test_it_is_made_by_its_name(run: Run) -> None:
    code = "from emotion_perception import create_learner; learner = create_learner('toy', epochs=5); print(learner.name, learner.epochs)"
    assert run("-c", code).split() == ["toy", "5"]


def test_it_keeps_the_contract(run: Run) -> None:
    printed = run("-m", "pytest", "check_toy.py", "-q", "-rA", "-p", "no:cacheprovider")
    assert "PASSED check_toy.py::test_contract[toy-check_infer_batch_equals_singles]" in printed
    assert "PASSED check_toy.py::test_contract[toy-check_fit_killed_is_resumed]" in printed
    assert "passed, 1 skipped" in printed.splitlines()[-1], printed  # its card names no files to download
