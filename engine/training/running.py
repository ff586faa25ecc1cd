"""Runs the stages of a learner's training: alone or under `torchrun`, with logs and resume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from emotion_perception.engine.training.distributed import Processes
from emotion_perception.engine.training.logs import RunLog, Sink
from emotion_perception.engine.training.loop import Stage, Trainer


def run_stages(
    model: torch.nn.Module,
    stages: Sequence[Stage],
    *,
    batch_size: int,
    seed: int,
    device: torch.device,
    logging_path: str | Path = "",
    progress: bool = False,
    fingerprint: Mapping[str, Any] | None = None,
    also: Sequence[Sink] = (),
) -> list[dict[str, Any]]:
    """Trains to the end and returns the history, a row per epoch.

    Args:
        model: The network, on the device; what of it was trainable before is so again afterwards.
        stages: What to do, in order.
        batch_size: Pictures per step, over all processes together.
        seed: Of the run.
        device: Where the model is.
        logging_path: Folder for logs and checkpoints, as `Learner.fit` takes it; empty keeps none.
        progress: Log the progress.
        fingerprint: Options that must be the same for a run in the folder to be resumed; ``run.json`` in the folder tells them.
        also: Where else the history is logged to.
    """
    processes = Processes.join(device)
    first = processes.rank == 0
    folder = Path(logging_path) if logging_path else None
    facts: dict[str, Any] = {"batch_size": batch_size, "seed": seed}
    if stages:
        facts |= {"monitor": stages[-1].monitor, "higher_is_better": stages[-1].higher_is_better}
    trainable = [parameter.requires_grad for parameter in model.parameters()]
    history = Trainer(
        model,
        stages,
        batch_size=batch_size,
        seed=seed,
        device=device,
        processes=processes,
        log=RunLog(
            folder if first else None, progress=progress and first, facts={**(fingerprint or {}), **facts}, also=also if first else ()
        ),
        folder=folder,
        fingerprint=fingerprint,
    ).run()
    for parameter, before in zip(model.parameters(), trainable, strict=True):
        parameter.requires_grad_(before)
    return history
