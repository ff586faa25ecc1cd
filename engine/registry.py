"""Name -> learner, through entry points of the group ``emotion_perception.learners``. Listing imports no torch."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

from emotion_perception.engine.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from emotion_perception.engine.learners import Learner

GROUP = "emotion_perception.learners"


def learner_entries() -> dict[str, EntryPoint]:
    """Returns the entry points of the registered learners by name, sorted, without importing any learner.

    Every call looks through all installed packages: whoever goes over several learners takes the entries once, and `load_learner`.

    Raises:
        UsageError: Two packages claim one name; neither may win silently.
    """
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=GROUP):
        if entry.name in found and found[entry.name].value != entry.value:
            raise UsageError(f"learner {entry.name!r} is registered twice: {found[entry.name].value} and {entry.value}; uninstall one")
        found[entry.name] = entry
    return dict(sorted(found.items()))


def learner_names() -> list[str]:
    """Returns the registered names, sorted, without importing any learner."""
    return list(learner_entries())


def load_learner(entry: EntryPoint) -> type[Learner]:
    """Imports a learner's class; its module imports no torch. Raises `UsageError` where the plugin cannot be imported."""
    try:
        cls: type[Learner] = entry.load()
    except (ImportError, AttributeError) as error:
        raise UsageError(f"learner {entry.name!r} ({entry.value}) cannot be imported: {error}; reinstall its package") from error
    return cls


def learner_class(name: str) -> type[Learner]:
    """Imports a learner's class by its registered name, see `load_learner`.

    Raises:
        UsageError: Unknown name (with the nearest right one), or the plugin cannot be imported.
    """
    entries = learner_entries()
    if not entries:
        way_out = "pip install -e . (in a checkout) or pip install emotion_perception"
        raise UsageError(f"no learners are registered; install the package: {way_out}")
    if name not in entries:
        raise unknown_name("learner", name, entries)
    return load_learner(entries[name])


def create_learner(name: str, **arguments: Any) -> Learner:
    """Makes a learner by its registered name; the keywords are those of its constructor."""
    return learner_class(name)(**arguments)
