"""``--set name=value``: constructor options of a learner, typed by its signature."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion_perception.engine.errors import UsageError, unknown_name
from emotion_perception.engine.settings import SETTINGS_NAME

if TYPE_CHECKING:
    from emotion_perception.engine.learners import Learner

_BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def settings_of(cls: type[Learner]) -> dict[str, Any]:
    """Returns everything of a learner that ``--set name=value`` can set, with its default: its settings, or its constructor's options."""
    if cls.settings_class is not None:
        settings: Any = cls.settings_class()  # each is a dataclass
        return dataclasses.asdict(settings)
    return {parameter.name: parameter.default for parameter in _parameters(cls)}


def parse_settings(cls: type[Learner], words: Sequence[str]) -> dict[str, Any]:
    """Reads ``name=value`` words as constructor arguments.

    Raises:
        UsageError: A word without ``=``, an unknown name (with the nearest right one) or a value of another type.
    """
    known = {parameter.name: parameter for parameter in _parameters(cls)}
    values: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        name = name.strip().replace("-", "_")
        if not equals:
            raise UsageError(f"--set {word!r} has no '='; write --set name=value")
        if name not in known:
            raise unknown_name(f"setting of {cls.card.learner}", name, known)
        values[name] = _value(known[name], text.strip())
    return values


def given_settings(cls: type[Learner], words: Sequence[str], weights: Path | None = None) -> dict[str, Any]:
    """Reads ``name=value`` words as constructor arguments, of a learner with settings of its own as those.

    Args:
        cls: The learner's class.
        words: As `parse_settings` takes them.
        weights: Folder of weights; the settings that a training wrote beside them are those that the words change.
    """
    if cls.settings_class is None:
        return parse_settings(cls, words)
    beside = None if weights is None else weights / SETTINGS_NAME
    return {"settings": cls.settings_class.read(beside if beside is not None and beside.is_file() else None, words)}


def _parameters(cls: type[Learner]) -> list[inspect.Parameter]:
    """Returns the constructor's options, with those of the base classes where it takes ``**options`` for them."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    found: dict[str, inspect.Parameter] = {}
    for base in (base for base in cls.__mro__ if "__init__" in vars(base)):
        parameters = list(inspect.signature(base.__init__).parameters.values())[1:]  # type: ignore[misc]  # only looked at
        found = {**{p.name: p for p in parameters if p.kind in kinds}, **found}
        if all(p.kind is not inspect.Parameter.VAR_KEYWORD for p in parameters):
            break
    return list(found.values())


def _value(parameter: inspect.Parameter, text: str) -> Any:
    """Reads a value by the type its parameter is annotated with, or else by the type of its default."""
    annotation = (
        parameter.annotation
        if isinstance(parameter.annotation, str)
        else getattr(parameter.annotation, "__name__", str(parameter.annotation))
    )
    kinds = (
        [part.strip() for part in annotation.split("|")]
        if parameter.annotation is not parameter.empty
        else [type(parameter.default).__name__]
    )
    if "None" in kinds and text.lower() in ("none", ""):
        return None
    for kind in kinds:
        if kind == "bool" and text.lower() in _BOOLEANS:
            return _BOOLEANS[text.lower()]
        if kind in ("int", "float"):
            try:
                return int(text) if kind == "int" else float(text)
            except ValueError:
                continue
        if kind.startswith(("tuple", "list", "Sequence")):
            numbers = _numbers(text)
            if numbers is not None:
                return tuple(numbers)
    if any(kind in ("str", "Path") or kind.startswith(("Literal", "os.")) for kind in kinds):
        return text
    raise UsageError(f"--set {parameter.name}={text!r}: expected {annotation}, e.g. {parameter.name}={parameter.default}")


def _numbers(text: str) -> list[int | float] | None:
    try:
        return [float(part) if any(c in part for c in ".eE") else int(part) for part in text.strip("()[] ").split(",") if part.strip()]
    except ValueError:
        return None
