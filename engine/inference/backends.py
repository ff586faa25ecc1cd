"""What every back end is: called with an array, it answers with named arrays."""

from __future__ import annotations

import importlib
from typing import Any, Protocol, runtime_checkable

from emotion_perception.engine.data import describe
from emotion_perception.engine.errors import InputError, MissingDependencyError
from emotion_perception.engine.target import FloatArray


@runtime_checkable
class Backend(Protocol):
    """A network that is ready to run. Several threads may call it at once.

    Attributes:
        name: What runs the network and where, for people: ``torch cpu``, ``onnxruntime cpu``, ``onnxruntime cpu int8``.
    """

    name: str

    def __call__(self, x: FloatArray) -> dict[str, FloatArray]:
        """Runs the network.

        Args:
            x: ``(n, channels, height, width)`` float32, as the card's input says.

        Returns:
            Float32 arrays with n rows each, by output name.

        Raises:
            InputError: ``x`` does not fit the network.
        """


def check_layout(x: FloatArray) -> None:
    """Refuses an array that is no batch of pictures."""
    if x.ndim != 4:
        raise InputError(f"a back end takes (n, channels, height, width) float32, got {describe(x)}; add the batch axis")


def require(package: str, purpose: str) -> Any:
    """Imports an optional package of the extra ``onnx``, or raises `MissingDependencyError` that says what it is needed for."""
    try:
        return importlib.import_module(package)
    except ImportError:
        raise MissingDependencyError(package, purpose, "onnx") from None
