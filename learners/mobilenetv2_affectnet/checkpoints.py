"""Weights made elsewhere: Keras files of the published classifier and regressor, and ImageNet backbones of Keras and of torchvision."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from emotion_perception.engine.errors import WeightsError
from emotion_perception.engine.keras_weights import KERAS_SUFFIXES, as_torch, read_keras
from emotion_perception.engine.weights import check_shapes, load_torch

if TYPE_CHECKING:
    from torch import Tensor


def read_tower(file: str | Path) -> tuple[dict[str, Tensor], str]:
    """Reads a Keras file of a classifier, a regressor or a backbone.

    The names of dense layers count the layers of the session that wrote the file, so they are told by their place: the last is the
    head, the one before it the hidden layer.

    Args:
        file: The file, in Keras's HDF5 layout.

    Returns:
        The tensors, named as in `model.Tower`, and the head: ``categorical`` or ``dimensional``, empty for a backbone alone.

    Raises:
        WeightsError: Missing, truncated, or a network with other layers; the first that does not fit is named.
        MissingDependencyError: h5py is not installed.
    """
    from emotion_perception.learners.mobilenetv2_affectnet.model import FEATURES, HEADS, HIDDEN

    layers = read_keras(file)
    tensors: dict[str, Tensor] = {}
    for layer, module in keras_layers():
        if layer not in layers:
            raise WeightsError(f"{str(file)!r} has no layer {layer!r}, expected those of Keras's MobileNetV2; give a file of that network")
        tensors |= as_torch(layers.pop(layer), module, f"{str(file)!r}, layer {layer!r}")
    kernels = [weights["kernel"].shape if "kernel" in weights else None for weights in layers.values()]
    head = next((head for head, count in HEADS.items() if kernels == [(FEATURES, HIDDEN), (HIDDEN, count)]), "")
    if layers and not head:
        given = ", ".join(f"{layer} {kernel or 'without kernel'}" for layer, kernel in zip(layers, kernels, strict=True))
        sizes = " or ".join(f"({HIDDEN}, {count})" for count in HEADS.values())
        advice = "a regressor on a classifier's probabilities is not taken: make one of the classifier with add_affect"
        raise WeightsError(f"{str(file)!r} ends in {given}; expected kernels ({FEATURES}, {HIDDEN}) and {sizes}; {advice}")
    for (layer, weights), module in zip(layers.items(), ("dense", f"heads.{head}"), strict=False):
        tensors |= as_torch(weights, module, f"{str(file)!r}, layer {layer!r}")
    _check(tensors, head, file)
    return tensors, head


def read_backbone(file: str | Path) -> tuple[dict[str, Tensor], str]:
    """Reads a backbone to start a training from, as ImageNet weights are published.

    Args:
        file: A torch file with the names of torchvision's MobileNetV2, or a Keras file; their last layers are left out.

    Returns:
        The tensors, named as in `model.Tower`, and whose conventions they need: ``torch`` or ``keras``.

    Raises:
        WeightsError: Missing, truncated or of another network.
        MissingDependencyError: A Keras file, and h5py is not installed.
    """
    is_keras = Path(file).suffix in KERAS_SUFFIXES
    tensors = read_tower(file)[0] if is_keras else load_torch(file)
    tensors = {name: value.float() for name, value in tensors.items() if name.startswith("features.") and value.is_floating_point()}
    _check(tensors, "", file)
    return tensors, "keras" if is_keras else "torch"


def keras_layers() -> Iterator[tuple[str, str]]:
    """Yields the Keras layer and the torch module of every layer of the backbone, in the order of the network."""
    yield from (("Conv1", "features.0.0"), ("bn_Conv1", "features.0.1"))
    for block in range(17):
        keras, module = f"block_{block}" if block else "expanded_conv", f"features.{block + 1}.conv"
        rectified = ("expand", "depthwise") if block else ("depthwise",)
        for number, part in enumerate(rectified):
            yield from ((f"{keras}_{part}", f"{module}.{number}.0"), (f"{keras}_{part}_BN", f"{module}.{number}.1"))
        last = len(rectified)
        yield from ((f"{keras}_project", f"{module}.{last}"), (f"{keras}_project_BN", f"{module}.{last + 1}"))
    yield from (("Conv_1", "features.18.0"), ("Conv_1_bn", "features.18.1"))


def _check(tensors: dict[str, Tensor], head: str, file: str | Path) -> None:
    """Raises `WeightsError` unless these are all floating tensors of a tower with this head, or of a backbone."""
    import torch

    from emotion_perception.learners.mobilenetv2_affectnet.model import Tower

    with torch.device("meta"):
        state = Tower((head,) if head else ()).state_dict()
    wanted = {name: tuple(value.shape) for name, value in state.items() if value.is_floating_point()}
    check_shapes({name: shape for name, shape in wanted.items() if head or name.startswith("features.")}, tensors, repr(str(file)))
