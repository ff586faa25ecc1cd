"""Messages as text: what a topic carries, found out from its publishers, and printed as YAML or JSON."""

from __future__ import annotations

import json
import math
import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from emotion_perception.engine.errors import UsageError

# A longer array is shortened to as many values, unless it is wanted whole.
MOST_VALUES = 16
# YAML would take these words for something else than text, or cannot have them without quotes.
_PLAIN_TEXT = re.compile(r"[A-Za-z_/][\w/.@+-]*(?: [\w/.@+-]+)*")
_YAML_WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}


def to_plain(value: Any) -> Any:
    """Turns a message of either runtime into dictionaries, lists, numbers and text; an array keeps its type until it is printed."""
    if hasattr(value, "get_fields_and_field_types"):
        return {name: to_plain(getattr(value, name)) for name in value.get_fields_and_field_types()}
    if is_dataclass(value):
        return {field.name: to_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, (bytes, bytearray)):  # rclpy's `byte`
        return int.from_bytes(value, "little")
    if isinstance(value, (list, tuple)):
        return [to_plain(entry) for entry in value]
    if isinstance(value, np.generic):
        return value.item()
    if hasattr(value, "tolist"):  # an array of either kind; its values are read when they are printed, as there may be a million
        return np.asarray(value)
    return value


def as_json(message: Any) -> str:
    """Returns a message as one line of JSON, arrays whole; numbers that JSON does not know are null."""
    return json.dumps(_for_json(to_plain(message)), ensure_ascii=False, separators=(", ", ": "))


def _for_json(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, dict):
        return {name: _for_json(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_for_json(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_yaml(message: Any, most_values: int | None = MOST_VALUES) -> str:
    """Returns a message as YAML, ended by a line ``---``.

    Args:
        message: The message.
        most_values: How many values of an array are shown; None shows all.
    """
    return "\n".join([*_yaml_lines(to_plain(message), "", most_values), "---"])


def _yaml_lines(values: dict[str, Any], indent: str, most: int | None) -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield f"{indent}{name}:"
            yield from _yaml_lines(value, indent + "  ", most)
        elif isinstance(value, list) and any(isinstance(entry, dict) for entry in value):
            yield f"{indent}{name}:"
            shown = value if most is None else value[:most]
            for entry in shown:
                lines = list(_yaml_lines(entry, indent + "  ", most)) or [f"{indent}  {{}}"]
                yield f"{indent}- {lines[0].removeprefix(indent + '  ')}"
                yield from lines[1:]
            if len(shown) < len(value):
                yield f"{indent}# {len(shown)} of {len(value)} shown"
        else:
            yield f"{indent}{name}: {_inline(value, most)}"


def _inline(value: Any, most: int | None) -> str:
    """Returns what fits behind a name: a number, text, or a list of them in brackets."""
    if isinstance(value, (list, np.ndarray)):
        shown = value if most is None else value[:most]
        entries = shown.tolist() if isinstance(shown, np.ndarray) else shown
        more = f"  # {len(shown)} of {len(value)} values" if len(shown) < len(value) else ""
        return f"[{', '.join(_inline(entry, most) for entry in entries)}{', ...' if more else ''}]{more}"
    if isinstance(value, str):
        plain = _PLAIN_TEXT.fullmatch(value) and value.lower() not in _YAML_WORDS
        return value if plain else json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else {"nan": ".nan", "inf": ".inf", "-inf": "-.inf"}[repr(value)]
    return "{}" if value == {} else str(value)


def listen(
    topic: str,
    type_name: str | None,
    reliability: str | None,
    count: int | None,
    show: Callable[[Any], None],
    tell: Callable[[str], None],
) -> None:
    """Hands the messages of a topic on until there were enough or the process is told to end; the graph has been joined before.

    Args:
        topic: Its name, resolved as a node's would be.
        type_name: Type of the messages; None takes it from the first publisher, and waits for one.
        reliability: ``reliable`` or ``best_effort``; None is reliable only where every publisher is.
        count: How many messages to take; None takes all that come.
        show: Is given each message.
        tell: Is given a line when there is nobody yet to listen to.

    Raises:
        UsageError: The topic carries several types, or the type is none that is known.
    """
    from emotion_perception.ros2_nodes import runtime

    # A name of its own, so that several may run.
    node = runtime.Node("echo_" + np.random.default_rng().bytes(4).hex())
    try:
        publishers = _publishers(node, topic, wait=type_name is None, tell=tell)
        if type_name is None:
            names = sorted({publisher.topic_type for publisher in publishers})
            if len(names) != 1:
                raise UsageError(f"topic {topic!r} carries {' and '.join(names) or 'nothing'}; choose one with --type")
            type_name = names[0]
        messages: deque[Any] = deque()
        # rclpy looks at the callback's signature, which a built-in method has none of.
        qos = _matching_qos(publishers, reliability)
        node.create_subscription(message_class(type_name), topic, lambda message: messages.append(message), qos)
        shown = 0
        while runtime.ok() and (count is None or shown < count):
            # Printed here and not in the callback: a reader that went away is to end this function.
            while messages and (count is None or shown < count):
                show(messages.popleft())
                shown += 1
            if count is None or shown < count:
                runtime.spin_once(node, timeout_sec=0.2)
    finally:
        node.destroy_node()


def message_class(name: str) -> Any:
    """Returns the class of a message by its name, also without the middle part ("std_msgs/String").

    Raises:
        UsageError: There is no such message, or its package is not installed.
    """
    from emotion_perception.ros2_nodes.runtime import get_message

    parts = name.split("/")
    full = f"{parts[0]}/msg/{parts[1]}" if len(parts) == 2 else name
    try:
        return get_message(full)
    except UsageError:
        raise
    except (ImportError, AttributeError, ValueError, KeyError) as error:
        raise UsageError(f"no message type {name!r} ({error}); expected e.g. sensor_msgs/msg/Image of an installed package") from None


def _publishers(node: Any, topic: str, wait: bool, tell: Callable[[str], None]) -> list[Any]:
    """Returns the publishers of a topic, waiting for the first one if told to."""
    from emotion_perception.ros2_nodes import runtime

    full_name = node.resolve_topic_name(topic)
    told = False
    looks = 0
    while runtime.ok():
        publishers = list(node.get_publishers_info_by_topic(full_name))
        if publishers or (not wait and looks >= 5):
            return publishers
        looks += 1
        if wait and not told and looks > 5:
            tell(f"waiting for a publisher of {full_name} (its type is taken from it; or say it with --type)")
            told = True
        runtime.spin_once(node, timeout_sec=0.2)
    return []


def _matching_qos(publishers: list[Any], reliability: str | None) -> Any:
    """Returns a profile that every publisher matches, with what a publisher keeps for late comers where all do."""
    from emotion_perception.ros2_nodes.runtime import DurabilityPolicy, QoSProfile, ReliabilityPolicy

    offered = [publisher.qos_profile for publisher in publishers]
    reliable = bool(offered) and all(qos.reliability == ReliabilityPolicy.RELIABLE for qos in offered)
    if reliability is not None:
        reliable = reliability == "reliable"
    kept = reliable and bool(offered) and all(qos.durability == DurabilityPolicy.TRANSIENT_LOCAL for qos in offered)
    return QoSProfile(
        depth=10,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if kept else DurabilityPolicy.VOLATILE,
    )
