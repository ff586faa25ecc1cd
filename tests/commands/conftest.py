from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image as PillowImage


class Outcome(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def quiet_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No network, an empty cache, one thread, whatever the machine has."""
    for name, value in (
        ("EMOTION_PERCEPTION_OFFLINE", "1"),
        ("EMOTION_PERCEPTION_CACHE", str(tmp_path / "cache")),
        ("OMP_NUM_THREADS", "1"),
        ("COLUMNS", "120"),
    ):
        monkeypatch.setenv(name, value)
    for name in ("EMOTION_PERCEPTION_DEBUG", "EMOTION_PERCEPTION_MIRROR", "ROS_DISTRO"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def command(quiet_environment: None, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Runs the command line in this process, which has torch imported once for all tests."""
    from emotion_perception.commands import main

    def run(*words: object) -> Outcome:
        capsys.readouterr()
        status = main([str(word) for word in words])
        return Outcome(status, *capsys.readouterr())

    return run


@pytest.fixture
def process(quiet_environment: None, tmp_path: Path) -> Callable[..., Outcome]:
    """Runs the command line as a process of its own, in an empty folder; keywords are environment variables."""

    def run(*words: object, **variables: str) -> Outcome:
        line = [sys.executable, "-m", "emotion_perception", *(str(word) for word in words)]
        done = subprocess.run(line, cwd=tmp_path, env=os.environ | variables, capture_output=True, text=True, timeout=120)
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of weights of a small ESR that has learned nothing."""
    from emotion_perception.learners.esr import FacialEmotionLearner

    learner = FacialEmotionLearner(ensemble_size=2, seed=1)
    learner.init_model()
    return learner.save(tmp_path_factory.mktemp("weights") / "esr2")


@pytest.fixture(scope="session")
def class_folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of three classes that differ in brightness: a folder per class."""
    root = tmp_path_factory.mktemp("classes")
    numbers = np.random.default_rng(0)
    for word, level in (("Happy", 200), ("Sad", 60), ("Neutral", 130)):
        (root / word).mkdir()
        for i in range(8):
            pixels = numbers.normal(level, 20, (54, 54, 3)).clip(0, 255).astype(np.uint8)
            PillowImage.fromarray(pixels).save(root / word / f"{i}.png")
    return root


@pytest.fixture
def bad_files(tmp_path: Path, portrait: Path) -> dict[str, Path]:
    """Files that are no whole pictures, by what is wrong with them."""
    folder = tmp_path / "bad"
    folder.mkdir()
    contents = {"empty": b"", "truncated": portrait.read_bytes()[:5000], "text": b"this is no picture\n"}
    for name, content in contents.items():
        (folder / f"{name}.png").write_bytes(content)
    return {"missing": folder / "missing.png"} | {name: folder / f"{name}.png" for name in contents}
