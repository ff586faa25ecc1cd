"""One process or several: under `torchrun` each process trains its share of every batch and gradients are averaged."""

from __future__ import annotations

import atexit
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


@dataclass(frozen=True)
class Processes:
    """The group of training processes that this one belongs to.

    Attributes:
        rank: Number of this process, from 0.
        count: How many there are.
    """

    rank: int = 0
    count: int = 1

    @classmethod
    def join(cls, device: torch.device) -> Processes:
        """Joins the group that `torchrun` started (gloo for what lies on CPUs, nccl on GPUs); without it there is one process."""
        if "WORLD_SIZE" not in os.environ:
            return cls()
        from torch import distributed

        if not distributed.is_initialized():
            distributed.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
            # Left to the end of the interpreter, gloo's threads are still at work when their group goes, which aborts the process.
            atexit.register(_leave)
        return cls(distributed.get_rank(), distributed.get_world_size())

    def share(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns this process's part of a batch."""
        return numbers[self.rank :: self.count]

    def average_gradients(self, optimizer: torch.optim.Optimizer) -> None:
        """Averages the gradients of all parameters of an optimizer over the processes, in one message."""
        if self.count == 1:
            return
        from torch import distributed

        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
        # A process may have drawn no picture for some branch; its gradient there is zero, not missing.
        flat = torch.cat([(p.grad if p.grad is not None else torch.zeros_like(p)).reshape(-1) for p in parameters])
        distributed.all_reduce(flat)
        flat /= self.count
        for parameter, part in zip(parameters, torch.split(flat, [p.numel() for p in parameters]), strict=True):
            parameter.grad = part.view_as(parameter).clone()

    def average_buffers(self, model: torch.nn.Module) -> None:
        """Averages running statistics, so that every process validates and stores the same model."""
        if self.count == 1:
            return
        from torch import distributed

        for buffer in model.buffers():
            if buffer.is_floating_point():
                distributed.all_reduce(buffer)
                buffer /= self.count

    def gather(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Returns the rows of all processes, one process's after another's; every process gets all of them."""
        return rows if self.count == 1 else np.concatenate(self._of_all(rows))

    def mean(self, numbers: Mapping[str, float]) -> dict[str, float]:
        """Averages named numbers over the processes that have them."""
        if self.count == 1:
            return dict(numbers)
        parts = self._of_all(dict(numbers))
        names = dict.fromkeys(name for part in parts for name in part)
        found = {name: [part[name] for part in parts if name in part] for name in names}
        return {name: sum(values) / len(values) for name, values in found.items()}

    def _of_all(self, value: Any) -> list[Any]:
        """Returns the values of all processes, in their order."""
        from torch import distributed

        parts: list[Any] = [None] * self.count
        distributed.all_gather_object(parts, value)
        return parts


def _leave() -> None:
    """Ends what `Processes.join` began, if nobody has done so before."""
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()
