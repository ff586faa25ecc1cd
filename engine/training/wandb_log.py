"""Logs a run to Weights and Biases, which is imported only when somebody asks for it. Keys are wandb's own business."""

from __future__ import annotations

import importlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from emotion_perception.engine.errors import MissingDependencyError, UsageError
from emotion_perception.engine.storage import atomic_write

Row = Mapping[str, Any]
_ID_NAME = "wandb_id.txt"


class WandbLog:
    """A sink of `RunLog`. A resumed run goes on in the same run of wandb, where it is online."""

    def __init__(
        self,
        *,
        project: str | None = None,
        entity: str | None = None,
        mode: str | None = None,
        name: str | None = None,
        config: Mapping[str, Any] | None = None,
        folder: Path | None = None,
        numbers: Callable[[Row], Mapping[str, Any]] = dict,
        summary: Callable[[Sequence[Row]], Mapping[str, Any]] | None = None,
    ) -> None:
        """Stores what to log.

        Args:
            project: Where to; wandb's own default if None.
            entity: Whose project it is; that of the login if None.
            mode: ``online``, ``offline`` (files only, for ``wandb sync`` later) or ``disabled``; None: what wandb is set to.
            name: What the run is called there.
            config: Its settings.
            folder: Where wandb writes its files; the working folder if None.
            numbers: Row of history -> what to log of it.
            summary: All rows so far -> what is true of the run as a whole.
        """
        self.project, self.entity, self.mode, self.name, self.config = project, entity, mode, name, config
        self.folder, self.numbers, self.summary = folder, numbers, summary
        self._run: Any = None
        self._rows: list[Row] = []

    def start(self, history: Sequence[Row]) -> None:
        """Begins the run, or goes on with it.

        Raises:
            MissingDependencyError: wandb is not installed.
            UsageError: wandb refuses, as without a login.
        """
        try:
            wandb = importlib.import_module("wandb")
        except ImportError:
            raise MissingDependencyError("wandb", "wandb.logging=True", "wandb") from None
        self._rows = list(history)
        given = {"project": self.project, "entity": self.entity, "mode": self.mode, "name": self.name}
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            given |= {"dir": str(self.folder), "id": self._id(self.folder), "resume": "allow"}
        try:
            self._run = wandb.init(config=dict(self.config or {}), **{key: value for key, value in given.items() if value})
        except wandb.Error as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise UsageError(f"wandb refuses to log: {reason}; run: wandb login, or log offline with wandb.mode=offline") from None

    def epoch(self, row: Row) -> None:
        """Logs a row of history."""
        self._rows.append(row)
        self._run.log(dict(self.numbers(row)), step=len(self._rows))
        if self.summary is not None:
            self._run.summary.update(dict(self.summary(self._rows)))

    def close(self) -> None:
        """Ends the run."""
        if self._run is not None:
            self._run.finish()
            self._run = None

    def _id(self, folder: Path) -> str:
        """Returns the name of the run that a folder belongs to, a new one for a new folder."""
        file = folder / _ID_NAME
        if not file.is_file():
            with atomic_write(file) as temporary:
                temporary.write_text(secrets.token_hex(4), encoding="utf-8")
        return file.read_text(encoding="utf-8").strip()
