"""What stands behind ``--ros-args`` on a command line."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from emotion_perception.engine.errors import UsageError, unknown_name
from emotion_perception.ros2_nodes.runtime.dds.logging import LoggingSeverity
from emotion_perception.ros2_nodes.runtime.dds.names import check_namespace, check_node_name, expand
from emotion_perception.ros2_nodes.runtime.dds.overrides import Override, parse_value, read_file

_COMMAND_LINE = "the command line"
_ASSIGN = ":="
_SCHEMES = ("rostopic://", "rosservice://")
# Known to rcl, and without a meaning here.
_IGNORED_WITH_VALUE = ("--log-config-file", "--log-file-name")
_SWITCHES = ("rosout-logs", "stdout-logs", "external-lib-logs")


@dataclass(frozen=True)
class Remap:
    """A rule of the form [node:]from:=to.

    Attributes:
        node: The only node it is for; None for all.
        scheme: The only kind of name it is for, "rostopic://"; "" for all.
        old: What is replaced: a topic or service, or ``__node`` or ``__ns``.
        new: By what.
    """

    node: str | None
    scheme: str
    old: str
    new: str


@dataclass
class RosArguments:
    """The arguments, in their order.

    Attributes:
        remaps: Rules for names.
        overrides: Values of parameters; later ones win.
        log_levels: Logger ("" is the default) and level.
        enclave: The security enclave that the others are told.
        rosout_logs: Publish log lines to /rosout.
        stdout_logs: Print log lines.
    """

    remaps: list[Remap] = field(default_factory=list)
    overrides: list[Override] = field(default_factory=list)
    log_levels: list[tuple[str, LoggingSeverity]] = field(default_factory=list)
    enclave: str = "/"
    rosout_logs: bool = True
    stdout_logs: bool = True

    def __add__(self, other: RosArguments) -> RosArguments:
        """Returns both, those of the other after these."""
        return RosArguments(
            self.remaps + other.remaps,
            self.overrides + other.overrides,
            self.log_levels + other.log_levels,
            self.enclave,
            self.rosout_logs and other.rosout_logs,
            self.stdout_logs and other.stdout_logs,
        )

    def node_identity(self, name: str, namespace: str) -> tuple[str, str]:
        """Returns a node's name and namespace after ``__node:=`` and ``__ns:=``."""
        new_name = self._first(("__node", "__name"), name)
        new_namespace = self._first(("__ns",), name)
        return (
            check_node_name(name if new_name is None else new_name),
            check_namespace(namespace if new_namespace is None else new_namespace),
        )

    def _first(self, keys: Sequence[str], node: str) -> str | None:
        return next((rule.new for rule in self.remaps if rule.old in keys and rule.node in (None, node)), None)

    def resolve(self, name: str, node: str, namespace: str, scheme: str) -> str:
        """Returns the fully qualified name of a topic or service after the first rule that fits.

        Args:
            name: As the node's code has it.
            node: The node's name.
            namespace: The node's namespace.
            scheme: "rostopic://" or "rosservice://".
        """
        full = expand(name, node, namespace)
        for rule in self.remaps:
            if rule.old.startswith("__") or rule.node not in (None, node) or rule.scheme not in ("", scheme):
                continue
            if expand(rule.old, node, namespace) == full:
                return expand(rule.new, node, namespace)
        return full

    def values_for(self, node: str) -> tuple[dict[str, Any], dict[str, str]]:
        """Returns a node's parameters, name -> value and name -> where it was said, by its fully qualified name."""
        mine = [override for override in self.overrides if override.applies_to(node)]
        return {o.name: o.value for o in mine}, {o.name: o.source for o in mine}


def parse(argv: Sequence[str]) -> tuple[RosArguments, list[str]]:
    """Splits a command line.

    Args:
        argv: All arguments. What is ROS's starts at ``--ros-args`` and ends at ``--`` or at the end.

    Returns:
        The ROS arguments, and the others in their order.

    Raises:
        UsageError: An argument after ``--ros-args`` is unknown or malformed.
    """
    found, others = RosArguments(), []
    given = iter(argv)
    for argument in given:
        if argument == "--ros-args":
            _parse_section(given, found)
        else:
            others.append(argument)
    return found, others


