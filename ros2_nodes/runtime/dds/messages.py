"""Message and service classes: rclpy's constructors, defaults and constants over the typestore and CDR codec of rosbags."""

from __future__ import annotations

import array
import threading
from dataclasses import field, fields, make_dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.base import normalize_fieldname
from rosbags.typesys.store import Typestore

from emotion_perception.engine.errors import UsageError, unknown_name
from emotion_perception.ros2_nodes.runtime.dds.definitions import DEFAULTS, MESSAGES, SERVICES

_DTYPES = {"bool": "?", "byte": "u1", "octet": "u1", "char": "u1"}
# What get_fields_and_field_types calls them, as rclpy does.
_TYPE_WORDS = {"bool": "boolean", "byte": "octet", "char": "uint8", "float32": "float", "float64": "double"}
# Two threads that ask for a class at the same time must not get two.
_lock = threading.RLock()
_FILLER = "structure_needs_at_least_one_member"


class Message:
    """Base of every message class. Fields are slots, so that a wrong field name is an error as in rclpy."""

    __slots__ = ()
    __msgtype__: ClassVar[str]

    def __eq__(self, other: object) -> bool:
        """Compares field by field, arrays by their elements."""
        if type(other) is not type(self):
            return NotImplemented
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))  # type: ignore[arg-type]  # subclasses are dataclasses
        return all(np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b for a, b in pairs)

    __hash__ = None  # type: ignore[assignment]  # mutable

    @classmethod
    def get_fields_and_field_types(cls) -> dict[str, str]:
        """Returns field name -> type, in IDL's words ("sequence<uint8>", "std_msgs/Header")."""
        return {name: _words(desc) for name, desc in store().fielddefs[cls.__msgtype__][1] if name != _FILLER}


def store() -> Typestore:
    """Returns the typestore: the messages of ROS 2 Jazzy, and what `definitions` adds."""
    with _lock:
        return _make_store()


@cache
def _make_store() -> Typestore:
    made = get_typestore(Stores.ROS2_JAZZY)
    for name, text in MESSAGES.items():
        made.register(get_types_from_msg(text, name))
    for name, text in SERVICES.items():
        for kind, part in zip(("Request", "Response"), text.split("---"), strict=True):
            parsed = get_types_from_msg(part.strip() + "\n", f"{name}_{kind}")
            made.register({f"{name}_{kind}": next(iter(parsed.values()))})  # the parser forces .../msg/ into the name
    return made


def get_message(name: str) -> type[Any]:
    """Returns the class of a message, always the same.

    Args:
        name: Package and name, "std_msgs/msg/Header".

    Raises:
        UsageError: No such message is known.
    """
    with _lock:
        return _make_message(name)


@cache
def _make_message(name: str) -> type[Any]:
    types = store()
    if name not in types.fielddefs:
        raise unknown_name("message type", name, (known for known in types.fielddefs if "/msg/" in known))
    constants, members = types.fielddefs[name]
    package, kind, short = name.split("/")
    cls = make_dataclass(
        short,
        [(normalize_fieldname(member), Any, _default(name, member, desc)) for member, desc in members],
        bases=(Message,),
        namespace={"__msgtype__": name, "__doc__": f"{name}.", **{constant: value for constant, _, value in constants}},
        eq=False,
        slots=True,
    )
    cls.__module__, cls.__qualname__ = f"{package}.{kind}", f"{package}.{kind}.{short}"
    types.types[name] = cls
    types.cache.pop(name, None)  # whoever read one before went without this class
    return cls


def get_service(name: str) -> type[Any]:
    """Returns a class with the attributes Request and Response, always the same.

    Args:
        name: Package and name, "std_srvs/srv/SetBool".

    Raises:
        UsageError: No such service is known.
    """
    with _lock:
        return _make_service(name)


@cache
def _make_service(name: str) -> type[Any]:
    if name not in SERVICES:
        raise unknown_name("service type", name, SERVICES)
    parts = {kind: get_message(f"{name}_{kind}") for kind in ("Request", "Response")}
    return type(name.rsplit("/", 1)[1], (), {**parts, "__srvtype__": name, "__doc__": f"{name}."})


def type_name(message_type: type[Any]) -> str:
    """Returns "std_msgs/msg/Header" for the class of that message.

    Raises:
        UsageError: It is not one of the classes that `get_message` returns.
    """
    if not (isinstance(message_type, type) and issubclass(message_type, Message)):
        raise UsageError(f"{message_type!r} is not a message class, expected what get_message('package/msg/Name') returns")
    return message_type.__msgtype__


@cache
def type_hash(name: str) -> str:
    """Returns the hash of a type's structure as ROS 2 computes it since Iron, "RIHS01_" and 64 hex digits."""
    return _hashing_store().hash_rihs01(name)


