"""Number formats of torch: bfloat16 where the machine really computes in it, float32 elsewhere."""

from __future__ import annotations

import logging
import time
from functools import lru_cache

import torch

from emotion_perception.engine.errors import check_words

logger = logging.getLogger(__name__)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Returns the autocast context for ``auto``, ``fp32`` or ``bf16``; ``auto`` measures once whether bf16 is faster here."""
    check_words("precision", precision, ("auto", "fp32", "bf16"))
    wanted = precision == "bf16" or (precision == "auto" and bfloat16_is_faster(device.type))
    return torch.autocast(device.type, torch.bfloat16, enabled=wanted)


@lru_cache
def bfloat16_is_faster(device_type: str) -> bool:
    """Says whether a matrix product is faster in bfloat16 than in float32; on CPUs without bf16 units it is 500 times slower."""
    if device_type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False  # a small product may still be faster, a convolution is not
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        matrix = torch.ones(192, 192, dtype=dtype)
        matrix @ matrix
        started = time.perf_counter()
        for _ in range(3):
            matrix @ matrix
        seconds[dtype] = time.perf_counter() - started
    return seconds[torch.bfloat16] < seconds[torch.float32]


@lru_cache
def warn_of_slow_bfloat16(device_type: str) -> None:
    """Says once in a warning that float32 is the faster one, where it is."""
    if not bfloat16_is_faster(device_type):
        logger.warning("bf16 was asked for, but this %s has no units for it; float32 is faster", device_type)
