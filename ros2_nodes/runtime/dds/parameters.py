"""The parameters of a node: described, limited, overridden at start, and reached by others through ROS 2's six services.

Names, rules and refusals are those of rclpy (Humble and Jazzy), so that ``ros2 param`` and rqt show the same words for both runtimes.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np

from emotion_perception.ros2_nodes.runtime.dds.messages import get_message, get_service
from emotion_perception.ros2_nodes.runtime.dds.parameter import (
    ARRAYS,
    SCALARS,
    InvalidParameterException,
    InvalidParameterTypeException,
    InvalidParameterValueException,
    Parameter,
    ParameterAlreadyDeclaredException,
    ParameterException,
    ParameterImmutableException,
    ParameterNotDeclaredException,
    ParameterUninitializedException,
)
from emotion_perception.ros2_nodes.runtime.dds.qos import qos_profile_parameter_events, qos_profile_parameters

if TYPE_CHECKING:
    from emotion_perception.ros2_nodes.runtime.dds.node import Node

ParameterDescriptor = get_message("rcl_interfaces/msg/ParameterDescriptor")
FloatingPointRange = get_message("rcl_interfaces/msg/FloatingPointRange")
IntegerRange = get_message("rcl_interfaces/msg/IntegerRange")
SetParametersResult = get_message("rcl_interfaces/msg/SetParametersResult")
_ListParametersResult = get_message("rcl_interfaces/msg/ListParametersResult")
_ParameterEvent = get_message("rcl_interfaces/msg/ParameterEvent")

SEPARATOR = "."
RECURSIVE = 0  # the depth of a list request that means: all the way down
_RELATIVE_TOLERANCE = 1e-6  # as rclpy: a value this close to a limit or a step is on it

OnSet = Callable[[list[Parameter]], Any]


class Parameters:
    """The parameters of one node: what it declared, what was given at start, who may refuse a change."""

    def __init__(self, node: Node, overrides: Mapping[str, object] | None = None, sources: Mapping[str, str] | None = None) -> None:
        """Holds no parameter yet.

        Args:
            node: Whose parameters these are.
            overrides: Values given at start, by full parameter name; they replace the defaults when a name is declared.
            sources: Where an override was given ("esr.yaml"), by the same names; for messages only.
        """
        self._node = node
        self._overrides = dict(overrides or {})
        self._sources = dict(sources or {})
        self._values: dict[str, Parameter] = {}
        self._descriptors: dict[str, Any] = {}
        self._declared: set[str] = set()
        self._warned: set[str] = set()
        self._on_set: list[OnSet] = []
        self._events: Any = None

    # Declaring

    def declare(self, name: str, value: Any = None, descriptor: Any = None, ignore_override: bool = False) -> Parameter:
        """Declares a parameter; an override given at start replaces the default.

        Args:
            name: Full name.
            value: The default, whose type becomes the parameter's; or a `Parameter.Type` when there is none.
            descriptor: Description, limits, whether it is read-only or may change its type. It is copied.
            ignore_override: Whether the default stands whatever was given at start.

        Raises:
            InvalidParameterException: The name is empty or no text.
            ParameterAlreadyDeclaredException: It was declared before.
            InvalidParameterTypeException: The override is of another type.
            InvalidParameterValueException: The value is out of range or refused by the node.
            ValueError: Neither value nor type was given.
        """
        if not isinstance(name, str) or not name:
            raise InvalidParameterException(f"Invalid parameter name: {name!r}; expected a text that is not empty")
        if name in self._values:
            raise ParameterAlreadyDeclaredException(f"Parameter(s) already declared: {name!r}")
        if value is None and descriptor is None:
            warnings.warn(f"parameter {name!r} is declared by name alone; give a default, a Parameter.Type or a descriptor", stacklevel=3)
            descriptor = ParameterDescriptor(dynamic_typing=True)
        descriptor = copy.copy(descriptor) if descriptor is not None else ParameterDescriptor()
        descriptor.name = name
        if isinstance(value, Parameter.Type):
            if descriptor.dynamic_typing:
                raise ValueError(f"parameter {name!r} is declared with a type and as dynamically typed; expected one of the two")
            type_, value = value, None
        else:
            type_ = Parameter.Type.from_parameter_value(value)
        if type_ is Parameter.Type.NOT_SET and not descriptor.dynamic_typing:
            raise ValueError(f"parameter {name!r} has neither default nor type; give a default, a Parameter.Type, or dynamic_typing=True")
        descriptor.type = type_.value

        self._declared.add(name)
        if name in self._overrides and not ignore_override:
            parameter = self._override(name, type_, dynamic=bool(descriptor.dynamic_typing))
        else:
            parameter = Parameter(name, value=value)
        result = self._commit([parameter], {name: descriptor})
        if not result.successful:
            raise InvalidParameterValueException(f"parameter {name!r} of {self._owner}: {result.reason}{self._given(name)}")
        return self._values[name]

    def declare_many(self, namespace: str, parameters: Iterable[Sequence[Any]], ignore_override: bool = False) -> list[Parameter]:
        """Declares several parameters, each given as ``(name[, default or type[, descriptor]])``, below a prefix."""
        prefix = f"{namespace}{SEPARATOR}" if namespace else ""
        padded = ((*given, None, None)[:3] for given in parameters)
        return [self.declare(prefix + name, value, descriptor, ignore_override) for name, value, descriptor in padded]

    def undeclare(self, name: str) -> None:
        """Removes a parameter.

        Raises:
            ParameterNotDeclaredException: There is none of this name.
            ParameterImmutableException: It is read-only.
        """
        if self.describe(name).read_only:
            raise ParameterImmutableException(f"Attempted to modify read-only parameter: {name!r}")
        del self._values[name], self._descriptors[name]

    def _override(self, name: str, type_: Parameter.Type, dynamic: bool) -> Parameter:
        """Makes the parameter from the value that was given at start, or says in one line why it does not fit."""
        value = self._overrides[name]
        if isinstance(value, (list, tuple)) and not value and type_ in ARRAYS:
            return Parameter(name, type_, [])  # an empty list in a file is of any type
        try:
            given = Parameter(name, value=value)
        except (TypeError, ValueError) as error:
            raise InvalidParameterTypeException(f"parameter {name!r} of {self._owner}: {error}{self._given(name)}") from None
        if dynamic or given.type_ is type_:
            return given
        wrong = f"{value!r} is {_a(given.type_)}{self._given(name)}, expected {_a(type_)}{_remedy(given, type_)}"
        raise InvalidParameterTypeException(f"parameter {name!r} of {self._owner}: {wrong}")

    @property
    def _owner(self) -> str:
        return str(self._node.get_fully_qualified_name())

    def _given(self, name: str) -> str:
        """Says where the override of a name was given, if there is one and it is known."""
        return f" (from {self._sources[name]})" if name in self._overrides and name in self._sources else ""

    def unused_overrides(self) -> list[str]:
        """Lists, in a line each, the values given at start whose names were never declared, with the nearest right one."""
        lines = []
        for name in sorted(set(self._overrides) - self._declared):
            near = _nearest(name, self._values) or "; `ros2 param list` shows those there are"
            lines.append(f"{self._owner} has no parameter {name!r}{self._given(name)}, its value is ignored{near}")
        return lines

    def warn_unused_overrides(self) -> None:
        """Logs a warning for each of the `unused_overrides`, once in the life of the node."""
        for line in self.unused_overrides():
            if line not in self._warned:
                self._warned.add(line)
                self._node.get_logger().warning(line)

    # Reading

    def has(self, name: str) -> bool:
        """Tells whether the parameter is declared."""
        return name in self._values

    def get(self, name: str) -> Parameter:
        """Returns a parameter.

        Raises:
            ParameterNotDeclaredException: There is none of this name.
            ParameterUninitializedException: It was declared by type, and has no value yet.
        """
        self._check_declared([name])
        parameter = self._values[name]
        if parameter.type_ is Parameter.Type.NOT_SET and not self._descriptors[name].dynamic_typing:
            raise ParameterUninitializedException(f"The parameter {name!r} is not initialized; give it a value at start or set it")
        return parameter

    def get_many(self, names: Iterable[str]) -> list[Parameter]:
        """Returns several parameters; see `get`."""
        return [self.get(name) for name in names]

    def get_or(self, name: str, alternative_value: Parameter | None = None) -> Parameter:
        """Returns a parameter, or the alternative where it is not declared or has no value."""
        parameter = self._values.get(name)
        if parameter is None or parameter.type_ is Parameter.Type.NOT_SET:
            return alternative_value if alternative_value is not None else Parameter(name)
        return parameter

    def by_prefix(self, prefix: str) -> dict[str, Parameter]:
        """Returns the parameters below a prefix, by their names without it."""
        start = f"{prefix}{SEPARATOR}" if prefix else ""
        return {name[len(start) :]: parameter for name, parameter in self._values.items() if name.startswith(start)}

    def type_of(self, name: str) -> Parameter.Type:
        """Returns the type of a parameter's value."""
        self._check_declared([name])
        return self._values[name].type_

    def describe(self, name: str) -> Any:
        """Returns the descriptor of a parameter."""
        self._check_declared([name])
        return self._descriptors[name]

    def list_names(self, prefixes: Sequence[str], depth: int) -> Any:
        """Lists names, and the groups they stand in.

        Args:
            prefixes: Only these names and what lies below them; empty: all.
            depth: How many levels below the prefix; 0: all.

        Returns:
            An rcl_interfaces/ListParametersResult.
        """

        def near(rest: str) -> bool:
            return depth == RECURSIVE or rest.count(SEPARATOR) < depth

        def wanted(name: str) -> bool:
            below = (name[len(p) + 1 :] for p in prefixes if name.startswith(p + SEPARATOR))
            return name in prefixes or any(near(rest) for rest in below) or (not prefixes and near(name))

        names = [name for name in self._values if wanted(name)]
        groups = dict.fromkeys(name.rpartition(SEPARATOR)[0] for name in names if SEPARATOR in name)
        return _ListParametersResult(names=names, prefixes=[*groups])

    def _check_declared(self, names: Iterable[str]) -> None:
        unknown = [name for name in names if name not in self._values]
        if unknown:
            shown = ", ".join(f"{name!r}" for name in unknown)
            raise ParameterNotDeclaredException(f"Invalid access to undeclared parameter(s): {shown}{_nearest(unknown[0], self._values)}")

    # Setting

    def add_on_set(self, callback: OnSet) -> None:
        """Lets ``callback(parameters) -> SetParametersResult`` refuse changes; the newest is asked first, all must accept."""
        self._on_set.insert(0, callback)

    def remove_on_set(self, callback: OnSet) -> None:
        """Forgets a callback of `add_on_set`."""
        self._on_set.remove(callback)

    def set_each(self, parameters: Iterable[Parameter]) -> list[Any]:
        """Sets parameters one after the other, and returns a SetParametersResult for each.

        Raises:
            ParameterNotDeclaredException: One is not declared; those before it stay set.
        """
        return [self.set_atomically([parameter]) for parameter in parameters]

    def set_atomically(self, parameters: Sequence[Parameter]) -> Any:
        """Sets all parameters or, if one is refused, none, and returns one SetParametersResult.

        Raises:
            ParameterNotDeclaredException: One is not declared; none is set.
        """
        for parameter in parameters:
            if not isinstance(parameter, Parameter):
                raise TypeError(f"{parameter!r} was to be set; expected a Parameter, as in Parameter('name', value=1)")
        self._check_declared(parameter.name for parameter in parameters)
        return self._commit([*parameters])

    def _commit(self, parameters: list[Parameter], declared: Mapping[str, Any] | None = None) -> Any:
        """Checks every parameter, asks the callbacks, and only then stores and announces all of them."""
        for parameter in parameters:
            descriptor = declared[parameter.name] if declared is not None else self._descriptors[parameter.name]
            reason = self._refusal(parameter, descriptor, new=declared is not None)
            if reason:
                return SetParametersResult(successful=False, reason=reason)
        for callback in self._on_set:
            result = callback(parameters)
            if not hasattr(result, "successful"):
                name = getattr(callback, "__qualname__", repr(callback))
                raise TypeError(f"{name} returned {result!r}; a callback on parameters has to return a SetParametersResult")
            if not result.successful:
                return result
        new: list[Parameter] = []
        changed: list[Parameter] = []
        deleted: list[Parameter] = []
        for parameter in parameters:
            name, before = parameter.name, self.get_or(parameter.name)
            if declared is None and parameter.type_ is Parameter.Type.NOT_SET:
                deleted.append(parameter)
                self._values.pop(name, None)
                self._descriptors.pop(name, None)
                continue
            if declared is not None:
                self._descriptors[name] = declared[name]
            if self._descriptors[name].dynamic_typing:
                self._descriptors[name].type = parameter.type_.value
            (new if before.type_ is Parameter.Type.NOT_SET else changed).append(parameter)
            self._values[name] = parameter
        self._announce(new, changed, deleted)
        return SetParametersResult(successful=True)

    def _refusal(self, parameter: Parameter, descriptor: Any, new: bool) -> str:
        """Says why a value cannot be taken; an empty text when it can."""
        if descriptor.read_only and not new:
            return f"Trying to set a read-only parameter: {parameter.name}."
        if not descriptor.dynamic_typing:
            expected = Parameter.Type(descriptor.type)
            if parameter.type_ is Parameter.Type.NOT_SET:
                return "" if new else "Static parameter cannot be undeclared"
            if parameter.type_ is not expected:
                return f"Wrong parameter type, expected '{expected}' got '{parameter.type_}'"
        if parameter.type_ is Parameter.Type.INTEGER and len(descriptor.integer_range):
            return _outside_integers(parameter, descriptor.integer_range[0])
        if parameter.type_ is Parameter.Type.DOUBLE and len(descriptor.floating_point_range):
            return _outside_doubles(parameter, descriptor.floating_point_range[0])
        return ""

    # On the wire

    def start_events(self) -> None:
        """Announces every later change on ``/parameter_events``."""
        self._events = self._node.create_publisher(_ParameterEvent, "/parameter_events", qos_profile_parameter_events)

    def start_services(self) -> None:
        """Offers the six services below the node's name."""
        for service, answer in (
            ("DescribeParameters", self._on_describe),
            ("GetParameters", self._on_get),
            ("GetParameterTypes", self._on_get_types),
            ("ListParameters", self._on_list),
            ("SetParameters", self._on_set_each),
            ("SetParametersAtomically", self._on_set_all),
        ):
            name = "".join(f"_{c.lower()}" if c.isupper() else c for c in service)[1:]
            self._node.create_service(get_service(f"rcl_interfaces/srv/{service}"), f"~/{name}", answer, qos_profile=qos_profile_parameters)

    def _announce(self, new: list[Parameter], changed: list[Parameter], deleted: list[Parameter]) -> None:
        # The topic is volatile: what is published while nobody listens, nobody ever sees.
        if self._events is None or not self._events.get_subscription_count():
            return
        event = _ParameterEvent(stamp=self._node.get_clock().now().to_msg(), node=self._owner)
        event.new_parameters = [p.to_parameter_msg() for p in new]
        event.changed_parameters = [p.to_parameter_msg() for p in changed]
        event.deleted_parameters = [p.to_parameter_msg() for p in deleted]
        self._events.publish(event)

    # A request that names one unknown parameter is answered with nothing at all, as rclpy does: that is what the tools expect.

    def _on_describe(self, request: Any, response: Any) -> Any:
        response.descriptors = [self._descriptors[n] for n in request.names] if all(map(self.has, request.names)) else []
        return response

    def _on_get(self, request: Any, response: Any) -> Any:
        try:
            response.values = [p.get_parameter_value() for p in self.get_many(request.names)]
        except (ParameterNotDeclaredException, ParameterUninitializedException):
            response.values = []
        return response

    def _on_get_types(self, request: Any, response: Any) -> Any:
        types = [self._values[n].type_.value for n in request.names] if all(map(self.has, request.names)) else []
        response.types = np.asarray(types, np.uint8)
        return response

    def _on_list(self, request: Any, response: Any) -> Any:
        response.result = self.list_names(request.prefixes, int(request.depth))
        return response

    def _on_set_each(self, request: Any, response: Any) -> Any:
        response.results = [self._set_asked([message]) for message in request.parameters]
        return response

    def _on_set_all(self, request: Any, response: Any) -> Any:
        response.result = self._set_asked(request.parameters)
        return response

    def _set_asked(self, messages: Iterable[Any]) -> Any:
        """Sets what another node asked for; whatever goes wrong is the asker's answer, never the end of this node."""
        try:
            return self.set_atomically([Parameter.from_parameter_msg(m) for m in messages])
        except ParameterException as error:
            return SetParametersResult(successful=False, reason=str(error))
        except Exception as error:
            self._node.get_logger().error(f"setting parameters failed: {type(error).__name__}: {error}")
            return SetParametersResult(successful=False, reason=f"{type(error).__name__}: {error}")


