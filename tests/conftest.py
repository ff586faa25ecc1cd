"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Before the first import of torch. Tests compute little: one thread is the fastest, and leaves the other cores to whoever runs beside.
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
# A choice between back ends takes seconds of measuring with every fresh cache; the tests of the choice take this away again.
os.environ["EMOTION_PERCEPTION_TUNE"] = "0"

ROOT = Path(__file__).resolve().parent.parent
DATA_VARIABLE = "EMOTION_PERCEPTION_TEST_DATA"


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real data sets, published weights and reference outputs; tests that need it are skipped without it."""
    given = os.environ.get(DATA_VARIABLE)
    if not given:
        pytest.skip(f"{DATA_VARIABLE} is not set; it names a folder with data/, weights/ and golden/")
    folder = Path(given)
    if not folder.is_dir():
        pytest.fail(f"{DATA_VARIABLE} is {given!r}, which is not a folder")
    return folder


@pytest.fixture(scope="session")
def portrait(root: Path) -> Path:
    """A picture in the public domain that shows one face."""
    return root / "engine" / "assets" / "astronaut.png"
