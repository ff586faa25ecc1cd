"""Emotion perception for robots and researchers: learners, a pipeline and ROS 2 nodes behind one contract.

The public names are imported on first use, so that ``import emotion_perception`` costs milliseconds.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# In a checkout the parts (engine, learners, ...) lie beside this folder, not inside it; a wheel has them inside.
_root = Path(__file__).resolve().parent.parent
if (_root / "package.xml").is_file() and (_root / "engine").is_dir():
    __path__.append(str(_root))

_PUBLIC = {
    "BoundingBox": "engine.target",
    "Category": "engine.target",
    "EmotionPerceptionError": "engine.errors",
    "Emotions": "engine.target",
    "FaceEmotion": "engine.target",
    "FacialEmotionLearner": "learners.esr",
    "FrameResult": "engine.target",
    "Image": "engine.data",
    "Learner": "engine.learners",
    "Pipeline": "engine.pipeline",
    "create_learner": "engine.registry",
    "datasets": "engine",
    "learner_names": "engine.registry",
}
__all__ = [
    "BoundingBox",
    "Category",
    "EmotionPerceptionError",
    "Emotions",
    "FaceEmotion",
    "FacialEmotionLearner",
    "FrameResult",
    "Image",
    "Learner",
    "Pipeline",
    "__version__",
    "create_learner",
    "datasets",
    "learner_names",
]

if TYPE_CHECKING:
    from emotion_perception.engine import datasets
    from emotion_perception.engine.data import Image
    from emotion_perception.engine.errors import EmotionPerceptionError
    from emotion_perception.engine.learners import Learner
    from emotion_perception.engine.pipeline import Pipeline
    from emotion_perception.engine.registry import create_learner, learner_names
    from emotion_perception.engine.target import BoundingBox, Category, Emotions, FaceEmotion, FrameResult
    from emotion_perception.learners.esr import FacialEmotionLearner


def __getattr__(name: str) -> Any:
    """Imports a public name on first use."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    package = f"{__name__}.{_PUBLIC[name]}"
    if name == "datasets":
        value: Any = importlib.import_module(f"{package}.{name}")
    else:
        value = getattr(importlib.import_module(package), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Lists the public names, also those not imported yet."""
    return sorted({*globals(), *__all__})
