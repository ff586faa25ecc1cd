"""Settings that a learner reads from a file and from ``KEY=VALUE`` words, where its constructor's options are not enough."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

# What a training writes beside its weights, so that they are measured and used with the settings they were trained with.
SETTINGS_NAME = "settings.yaml"


class LearnerSettings(Protocol):
    """What the class attribute `Learner.settings_class` makes; a learner that has one takes it as ``settings``, and offers it so, too.

    Attributes:
        data_set: The one kind of data that the learner takes; where it lies is the setting ``data_path``.
    """

    data_set: ClassVar[str]

    @classmethod
    def read(cls, file: str | Path | None = None, words: Sequence[str] = ()) -> Any:
        """Reads a file and words over the defaults; raises `UsageError` for what there is not."""

    def with_(self, **changes: Any) -> Any:
        """Returns a copy with some settings changed."""

    def write(self, file: str | Path) -> Path:
        """Writes them as `read` takes them."""

    def open(self, split: str) -> Any:
        """Opens a part of the data that the settings name, ``train``, ``val`` or ``test``, as `Learner.fit` takes it."""
