"""What every back end is: called with the arrays that a network takes, it answers with named arrays."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from emotion_perception.engine.data import describe
from emotion_perception.engine.errors import InputError, MissingDependencyError
from emotion_perception.engine.target import FloatArray

# What a network takes: an array for each of its inputs, all with n rows.
Inputs = tuple[NDArray[Any], ...]


@runtime_checkable
class Backend(Protocol):
    """A network that is ready to run. Several threads may call it at once.

    Attributes:
        name: What runs the network and where, for people: ``torch cpu``, ``onnxruntime cpu``, ``onnxruntime cpu int8``.
    """

    name: str

    def __call__(self, *inputs: NDArray[Any]) -> dict[str, FloatArray]:
        """Runs the network.

        Args:
            inputs: Pictures ``(n, channels, height, width)`` float32, as the card's input says; for a network that takes several arrays
                those, n rows each, in the order of the learner's ``input_names``.

        Returns:
            Float32 arrays with n rows each, by output name.

        Raises:
            InputError: ``inputs`` do not fit the network.
        """


def check_layout(inputs: Inputs) -> None:
    """Refuses a single array that is no batch of pictures, and several that have no batch in common."""
    if len(inputs) == 1 and inputs[0].ndim != 4:
        raise InputError(f"a back end takes (n, channels, height, width) float32, got {describe(inputs[0])}; add the batch axis")
    if len({x.shape[:1] for x in inputs}) != 1 or inputs[0].ndim == 0:
        given = ", ".join(str(x.shape) for x in inputs)
        raise InputError(f"a back end takes arrays with as many rows each, got shapes {given}; make them with the learner's inputs()")


def rows(inputs: Inputs, which: slice) -> Inputs:
    """Returns some rows of every input."""
    return tuple(x[which] for x in inputs)


def run_batches(backend: Backend, inputs: Inputs, batch_size: int, output_names: Sequence[str]) -> dict[str, FloatArray]:
    """Runs a network, ``batch_size`` rows at a time; returns its outputs by name, a row for each of the inputs, at least one."""
    parts = [backend(*rows(inputs, slice(start, start + batch_size))) for start in range(0, len(inputs[0]), batch_size)]
    return {name: np.concatenate([part[name] for part in parts]) for name in output_names}


def require(package: str, purpose: str) -> Any:
    """Imports an optional package of the extra ``onnx``, or raises `MissingDependencyError` that says what it is needed for."""
    try:
        return importlib.import_module(package)
    except ImportError:
        raise MissingDependencyError(package, purpose, "onnx") from None
