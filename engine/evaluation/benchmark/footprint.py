"""What a variant takes in a process of its own: time to the first answer, and memory.

The process runs this file as a program: in one that has run other variants before, their memory would be counted, and torch be imported.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from emotion_perception.engine.errors import WeightsError
from emotion_perception.engine.evaluation.benchmark.variants import Variant

_TIMES = 3
_CALLS = 5


def footprint(variant: Variant, pictures: Path, batches: Sequence[int]) -> dict[str, Any]:
    """Starts a process for a variant, three times, and returns the medians.

    Args:
        variant: Its files must be there.
        pictures: A file in NumPy's format, ``(n, height, width, 3)`` uint8 at the size that the network takes.
        batches: Sizes of batches to run, in growing order, at most n.

    Returns:
        ``first_answer_s``, from the start of the process to the first answer; ``torch``, whether torch was imported for it; resident
        memory in MB: ``loaded_mb`` with the weights loaded, ``one_mb`` at its highest until single pictures were judged, loading
        included, and ``most_mb`` until all batches were; None where the system does not tell.

    Raises:
        WeightsError: The process failed.
    """
    runs = [_run(variant, pictures, batches) for _ in range(_TIMES)]
    return {name: _middle([run[name] for run in runs]) for name in runs[0]}


def _middle(values: list[Any]) -> Any:
    return values[0] if values[0] is None or isinstance(values[0], bool) else round(median(values), 3)


def _run(variant: Variant, pictures: Path, batches: Sequence[int]) -> dict[str, Any]:
    job = {"variant": asdict(variant), "pictures": str(pictures), "batches": list(batches), "started_s": time.monotonic()}
    words = [sys.executable, "-m", __name__, json.dumps(job)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise WeightsError(f"{variant.name} failed in a process of its own (status {done.returncode}): {last}; try it with predict")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _memory_mb(field: str) -> float | None:
    """Returns a figure of this process from Linux: ``VmRSS``, the resident memory, or ``VmHWM``, the most it ever was."""
    # The highest figure that getrusage knows is, in a new process, that of the one that started it.
    try:
        text = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        return None
    return int(text.partition(f"{field}:")[2].split()[0]) / 1024


def main() -> None:
    """Runs a variant as another process asks for, and prints what it saw as JSON."""
    job = json.loads(sys.argv[1])
    variant = Variant(**job["variant"])
    learner = variant.load(batch_size=max(job["batches"]))
    run = variant.runner(learner)
    loaded_mb = _memory_mb("VmRSS")

    import numpy as np

    pictures = np.load(job["pictures"])
    run(*learner.inputs(pictures[:1]))
    first_answer_s = time.monotonic() - job["started_s"]
    torch = "torch" in sys.modules

    def most_mb(batches: Sequence[int]) -> float | None:
        for batch in batches:
            for _ in range(_CALLS):
                run(*learner.inputs(pictures[:batch]))
        return _memory_mb("VmHWM")

    seen = {"first_answer_s": first_answer_s, "torch": torch, "loaded_mb": loaded_mb, "one_mb": most_mb([1])}
    sys.stdout.write(json.dumps(seen | {"most_mb": most_mb(job["batches"])}) + os.linesep)


if __name__ == "__main__":
    main()
