"""The machine that this runs on: how many threads a call may use, and what a benchmark has to say of it."""

from __future__ import annotations

import functools
import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

# Of the many things a processor says it can do, those that the speed of a network depends on.
_INSTRUCTIONS = (
    *("avx2", "fma", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8"),
    *("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve"),
)
_PACKAGES = ("numpy", "torch", "onnxruntime")


def cpu_threads() -> int:
    """Counts the threads for one call: ``OMP_NUM_THREADS``, which ONNX Runtime by itself ignores, else the CPUs this process may use."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdigit() and int(wanted) > 0:
        return int(wanted)
    # The affinity, not the machine's count: in a container or under taskset they differ.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> dict[str, Any]:
    """Returns what speed depends on, by name, without the name of the machine.

    It does not import torch; a GPU is named where torch, imported already, can use one.
    """
    facts = _processor()
    torch = sys.modules.get("torch")
    gpu = torch.cuda.get_device_name() if torch is not None and torch.cuda.is_available() else None
    flags = processor_flags()
    return {
        "device": gpu or facts.get("model name") or platform.processor() or platform.machine(),
        "instructions": " ".join(name for name in _INSTRUCTIONS if name in flags),
        "cores": os.cpu_count(),
        "threads": cpu_threads(),
        "memory_gb": _memory_gb(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: version for name in _PACKAGES if (version := _version(name))},
    }


def processor_flags() -> set[str]:
    """Returns what Linux calls the instructions of this processor, as ``avx512_bf16``; nothing elsewhere."""
    facts = _processor()
    return set((facts.get("flags") or facts.get("Features") or "").split())


@functools.cache
def _processor() -> dict[str, str]:
    """Returns what Linux says of the first processor; nothing elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return {}
    lines = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    return {name.strip(): value.strip() for name, _, value in lines}


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
