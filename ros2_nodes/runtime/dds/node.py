"""The node: what rclpy.node.Node is, over Cyclone DDS."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from types import FrameType
from typing import Any, TypeVar

from emotion_perception.ros2_nodes.runtime.dds import logging
from emotion_perception.ros2_nodes.runtime.dds.arguments import parse
from emotion_perception.ros2_nodes.runtime.dds.clock import Clock, ClockType, Time
from emotion_perception.ros2_nodes.runtime.dds.context import current_context
from emotion_perception.ros2_nodes.runtime.dds.executor import Executor
from emotion_perception.ros2_nodes.runtime.dds.messages import get_message
from emotion_perception.ros2_nodes.runtime.dds.names import check_namespace, check_node_name, expand, join
from emotion_perception.ros2_nodes.runtime.dds.parameters import Parameters
from emotion_perception.ros2_nodes.runtime.dds.qos import (
    QoSProfile,
    as_profile,
    qos_profile_clock,
    qos_profile_rosout,
    qos_profile_services_default,
)
from emotion_perception.ros2_nodes.runtime.dds.services import Client, Service
from emotion_perception.ros2_nodes.runtime.dds.timers import GuardCondition, Timer
from emotion_perception.ros2_nodes.runtime.dds.topics import InvalidHandleError, Publisher, Subscription

__all__ = ["Node", "Publisher", "Subscription"]

_SIM_TIME = "use_sim_time"
_T = TypeVar("_T")


class Node:
    """A named member of the ROS graph with publishers, subscriptions, services, timers and parameters."""

    _warns_unused_in_configure = False  # the first spin does; a lifecycle node declares more later

    def __init__(
        self,
        node_name: str,
        *,
        namespace: str | None = None,
        cli_args: Sequence[str] | None = None,
        use_global_arguments: bool = True,
        enable_rosout: bool = True,
        start_parameter_services: bool = True,
        parameter_overrides: Sequence[Any] | None = None,
    ) -> None:
        """Makes a node and announces it.

        Args:
            node_name: Its name, unless the command line remaps it.
            namespace: Its namespace, likewise.
            cli_args: Arguments for this node alone, as behind ``--ros-args``.
            use_global_arguments: Follow the command line that `init` was given.
            enable_rosout: Publish log lines to /rosout.
            start_parameter_services: Offer the six services of parameters.
            parameter_overrides: Values for parameters, `Parameter` each; they win over the command line.

        Raises:
            UsageError: A name is invalid.
            NotInitializedError: `init` was not called.
        """
        self.context = current_context()
        own = parse(["--ros-args", *(cli_args or [])])[0]
        # rcl tries a node's own rules first, and lets its own parameters win.
        shared = self.context.arguments if use_global_arguments else type(own)()
        self._arguments, values = own + shared, shared + own
        name, space = self._arguments.node_identity(check_node_name(node_name), check_namespace(namespace or "/"))
        self._name, self._namespace = name, space
        self._destroyed = False
        self._lock = threading.RLock()  # workers may make and free things too
        self._publishers: list[Publisher] = []
        self._subscriptions: list[Subscription] = []
        self._services: list[Service] = []
        self._clients: list[Client] = []
        self._timers: list[Timer] = []
        self._guards: list[GuardCondition] = []
        self._clock = Clock(clock_type=ClockType.ROS_TIME)
        self._clock_subscription: Subscription | None = None
        self._logger = logging.get_logger(join(space, name)[1:].replace("/", "."))
        self.executor = Executor(self.context, self)
        self.context.announcement.add(self)
        if enable_rosout and self._arguments.rosout_logs:
            self._start_rosout()
        overrides, sources = values.values_for(self.get_fully_qualified_name())
        for parameter in parameter_overrides or ():
            overrides[parameter.name], sources[parameter.name] = parameter.value, "the node's constructor"
        self._parameters = Parameters(self, overrides, sources)
        self._parameters.start_events()
        if start_parameter_services:
            self._parameters.start_services()
        self._parameters.declare(_SIM_TIME, False)
        self._follow_clock(bool(self._parameters.get(_SIM_TIME).value))
        self._parameters.add_on_set(self._on_set_parameters)

    # Who it is

    def get_name(self) -> str:
        """Returns the name."""
        return self._name

    def get_namespace(self) -> str:
        """Returns the namespace, "/" for none."""
        return self._namespace

    def get_fully_qualified_name(self) -> str:
        """Returns namespace and name."""
        return join(self._namespace, self._name)

    def get_logger(self) -> logging.Logger:
        """Returns the logger of the node's name."""
        return self._logger

    def get_clock(self) -> Clock:
        """Returns the clock."""
        return self._clock

    def resolve_topic_name(self, topic: str, *, only_expand: bool = False) -> str:
        """Returns the fully qualified name of a topic, remapped unless it is only to be expanded."""
        if only_expand:
            return expand(topic, self._name, self._namespace)
        return self._arguments.resolve(topic, self._name, self._namespace, "rostopic://")

    def resolve_service_name(self, service: str) -> str:
        """Returns the fully qualified name of a service, remapped."""
        return self._arguments.resolve(service, self._name, self._namespace, "rosservice://")

    # What there is

    def get_topic_names_and_types(self, no_demangle: bool = False) -> list[tuple[str, list[str]]]:
        """Returns the topics of the whole graph with their types; see `graph.topic_names_and_types`."""
        from emotion_perception.ros2_nodes.runtime.dds import graph

        return graph.topic_names_and_types(self.context.ports.participant)

    def get_publishers_info_by_topic(self, topic_name: str, no_mangle: bool = False) -> list[Any]:
        """Returns who publishes a topic, with type and quality of service; see `graph.publishers_info`."""
        from emotion_perception.ros2_nodes.runtime.dds import graph

        return list(graph.publishers_info(self.context.ports.participant, self.resolve_topic_name(topic_name)))

    def count_publishers(self, topic_name: str) -> int:
        """Returns how many publishers of the whole graph a topic has."""
        return len(self.get_publishers_info_by_topic(topic_name))

    # What it talks with

    def create_publisher(
        self, msg_type: type[Any], topic: str, qos_profile: QoSProfile | int, *, publisher_class: type[Publisher] = Publisher
    ) -> Any:
        """Makes a publisher.

        Args:
            msg_type: From `get_message`.
            topic: Its name, relative, ``~/private`` or absolute.
            qos_profile: The quality of service, or the depth of a reliable one.
            publisher_class: What to make.

        Raises:
            UsageError: The name or the type cannot be used.
        """
        name = self.resolve_topic_name(topic)
        return self._keep(self._publishers, lambda: publisher_class(self, msg_type, name, as_profile(qos_profile)))

    def create_subscription(
        self, msg_type: type[Any], topic: str, callback: Callable[[Any], Any], qos_profile: QoSProfile | int, *, raw: bool = False
    ) -> Subscription:
        """Has a callback called with each message of a topic.

        Args:
            msg_type: From `get_message`.
            topic: Its name, relative, ``~/private`` or absolute.
            callback: Called with the message, in the thread that spins.
            qos_profile: The quality of service, or the depth of a reliable one.
            raw: Call with the CDR instead.

        Raises:
            UsageError: The name or the type cannot be used.
        """
        name = self.resolve_topic_name(topic)
        return self._keep(self._subscriptions, lambda: Subscription(self, msg_type, name, callback, as_profile(qos_profile), raw))

    def create_service(
        self,
        srv_type: type[Any],
        srv_name: str,
        callback: Callable[[Any, Any], Any],
        *,
        qos_profile: QoSProfile = qos_profile_services_default,
    ) -> Service:
        """Answers requests with a callback.

        Args:
            srv_type: From `get_service`.
            srv_name: Its name, relative, ``~/private`` or absolute.
            callback: Called with the request and an empty response; returns the response.
            qos_profile: The quality of service.
        """
        name = self.resolve_service_name(srv_name)
        return self._keep(self._services, lambda: Service(self, srv_type, name, callback, qos_profile))

    def create_client(self, srv_type: type[Any], srv_name: str, *, qos_profile: QoSProfile = qos_profile_services_default) -> Client:
        """Makes a client of a service.

        Args:
            srv_type: From `get_service`.
            srv_name: Its name, relative, ``~/private`` or absolute.
            qos_profile: The quality of service.
        """
        name = self.resolve_service_name(srv_name)
        return self._keep(self._clients, lambda: Client(self, srv_type, name, qos_profile))

    def create_timer(self, timer_period_sec: float, callback: Callable[[], Any], *, clock: Clock | None = None) -> Timer:
        """Has something called at a fixed rate.

        Args:
            timer_period_sec: The period in seconds.
            callback: Called in the thread that spins.
            clock: By which clock; the node's if None.
        """
        return self._keep(self._timers, lambda: Timer(self.executor, clock or self._clock, timer_period_sec, callback), announced=False)

    def create_guard_condition(self, callback: Callable[[], Any]) -> GuardCondition:
        """Has something called in the thread that spins whenever any thread triggers it."""
        return self._keep(self._guards, lambda: GuardCondition(self.executor, callback), announced=False)

    @property
    def timers(self) -> Sequence[Timer]:
        """The timers there are now."""
        return tuple(self._timers)

    @property
    def guards(self) -> Sequence[GuardCondition]:
        """The guard conditions there are now."""
        return tuple(self._guards)

    def gids(self) -> tuple[list[bytes], list[bytes]]:
        """Returns the ids of its readers and of its writers, for the graph."""
        pairs = [gids for side in (*self._services, *self._clients) if (gids := side.gids()) is not None]
        readers = [gid for subscription in tuple(self._subscriptions) if (gid := subscription.gid()) is not None]
        writers = [gid for publisher in tuple(self._publishers) if (gid := publisher.gid()) is not None]
        return readers + [reader for reader, _ in pairs], writers + [writer for _, writer in pairs]

    def destroy_publisher(self, publisher: Publisher) -> bool:
        """Frees a publisher; returns whether it was one of this node's."""
        return self._drop(self._publishers, publisher)

    def destroy_subscription(self, subscription: Subscription) -> bool:
        """Frees a subscription; returns whether it was one of this node's."""
        return self._drop(self._subscriptions, subscription)

    def destroy_service(self, service: Service) -> bool:
        """Frees a service; returns whether it was one of this node's."""
        return self._drop(self._services, service)

    def destroy_client(self, client: Client) -> bool:
        """Frees a client; returns whether it was one of this node's."""
        return self._drop(self._clients, client)

    def destroy_timer(self, timer: Timer) -> bool:
        """Stops a timer for good; returns whether it was one of this node's."""
        return self._drop(self._timers, timer, announced=False)

    def destroy_guard_condition(self, guard: GuardCondition) -> bool:
        """Frees a guard condition; returns whether it was one of this node's."""
        return self._drop(self._guards, guard, announced=False)

    def destroy_node(self) -> None:
        """Frees everything of it and takes it off the graph. A second time, nothing happens."""
        with self._lock:
            if self._destroyed:
                return
            self._destroyed = True
            logging.remove_sink(self._logger.name)
            kept: list[Any] = [self._timers, self._guards, self._subscriptions, self._services, self._clients, self._publishers]
            for entities in kept:
                for entity in entities:
                    entity.destroy()
                entities.clear()
            self.executor.close()
        self.context.announcement.remove(self)

    def _keep(self, kept: list[_T], make: Callable[[], _T], announced: bool = True) -> _T:
        with self._lock:
            if self._destroyed:
                raise InvalidHandleError(f"the node {self.get_fully_qualified_name()} was destroyed")
            entity = make()
            kept.append(entity)
        if announced:
            self.context.announcement.update()
        else:
            self.executor.wake()
        return entity

    def _drop(self, kept: list[Any], entity: Any, announced: bool = True) -> bool:
        with self._lock:
            if entity not in kept:
                return False
            kept.remove(entity)
            entity.destroy()
        if announced:
            self.context.announcement.update()
        return True

    # Parameters

    def declare_parameter(self, name: str, value: Any = None, descriptor: Any = None, ignore_override: bool = False) -> Any:
        """Declares a parameter; see `Parameters.declare`."""
        return self._parameters.declare(name, value, descriptor, ignore_override)

    def declare_parameters(self, namespace: str, parameters: Iterable[Any], ignore_override: bool = False) -> list[Any]:
        """Declares several parameters; see `Parameters.declare_many`."""
        return self._parameters.declare_many(namespace, parameters, ignore_override)

    def undeclare_parameter(self, name: str) -> None:
        """Forgets a parameter; see `Parameters.undeclare`."""
        self._parameters.undeclare(name)

    def has_parameter(self, name: str) -> bool:
        """Returns whether a parameter is declared."""
        return self._parameters.has(name)

    def get_parameter(self, name: str) -> Any:
        """Returns a parameter; see `Parameters.get`."""
        return self._parameters.get(name)

    def get_parameters(self, names: Sequence[str]) -> list[Any]:
        """Returns several parameters; see `Parameters.get_many`."""
        return self._parameters.get_many(names)

    def get_parameter_or(self, name: str, alternative_value: Any = None) -> Any:
        """Returns a parameter, or the alternative when it is not set; see `Parameters.get_or`."""
        return self._parameters.get_or(name, alternative_value)

    def get_parameters_by_prefix(self, prefix: str) -> dict[str, Any]:
        """Returns the parameters below a prefix; see `Parameters.by_prefix`."""
        return self._parameters.by_prefix(prefix)

    def get_parameter_type(self, name: str) -> Any:
        """Returns the type of a parameter; see `Parameters.type_of`."""
        return self._parameters.type_of(name)

    def describe_parameter(self, name: str) -> Any:
        """Returns the descriptor of a parameter; see `Parameters.describe`."""
        return self._parameters.describe(name)

    def list_parameters(self, prefixes: Sequence[str], depth: int) -> Any:
        """Returns the names of parameters; see `Parameters.list_names`."""
        return self._parameters.list_names(prefixes, depth)

    def set_parameters(self, parameter_list: Sequence[Any]) -> list[Any]:
        """Sets parameters one by one; see `Parameters.set_each`."""
        return self._parameters.set_each(parameter_list)

    def set_parameters_atomically(self, parameter_list: Sequence[Any]) -> Any:
        """Sets parameters all or none; see `Parameters.set_atomically`."""
        return self._parameters.set_atomically(parameter_list)

    def add_on_set_parameters_callback(self, callback: Callable[[list[Any]], Any]) -> None:
        """Has a callback judge every change; see `Parameters.add_on_set`."""
        self._parameters.add_on_set(callback)

    def remove_on_set_parameters_callback(self, callback: Callable[[list[Any]], Any]) -> None:
        """Ends that; see `Parameters.remove_on_set`."""
        self._parameters.remove_on_set(callback)

    # Logs and time

    def _start_rosout(self) -> None:
        log_type = get_message("rcl_interfaces/msg/Log")
        publisher = self.create_publisher(log_type, "/rosout", qos_profile_rosout)

        def tell(severity: logging.LoggingSeverity, name: str, text: str, stamp_ns: int, frame: FrameType) -> None:
            code, stamp = frame.f_code, Time(nanoseconds=stamp_ns).to_msg()
            line = log_type(stamp=stamp, level=int(severity), name=name, file=code.co_filename, function=code.co_name, line=frame.f_lineno)
            line.msg = text.encode(errors="replace").decode()  # names of files need not be text
            with suppress(InvalidHandleError):  # a worker logs while the node is destroyed
                publisher.publish(line)

        logging.add_sink(self._logger.name, tell)

    def _on_set_parameters(self, parameters: list[Any]) -> Any:
        result = get_message("rcl_interfaces/msg/SetParametersResult")
        for parameter in parameters:
            if parameter.name == _SIM_TIME:
                if not isinstance(parameter.value, bool):
                    return result(successful=False, reason=f"{_SIM_TIME} is {parameter.value!r}, expected true or false")
                self._follow_clock(parameter.value)
        return result(successful=True)

    def _follow_clock(self, simulated: bool) -> None:
        if simulated and self._clock_subscription is None:
            self._clock.follow(0)
            clock_type = get_message("rosgraph_msgs/msg/Clock")
            self._clock_subscription = self.create_subscription(clock_type, "/clock", self._on_clock, qos_profile_clock)
        elif not simulated and self._clock_subscription is not None:
            self.destroy_subscription(self._clock_subscription)
            self._clock_subscription = None
            self._clock.follow(None)

    def _on_clock(self, message: Any) -> None:
        if self._clock_subscription is not None:
            self._clock.follow(Time.from_msg(message.clock).nanoseconds)
