"""Weights that Keras wrote (its HDF5 layout, versions 2 and earlier), read without Keras; nothing in a file is run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from emotion_perception.engine.errors import MissingDependencyError, WeightsError
from emotion_perception.engine.target import FloatArray

if TYPE_CHECKING:
    from torch import Tensor

KERAS_SUFFIXES = (".h5", ".hdf5")
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
# Name of a Keras weight, number of its axes -> name in torch, and the order of torch's axes.
_NAMES: dict[tuple[str, int], tuple[str, tuple[int, ...]]] = {
    ("kernel", 4): ("weight", (3, 2, 0, 1)),
    ("depthwise_kernel", 4): ("weight", (2, 3, 0, 1)),
    ("kernel", 2): ("weight", (1, 0)),
    ("bias", 1): ("bias", (0,)),
    ("gamma", 1): ("weight", (0,)),
    ("beta", 1): ("bias", (0,)),
    ("moving_mean", 1): ("running_mean", (0,)),
    ("moving_variance", 1): ("running_var", (0,)),
}


def read_keras(file: str | Path) -> dict[str, dict[str, FloatArray]]:
    """Reads a file written by ``save_weights``, or by ``save``, of which only the weights are looked at.

    Returns:
        Layer -> name of a weight in it (``kernel``, ``gamma``, ...) -> float32 array in Keras's layout; layers that have weights, in the
        file's order.

    Raises:
        WeightsError: The file is missing, truncated, or not written by Keras.
        MissingDependencyError: h5py is not installed.
    """
    file = Path(file)
    try:
        with file.open("rb") as stream:
            start = stream.read(len(_SIGNATURE))
    except OSError as error:
        raise WeightsError(f"cannot read {str(file)!r}: {error.strerror}; give a Keras file (.h5)") from None
    if start != _SIGNATURE:
        raise WeightsError(f"{str(file)!r} is not an HDF5 file; give one that Keras wrote, or download it again")
    try:
        import h5py
    except ImportError:
        raise MissingDependencyError("h5py", "reading Keras files", "keras") from None
    layers: dict[str, dict[str, FloatArray]] = {}
    try:
        with h5py.File(file, "r") as content:
            root = content.get("model_weights", content)
            for layer in map(_text, root.attrs["layer_names"]):
                names = [_text(name) for name in root[layer].attrs["weight_names"]]
                values = [np.asarray(root[layer][name], np.float32) for name in names]
                if names:
                    layers[layer] = {name.rpartition("/")[2].partition(":")[0]: v for name, v in zip(names, values, strict=True)}
    except (OSError, KeyError, AttributeError, TypeError, ValueError, RuntimeError) as error:  # what h5py makes of damaged files
        reason = str(error).strip("'\"").partition("\n")[0]
        raise WeightsError(f"cannot read {str(file)!r}: truncated, or not written by Keras ({reason}); download it again") from None
    return layers


def as_torch(weights: dict[str, FloatArray], module: str, where: str) -> dict[str, Tensor]:
    """Turns the weights of a convolution, a dense layer or a batch norm into torch's names and order of axes.

    Args:
        weights: Of one layer, as `read_keras` returns them.
        module: Name of the layer in torch's state dict.
        where: File and layer, for the message.

    Raises:
        WeightsError: A weight that those layers do not have.
    """
    import torch

    tensors = {}
    for keras, value in weights.items():
        if (keras, value.ndim) not in _NAMES:
            raise WeightsError(f"{where} has a weight {keras!r} of shape {value.shape}, which no layer of this network has")
        name, axes = _NAMES[keras, value.ndim]
        tensors[f"{module}.{name}"] = torch.from_numpy(np.ascontiguousarray(value.transpose(axes)))
    return tensors


def _text(name: bytes | str) -> str:
    """Returns a name as text; old versions of Keras wrote bytes."""
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
