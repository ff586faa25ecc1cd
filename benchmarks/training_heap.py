"""Measures what keeping freed memory between the steps of a training on the CPU is worth (`emotion_perception.engine.heap`).

From the project's root::

    python -m benchmarks.training_heap                    # prints a table
    python -m benchmarks.training_heap --out benchmarks   # and writes <date>-training-heap.json and .md there

A step is forward, backward and the optimizer's update, with the weights that come with a learner, on random pictures. Every measurement is
a process of its own, with and without in turns; times are medians over the processes, memory is the most that one held. Linux only.
"""

from __future__ import annotations

import argparse
import datetime
import json
import resource
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from typing import Any

import torch

from emotion_perception.engine.heap import kept_heap
from emotion_perception.engine.machine import cpu_threads, machine
from emotion_perception.engine.registry import create_learner
from emotion_perception.engine.storage import atomic_write

BATCHES = {"esr": 64, "mobilenetv2_affectnet": 128}
_STEPS = 5


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description="Measures training steps with and without freed memory being kept.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="folder for the report")
    parser.add_argument("--measure", nargs=2, metavar=("LEARNER", "WAY"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        learner, way = options.measure
        sys.stdout.write(json.dumps(_measure(learner, way == "kept")))
        return
    rows = []
    for learner, batch in BATCHES.items():
        found: dict[str, list[dict[str, float]]] = {"usual": [], "kept": []}
        for _ in range(options.rounds):
            for way, results in found.items():
                words = [sys.executable, "-m", "benchmarks.training_heap", "--measure", learner, way]
                results.append(json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout))
        row: dict[str, Any] = {"learner": learner, "batch": batch, "side": int(found["kept"][0]["side"])}
        for way, results in found.items():
            row |= {f"{way}_{name}": median(result[name] for result in results) for name in ("step_s", "memory_mb")}
        rows.append(row)
    print(_table(rows))  # noqa: T201  # what the command is for
    if options.out is not None:
        name = f"{datetime.date.today().isoformat()}-training-heap"
        result = {"rounds": options.rounds, "steps": _STEPS, "rows": rows, "machine": machine()}
        with atomic_write(options.out / f"{name}.json") as file:
            file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        with atomic_write(options.out / f"{name}.md") as file:
            file.write_text(_page(result, name), encoding="utf-8")


def _measure(name: str, kept: bool) -> dict[str, float]:
    torch.set_num_threads(cpu_threads())
    torch.manual_seed(0)
    learner = create_learner(name, device="cpu", backend="torch")
    learner.load()
    model = learner.model.float().train().to(memory_format=torch.channels_last)
    size = learner.card.input
    pictures = torch.rand(BATCHES[name], 3, size.height, size.width).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        outputs = model(pictures)
        parts = outputs if isinstance(outputs, tuple) else (outputs,)
        sum(part.square().mean() for part in parts).backward()
        optimizer.step()

    with kept_heap() if kept else nullcontext():
        step()
        step()
        started = time.perf_counter()
        for _ in range(_STEPS):
            step()
        seconds = (time.perf_counter() - started) / _STEPS
    return {"step_s": seconds, "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "side": size.width}


def _table(rows: list[dict[str, Any]]) -> str:
    lines = ["| learner | batch | side px | usual s | kept s | times as fast | usual MB | kept MB |", "|" + " --- |" * 8]
    for row in rows:
        times = f"{row['usual_step_s']:.3f} | {row['kept_step_s']:.3f} | {row['usual_step_s'] / row['kept_step_s']:.2f}"
        memory = f"{row['usual_memory_mb']:,.0f} | {row['kept_memory_mb']:,.0f}"
        lines.append(f"| {row['learner']} | {row['batch']} | {row['side']} | {times} | {memory} |")
    return "\n".join(lines)


def _page(result: dict[str, Any], name: str) -> str:
    facts = ", ".join(f"{key} {value}" for key, value in result["machine"].items())
    return (
        f"# Training steps with freed memory kept\n\n{_table(result['rows'])}\n\n"
        f"A step is forward, backward and update; means over {result['steps']} of them, medians of {result['rounds']} processes each, the "
        "two ways in turns. *usual*: glibc gives every large block back to the system and takes it again. Memory is the most that a "
        "process held."
        f"\n\nMachine: {facts}.\n\n`python -m benchmarks.training_heap --out benchmarks`; every number is in `{name}.json`.\n"
    )


if __name__ == "__main__":
    main()