def remove_ros_args(args: Sequence[str] | None = None) -> list[str]:
    """Returns a command line without what stands behind ``--ros-args``; None is `sys.argv`."""
    inside, others = False, []
    for argument in sys.argv if args is None else args:
        if argument == "--ros-args":
            inside = True
        elif inside:
            inside = argument != "--"
        else:
            others.append(argument)
    return others


def _parse_section(given: Iterator[str], found: RosArguments) -> None:
    for argument in given:
        if argument == "--":
            return
        if argument == "--ros-args":
            continue
        # ROS takes the value from the next argument only.
        if argument in ("-r", "--remap"):
            found.remaps.append(_remap(_value_of(argument, given, "from:=to")))
        elif argument in ("-p", "--param"):
            found.overrides.append(_parameter(_value_of(argument, given, "name:=value")))
        elif argument == "--params-file":
            found.overrides += read_file(_value_of(argument, given, "file"))
        elif argument == "--log-level":
            found.log_levels.append(_log_level(_value_of(argument, given, "level")))
        elif argument in ("-e", "--enclave"):
            found.enclave = _value_of(argument, given, "enclave")
        elif argument in _IGNORED_WITH_VALUE:
            _value_of(argument, given, "value")
        elif argument.startswith(("--enable-", "--disable-")) and argument.split("-", 3)[3] in _SWITCHES:
            switch, enabled = argument.split("-", 3)[3], argument.startswith("--enable-")
            if switch != "external-lib-logs":
                setattr(found, switch.replace("-", "_"), enabled)
        else:
            raise UsageError(
                f"unknown argument {argument!r} after --ros-args; expected -r from:=to, -p name:=value, --params-file FILE, "
                "--log-level LEVEL; arguments that are not ROS's stand before --ros-args, or after --"
            )


def _value_of(argument: str, given: Iterator[str], expected: str) -> str:
    value = next(given, None)
    if value is None:
        raise UsageError(f"{argument} stands at the end of the command line, expected {argument} {expected}")
    return value


def _remap(rule: str) -> Remap:
    old, assign, new = rule.partition(_ASSIGN)
    if not (assign and old and new):
        raise UsageError(f"remapping rule {rule!r} is malformed; expected from:=to, or node:from:=to")
    node: str | None = None
    scheme = next((s for s in _SCHEMES if old.startswith(s)), "")
    if not scheme:
        node, colon, rest = old.partition(":")
        node, old = (node, rest) if colon else (None, old)
        scheme = next((s for s in _SCHEMES if old.startswith(s)), "")
    old = old[len(scheme) :]
    new = new[len(scheme) :] if scheme and new.startswith(scheme) else new
    # Whatever is wrong with a name is said now, not when a node is made.
    if old in ("__node", "__name"):
        check_node_name(new)
    elif old == "__ns":
        check_namespace(new)
    elif old.startswith("__"):
        raise UsageError(f"remapping rule {rule!r} is malformed; of the names that start with __ there are __node and __ns")
    else:
        expand(old, "node", "/"), expand(new, "node", "/")
    return Remap(node, scheme, old, new)


def _parameter(rule: str) -> Override:
    name, assign, text = rule.partition(_ASSIGN)
    if not (assign and name):
        raise UsageError(f"parameter rule {rule!r} is malformed; expected name:=value, or node:name:=value")
    node, colon, rest = name.partition(":")
    pattern, name = (f"/{node.strip('/')}", rest) if colon else ("/**", name)
    return Override(pattern, name, parse_value(text, f"parameter {name} on {_COMMAND_LINE}"), _COMMAND_LINE)


def _log_level(rule: str) -> tuple[str, LoggingSeverity]:
    logger, _, word = rule.rpartition(_ASSIGN)
    levels = {level.name: level for level in LoggingSeverity}
    level = levels.get({"WARNING": "WARN"}.get(word.upper(), word.upper()))
    if level is None:
        raise unknown_name("log level", word, (name.lower() for name in levels))
    return logger, level
