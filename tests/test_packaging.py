"""The package as others get it: wheel, sdist, editable install, colcon."""

from __future__ import annotations

import configparser
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import sysconfig
import xml.etree.ElementTree as ElementTree
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

PARTS = ("engine", "learners", "ros2_nodes", "config")
Run = Callable[..., str]
Build = Callable[[str, Path, Path], Path]
Isolated = Callable[[Path, str], dict[str, str]]


@pytest.fixture(scope="session")
def checkout(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout to build in, so that building leaves nothing in the real one."""
    copy = tmp_path_factory.mktemp("checkout") / "emotion_perception"
    ignored = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "install", "log", "out", "runs", "temp", "venv")
    shutil.copytree(root, copy, ignore=ignored)
    return copy


@pytest.fixture(scope="session")
def run() -> Run:
    """Runs a program to its end and returns what it printed; a failure shows what it complained about."""

    def run(*words: str | Path, cwd: Path, environment: dict[str, str] | None = None) -> str:
        done = subprocess.run([str(w) for w in words], cwd=cwd, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(map(str, words))}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run


@pytest.fixture(scope="session")
def build(run: Run) -> Build:
    """Builds a ``wheel`` or an ``sdist`` of a source tree without network and without isolation."""
    pytest.importorskip("setuptools", reason="setuptools is not installed; it comes with the extra 'test'")

    def build(kind: str, source: Path, target: Path) -> Path:
        code = f"import sys, setuptools.build_meta as b; print('built', b.build_{kind}(sys.argv[1]))"
        return target / run(sys.executable, "-c", code, target, cwd=source).split("built ")[-1].strip()

    return build


@pytest.fixture(scope="session")
def wheel(build: Build, checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", checkout, tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def isolated(run: Run, tmp_path: Path) -> Isolated:
    """Runs code in an interpreter that sees one site folder and this environment's libraries, but not its installed emotion_perception.

    Returns the JSON object that the code prints.
    """

    def isolated(site_folder: Path, code: str) -> dict[str, str]:
        # -S: no .pth file of this environment is read, so its own editable install cannot answer instead of the one under test.
        prelude = "import json, site, sys; site.addsitedir(sys.argv[1]); sys.path += sys.argv[2:]\n"
        libraries = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
        answer: dict[str, str] = json.loads(run(sys.executable, "-S", "-c", prelude + code, site_folder, *libraries, cwd=tmp_path))
        return answer

    return isolated


WHERE = """
import emotion_perception, emotion_perception.engine.registry as registry, emotion_perception.learners
print(json.dumps({"package": emotion_perception.__file__, "engine": registry.__file__, "learners": emotion_perception.learners.__file__}))
"""


def expected_files(root: Path) -> set[str]:
    """Returns the names that a wheel must have: every module, and the data that the package reads at run time."""
    code = [p for part in (*PARTS, "emotion_perception") for p in (root / part).rglob("*.py")]
    patterns = ("learners/*/README.md", "learners/*/weights/**/*", "engine/assets/*", "config/*.yaml", "emotion_perception/py.typed")
    data = [p for pattern in patterns for p in root.glob(pattern)]
    names = {p.relative_to(root).as_posix() for p in [*code, *data] if p.is_file() and not p.name.startswith(".")}
    return {name if name.startswith("emotion_perception/") else f"emotion_perception/{name}" for name in names}


def test_wheel_has_the_code_and_data_and_nothing_else(wheel: Path, checkout: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    version = wheel.name.split("-")[1]
    top = {name.split("/")[0] for name in names}
    assert top == {"emotion_perception", f"emotion_perception-{version}.dist-info", f"emotion_perception-{version}.data"}
    assert sorted(expected_files(checkout) - names) == []
    assert "emotion_perception/engine/assets/astronaut.png" in names
    assert not [name for name in names if "tests" in name.split("/") or name.endswith(".pyc")]
    shared = f"emotion_perception-{version}.data/data/share"
    assert {f"{shared}/ament_index/resource_index/packages/emotion_perception", f"{shared}/emotion_perception/package.xml"} <= names


def test_wheel_says_how_it_is_used(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        folder = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA")).rpartition("/")[0]
        entries = configparser.ConfigParser(delimiters="=")
        entries.optionxform = str  # type: ignore[assignment,method-assign]
        entries.read_string(archive.read(f"{folder}/entry_points.txt").decode())
        metadata = archive.read(f"{folder}/METADATA").decode()
        assert f"{folder}/licenses/LICENSE" in archive.namelist() or f"{folder}/LICENSE" in archive.namelist()
    assert entries["console_scripts"]["emotion-perception"] == "emotion_perception.commands:main"
    assert entries["emotion_perception.learners"]["esr"] == "emotion_perception.learners.esr:FacialEmotionLearner"
    always = re.findall(r"^Requires-Dist: ([\w.-]+)[^;\n]*$", metadata, re.MULTILINE)
    # A robot has its own builds of these.
    assert not {"torch", "opencv-python", "opencv-python-headless", "onnxruntime"} & set(always)
    extras = set(re.findall(r"^Provides-Extra: (.+)$", metadata, re.MULTILINE))
    assert extras >= {"all", "onnx", "test", "torch", "train", "video", "vision"}
    assert "Requires-Python: >=3.10" in metadata


def test_installed_wheel_works_away_from_the_checkout(wheel: Path, run: Run, isolated: Isolated, tmp_path: Path) -> None:
    prefix = tmp_path / "prefix"
    options = ("--no-deps", "--no-index", "--no-compile", "--ignore-installed", "--prefix", prefix)
    run(sys.executable, "-m", "pip", "install", *options, wheel, cwd=tmp_path)
    site_folder = Path(sysconfig.get_path("purelib", vars={"base": str(prefix), "platbase": str(prefix)}))
    where = isolated(site_folder, WHERE)
    assert {Path(file).is_relative_to(site_folder) for file in where.values()} == {True}
    # setup.cfg sends colcon's scripts elsewhere; pip's must stay where a shell finds them.
    assert (prefix / "bin" / "emotion-perception").is_file()
    names = isolated(site_folder, "from emotion_perception import learner_names\nprint(json.dumps({'names': learner_names()}))")
    assert "esr" in names["names"]


def test_wheel_from_the_sdist_equals_the_wheel(build: Build, wheel: Path, checkout: Path, tmp_path: Path) -> None:
    sdist = build("sdist", checkout, tmp_path)
    shutil.unpack_archive(sdist, tmp_path)
    source = tmp_path / sdist.name.removesuffix(".tar.gz")
    with zipfile.ZipFile(build("wheel", source, tmp_path)) as ours, zipfile.ZipFile(wheel) as theirs:
        assert sorted(ours.namelist()) == sorted(theirs.namelist())


def test_editable_install_shows_the_checkout(checkout: Path, run: Run, isolated: Isolated, tmp_path: Path, build: Build) -> None:
    folder = tmp_path / "site"
    wheel = build("editable", checkout, tmp_path)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    where = isolated(folder, WHERE)
    assert where["engine"] == str(checkout / "engine" / "registry.py")
    # A module made after the installation is found too, and the root itself is not on the path: `engine` alone would be a second module.
    (checkout / "engine" / "made_later.py").write_text("VALUE = 1\n")
    try:
        code = "import importlib.util, emotion_perception.engine.made_later as m\n"
        code += "print(json.dumps({'value': m.VALUE, 'short': importlib.util.find_spec('engine') is not None}))"
        assert isolated(folder, code) == {"value": 1, "short": False}
    finally:
        (checkout / "engine" / "made_later.py").unlink()


def test_package_xml_agrees_with_the_package(root: Path) -> None:
    package = ElementTree.parse(root / "package.xml").getroot()
    version = re.search(r'__version__ = "(.+)"', (root / "emotion_perception" / "__init__.py").read_text(encoding="utf-8"))
    assert version is not None
    assert package.findtext("name") == "emotion_perception"
    assert package.findtext("version") == version[1]
    assert package.findtext("export/build_type") == "ament_python"
    assert (root / "resource" / "emotion_perception").is_file()
    # The maintainer's address must have a domain with a dot: ROS's own reader refuses others, silently.
    assert re.fullmatch(r"[^@\s]+@[^@\s]+\.[a-z]{2,}", package.find("maintainer").get("email"))  # type: ignore[union-attr,arg-type]


def test_no_second_source_of_metadata(root: Path) -> None:
    # colcon cannot build an ament_python package with a [project] table.
    assert not re.search(r"^\[project", (root / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert not re.search(r"^\[(metadata|options)", (root / "setup.cfg").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture(scope="session")
def colcon() -> list[str]:
    if importlib.util.find_spec("colcon_core") and importlib.util.find_spec("colcon_ros"):
        return [sys.executable, "-m", "colcon"]
    program = shutil.which("colcon")
    if program is None:
        pytest.skip("colcon is not installed; pip install colcon-common-extensions")
    return [program]


@pytest.mark.parametrize("options", [[], ["--symlink-install"]], ids=["plain", "symlink-install"])
def test_colcon_builds_it(options: list[str], colcon: list[str], checkout: Path, run: Run, isolated: Isolated, tmp_path: Path) -> None:
    shutil.copytree(checkout, tmp_path / "src" / "emotion_perception", ignore=shutil.ignore_patterns("build", "*.egg-info"))
    assert "(ros.ament_python)" in run(*colcon, "list", cwd=tmp_path)
    run(*colcon, "build", *options, cwd=tmp_path)
    installed = tmp_path / "install" / "emotion_perception"
    # Here `ros2 run emotion_perception emotion-perception` looks.
    assert (installed / "lib" / "emotion_perception" / "emotion-perception").is_file()
    assert (installed / "share" / "ament_index" / "resource_index" / "packages" / "emotion_perception").exists()
    assert (installed / "share" / "emotion_perception" / "package.xml").exists()
    site_folder = tmp_path / "build" / "emotion_perception" if options else next(installed.glob("lib/python*/site-packages"))
    where = isolated(site_folder, WHERE)
    assert Path(where["engine"]).is_relative_to(tmp_path)
