"""The one exception tree. Every message is one line: what was given, what was expected, what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class EmotionPerceptionError(Exception):
    """Base of every error that this package raises on purpose.

    Attributes:
        exit_status: What the command line exits with: 1 = failed, 2 = used wrongly.
    """

    exit_status = 1


class UsageError(EmotionPerceptionError, ValueError):
    """An argument, option or name that cannot be used as given."""

    exit_status = 2


class InputError(EmotionPerceptionError, ValueError):
    """A picture, tensor or video that cannot be read or has the wrong shape, type or range."""


class DatasetError(EmotionPerceptionError, ValueError):
    """A data set folder or table that is missing, empty or malformed."""


class NotLoadedError(EmotionPerceptionError, RuntimeError):
    """A learner was asked to work before it had weights."""


class WeightsError(EmotionPerceptionError, ValueError):
    """A checkpoint that is truncated, of another model, or does not match its card."""


class DownloadError(EmotionPerceptionError, OSError):
    """A file could not be fetched, or what arrived is not what was expected."""


class StorageError(EmotionPerceptionError, OSError):
    """A result could not be written: disk full, no permission, not a folder."""


class MissingDependencyError(EmotionPerceptionError, ImportError):
    """An optional package is not installed."""

    def __init__(self, package: str, purpose: str, extra: str) -> None:
        """Names the package, what it is needed for and the extra that brings it."""
        super().__init__(f"{purpose} needs {package}, which is not installed; run: pip install 'emotion_perception[{extra}]'")


def unknown_name(kind: str, given: str, known: Iterable[str]) -> UsageError:
    """Makes the error for a name that is not known, with the nearest right one.

    Args:
        kind: What was looked up, in the singular ("learner", "label set").
        given: The name as given.
        known: The names that exist.
    """
    names = sorted(known)
    nearest = get_close_matches(given.lower(), [n.lower() for n in names], n=1)
    hint = f"did you mean {next(n for n in names if n.lower() == nearest[0])!r}?" if nearest else f"known: {', '.join(names) or 'none'}"
    return UsageError(f"unknown {kind} {given!r}; {hint}")


def check_words(name: str, value: str | None, allowed: Sequence[str | None]) -> None:
    """Raises `UsageError` for a word that is not one of those allowed."""
    if value not in allowed:
        raise UsageError(f"{name} is {value!r}, expected one of {', '.join(map(str, allowed))}")
