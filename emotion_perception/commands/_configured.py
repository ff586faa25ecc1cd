"""Training and measuring learners that have settings of their own (`Learner.settings_class`): they open their data themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion_perception.commands._common import note
from emotion_perception.engine.errors import UsageError

if TYPE_CHECKING:
    from emotion_perception.engine.learners import Learner

SPLITS = ("train", "val", "test")
_MOST_LINES = 20


def read_settings(
    cls: type[Learner], file: Path | None, words: Sequence[str], data: Sequence[Path], options: Mapping[str, Any] | None = None
) -> Any:
    """Reads the settings of a learner.

    Args:
        cls: Of the learner.
        file: YAML, or None.
        words: ``KEY=VALUE``; they win over all else.
        data: What ``--data`` gave, at most one folder; ``data_path=DIR`` says the same.
        options: Options of the command by the settings' names; None = not given.
    """
    if cls.settings_class is None:
        raise UsageError(f"learner {cls.card.learner!r} has no settings file; give its options as KEY=VALUE")
    if len(data) > 1:
        raise UsageError(f"got {len(data)} --data, {cls.card.learner!r} takes one")
    given = [f"data_path={folder}" for folder in data] + [f"{name}={value}" for name, value in (options or {}).items() if value is not None]
    return cls.settings_class.read(file, [*given, *words])


def refuse(cls: type[Learner], options: Mapping[str, Any]) -> None:
    """Refuses options, by the words of the command line, that are for pictures only."""
    for option, value in options.items():
        if value:
            raise UsageError(f"--{option} is not for {cls.card.learner!r}; give its settings as KEY=VALUE instead")


def check_kind(cls: type[Learner], kinds: Sequence[str]) -> None:
    """Refuses kinds of data that are not the learner's own."""
    from emotion_perception.engine.errors import unknown_name

    for kind in kinds:
        if cls.settings_class is not None and kind != cls.settings_class.data_set:
            raise unknown_name(f"data set of {cls.card.learner}", kind, [cls.settings_class.data_set])


def split_named(split: str | None, default: str) -> str:
    """Returns the part of a data set that was asked for."""
    from emotion_perception.engine.errors import unknown_name

    wanted = {"valid": "val", "validation": "val"}.get(split or default, split or default)
    if wanted not in SPLITS:
        raise unknown_name("split", wanted, SPLITS)
    return wanted


def skipped_lines(datasets: Sequence[Any]) -> list[str]:
    """Returns what was left out of data sets or handled by a rule, a line each."""
    return list(dict.fromkeys(line for dataset in datasets for line in dataset.skipped))


def list_skipped(lines: Sequence[str], file: Path | None = None) -> None:
    """Says what was left out; all of it stands in the file, where one is given."""
    if not lines:
        return
    note(f"left out, or handled by a rule: {len(lines)}")
    for line in lines[:_MOST_LINES]:
        note(f"  {line}")
    more = len(lines) - _MOST_LINES
    if file is not None:
        from emotion_perception.engine.storage import atomic_write

        with atomic_write(file) as temporary:
            temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    if more > 0:
        note(f"  and {more} more" + (f"; all of them: {file}" if file is not None else ""))
