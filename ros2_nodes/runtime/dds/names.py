"""Names as ROS has them: checked, expanded to fully qualified ones, and as DDS topics."""

from __future__ import annotations

import re

from emotion_perception.engine.errors import UsageError

_TOKEN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def check_node_name(name: str) -> str:
    """Returns a node's name if it is one.

    Raises:
        UsageError: It is not letters, digits and underscores, or starts with a digit.
    """
    if not _TOKEN.fullmatch(name):
        raise UsageError(f"node name {name!r} is invalid; expected letters, digits and underscores, not starting with a digit")
    return name


def check_namespace(namespace: str) -> str:
    """Returns a namespace with its leading slash and without a trailing one; the empty one is "/".

    Raises:
        UsageError: A part of it is not a valid name.
    """
    tokens = namespace.strip("/").split("/") if namespace.strip("/") else []
    if any(not _TOKEN.fullmatch(token) for token in tokens):
        raise UsageError(f"namespace {namespace!r} is invalid; expected /names/of/letters_digits_and_underscores")
    return "/" + "/".join(tokens)


def join(namespace: str, name: str) -> str:
    """Returns the fully qualified name of something in a namespace."""
    return f"{namespace.rstrip('/')}/{name}"


def expand(name: str, node_name: str, namespace: str) -> str:
    """Returns the fully qualified name of a topic or service, before remapping.

    Args:
        name: "relative", "~/private" or "/absolute".
        node_name: The node's name.
        namespace: The node's namespace.

    Raises:
        UsageError: The name is not valid in ROS.
    """
    if name == "~" or name.startswith("~/"):
        full = join(namespace, node_name) + name[1:]
    else:
        full = name if name.startswith("/") else join(namespace, name)
    if not name or any(not _TOKEN.fullmatch(token) for token in full[1:].split("/")):
        raise UsageError(f"topic or service name {name!r} is invalid; expected names of letters, digits and underscores between slashes")
    return full


def dds_type_name(ros_type: str) -> str:
    """Returns the type's name on the wire: "std_msgs/msg/String" is "std_msgs.msg.dds_.String_" (dots stand for IDL's `::`)."""
    package, kind, short = ros_type.split("/")
    return f"{package}.{kind}.dds_.{short}_"