@cache
def _hashing_store() -> Typestore:
    """Returns a copy of the store with `char` as uint8, which is what rosidl hashes."""
    made = Typestore()
    made.fielddefs = {key: (constants, [(n, _as_uint8(d)) for n, d in members]) for key, (constants, members) in store().fielddefs.items()}
    return made


def serialize(message: Any) -> bytes:
    """Returns a message as XCDR1 with its four bytes of encapsulation, padded to a multiple of four.

    Raises:
        UsageError: A field holds something of a wrong type or out of its range.
    """
    name = message.__msgtype__
    try:
        _coerce(message, _array_plan(name))
        cdr = store().serialize_cdr(message, name)
    except Exception as error:
        expected = type(message).get_fields_and_field_types()
        raise UsageError(f"cannot serialise {name}: {error}; expected fields of the types {expected}") from error
    padding = -len(cdr) % 4
    return b"".join((cdr, bytes(padding))) if padding else bytes(cdr)


def deserialize(data: bytes | memoryview, message_type: type[Any]) -> Any:
    """Returns the message in XCDR1 data. Arrays of numbers are read-only views of the data: nothing is copied."""
    return store().deserialize_cdr(memoryview(data), message_type.__msgtype__)


def _default(name: str, member: str, desc: Any) -> Any:
    """Returns the dataclass field with the value that rclpy would set."""
    given = DEFAULTS.get(name, {}).get(member)
    kind, inner = desc
    if kind == Nodetype.NAME:
        return field(default_factory=get_message(inner))
    if kind == Nodetype.BASE:
        zero = {"string": "", "bool": False, "float32": 0.0, "float64": 0.0}.get(inner[0], 0)
        return field(default=zero if given is None else given)
    (item_kind, item), length = inner
    length = length if kind == Nodetype.ARRAY else 0
    if item_kind == Nodetype.NAME:
        item_type = get_message(item)
        return field(default_factory=lambda: [item_type() for _ in range(length)])
    if item[0] == "string":
        return field(default_factory=lambda: [""] * length)
    dtype = _dtype(item[0])
    return field(default_factory=lambda: np.zeros(length, dtype))


def _dtype(word: str) -> np.dtype[Any]:
    return np.dtype(_DTYPES.get(word, word))


def _as_uint8(desc: Any) -> Any:
    kind, inner = desc
    if kind == Nodetype.BASE:
        return (kind, ("uint8", 0)) if inner[0] == "char" else desc
    return desc if kind == Nodetype.NAME else (kind, (_as_uint8(inner[0]), inner[1]))


def _words(desc: Any) -> str:
    kind, inner = desc
    if kind == Nodetype.BASE:
        return f"string<{inner[1]}>" if inner[0] == "string" and inner[1] else _TYPE_WORDS.get(inner[0], inner[0])
    if kind == Nodetype.NAME:
        return str(inner).replace("/msg/", "/")
    item, length = _words(inner[0]), inner[1]
    if kind == Nodetype.ARRAY:
        return f"{item}[{length}]"
    return f"sequence<{item}, {length}>" if length else f"sequence<{item}>"


_Plan = tuple[tuple[str, bool, Any], ...]


@cache
def _array_plan(name: str) -> _Plan:
    """Returns (field, many, dtype or plan of the nested type) for whatever of a type leads to an array of numbers."""
    plan: list[tuple[str, bool, Any]] = []
    members: list[tuple[str, Any]] = list(store().fielddefs[name][1])
    for member, (kind, inner) in members:
        many = kind not in (Nodetype.BASE, Nodetype.NAME)
        item_kind, item = inner[0] if many else (kind, inner)
        if item_kind == Nodetype.NAME:
            if below := _array_plan(item):
                plan.append((normalize_fieldname(member), many, below))
        elif many and item[0] != "string":
            plan.append((normalize_fieldname(member), many, _dtype(item[0])))
    return tuple(plan)


def _coerce(message: Any, plan: _Plan) -> None:
    """Turns arrays of numbers into what the codec takes: it writes their memory out, whatever its type."""
    for name, many, below in plan:
        value = getattr(message, name)
        if isinstance(below, tuple):
            for item in value if many else (value,):
                _coerce(item, below)
        elif not (type(value) is np.ndarray and value.dtype == below and value.ndim == 1 and value.flags.c_contiguous):
            setattr(message, name, _flat_array(value, below))


def _flat_array(value: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return np.frombuffer(value, dtype)
    if isinstance(value, array.array):
        return np.frombuffer(value, value.typecode).astype(dtype, copy=False)
    given = np.asarray(value)
    made = np.ascontiguousarray(given, dtype).reshape(-1)
    if dtype.kind in "iub" and given.size and not np.array_equal(made, given.reshape(-1)):
        raise ValueError(f"{given.dtype} values do not fit into {dtype}")
    return made
