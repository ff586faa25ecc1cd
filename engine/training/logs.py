"""What a training run writes: progress with time left, history as CSV and JSON lines, TensorBoard events, curves as a picture."""

from __future__ import annotations

import csv
import json
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from emotion_perception.engine.storage import atomic_write

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

logger = logging.getLogger(__name__)

FACTS_NAME = "run.json"
HISTORY_NAME = "history.jsonl"


class Sink(Protocol):
    """Somewhere else that a run is logged to."""

    def start(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Begins, or goes on after the rows of ``history``."""

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Takes a row of history."""

    def close(self) -> None:
        """Ends the log."""


class RunLog:
    """Writes the log of one run; a resumed run rewrites the history it was given, so files never hold a row twice."""

    def __init__(
        self,
        folder: Path | None,
        *,
        progress: bool = False,
        tensorboard: bool = True,
        facts: Mapping[str, Any] | None = None,
        also: Sequence[Sink] = (),
    ) -> None:
        """Stores where to write.

        Args:
            folder: Where the files go; None writes none.
            progress: Say every few seconds where the run is and how long it will take, through the logger.
            tensorboard: Write TensorBoard events, where the package is installed.
            facts: What the run is, for ``run.json``; None writes none.
            also: Where else every row goes.
        """
        self.folder, self.progress, self.tensorboard = folder, progress, tensorboard
        self.facts, self.also = facts, also
        self._history: list[dict[str, Any]] = []
        self._epochs = 0
        self._said = 0.0
        self._writer: SummaryWriter | None = None

    def start(self, epochs: int, history: Sequence[Mapping[str, Any]]) -> None:
        """Begins a run of ``epochs`` epochs, of which ``history`` is done already."""
        self._epochs, self._history = epochs, [dict(row) for row in history]
        for sink in self.also:
            sink.start(self._history)
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.facts is not None:
            from emotion_perception.engine.evaluation.report import write_json

            write_json(self.facts, self.folder / FACTS_NAME)
        if self.tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                logger.info("tensorboard is not installed; history.csv and history.jsonl are written")
                return
            self._writer = SummaryWriter(str(self.folder / "tensorboard"), purge_step=len(self._history) + 1)

    def step(self, stage: str, epoch: int, step: int, steps: int, done_here: int, seconds: float, means: Mapping[str, float]) -> None:
        """Says where the run is, at most every ten seconds; the time left is that of the epoch."""
        now = time.monotonic()
        if not self.progress or (now - self._said < 10.0 and step < steps):
            return
        self._said = now
        left_s = seconds / max(done_here, 1) * (steps - step)
        left = f"{int(left_s) // 60}:{int(left_s) % 60:02d} left in this epoch"
        logger.info("%s, epoch %d, %d/%d: loss %.4f, %s", stage, epoch + 1, step, steps, means["loss"], left)

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Stores one row of history."""
        self._history.append(dict(row))
        if self.progress:
            numbers = ", ".join(f"{name} {_short(value)}" for name, value in row.items() if name != "epoch")
            logger.info("epoch %d/%d: %s", len(self._history), self._epochs, numbers)
        if self._writer is not None:
            for name, value in row.items():
                if isinstance(value, (int, float)) and name != "epoch":
                    self._writer.add_scalar(name, value, len(self._history))
            self._writer.flush()
        for sink in self.also:
            sink.epoch(row)
        if self.folder is not None:
            self._write_tables(self.folder)

    def close(self) -> None:
        """Ends the log; draws the curves where matplotlib is installed."""
        for sink in self.also:
            sink.close()
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self.folder is not None and self._history:
            try:
                from emotion_perception.engine.evaluation.report import plot_history

                plot_history(self._history, self.folder / "curves.png")
            except ImportError:
                logger.info("matplotlib is not installed; no curves are drawn")

    def _write_tables(self, folder: Path) -> None:
        with atomic_write(folder / HISTORY_NAME) as temporary:
            temporary.write_text("".join(json.dumps(row) + "\n" for row in self._history), encoding="utf-8")
        columns = list(dict.fromkeys(name for row in self._history for name in row))
        with atomic_write(folder / "history.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(self._history)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
