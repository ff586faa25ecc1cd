"""``emotion-perception doctor``: works with nothing but typer installed."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import typer

from emotion_perception.commands._common import JsonOption, print_json

EXAMPLES = ("emotion-perception doctor", "emotion-perception doctor --json")

# import name, distribution, needed for all work, extra that brings it, what is lost without it
_PACKAGES = (
    ("typer", "typer", True, "", ""),
    ("numpy", "numpy", True, "", ""),
    ("PIL", "pillow", True, "", ""),
    ("safetensors", "safetensors", True, "", ""),
    ("scipy", "scipy", True, "", ""),
    ("torch", "torch", True, "torch", ""),
    ("cv2", "opencv-python-headless", True, "vision", ""),
    ("pooch", "pooch", False, "", "no downloads"),
    ("rich", "rich", False, "", "no progress bars"),
    ("av", "av", False, "video", "no video files"),
    ("onnxruntime", "onnxruntime", False, "onnx", "no optimised models"),
    ("onnx", "onnx", False, "onnx", "no export"),
    ("matplotlib", "matplotlib", False, "train", "no plots"),
    ("sklearn", "scikit-learn", False, "train", "no evaluation"),
    ("torchmetrics", "torchmetrics", False, "train", "no evaluation"),
    ("tensorboard", "tensorboard", False, "train", "no TensorBoard logs"),
    ("cyclonedds", "cyclonedds", False, "dds", "no nodes where there is no ROS 2"),
    ("rosbags", "rosbags", False, "dds", "no bags, no nodes where there is no ROS 2"),
    ("fairlearn", "fairlearn", False, "fairness", "no fairness audits"),
    ("captum", "captum", False, "explain", "no explanations"),
    ("h5py", "h5py", False, "keras", "no Keras files"),
    ("pyarrow", "pyarrow", False, "parquet", "no Parquet tables"),
    ("omegaconf", "omegaconf", False, "emotx", "no EmoTx"),
    ("transformers", "transformers", False, "emotx", "no features of subtitles"),
)


@dataclass(frozen=True)
class Check:
    """One thing looked at: ``state`` is ok, warning (something optional is missing) or missing (nothing works without it)."""

    name: str
    state: str
    found: str
    advice: str = ""


def run(json: JsonOption = False) -> None:
    """Checks Python, packages, face detector, cache, disk and ROS, and says what to do; exits 1 if something needed is missing."""
    checks = [*_checks()]
    missing = [check.name for check in checks if check.state == "missing"]
    if json:
        print_json({"ok": not missing, "checks": [asdict(check) for check in checks]})
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            color = {"ok": "green", "warning": "yellow", "missing": "red"}[check.state]
            advice = f"; {check.advice}" if check.advice else ""
            typer.echo(f"{typer.style(check.state.ljust(8), fg=color)} {check.name.ljust(width)}  {check.found}{advice}")
    if missing:
        typer.echo(f"emotion-perception: error: needed and missing: {', '.join(missing)}; see the advice beside each", err=True)
        raise typer.Exit(1)


def _checks() -> Iterator[Check]:
    from emotion_perception import __version__

    yield Check("emotion_perception", "ok", f"{__version__} in {Path(__file__).resolve().parent.parent}")
    right = sys.version_info >= (3, 10)
    yield Check(
        "python",
        "ok" if right else "missing",
        f"{platform.python_version()} at {sys.executable}",
        "" if right else "use Python 3.10 or newer",
    )
    yield Check("machine", "ok", f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs")
    yield _command()
    for module, package, needed, extra, lost in _PACKAGES:
        yield _package(module, package, needed, extra, lost)
    yield _learners()
    yield from _files()
    yield _ros()


def _package(module: str, package: str, needed: bool, extra: str, lost: str) -> Check:
    """Imports a package, because an installed one may still be broken, and says what there is to know about it."""
    try:
        imported: Any = importlib.import_module(module)
    except Exception as error:  # a broken binary raises anything
        install = f"pip install 'emotion_perception[{extra}]'" if extra else f"pip install {package}"
        absent = isinstance(error, ModuleNotFoundError) and error.name == module
        found = "not installed" if absent else f"cannot be imported: {' '.join(str(error).split())}"
        return Check(module, "missing" if needed else "warning", found, f"{lost + '; ' if lost else ''}run: {install}")
    version = str(getattr(imported, "__version__", None) or _version(package)).removeprefix("v")
    wanted = _requirement(package)
    if module == "cv2":
        return _opencv(imported, version, wanted)
    if _is_older(version, wanted):
        advice = f"{lost + '; ' if lost else ''}run: pip install '{wanted}'"
        return Check(module, "missing" if needed else "warning", f"{version}, which is too old", advice)
    if module == "torch":
        return _torch(imported)
    if module == "onnxruntime":
        version = f"{version}, providers {', '.join(imported.get_available_providers())}"
    return Check(module, "ok", version)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "version unknown"


def _requirement(package: str) -> str:
    """Returns what this package's metadata want of another, as pip takes it: ``name>=1.2,<2``; empty where nothing is known."""
    try:
        wanted = importlib.metadata.requires("emotion_perception") or []
    except importlib.metadata.PackageNotFoundError:  # a checkout that was never installed
        return ""
    found = (re.sub(r"[() ]", "", each.partition(";")[0]) for each in wanted)  # older tools write: av (>=14.1)
    return next((each for each in found if re.match(rf"{re.escape(package)}[<>=!~]", each)), "")


