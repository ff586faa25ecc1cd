"""Number formats of torch: bfloat16 where the machine really computes in it, float32 elsewhere."""

from __future__ import annotations

import logging
from functools import lru_cache

import torch

from emotion_perception.engine.errors import check_words
from emotion_perception.engine.machine import processor_flags

logger = logging.getLogger(__name__)

# What Linux calls the units of x86 (AVX-512, AMX, AVX-NE) and Arm processors.
_UNITS = {"avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16", "svebf16"}


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Returns the autocast context for ``auto``, ``fp32`` or ``bf16``; ``auto`` is bf16 where the device has units for it."""
    check_words("precision", precision, ("auto", "fp32", "bf16"))
    wanted = precision == "bf16" or (precision == "auto" and has_bfloat16_units(device.type))
    return torch.autocast(device.type, torch.bfloat16, enabled=wanted)


@lru_cache
def has_bfloat16_units(device_type: str) -> bool:
    """Says whether a device has units for bfloat16; on CPUs without, a matrix product takes 500 times as long as in float32."""
    if device_type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # By name, not by measuring: a run that is resumed must not come out otherwise on a busy machine.
    return bool(_UNITS & processor_flags()) and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


@lru_cache
def warn_of_slow_bfloat16(device_type: str) -> None:
    """Says once in a warning that float32 is the faster one, where it is."""
    if not has_bfloat16_units(device_type):
        logger.warning("bf16 was asked for, but this %s has no units for it; float32 is faster", device_type)
