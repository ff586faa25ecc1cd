"""Where networks run and by what: the words that name devices and back ends, and the torch device that they stand for here."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from emotion_perception.engine.errors import check_words

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

BACKENDS = ("auto", "torch", "torch_bf16", "onnxruntime", "tensorrt")


def check_device(device: str) -> None:
    """Refuses a word that names no device."""
    check_words("device", device, ("auto", "cpu", "cuda"))


def torch_device(device: str, device_ind: Sequence[int] = (0,), who: str = "torch") -> torch.device:
    """Returns the torch device that a word stands for on this machine; under `torchrun` each process has its own GPU.

    Args:
        device: ``auto`` (a GPU if there is one), ``cpu`` or ``cuda``; without a GPU, ``cuda`` warns and is the CPU.
        device_ind: Indices of the GPUs; one process uses the first, those of `torchrun` one each.
        who: Whom the warning is about.
    """
    import torch

    if device == "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        local = int(os.environ.get("LOCAL_RANK", "0"))
        return torch.device("cuda", device_ind[local] if local < len(device_ind) else local)
    if device == "cuda":
        logger.warning("%s: device 'cuda' was asked for but there is no usable GPU; using the CPU", who)
    return torch.device("cpu")