def _is_older(version: str, requirement: str) -> bool:
    """Says whether a version is below the lower bound of a requirement; False where there is none, or the version says nothing."""
    bound = re.search(r">=([\d.]+)", requirement)
    has, least = ([int(number) for number in re.findall(r"\d+", text)] for text in (version, bound[1] if bound else ""))
    return bool(has) and has[: len(least)] < least


def _torch(torch: Any) -> Check:
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU build"
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "no usable GPU"
    capability = torch.backends.cpu.get_cpu_capability()
    return Check("torch", "ok", f"{torch.__version__}, {build}, {capability}, threads {torch.get_num_threads()}, {gpu}")


def _opencv(cv2: Any, version: str, wanted: str) -> Check:
    """Says which face detectors it runs: an old one reads no YuNet of today, but its cascades work."""
    haar = (Path(getattr(getattr(cv2, "data", None), "haarcascades", "")) / "haarcascade_frontalface_default.xml").is_file()
    yunet = hasattr(cv2, "FaceDetectorYN") and not _is_older(version, wanted)
    found = f"{version}, YuNet {'yes' if yunet else 'no'}, Haar cascades {'yes' if haar else 'no'}"
    if haar and yunet:
        return Check("cv2", "ok", found)
    return Check("cv2", "warning" if haar or yunet else "missing", found, "run: pip install 'opencv-python-headless>=4.8,<5'")


def _command() -> Check:
    """Looks whether the command on the path runs with this Python: `ros2 run` and stale scripts often use another."""
    script = shutil.which("emotion-perception")
    if script is None:
        return Check(
            "command",
            "warning",
            "emotion-perception is not on the PATH",
            f"activate the environment, or use: {sys.executable} -m emotion_perception",
        )
    with Path(script).open("rb") as file:
        first = file.readline(4096).decode(errors="replace").strip()
    interpreter = first[2:].split()[0] if first.startswith("#!") and len(first) > 2 else ""
    # By folder: python and python3.11 of one environment are the same, while their links lead to one Python for all environments.
    if (
        interpreter
        and interpreter != "/usr/bin/env"
        and Path(interpreter).parent != Path(sys.executable).parent
        and "/sh" not in interpreter
    ):
        return Check(
            "command",
            "warning",
            f"{script} runs with {interpreter}, not with {sys.executable}",
            "install the package again in this environment",
        )
    return Check("command", "ok", script)


def _learners() -> Check:
    try:
        from emotion_perception.engine.registry import learner_entries, load_learner

        entries = learner_entries()
        for entry in entries.values():
            load_learner(entry)
    except Exception as error:
        return Check("learners", "missing", " ".join(str(error).split()))
    if not entries:
        return Check(
            "learners",
            "missing",
            "none registered",
            "install the package: pip install -e . (in a checkout) or pip install emotion_perception",
        )
    return Check("learners", "ok", ", ".join(entries))


def _files() -> Iterator[Check]:
    try:
        from emotion_perception.engine.vision.faces import YUNET
        from emotion_perception.engine.weights import cache_dir

        cache = cache_dir()
        detector = cache / YUNET.name
    except Exception as error:
        yield Check("cache", "warning", f"cannot be found: {' '.join(str(error).split())}", "install what is missing above")
        return
    # Not Path.is_dir and Path.is_file: those raise where one may not look.
    folder = next(p for p in (cache, *cache.parents) if os.path.isdir(p))  # noqa: PTH112
    writable = os.access(folder, os.W_OK | os.X_OK)
    yield Check(
        "cache",
        "ok" if writable else "warning",
        str(cache),
        "" if writable else "not writable; set EMOTION_PERCEPTION_CACHE to another folder",
    )
    if os.path.isfile(detector):  # noqa: PTH113
        yield Check("yunet", "ok", str(detector))
    else:
        yield Check(
            "yunet", "warning", "not fetched yet; without it the weaker Haar cascade is used", "run: emotion-perception download yunet"
        )
    free = shutil.disk_usage(folder).free / 1e9
    yield Check("disk", "ok" if free >= 1.0 else "warning", f"{free:.1f} GB free", "" if free >= 1.0 else "downloads and training may fail")


def _ros() -> Check:
    from emotion_perception.ros2_nodes.choice import ABSENT, VARIABLE, rclpy_fault

    distribution, fault = os.environ.get("ROS_DISTRO", ""), rclpy_fault()
    if not fault:
        return Check("ros", "ok", f"ROS 2 {distribution or 'found'}: rclpy can be imported")
    if fault != ABSENT:
        advice = f"use the Python that this ROS 2 is for, or set {VARIABLE}=dds: nodes run over DDS with the extra 'dds'"
        return Check("ros", "warning", fault, advice)
    root = Path("/opt/ros")
    installed = [distribution] if distribution else sorted(p.name for p in root.iterdir()) if root.is_dir() else []
    if not installed:
        return Check("ros", "ok", "none, and none is needed: nodes run over DDS, with the extra 'dds'")
    advice = f"source /opt/ros/{installed[-1]}/setup.bash, and make the environment with: python3 -m venv --system-site-packages"
    return Check("ros", "warning", f"ROS 2 {installed[-1]} is installed but this Python cannot import rclpy", advice)
