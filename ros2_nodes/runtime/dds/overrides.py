"""Parameter values given from outside: on the command line and in YAML files, with the types that rcl reads from the same text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emotion_perception.engine.errors import UsageError

_KEY = "ros__parameters"
_TRUE = {"Y", "y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"}
_FALSE = {"N", "n", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"}
_INTEGER = re.compile(r"[-+]?(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_FLOAT_WORD = re.compile(r"[-+]?\.?(inf|nan)", re.IGNORECASE)


@dataclass(frozen=True)
class Override:
    """A parameter's value for the nodes of a pattern.

    Attributes:
        pattern: "/ns/node", with ``*`` for one name and ``**`` for any number of them.
        name: The parameter, "publish.cropped".
        value: bool, int, float, str, or a list of one of them.
        source: Where it was said, for messages.
    """

    pattern: str
    name: str
    value: Any
    source: str

    def applies_to(self, node: str) -> bool:
        """Returns whether a node, by its fully qualified name, is meant."""
        escaped = re.escape(self.pattern).replace(r"/\*\*", r"(/\w+)*").replace(r"/\*", r"/\w+")
        return re.fullmatch(escaped, node) is not None


def parse_value(text: str, source: str) -> Any:
    """Returns the value of a piece of YAML.

    Args:
        text: "0.5", "[a, b]", "'yes'".
        source: Where it was said.

    Raises:
        UsageError: It is not YAML, or neither a scalar nor a list of scalars of one type.
    """
    root = _compose(text, source)
    if root is None:
        return ""
    return _value(root, source)


def read_file(path: str) -> list[Override]:
    """Reads a parameter file of ROS 2.

    Args:
        path: The file.

    Raises:
        UsageError: It cannot be read or is not such a file.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"cannot read the parameter file {path!r}: {reason}") from error
    root = _compose(text, path)
    found: list[Override] = []
    if root is None:
        return found
    _walk_nodes(root, "", path, found)
    return found


def _compose(text: str, source: str) -> Any:
    """Returns the tree of YAML nodes, which still knows what was in quotes."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        return YAML(typ="safe", pure=True).compose(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None) if isinstance(error, MarkedYAMLError) else None
        place = f" line {mark.line + 1}" if mark is not None and source != "the command line" else ""
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        raise UsageError(f"{source}{place}: {text if not place else 'this'} is not YAML: {problem}") from error


def _walk_nodes(tree: Any, prefix: str, path: str, found: list[Override]) -> None:
    """Collects the parameters below names of nodes and namespaces, which may be nested."""
    for key, below in _items(tree, path, f"node names with {_KEY} below them"):
        if key == _KEY:
            if not prefix:
                raise UsageError(f"{path}: {_KEY} stands at the top, expected below a node's name, or below /** for every node")
            _walk_parameters(below, "", prefix, path, found)
        else:
            _walk_nodes(below, f"{prefix}/{key.strip('/')}", path, found)


def _walk_parameters(tree: Any, prefix: str, pattern: str, path: str, found: list[Override]) -> None:
    for key, below in _items(tree, path, f"parameters below {_KEY} of {pattern}"):
        name = f"{prefix}.{key}" if prefix else key
        if below.id == "mapping":
            _walk_parameters(below, name, pattern, path, found)
        else:
            found.append(Override(pattern, name, _value(below, f"{path}: parameter {name}"), path))


def _items(tree: Any, path: str, expected: str) -> list[tuple[str, Any]]:
    if tree.id != "mapping":
        if tree.id == "scalar" and not tree.value:
            return []
        raise UsageError(f"{path} line {tree.start_mark.line + 1}: found {_short(tree)}, expected {expected}")
    return [(str(key.value), below) for key, below in tree.value]


def _value(tree: Any, source: str) -> Any:
    if tree.id == "scalar":
        return _scalar(tree, source)
    if tree.id != "sequence" or any(item.id != "scalar" for item in tree.value):
        raise UsageError(f"{source} is {_short(tree)}, expected a value or a list of values")
    values = [_scalar(item, source) for item in tree.value]
    if len({type(value) for value in values}) > 1:
        remedy = "write all numbers with a dot, or quote all words"
        raise UsageError(f"{source} is a list of mixed types, {values}; expected one type: {remedy}")
    return values


def _scalar(tree: Any, source: str) -> Any:
    text = str(tree.value)
    if tree.style in ("'", '"', "|", ">"):
        return text
    if not text or text in ("~", "null"):
        raise UsageError(f"{source} has no value; expected one, or '' for an empty string")
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if _INTEGER.fullmatch(text):
        number = int(text, 0) if "x" in text.lower() else int(text, 8) if text.lstrip("+-").startswith("0") else int(text)
        if not -(2**63) <= number < 2**63:
            raise UsageError(f"{source} is {text}, which does not fit into 64 bits")
        return number
    if _FLOAT.fullmatch(text):
        return float(text)
    if _FLOAT_WORD.fullmatch(text):
        return float(text.replace(".", ""))
    return text


def _short(tree: Any) -> str:
    return f"{str(tree.value)[:40]!r}" if tree.id == "scalar" else f"a {tree.id}"
