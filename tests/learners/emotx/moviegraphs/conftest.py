"""A tiny synthetic MovieGraphs, written once; tests that damage it work on a copy."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from emotion_perception.learners.emotx.moviegraphs import write_synthetic


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic(tmp_path_factory.mktemp("synthetic") / "tiny", movies=3, scenes=6, face_feat_type="generic", seed=1)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EMOTION_PERCEPTION_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def movies(written: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(written, tmp_path / "movies"))
