"""The house stays in order: imports point one way, every learner has the same files, nothing slow is imported early."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "emotion_perception"
PARTS = ("engine", "learners", "ros2_nodes", "launch", PACKAGE)
ROS = {"rclpy", "launch", "launch_ros", "launch_pytest", "ament_index_python"}
SLOW = {"torch", "torchmetrics", "sklearn", "matplotlib", "cv2", "av", "onnx", "onnxruntime", "captum", "fairlearn", "scipy", "pandas"}
SLOW |= {"pyarrow", "transformers"}
# Parts of this package, many files each, that wait until there are data to read or a network to run.
LATE = ("engine.datasets", "engine.evaluation", "engine.inference", "engine.vision", "learners.emotx.features")
LEARNER_FILES = {"__init__.py", "card.py", "model.py", "learner.py", "README.md"}
MAX_LINES = 500
# A file may be longer for a reason: path below the root -> the reason.
LONGER: dict[str, str] = {}


def python_files(root: Path, *folders: str) -> list[Path]:
    return [p for folder in folders for p in sorted((root / folder).rglob("*.py"))]


def module_name(root: Path, file: Path) -> str:
    """Returns the import name of a file, of a package that of its folder."""
    parts = file.relative_to(root).with_suffix("").parts
    parts = parts if parts[0] == PACKAGE else (PACKAGE, *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(root: Path, file: Path, nodes: Iterator[ast.AST] | None = None) -> set[str]:
    """Returns the full names of what a file imports anywhere in it, relative imports resolved."""
    package = module_name(root, file).split(".")
    package = package if file.name == "__init__.py" else package[:-1]
    found: set[str] = set()
    for node in nodes or ast.walk(ast.parse(file.read_text(encoding="utf-8"), str(file))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{module}.{alias.name}" for alias in node.names}
    return found


def top_level(tree: ast.AST) -> Iterator[ast.AST]:
    """Yields what runs when a module is imported: no function bodies, nothing under ``if TYPE_CHECKING``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from top_level(node)


def below(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def test_the_engine_imports_neither_learners_nor_nodes(root: Path) -> None:
    files = python_files(root, "engine")
    assert files
    wrong = {
        (file.relative_to(root).as_posix(), name)
        for file in files
        for name in imports(root, file)
        if below(name, f"{PACKAGE}.learners") or below(name, f"{PACKAGE}.ros2_nodes") or below(name, f"{PACKAGE}.commands")
    }
    assert wrong == set()


def test_the_engines_folders_import_one_way(root: Path) -> None:
    order = ("vision", "datasets", "inference", "evaluation", "training")
    wrong = set()
    for number, folder in enumerate(order):
        later = [f"{PACKAGE}.engine.{name}" for name in order[number + 1 :]]
        for file in python_files(root, f"engine/{folder}"):
            wrong |= {(file.relative_to(root).as_posix(), name) for name in imports(root, file) if any(below(name, each) for each in later)}
    assert wrong == set()


def test_no_learner_imports_another_or_a_node(root: Path) -> None:
    wrong = set()
    for file in python_files(root, "learners"):
        inside = file.relative_to(root / "learners").parts
        own = f"{PACKAGE}.learners.{inside[0]}" if len(inside) > 1 else None
        for name in imports(root, file):
            other_learner = below(name, f"{PACKAGE}.learners") and not (own and below(name, own))
            if other_learner or below(name, f"{PACKAGE}.ros2_nodes") or below(name, f"{PACKAGE}.commands"):
                wrong.add((file.relative_to(root).as_posix(), name))
    assert wrong == set()


def test_commands_and_nodes_find_learners_by_their_names(root: Path) -> None:
    # Two commands are EmoTx's own; the package offers ESR's class under its published name, imported on first use.
    own = {f"{PACKAGE}/commands/timeline.py", f"{PACKAGE}/commands/features.py", f"{PACKAGE}/__init__.py"}
    wrong = {
        (path, name)
        for file in python_files(root, PACKAGE, "ros2_nodes", "launch")
        for name in imports(root, file)
        if below(name, f"{PACKAGE}.learners") and (path := file.relative_to(root).as_posix()) not in own
    }
    assert wrong == set()


def test_ros_is_imported_only_where_it_may_be(root: Path) -> None:
    wrong = {
        (path, name)
        for file in python_files(root, *PARTS)
        for name in imports(root, file)
        if name.split(".")[0] in ROS and not (path := file.relative_to(root).as_posix()).startswith(("ros2_nodes/runtime/", "launch/"))
    }
    assert wrong == set()


def test_nothing_imports_the_parts_by_their_short_names(root: Path) -> None:
    # engine.learners and emotion_perception.engine.learners would be two modules with two Learner classes.
    wrong = {
        (file.relative_to(root).as_posix(), name)
        for file in python_files(root, *PARTS, "tests")
        for name in imports(root, file)
        if name.split(".")[0] in {"engine", "learners", "ros2_nodes"}
    }
    assert wrong == set()


def test_slow_libraries_are_imported_where_they_are_used(root: Path) -> None:
    # A file that defines torch modules needs torch at its top; whatever imports such a file does so inside a function.
    heavy: dict[str, set[str]] = {}
    for file in python_files(root, *PARTS):
        tree = ast.parse(file.read_text(encoding="utf-8"), str(file))
        heavy[module_name(root, file)] = {n for n in imports(root, file, top_level(tree)) if n.split(".")[0] in SLOW - {"torch"}}
    assert {module: names for module, names in heavy.items() if names} == {}


def learner_folders() -> list[Path]:
    folder = Path(__file__).resolve().parent.parent / "learners"
    return sorted(p for p in folder.iterdir() if (p / "__init__.py").is_file())


@pytest.mark.parametrize("folder", learner_folders(), ids=lambda p: p.name)
def test_every_learner_has_the_same_files(folder: Path) -> None:
    assert sorted(LEARNER_FILES - {p.name for p in folder.iterdir()}) == []


def test_files_stay_readable(root: Path) -> None:
    lines = {f.relative_to(root).as_posix(): len(f.read_text(encoding="utf-8").splitlines()) for f in python_files(root, *PARTS, "tests")}
    assert {path: n for path, n in lines.items() if n > MAX_LINES and path not in LONGER} == {}
    assert {path: reason for path, reason in LONGER.items() if lines.get(path, 0) <= MAX_LINES} == {}, "no longer needed in LONGER"


@pytest.mark.parametrize(
    "code",
    [
        f"import {PACKAGE}",
        f"import {PACKAGE}; assert 'esr' in {PACKAGE}.learner_names()",
        f"import {PACKAGE}; {PACKAGE}.Learner",
        f"import {PACKAGE}; {PACKAGE}.FacialEmotionLearner",
        f"from {PACKAGE}.engine.registry import learner_class; learner_class('esr').card.licence",
        f"from {PACKAGE}.commands import main; assert main(['list']) == 0",
    ],
    ids=["package", "names", "contract", "learner", "card", "list"],
)
def test_nothing_slow_is_imported_before_it_is_needed(code: str, tmp_path: Path) -> None:
    report = f"import json, sys\n{code}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", report], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    early = json.loads(done.stdout.splitlines()[-1])
    assert sorted(SLOW & {name.split(".")[0] for name in early}) == []
    assert [name for name in early if any(below(name, f"{PACKAGE}.{part}") for part in LATE)] == []


def test_every_public_name_can_be_imported() -> None:
    import emotion_perception

    assert {name: hasattr(emotion_perception, name) for name in emotion_perception.__all__} == dict.fromkeys(
        emotion_perception.__all__, True
    )
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = emotion_perception.no_such_name