def _outside_integers(parameter: Parameter, limits: Any) -> str:
    """Says how an integer misses its range; the limits themselves are always right, whatever the step."""
    low, high = sorted((int(limits.from_value), int(limits.to_value)))
    value, step = parameter.value, int(limits.step)
    if not low <= value <= high:
        return f"Parameter {parameter.name} out of range. Min: {low}, Max: {high}, value: {value}"
    if value != high and step and (value - low) % step:
        return f"The parameter value for {parameter.name} is not a valid step. Min: {low}, max: {high}, value: {value}, step: {step}"
    return ""


def _outside_doubles(parameter: Parameter, limits: Any) -> str:
    """Says how a double misses its range, NaN included; the limits themselves are always right, whatever the step."""
    low, high = sorted((float(limits.from_value), float(limits.to_value)))
    value, step = parameter.value, float(limits.step)
    if any(math.isclose(value, limit, rel_tol=_RELATIVE_TOLERANCE) for limit in (low, high)):
        return ""
    if not low < value < high:
        return f"Parameter {parameter.name} out of range Min: {low}, Max: {high}, value: {value}"
    if step and not math.isclose(low + round((value - low) / step) * step, value, rel_tol=_RELATIVE_TOLERANCE):
        which = f"Min: {low}, max: {high}, value: {value}, step: {step}"
        return f"The parameter value for {parameter.name} is not close enough to a valid step. {which}"
    return ""


def _nearest(name: str, known: Iterable[str]) -> str:
    """Suggests the known name that is most like the given one, as the end of a sentence."""
    near = get_close_matches(name, [*known], n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _a(type_: Parameter.Type) -> str:
    """Names a type with its article."""
    return f"{'an' if type_.name[0] in 'AEIOU' else 'a'} {type_.name}"


def _remedy(given: Parameter, expected: Parameter.Type) -> str:
    """Says how to write a value so that it gets the type expected, where that is plain."""
    if expected is Parameter.Type.DOUBLE and given.type_ is Parameter.Type.INTEGER:
        return f"; write {float(given.value)}"
    if expected is Parameter.Type.DOUBLE_ARRAY and given.type_ is Parameter.Type.INTEGER_ARRAY:
        return f"; write {[float(v) for v in given.value]}"
    if expected is Parameter.Type.STRING and given.type_ in SCALARS:
        return "; write it in quotes"
    if expected in ARRAYS and given.type_ in SCALARS and ARRAYS[expected] is SCALARS[given.type_]:
        return f"; write a list: [{given.value}]"
    return ""
