"""Builds emotion_perception with pip and with colcon; the only place of its metadata.

The parts of the package lie at the root of the repository and are mapped below the import name.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from setuptools import setup

NAME = "emotion_perception"
PARTS = ("engine", "learners", "ros2_nodes", "config")
DATA_SUFFIXES = {".json", ".md", ".png", ".safetensors", ".txt", ".typed", ".xml", ".yaml"}

# resolve(): `colcon build --symlink-install` runs a link to this file from its build folder.
ROOT = Path(__file__).resolve().parent


def visible(folder: Path) -> list[Path]:
    """Returns what lies in a folder, sorted, without caches and hidden entries."""
    return sorted(p for p in folder.iterdir() if not p.name.startswith(".") and p.name != "__pycache__")


def find_packages(folder: Path, name: str) -> dict[str, Path]:
    """Returns package name -> folder for a folder and every package below it."""
    found = {name: folder}
    for child in visible(folder):
        if (child / "__init__.py").is_file():
            found.update(find_packages(child, f"{name}.{child.name}"))
    return found


def find_data(folder: Path) -> list[Path]:
    """Returns the data files of one package, those in its sub-folders included and those of its sub-packages not."""
    found = []
    for child in visible(folder):
        if child.is_dir() and not (child / "__init__.py").is_file():
            found += find_data(child)
        elif child.suffix in DATA_SUFFIXES:
            found.append(child)
    return found


def relative(path: Path) -> str:
    """Returns a path relative to the working folder, which under colcon need not be the root."""
    return os.path.relpath(path, Path.cwd())


mapped: dict[str, Path] = {}
for part in PARTS:
    if (ROOT / part).is_dir():
        mapped.update(find_packages(ROOT / part, f"{NAME}.{part}"))
packages = {**find_packages(ROOT / NAME, NAME), **mapped}

found_version = re.search(r'^__version__ = "(.+)"$', (ROOT / NAME / "__init__.py").read_text(encoding="utf-8"), re.MULTILINE)
if found_version is None:
    raise SystemExit(f'{NAME}/__init__.py has no line: __version__ = "..."')

vision = ["opencv-python-headless>=4.8,<5"]  # OpenCV 5 has no Haar cascades
onnx = ["onnx", "onnxruntime", "onnxscript"]
keras = ["h5py"]
explain = ["captum>=0.8"]
measuring = ["torchmetrics", "scikit-learn", "matplotlib"]
train = ["tensorboard", *measuring]
fairness = ["fairlearn>=0.13", *measuring]
parquet = ["pyarrow"]
emotx = ["omegaconf>=2.3", "transformers>=4.40", "scikit-learn"]
wandb = ["wandb"]
torch = ["torch>=2.2"]
video = ["av>=14.1"]  # rotation of frames
# ROS 2's wire without ROS 2. Cyclone DDS has no wheel for Linux on ARM; there, the nodes run on ROS 2's own rclpy.
dds = ["cyclonedds>=11.0.1,<12; sys_platform != 'linux' or platform_machine == 'x86_64'", "rosbags>=0.11", "ruamel.yaml"]
test = ["pytest>=7.4", "pytest-xdist>=3.5", "hypothesis", "ruff", "mypy", "setuptools>=59.6", "wheel"]

setup(
    name=NAME,
    version=found_version[1],
    description="Emotion perception for robots and researchers: learners, a pipeline and ROS 2 nodes behind one contract",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    maintainer="The emotion_perception developers",
    maintainer_email="maintainers@emotion-perception.invalid",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=sorted(packages),
    # No entry for the package itself: colcon refuses to build it. Where it lies is the default anyway.
    package_dir={name: relative(folder) for name, folder in mapped.items()},
    package_data={name: [str(file.relative_to(folder)) for file in find_data(folder)] for name, folder in packages.items()},
    data_files=[
        ("share/ament_index/resource_index/packages", [relative(ROOT / "resource" / NAME)]),
        (f"share/{NAME}", [relative(ROOT / "package.xml")]),
        *(
            (f"share/{NAME}/{folder}", [relative(file) for file in sorted((ROOT / folder).glob(pattern))])
            for folder, pattern in (("launch", "*.launch.py"), ("config", "*.yaml"))
            if (ROOT / folder).is_dir()
        ),
    ],
    # torch, OpenCV and onnxruntime are extras: a Jetson has its own builds of them. typer before 0.12.4 does not know `Path | None`.
    install_requires=["numpy>=1.26", "pillow>=9.1", "pooch", "requests", "rich", "safetensors", "scipy", "typer>=0.12.4"],
    extras_require={
        "torch": torch,
        "vision": vision,
        "onnx": onnx,
        "keras": keras,
        "fairness": fairness,
        "explain": explain,
        "parquet": parquet,
        "emotx": emotx,
        "wandb": wandb,
        "train": train,
        "video": video,
        "dds": dds,
        "all": [*torch, *vision, *onnx, *keras, *train, *video, *fairness, *explain, *parquet, *emotx, *dds],
        "test": test,
    },
    entry_points={
        "console_scripts": [
            f"emotion-perception = {NAME}.commands:main",
            # `ros2 run emotion_perception ...`, and what launch files start.
            f"clip_emotion_node = {NAME}.ros2_nodes.clip_emotion_node:main",
            f"face_emotion_node = {NAME}.ros2_nodes.face_emotion_node:main",
            f"scene_emotion_node = {NAME}.ros2_nodes.scene_emotion_node:main",
        ],
        f"{NAME}.learners": [
            f"emonet = {NAME}.learners.emonet:EmoNetLearner",
            f"emotorch = {NAME}.learners.emotorch:EmoTorchLearner",
            f"emotx = {NAME}.learners.emotx:EmoTxLearner",
            f"esr = {NAME}.learners.esr:FacialEmotionLearner",
            f"mobilenetv2_affectnet = {NAME}.learners.mobilenetv2_affectnet:MobileNetV2Learner",
        ],
    },
    zip_safe=False,
    classifiers=[
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
)
