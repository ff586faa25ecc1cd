"""The training loop: stages, exact resume after a kill at any moment, best state restored, several processes, logs.

A learner describes its training as a list of `Stage`; `Trainer` runs them. Everything random in a stage comes from (seed, epoch, step,
index), so a checkpoint needs no state of random generators, and a resumed run ends in the same weights as an uninterrupted one.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from emotion_perception.engine.errors import UsageError, WeightsError
from emotion_perception.engine.heap import kept_heap
from emotion_perception.engine.storage import atomic_write
from emotion_perception.engine.training.distributed import Processes
from emotion_perception.engine.training.logs import RunLog

logger = logging.getLogger(__name__)

Batch = tuple[torch.Tensor, ...]
Indices = NDArray[np.int64]
CHECKPOINT = "checkpoint.pt"
_SINGLE_VALUE = "Expected more than 1 value per channel"  # so begins the ValueError of torch's batch norm


@dataclass
class Stage:
    """One part of a training: what is optimised, on which pictures, and how it is judged.

    Attributes:
        name: Unique within the run, for logs.
        epochs: How many passes.
        order: epoch -> picture numbers in order; the same for the same epoch. Cut into batches by the trainer.
        load: (picture numbers, epoch) -> tensors of one batch, on the CPU.
        loss: (tensors of a batch, generator) -> scalar loss and named numbers to average over the epoch.
        optimizer: Updates the parameters of this stage only.
        rate: Progress in [0, 1) -> factor on every group's initial learning rate.
        prepare: Sets training and evaluation mode, frozen parameters; called at the start of every epoch.
        validate: Measures the model; without the number ``monitor``, as when there is nothing to validate on, the last state is the best.
        monitor: Which number of ``validate`` decides the best state.
        higher_is_better: Its direction.
        validate_every: Validate after every so many epochs, and after the last.
        passes_per_picture: Branches trained per picture, for the count of compute.
        patience: End the stage after so many validations in a row without a better state; None: only after ``epochs``.
        most_gradient: Longest that the gradient of all parameters together may be; a longer one is shortened. None: as long as it is.
        observe: Told the history of the run, a row per epoch, before every epoch; a rate that depends on it is resumed exactly, too.
    """

    name: str
    epochs: int
    order: Callable[[int], Indices]
    load: Callable[[Indices, int], Batch]
    loss: Callable[[Batch, torch.Generator], tuple[torch.Tensor, Mapping[str, float]]]
    optimizer: torch.optim.Optimizer
    rate: Callable[[float], float]
    prepare: Callable[[], None]
    validate: Callable[[], Mapping[str, float]]
    monitor: str = "loss"
    higher_is_better: bool = False
    validate_every: int = 1
    passes_per_picture: float = 1.0
    patience: int | None = None
    most_gradient: float | None = None
    observe: Callable[[Sequence[Mapping[str, Any]]], None] | None = None


@dataclass
class _Position:
    """Where a run is, as stored in a checkpoint."""

    stage: int = 0
    epoch: int = 0
    step: int = 0
    sums: dict[str, tuple[float, int]] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    best_score: float | None = None
    best_state: dict[str, torch.Tensor] | None = None
    compute: float = 0.0
    worse: int = 0  # validations since the best state


class Trainer:
    """Runs stages one after another."""

    def __init__(
        self,
        model: torch.nn.Module,
        stages: Sequence[Stage],
        *,
        batch_size: int,
        seed: int,
        device: torch.device,
        processes: Processes,
        log: RunLog,
        folder: Path | None = None,
        fingerprint: Mapping[str, Any] | None = None,
        checkpoint_every_s: float = 60.0,
    ) -> None:
        """Stores what to run.

        Args:
            model: The network; its state is what checkpoints hold and what the best state is restored into.
            stages: What to do, in order.
            batch_size: Pictures per step, over all processes together.
            seed: Seed of the run.
            device: Where the model is.
            processes: The group of processes this one belongs to.
            log: Where progress goes.
            folder: Where checkpoints are kept; None keeps none.
            fingerprint: Options that must be the same for a run to be resumed.
            checkpoint_every_s: Seconds between checkpoints; there is also one after every epoch.
        """
        self.model, self.stages, self.batch_size, self.seed, self.device = model, stages, batch_size, seed, device
        if processes.count > 1 and batch_size < 2 * processes.count:
            least = f"{2 * processes.count}: two pictures for each of {processes.count} processes"
            raise UsageError(f"batch_size is {batch_size}, expected at least {least}")
        self.processes, self.log, self.folder = processes, log, folder
        self.fingerprint = {**(fingerprint or {}), "batch_size": batch_size, "seed": seed, "stages": [stage.name for stage in stages]}
        self.checkpoint_every_s = checkpoint_every_s
        self.at = _Position()

    def run(self) -> list[dict[str, Any]]:
        """Trains to the end, from the checkpoint in the folder if there is one, and returns the history, a row per epoch.

        A run that was stopped, by Ctrl-C or by anything else, is continued by the same call from its last checkpoint.

        Raises:
            UsageError: A batch is so small, in pictures and in pixels, that batch norm cannot learn from it.
            WeightsError: The folder holds another run or a damaged one, or the training diverged.
        """
        # Numbers too small for their format slow a CPU down a hundredfold and change nothing.
        torch.set_flush_denormal(True)
        self._resume()
        self.log.start(sum(stage.epochs for stage in self.stages), self.at.history)
        try:
            with kept_heap():
                self._stages()
        except ValueError as error:
            if not str(error).startswith(_SINGLE_VALUE):
                raise
            given = f"batch_size is {self.batch_size}, and a batch of stage {self.stages[self.at.stage].name!r}"
            expected = "batch norm learns from two or more: give a larger batch_size, more pictures, or larger ones"
            raise UsageError(f"{given} comes down to one value per channel; {expected}") from error
        finally:
            torch.set_flush_denormal(False)
            self.log.close()
        return self.at.history

    def _stages(self) -> None:
        """Runs what is left of the stages."""
        while self.at.stage < len(self.stages):
            stage = self.stages[self.at.stage]
            while self.at.epoch < stage.epochs and (stage.patience is None or self.at.worse < stage.patience):
                self._epoch(stage)
            self._restore_best()
            self.at.stage, self.at.epoch, self.at.worse = self.at.stage + 1, 0, 0
            self.at.best_score = self.at.best_state = None
            self._checkpoint()

    def _epoch(self, stage: Stage) -> None:
        """Runs the rest of the current epoch, validates, and stores a row of history."""
        stage.prepare()
        if stage.observe is not None:
            stage.observe(self.at.history)
        order = stage.order(self.at.epoch)
        batches = [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]
        if len(batches) > 1 and len(batches[-1]) < 2 * self.processes.count:
            batches[-2:] = [np.concatenate(batches[-2:])]  # batch norm cannot learn from a single picture
        started, stored = time.monotonic(), time.monotonic()
        first = self.at.step
        with ThreadPoolExecutor(1) as ahead:
            pending = ahead.submit(self._load, stage, batches[first]) if first < len(batches) else None
            while self.at.step < len(batches):
                batch = pending.result() if pending else self._load(stage, batches[self.at.step])
                after = self.at.step + 1
                pending = ahead.submit(self._load, stage, batches[after]) if after < len(batches) else None
                self._step(stage, batch, (self.at.epoch + self.at.step / len(batches)) / stage.epochs)
                self.at.compute += len(batches[self.at.step]) * stage.passes_per_picture
                self.at.step = after
                self.log.step(stage.name, self.at.epoch, after, len(batches), after - first, time.monotonic() - started, self._means())
                if time.monotonic() - stored > self.checkpoint_every_s:
                    self._checkpoint()
                    stored = time.monotonic()
        self._finish_epoch(stage)

    def _finish_epoch(self, stage: Stage) -> None:
        row: dict[str, Any] = {"epoch": len(self.at.history) + 1, "stage": stage.name, **self.processes.mean(self._means())}
        row["compute"] = self.at.compute
        self.processes.average_buffers(self.model)
        if not all(bool(torch.isfinite(value).all()) for value in self.model.state_dict().values()):
            raise self._diverged(stage, "weights are not finite")
        last = self.at.epoch + 1 == stage.epochs
        if last or (self.at.epoch + 1) % stage.validate_every == 0:
            measured = stage.validate()
            row.update(measured)
            if stage.monitor in measured:
                self._keep_best(measured[stage.monitor] if stage.higher_is_better else -measured[stage.monitor])
        self.at.history.append(row)
        self.at.epoch, self.at.step, self.at.sums = self.at.epoch + 1, 0, {}
        self.log.epoch(row)
        self._checkpoint()

    def _keep_best(self, score: float) -> None:
        self.at.worse += 1
        if math.isfinite(score) and (self.at.best_score is None or score >= self.at.best_score):
            self.at.worse, self.at.best_score = 0, score
            self.at.best_state = {k: v.detach().cpu().clone() for k, v in self.model.state_dict().items()}

    def _load(self, stage: Stage, numbers: Indices) -> Batch:
        """Loads this process's share of a batch."""
        return stage.load(self.processes.share(numbers), self.at.epoch)

    def _step(self, stage: Stage, batch: Batch, progress: float) -> None:
        """Makes one update."""
        place = (self.seed, self.at.stage, self.at.epoch, self.at.step, self.processes.rank)
        generator = torch.Generator().manual_seed(int(np.random.SeedSequence(place).generate_state(1, np.uint64)[0] >> np.uint64(1)))
        for group in stage.optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
            group["lr"] = group["initial_lr"] * stage.rate(progress)
        stage.optimizer.zero_grad(set_to_none=True)
        loss, numbers = stage.loss(tuple(part.to(self.device, non_blocking=True) for part in batch), generator)
        if not torch.isfinite(loss):
            raise self._diverged(stage, f"loss is {loss.item()}")
        loss.backward()  # type: ignore[no-untyped-call]
        self.processes.average_gradients(stage.optimizer)
        if stage.most_gradient is not None:
            torch.nn.utils.clip_grad_norm_([p for group in stage.optimizer.param_groups for p in group["params"]], stage.most_gradient)
        stage.optimizer.step()
        for name, value in {"loss": float(loss.detach()), **numbers}.items():
            total, count = self.at.sums.get(name, (0.0, 0))
            self.at.sums[name] = total + value, count + 1  # not every batch has what every number needs

    def _diverged(self, stage: Stage, how: str) -> WeightsError:
        return WeightsError(f"training diverged in stage {stage.name!r}, epoch {self.at.epoch + 1}: {how}; lower the learning rate")

    def _means(self) -> dict[str, float]:
        return {name: total / count for name, (total, count) in self.at.sums.items()}

    def _restore_best(self) -> None:
        if self.at.best_state is not None:
            self.model.load_state_dict(self.at.best_state)

    def _checkpoint(self) -> None:
        """Writes everything a resumed run needs, all or nothing; only the first process writes."""
        if self.folder is None or self.processes.rank:
            return
        stage = self.stages[self.at.stage] if self.at.stage < len(self.stages) else None
        state = {
            "fingerprint": self.fingerprint,
            "position": vars(self.at),
            "model": self.model.state_dict(),
            "optimizer": stage.optimizer.state_dict() if stage else None,
        }
        with atomic_write(self.folder / CHECKPOINT) as temporary:
            try:
                with temporary.open("wb") as stream:
                    torch.save(state, stream)
            except RuntimeError as error:  # what torch makes of a full disk, which is the cause
                raise error.__context__ or error from None

    def _resume(self) -> None:
        """Continues from the folder's checkpoint, if there is one of the same run."""
        if self.folder is None or not (self.folder / CHECKPOINT).is_file():
            return
        file = self.folder / CHECKPOINT
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
            position = _Position(**state["position"])
            stored = state["fingerprint"]
        except Exception as error:  # torch raises many types for a damaged file
            reason = str(error).partition("\n")[0]
            raise WeightsError(f"cannot read checkpoint {str(file)!r}: {reason}; delete it to start afresh") from None
        changed = sorted(name for name, value in stored.items() if value != self.fingerprint.get(name))
        if changed:
            options = ", ".join(changed)
            raise WeightsError(f"{str(self.folder)!r} holds a run with other options ({options}); give another output folder or delete it")
        self.model.load_state_dict(state["model"])
        self.at = position
        if self.at.stage < len(self.stages):
            self.stages[self.at.stage].optimizer.load_state_dict(state["optimizer"])
        logger.info("resumed %s at epoch %d, step %d", file, len(position.history) + 1, position.step)
