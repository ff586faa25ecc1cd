"""One parameter of a node: a name with a typed value, and the errors about it. Names and rules are those of rclpy."""

from __future__ import annotations

import array
from enum import Enum
from typing import Any

import numpy as np

from emotion_perception.engine.errors import UsageError
from emotion_perception.ros2_nodes.runtime.dds.messages import get_message

_ParameterMessage = get_message("rcl_interfaces/msg/Parameter")
_ParameterValue = get_message("rcl_interfaces/msg/ParameterValue")

_INT64 = range(-(2**63), 2**63)


class ParameterException(UsageError):  # noqa: N818 - rclpy's names, so that an except clause works on both runtimes
    """Base of the errors about parameters."""


class ParameterNotDeclaredException(ParameterException):
    """A parameter that nobody declared was read, set or removed."""


class ParameterAlreadyDeclaredException(ParameterException):
    """A parameter was declared twice."""


class InvalidParameterException(ParameterException):
    """A parameter has no proper name."""


class InvalidParameterTypeException(ParameterException):
    """A value is of another type than its parameter."""


class InvalidParameterValueException(ParameterException):
    """A value lies outside its range or was refused by the node."""


class ParameterImmutableException(ParameterException):
    """A read-only parameter was to be removed."""


class ParameterUninitializedException(ParameterException):
    """A parameter that was declared by type alone was read before it had a value."""


class Parameter:
    """A name with a typed value."""

    class Type(Enum):
        """The types a parameter can have, with their numbers on the wire."""

        NOT_SET = 0
        BOOL = 1
        INTEGER = 2
        DOUBLE = 3
        STRING = 4
        BYTE_ARRAY = 5
        BOOL_ARRAY = 6
        INTEGER_ARRAY = 7
        DOUBLE_ARRAY = 8
        STRING_ARRAY = 9

        @classmethod
        def from_parameter_value(cls, parameter_value: object) -> Parameter.Type:
            """Infers the type. An empty list counts as bytes, as in rclpy: declare such a parameter by `Type`.

            Raises:
                TypeError: No type of parameter can hold the value.
            """
            if parameter_value is None:
                return cls.NOT_SET
            for scalar, python in SCALARS.items():  # bool comes before int, which it is a subclass of
                if isinstance(parameter_value, python):
                    return scalar
            if isinstance(parameter_value, (list, tuple, array.array)):
                for sequence, python in ARRAYS.items():
                    if all(isinstance(v, python) for v in parameter_value):
                        return sequence
                raise TypeError(f"the list {parameter_value!r} mixes types; expected bool, int, float, str or bytes throughout")
            kind = type(parameter_value).__name__
            raise TypeError(f"{parameter_value!r} ({kind}) cannot be a parameter; expected bool, int, float, str or a list of one of them")

        def check(self, parameter_value: object) -> bool:
            """Tells whether the value is of this type."""
            if self is Parameter.Type.NOT_SET:
                return parameter_value is None
            if self in SCALARS:
                return isinstance(parameter_value, SCALARS[self]) and (self is not Parameter.Type.INTEGER or parameter_value in _INT64)
            if not isinstance(parameter_value, (list, tuple, array.array)) or not all(isinstance(v, ARRAYS[self]) for v in parameter_value):
                return False
            if self is Parameter.Type.BYTE_ARRAY:
                return all(len(v) == 1 for v in parameter_value)
            return self is not Parameter.Type.INTEGER_ARRAY or all(v in _INT64 for v in parameter_value)

    def __init__(self, name: str, type_: Parameter.Type | None = None, value: Any = None) -> None:
        """Holds a value.

        Args:
            name: Full name, with dots between groups.
            type_: Its type; without it, that of the value.
            value: bool, int, float, str, a list of one of them or of single bytes, or None for "not set".

        Raises:
            TypeError: No type fits the value.
            ValueError: The type given does not.
        """
        if type_ is None:
            type_ = Parameter.Type.from_parameter_value(value)
        if not isinstance(type_, Parameter.Type):
            raise TypeError(f"type of parameter {name!r} is {type_!r}; expected a Parameter.Type")
        if not type_.check(value):
            raise ValueError(f"parameter {name!r}: {value!r} is no {type_.name}")
        self._name, self._type, self._value = name, type_, value

    @property
    def name(self) -> str:
        """Full name."""
        return self._name

    @property
    def type_(self) -> Parameter.Type:
        """Type of the value."""
        return self._type

    @property
    def value(self) -> Any:
        """The value, as plain Python; arrays are lists."""
        return self._value

    def __repr__(self) -> str:
        """Shows name, type and value."""
        return f"Parameter({self._name!r}, {self._type}, {self._value!r})"

    @classmethod
    def from_parameter_msg(cls, param_msg: Any) -> Parameter:
        """Reads an rcl_interfaces/Parameter.

        Raises:
            ValueError: Its type is none of those known.
        """
        type_ = Parameter.Type(int(param_msg.value.type))
        value: Any = getattr(param_msg.value, _FIELDS[type_]) if type_ in _FIELDS else None
        if type_ is Parameter.Type.BYTE_ARRAY:
            value = [bytes([int(v) & 0xFF]) for v in value]
        elif type_ in ARRAYS:
            value = np.asarray(value).tolist() if type_ in _DTYPES else list(value)
        elif type_ in SCALARS:
            value = SCALARS[type_](value)
        return cls(param_msg.name, type_, value)

    def get_parameter_value(self) -> Any:
        """Makes the rcl_interfaces/ParameterValue."""
        message = _ParameterValue(type=self._type.value)
        if self._type is Parameter.Type.BYTE_ARRAY:
            message.byte_array_value = np.frombuffer(b"".join(self._value), np.uint8)
        elif self._type in _DTYPES:
            setattr(message, _FIELDS[self._type], np.asarray(self._value, _DTYPES[self._type]))
        elif self._type in _FIELDS:
            setattr(message, _FIELDS[self._type], list(self._value) if self._type in ARRAYS else self._value)
        return message

    def to_parameter_msg(self) -> Any:
        """Makes the rcl_interfaces/Parameter."""
        return _ParameterMessage(name=self._name, value=self.get_parameter_value())


_T = Parameter.Type
# What each type is in Python, and in numpy where a message holds it as an array.
SCALARS: dict[Parameter.Type, type] = {_T.BOOL: bool, _T.INTEGER: int, _T.DOUBLE: float, _T.STRING: str}
ARRAYS: dict[Parameter.Type, type] = {
    _T.BYTE_ARRAY: bytes,
    _T.BOOL_ARRAY: bool,
    _T.INTEGER_ARRAY: int,
    _T.DOUBLE_ARRAY: float,
    _T.STRING_ARRAY: str,
}
_DTYPES: dict[Parameter.Type, type] = {_T.BOOL_ARRAY: np.bool_, _T.INTEGER_ARRAY: np.int64, _T.DOUBLE_ARRAY: np.float64}
_FIELDS = {type_: f"{type_.name.lower()}_value" for type_ in (*SCALARS, *ARRAYS)}
