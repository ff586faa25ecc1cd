"""Weights made elsewhere, in the two layouts that EmoNet was published in for PyTorch, and mean images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from emotion_perception.engine.errors import WeightsError
from emotion_perception.engine.target import FloatArray
from emotion_perception.engine.weights import check_shapes, load_torch

if TYPE_CHECKING:
    from torch import Tensor

# The mean image beside the weights of the second layout.
MEAN_NAME = "img_mean.txt"
_LAST = ("classifier.0.weight", "classifier.0.bias")
# The layers of the second layout, in the order of the network.
_OTHER_LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc1", "fc2", "fc3")
_LAYERS = (*(f"conv_{i}.0" for i in range(7)), "classifier.0")
# A tensor's name begins so -> what the file is.
_STRANGERS = {
    "emo_": "the EmoNet of Toisoul et al. 2021, which judges faces",
    "bn1.": "another network, with batch norm; the EmoNet of Toisoul et al. 2021, which judges faces, has some",
    "features.": "torchvision's AlexNet or one made like it: one tower, other widths, no response normalisation",
    "Conv_0.": "a raw import of the ONNX file; its authors publish the same weights under other names",
    "initializers.": "a raw import of the ONNX file; its authors publish the same weights under other names",
}


def read_weights(file: str | Path, *, last: bool = True) -> tuple[dict[str, Tensor], str]:
    """Reads a published file.

    Args:
        file: A state dict of Kragel's lab (``conv_0.0.weight`` ...), or of the port with full layers (``conv1.weight`` ...
            ``fc3.bias``), whose first full layer goes over the maps column by column, as MATLAB does.
        last: Take the last layer too, and insist on its twenty classes; without it, a file with other classes will do.

    Returns:
        The tensors, named and shaped as in `model.EmoNet`, float32; and the layout: ``kragel`` or ``full``.

    Raises:
        WeightsError: Missing, truncated, or other weights; it says whose, where they are known.
    """
    from emotion_perception.learners.emonet.model import EmoNet, on_meta

    tensors, layout = {name: value.float() for name, value in load_torch(file).items()}, "kragel"
    stranger = next((what for start, what in _STRANGERS.items() if any(name.startswith(start) for name in tensors)), None)
    if stranger is not None:
        raise WeightsError(f"{str(file)!r} holds {stranger}; give the weights of Kragel et al. 2019")
    if "fc1.weight" in tensors:
        tensors, layout = _renamed(tensors, file), "full"
    expected = {name: tuple(value.shape) for name, value in on_meta(EmoNet).state_dict().items()}
    if not last:
        expected = {name: shape for name, shape in expected.items() if name not in _LAST}
        tensors = {name: value for name, value in tensors.items() if name not in _LAST}
    check_shapes(expected, tensors, repr(str(file)))
    return tensors, layout


def _renamed(tensors: Mapping[str, Tensor], file: str | Path) -> dict[str, Tensor]:
    """Turns the layout with full layers into that of convolutions."""
    names = {f"{old}.{leaf}": f"{new}.{leaf}" for old, new in zip(_OTHER_LAYERS, _LAYERS, strict=True) for leaf in ("weight", "bias")}
    found = {names.get(name, name): value for name, value in tensors.items()}
    for name, kernel in (("conv_5.0.weight", 6), ("conv_6.0.weight", 1), ("classifier.0.weight", 1)):
        value = found.get(name)
        if value is None:
            continue  # said by name later
        if value.ndim != 2 or value.shape[1] % kernel**2:
            raise WeightsError(f"{str(file)!r}: tensor {name!r} of a full layer has shape {tuple(value.shape)}, expected (out, in)")
        # Columns before rows.
        found[name] = value.reshape(len(value), -1, kernel, kernel).transpose(2, 3).contiguous()
    return found


def read_mean_image(file: str | Path) -> FloatArray:
    """Reads a mean image.

    Args:
        file: ``.npy``, ``(227, 227, 3)`` or ``(3, 227, 227)``; else text of 227 lines with 3 x 227 values each, separated by commas, a
            line being a row of the red, then the green, then the blue channel.

    Returns:
        ``(3, 227, 227)`` float32 RGB, 0 to 255.

    Raises:
        WeightsError: Missing, of another shape, or not within 0 to 255.
    """
    from emotion_perception.learners.emonet.model import SIDE

    shapes = f"{SIDE} lines of {3 * SIDE} values, or a .npy file ({SIDE}, {SIDE}, 3)"
    try:
        if Path(file).suffix == ".npy":
            values = np.asarray(np.load(file, allow_pickle=False), np.float32)
            values = values.transpose(2, 0, 1) if values.shape == (SIDE, SIDE, 3) else values
        else:
            values = np.loadtxt(file, delimiter=",", dtype=np.float32, ndmin=2)
            values = values.reshape(SIDE, 3, SIDE).transpose(1, 0, 2) if values.shape == (SIDE, 3 * SIDE) else values
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise WeightsError(f"cannot read mean image {str(file)!r}: {reason}; expected {shapes}") from None
    if values.shape != (3, SIDE, SIDE):
        raise WeightsError(f"mean image {str(file)!r} has shape {values.shape}, expected {shapes}")
    if not (np.isfinite(values).all() and values.min() >= 0.0 and 1.0 < values.max() <= 255.0):
        raise WeightsError(f"mean image {str(file)!r} has values from {values.min():g} to {values.max():g}, expected pixels of 0 to 255")
    return np.ascontiguousarray(values)
