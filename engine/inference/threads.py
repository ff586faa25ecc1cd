"""How many threads one call may use: one number for every library, so that they do not fight over the processor."""

from __future__ import annotations

import os


def cpu_threads() -> int:
    """Counts the threads for one call: ``OMP_NUM_THREADS``, which ONNX Runtime by itself ignores, else the CPUs this process may use."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdigit() and int(wanted) > 0:
        return int(wanted)
    # The affinity, not the machine's count: in a container or under taskset they differ.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
