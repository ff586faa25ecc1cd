"""Settings from a YAML file and ``KEY=VALUE`` words, through OmegaConf; and their YAML."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion_perception.engine.errors import MissingDependencyError, UsageError, unknown_name

if TYPE_CHECKING:
    from emotion_perception.learners.emotx.settings import Settings


def read_settings(cls: type[Settings], file: str | Path | None, words: Sequence[str]) -> Settings:
    """Reads settings; see `Settings.read`."""
    named = [word.partition("=")[2] for word in words if word.startswith("config=")]
    words = [word for word in words if not word.startswith("config=")]
    file = named[-1] if named else file
    if file is None and not words:
        return cls()
    try:
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException
        from yaml import YAMLError  # type: ignore[import-untyped]  # its types are a package of their own
    except ImportError:
        raise MissingDependencyError("omegaconf", "reading settings", "emotx") from None
    try:
        given = [*([] if file is None else [OmegaConf.load(Path(file).expanduser())])]
        given += [OmegaConf.from_dotlist([_word(word)]) for word in words]
        _check_keys(cls(), given)
        made = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(cls), *given))
    except FileNotFoundError:
        raise UsageError(f"settings file {str(file)!r} is not there; give the path of a YAML file") from None
    except (OmegaConfBaseException, YAMLError, OSError) as error:
        raise UsageError(_explained(cls(), error, file, words)) from None
    assert isinstance(made, cls)
    return made


def settings_yaml(settings: Settings) -> str:
    """Returns all settings as YAML that `read_settings` takes."""
    return "\n".join(_yaml(asdict(settings))) + "\n"


def _word(word: str) -> str:
    name, equals, _ = word.partition("=")
    if not equals or not name.strip():
        raise UsageError(f"{word!r} is no setting; write KEY=VALUE, as top_k=25")
    return word.strip()


def _keys(value: Any, path: str = "") -> Iterator[str]:
    """Yields the dotted names of all that can be set."""
    for f in fields(value):
        inner = getattr(value, f.name)
        yield f"{path}{f.name}"
        if is_dataclass(inner):
            yield from _keys(inner, f"{path}{f.name}.")
        elif isinstance(inner, dict):
            for key, entry in inner.items():
                yield f"{path}{f.name}.{key}"
                if is_dataclass(entry):
                    yield from _keys(entry, f"{path}{f.name}.{key}.")


def _given_keys(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, Mapping):
        for key in value:
            yield f"{path}{key}"
            yield from _given_keys(value[key], f"{path}{key}.")


def _check_keys(defaults: Settings, given: Sequence[Any]) -> None:
    """Refuses keys that there are not, before OmegaConf does, whose messages take several lines."""
    from omegaconf import OmegaConf

    known = list(_keys(defaults))
    for config in given:
        content = OmegaConf.to_container(config)
        if not isinstance(content, dict):
            raise UsageError("the settings file is a list, expected keys and values")
        for key in _given_keys(content):
            if key not in known:
                raise unknown_name("setting of emotx", key, known)


def _explained(defaults: Settings, error: Exception, file: str | Path | None, words: Sequence[str]) -> str:
    """Turns an error of OmegaConf or of the YAML reader into one line."""
    key = getattr(error, "full_key", None)
    reason = str(error).strip().splitlines()[0]
    if key in set(_keys(defaults)):
        value: Any = defaults
        for part in str(key).split("."):
            value = value[part] if isinstance(value, dict) else getattr(value, part)
        return f"setting {key}: {reason}; expected something like {key}={json.dumps(value)}"
    where = " ".join(words) if file is None else str(file) if not words else f"{file} and {' '.join(words)}"
    return f"settings {where!r} cannot be read: {reason}"


def _yaml(values: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """Yields the lines of nested mappings as YAML; what JSON writes for a single value is YAML too."""
    for key, value in values.items():
        name = key if not key[0].isdigit() else f'"{key}"'
        if isinstance(value, Mapping) and value:
            yield f"{indent}{name}:"
            yield from _yaml(value, indent + "  ")
        else:
            yield f"{indent}{name}: {json.dumps(value, ensure_ascii=False)}"
