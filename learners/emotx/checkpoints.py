"""The published checkpoint of EmoTx: one torch file with nine sizes and the network's state.

What streams were used and which label set was meant is not in it. Of the baselines that see one stream no such file exists.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion_perception.engine.errors import UsageError, WeightsError
from emotion_perception.engine.storage import atomic_write
from emotion_perception.engine.weights import check_shapes, read_torch, write_torch

if TYPE_CHECKING:
    from torch import Tensor

# The entries of the file beside the state dict, in its order.
SIZES = (
    *("num_labels", "num_pos_embeddings", "scene_feat_dim", "char_feat_dim", "srt_feat_dim"),
    *("num_chars", "num_enc_layers", "max_individual_tokens", "hidden_dim"),
)
STATE = "state_dict"
# Size -> a tensor that shows it, and which of its dimensions does.
_SHOWN = {
    "num_pos_embeddings": ("positional_encoder.pe", 1),
    "scene_feat_dim": ("scene_dim_reduction.weight", 1),
    "char_feat_dim": ("char_dim_reduction.weight", 1),
    "srt_feat_dim": ("srt_dim_reduction.weight", 1),
    "num_chars": ("char_emb.weight", 0),
    "hidden_dim": ("type_emb.weight", 1),
}
# What a file of each network has, the other does not, and what shows the number of labels.
_OWN = {"emotx": "cls_emb_scene.weight", "emotx_1cls": "logits.weight"}
_WAY_OUT = "give a file of EmoTx as its authors' code writes it"


def read_published(file: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Reads a published checkpoint without running its code.

    Args:
        file: Of EmoTx, or of its variant with one class token.

    Returns:
        The entries of the architecture that the file tells, for `model.build_network`, and the tensors as float32, named as in the
        network's state dict.

    Raises:
        WeightsError: The file is missing, truncated, the checkpoint of a training or of something else, its sizes are not those of its
            tensors, or a tensor is missing, too many, of another shape or not finite.
    """
    import torch

    content, source = read_torch(file), f"checkpoint {str(file)!r}"
    if not isinstance(content, Mapping):
        raise WeightsError(f"{source} holds a {type(content).__name__}, expected a dictionary of sizes and {STATE!r}; {_WAY_OUT}")
    missing = next((name for name in (*SIZES, STATE) if name not in content), None)
    if missing:
        raise WeightsError(f"{source} lacks {missing!r}, expected {STATE!r} and the sizes of the network; {_WAY_OUT}")
    state = content[STATE]
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsError(f"{source}: its {STATE!r} is not a mapping of tensors; {_WAY_OUT}")
    network = next((name for name, own in _OWN.items() if own in state), None)
    if network is None:
        raise WeightsError(f"{source} has neither {' nor '.join(map(repr, _OWN.values()))}; {_WAY_OUT}")
    architecture = {"network": network, **{name: _size(content[name], name, source) for name in SIZES}}
    # Before a network of these sizes is made: they may be any number.
    _check_sizes(architecture, state, source)
    check_shapes(_shapes(architecture), state, source)
    tensors = {name: value.float() for name, value in state.items()}
    broken = next((name for name, value in tensors.items() if not value.isfinite().all()), None)
    if broken:
        raise WeightsError(f"{source}: tensor {broken!r} has NaN or infinite values: its training failed; give another checkpoint")
    return architecture, tensors


def write_published(file: str | Path, architecture: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Path:
    """Writes a checkpoint that the authors' code can read, all or nothing.

    Args:
        file: Where to; missing folders are made.
        architecture: As `model.build_network` takes it. What streams it looks at is not stored.
        tensors: The network's state dict.

    Returns:
        The file.

    Raises:
        UsageError: The network is a baseline that has no such file.
        WeightsError: The tensors are not of this architecture.
        StorageError: The file could not be written.
    """
    from emotion_perception.learners.emotx.model import DEFAULTS

    full = {**DEFAULTS, **architecture}
    if full["network"] not in _OWN:
        raise UsageError(f"there is no published checkpoint of the network {full['network']!r}, only of {', '.join(_OWN)}; use save()")
    check_shapes(_shapes(architecture), tensors, "the network to write")
    with atomic_write(file) as unfinished:
        write_torch({**{name: full[name] for name in SIZES}, STATE: tensors}, unfinished)
    return Path(file)


def _size(value: Any, name: str, source: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise WeightsError(f"{source}: {name} is {value!r}, expected a whole number from 1; {_WAY_OUT}")
    return value


def _check_sizes(architecture: Mapping[str, Any], state: Mapping[str, Tensor], source: str) -> None:
    """Refuses sizes that are not those of the tensors."""
    shown = {**_SHOWN, "num_labels": (_OWN[architecture["network"]], 0)}
    found: dict[str, int] = {}
    for name, (key, dimension) in shown.items():
        if key not in state or state[key].ndim <= dimension:
            raise WeightsError(f"{source} lacks tensor {key!r} or has it in another shape; {_WAY_OUT}")
        found[name] = state[key].shape[dimension]
    found["num_enc_layers"] = len({match[1] for match in (re.match(r"encoder\.layers\.(\d+)\.", key) for key in state) if match})
    for name, size in found.items():
        if architecture[name] != size:
            raise WeightsError(f"{source} says {name} {architecture[name]}, its tensors are those of {size}; {_WAY_OUT}")


def _shapes(architecture: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Returns name -> shape of a network's tensors, from the network itself, without allocating it."""
    import torch

    from emotion_perception.learners.emotx.model import build_network

    with torch.device("meta"):
        network = build_network(architecture)
    return {key: tuple(value.shape) for key, value in network.state_dict().items()}
