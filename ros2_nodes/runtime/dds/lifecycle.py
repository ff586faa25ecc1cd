"""Managed nodes: rcl's state machine, its services and events, and publishers that are silent while their node is inactive.

States, transitions, ids and labels are those of lifecycle_msgs and rcl_lifecycle, so that ``ros2 lifecycle`` and launch drive the node.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple

from emotion_perception.engine.errors import EmotionPerceptionError
from emotion_perception.ros2_nodes.runtime.dds.messages import get_message, get_service
from emotion_perception.ros2_nodes.runtime.dds.node import Node, Publisher

_StateMessage = get_message("lifecycle_msgs/msg/State")
_TransitionMessage = get_message("lifecycle_msgs/msg/Transition")
_TransitionDescription = get_message("lifecycle_msgs/msg/TransitionDescription")
_TransitionEvent = get_message("lifecycle_msgs/msg/TransitionEvent")
_EVENT_DEPTH = 10


class LifecycleError(EmotionPerceptionError, RuntimeError):
    """A transition was asked for that does not start in the node's state."""


class TransitionCallbackReturn(Enum):
    """What a callback of a transition returns."""

    SUCCESS = 97
    FAILURE = 98
    ERROR = 99

    def to_label(self) -> str:
        """Returns the label of the transition that follows."""
        return f"transition_{self.name.lower()}"


class State(NamedTuple):
    """A state of the life cycle."""

    label: str
    state_id: int

    def to_msg(self) -> Any:
        """Makes the lifecycle_msgs/State."""
        return _StateMessage(id=self.state_id, label=self.label)


class Transition(NamedTuple):
    """A way from one state to another."""

    transition_id: int
    label: str
    start: State
    goal: State

    def to_msg(self) -> Any:
        """Makes the lifecycle_msgs/TransitionDescription."""
        transition = _TransitionMessage(id=self.transition_id, label=self.label)
        return _TransitionDescription(transition=transition, start_state=self.start.to_msg(), goal_state=self.goal.to_msg())


UNKNOWN, UNCONFIGURED, INACTIVE, ACTIVE, FINALIZED = (
    State(label, i) for i, label in enumerate(("unknown", "unconfigured", "inactive", "active", "finalized"))
)
CONFIGURING, CLEANINGUP, SHUTTINGDOWN, ACTIVATING, DEACTIVATING, ERRORPROCESSING = (
    State(label, i)
    for i, label in enumerate(("configuring", "cleaningup", "shuttingdown", "activating", "deactivating", "errorprocessing"), start=10)
)
STATES = (
    *(UNKNOWN, UNCONFIGURED, INACTIVE, ACTIVE, FINALIZED),
    *(CONFIGURING, CLEANINGUP, SHUTTINGDOWN, ACTIVATING, DEACTIVATING, ERRORPROCESSING),
)


def _outcomes(first_id: int, during: State, success: State, failure: State, error: State = ERRORPROCESSING) -> tuple[Transition, ...]:
    """Returns the three ways out of a transition state; their ids follow each other."""
    goals = zip(TransitionCallbackReturn, (success, failure, error), strict=True)
    return tuple(Transition(first_id + i, result.to_label(), during, goal) for i, (result, goal) in enumerate(goals))


TRANSITIONS = (
    Transition(1, "configure", UNCONFIGURED, CONFIGURING),
    *_outcomes(10, CONFIGURING, INACTIVE, UNCONFIGURED),
    Transition(2, "cleanup", INACTIVE, CLEANINGUP),
    *_outcomes(20, CLEANINGUP, UNCONFIGURED, INACTIVE),
    Transition(3, "activate", INACTIVE, ACTIVATING),
    *_outcomes(30, ACTIVATING, ACTIVE, INACTIVE),
    Transition(4, "deactivate", ACTIVE, DEACTIVATING),
    *_outcomes(40, DEACTIVATING, INACTIVE, ACTIVE),
    Transition(5, "shutdown", UNCONFIGURED, SHUTTINGDOWN),
    Transition(6, "shutdown", INACTIVE, SHUTTINGDOWN),
    Transition(7, "shutdown", ACTIVE, SHUTTINGDOWN),
    *_outcomes(50, SHUTTINGDOWN, FINALIZED, FINALIZED),
    *_outcomes(60, ERRORPROCESSING, UNCONFIGURED, FINALIZED, FINALIZED),
)


class StateMachine:
    """Knows the state and which transitions start there."""

    def __init__(self, notify: Callable[[Transition], None]) -> None:
        """Starts unconfigured.

        Args:
            notify: Is told of every transition, after the state has changed.
        """
        self.state = UNCONFIGURED
        self._notify = notify

    def available(self) -> list[Transition]:
        """Lists the transitions that start in the present state."""
        return [t for t in TRANSITIONS if t.start == self.state]

    def find(self, transition: int | str) -> Transition:
        """Returns the transition of this id or label that starts in the present state.

        Raises:
            LifecycleError: None does.
        """
        for found in self.available():
            if transition in (found.transition_id, found.label):
                return found
        known = ", ".join(f"{t.label} ({t.transition_id})" for t in self.available()) or "none"
        raise LifecycleError(f"No transition matching {transition} found for current state {self.state.label}; possible: {known}")

    def follow(self, transition: Transition) -> None:
        """Goes from the present state to the transition's goal."""
        self.state = transition.goal
        self._notify(transition)


class ManagedEntity:
    """Something that follows the life cycle of its node."""

    def on_configure(self, state: State) -> TransitionCallbackReturn:
        """Is called when the node configures."""
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: State) -> TransitionCallbackReturn:
        """Is called when the node activates."""
        return TransitionCallbackReturn.SUCCESS

    def on_deactivate(self, state: State) -> TransitionCallbackReturn:
        """Is called when the node deactivates."""
        return TransitionCallbackReturn.SUCCESS

    def on_cleanup(self, state: State) -> TransitionCallbackReturn:
        """Is called when the node cleans up."""
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: State) -> TransitionCallbackReturn:
        """Is called when the node shuts down."""
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: State) -> TransitionCallbackReturn:
        """Is called when a transition of the node went wrong."""
        return TransitionCallbackReturn.SUCCESS


class LifecyclePublisher(Publisher, ManagedEntity):
    """A publisher that sends only while its node is active."""

    _enabled = False
    _told = False
    _owner: LifecycleNode | None = None

    @property
    def is_activated(self) -> bool:
        """Whether messages are sent."""
        return self._enabled

    def publish(self, msg: Any) -> None:
        """Sends a message, or drops it while the node is inactive."""
        if self._enabled:
            super().publish(msg)
        elif not self._told and self._owner is not None:
            self._told = True
            self._owner._tell_silent(self.topic_name)

    def on_activate(self, state: State) -> TransitionCallbackReturn:
        """Starts to send."""
        self._enabled, self._told = True, False
        return TransitionCallbackReturn.SUCCESS

    def on_deactivate(self, state: State) -> TransitionCallbackReturn:
        """Stops sending."""
        self._enabled, self._told = False, False
        return TransitionCallbackReturn.SUCCESS


class LifecycleNode(Node):
    """A node that is configured, activated, deactivated and cleaned up on demand.

    A class derived from it overrides the ``on_...`` methods, which take the state left behind and return a `TransitionCallbackReturn`. They
    call the method of this class (``return super().on_activate(state)``), which passes the transition on to the lifecycle publishers.
    FAILURE leads back to where the transition began; ERROR or an exception to ``on_error``, whose SUCCESS means unconfigured, anything else
    the end. They run in the executor: while they work, no other callback does.
    """

    _warns_unused_in_configure = True  # a plain node does so when it is spun

    def __init__(self, node_name: str, *, enable_communication_interface: bool = True, **kwargs: Any) -> None:
        """Makes the node, unconfigured.

        Args:
            node_name: As of `Node`.
            enable_communication_interface: Whether other nodes can change its state; ``~/transition_event`` exists in any case.
            **kwargs: All other arguments of `Node`.
        """
        super().__init__(node_name, **kwargs)
        self._managed: dict[ManagedEntity, None] = {}  # a dict keeps the order in which they came
        self._machine = StateMachine(self._publish_event)
        self._event_publisher = self.create_publisher(_TransitionEvent, "~/transition_event", _EVENT_DEPTH)
        if enable_communication_interface:
            for service, name, answer in (
                ("ChangeState", "change_state", self._on_change_state),
                ("GetState", "get_state", self._on_get_state),
                ("GetAvailableStates", "get_available_states", self._on_get_available_states),
                ("GetAvailableTransitions", "get_available_transitions", self._on_get_available_transitions),
                ("GetAvailableTransitions", "get_transition_graph", self._on_get_transition_graph),
            ):
                self.create_service(get_service(f"lifecycle_msgs/srv/{service}"), f"~/{name}", answer)

    # What a derived class overrides

    def on_configure(self, state: State) -> TransitionCallbackReturn:
        """Prepares what is costly: reads parameters, loads models."""
        return self._pass_on("on_configure", state)

    def on_activate(self, state: State) -> TransitionCallbackReturn:
        """Starts to work; lifecycle publishers send from here on."""
        return self._pass_on("on_activate", state)

    def on_deactivate(self, state: State) -> TransitionCallbackReturn:
        """Stops working; lifecycle publishers fall silent."""
        return self._pass_on("on_deactivate", state)

    def on_cleanup(self, state: State) -> TransitionCallbackReturn:
        """Gives back what `on_configure` took."""
        return self._pass_on("on_cleanup", state)

    def on_shutdown(self, state: State) -> TransitionCallbackReturn:
        """Gives back everything, from whichever state."""
        return self._pass_on("on_shutdown", state)

    def on_error(self, state: State) -> TransitionCallbackReturn:
        """Tidies up after a transition that went wrong; SUCCESS allows to configure again."""
        return self._pass_on("on_error", state)

    def _pass_on(self, callback: str, state: State) -> TransitionCallbackReturn:
        for entity in list(self._managed):
            result = getattr(entity, callback)(state)
            if not isinstance(result, TransitionCallbackReturn):
                raise TypeError(f"{type(entity).__name__}.{callback} returned {result!r}; expected a TransitionCallbackReturn")
            if result is not TransitionCallbackReturn.SUCCESS:
                return result
        return TransitionCallbackReturn.SUCCESS

    # Changing the state

    def trigger_configure(self) -> TransitionCallbackReturn:
        """Configures the node; each ``trigger_...`` returns what its callback did.

        Raises:
            LifecycleError: The node is not in a state where this transition starts.
        """
        return self._change_state("configure")

    def trigger_activate(self) -> TransitionCallbackReturn:
        """Activates the node; see `trigger_configure`."""
        return self._change_state("activate")

    def trigger_deactivate(self) -> TransitionCallbackReturn:
        """Deactivates the node; see `trigger_configure`."""
        return self._change_state("deactivate")

    def trigger_cleanup(self) -> TransitionCallbackReturn:
        """Cleans the node up; see `trigger_configure`."""
        return self._change_state("cleanup")

    def trigger_shutdown(self) -> TransitionCallbackReturn:
        """Shuts the node down, from unconfigured, inactive or active; see `trigger_configure`."""
        return self._change_state("shutdown")

    def _change_state(self, wanted: int | str) -> TransitionCallbackReturn:
        """Goes through a transition, its callback and, where that ends in an error, error processing."""
        before = self._machine.state
        if before in _CALLBACKS:
            raise LifecycleError(f"transition {wanted} was asked for by {_CALLBACKS[before]} itself; expected it to return first")
        asked = self._machine.find(wanted)
        self._machine.follow(asked)
        result = self._run_callback(before)
        self._machine.follow(self._machine.find(result.to_label()))
        if asked.goal == CONFIGURING:
            self._parameters.warn_unused_overrides()
        if result is TransitionCallbackReturn.ERROR:
            self._machine.follow(self._machine.find(self._run_callback(before).to_label()))
        if self._machine.state != ACTIVE:
            # A callback that failed half-way, or forgot to call super(), must not leave a publisher talking.
            for entity in self._managed:
                if isinstance(entity, LifecyclePublisher):
                    entity.on_deactivate(before)
        return result

    def _run_callback(self, before: State) -> TransitionCallbackReturn:
        """Runs the callback of the present transition state. rclpy swallows its exceptions; here they are logged."""
        name = _CALLBACKS[self._machine.state]
        try:
            result: object = getattr(self, name)(before)
        except Exception as error:
            self.get_logger().error(f"{name} failed: {type(error).__name__}: {error}")
            self.get_logger().debug(traceback.format_exc())
            return TransitionCallbackReturn.ERROR
        if isinstance(result, TransitionCallbackReturn):
            return result
        self.get_logger().error(f"{name} returned {result!r}; expected TransitionCallbackReturn.SUCCESS, FAILURE or ERROR")
        return TransitionCallbackReturn.ERROR

    # Managed entities

    def add_managed_entity(self, entity: ManagedEntity) -> None:
        """Lets an entity follow the life cycle of this node."""
        if not isinstance(entity, ManagedEntity):
            raise TypeError(f"{entity!r} cannot be managed; expected a ManagedEntity")
        self._managed[entity] = None

    def create_lifecycle_publisher(self, msg_type: Any, topic: str, qos_profile: Any, **kwargs: Any) -> LifecyclePublisher:
        """Makes a publisher that is silent until the node's next activation; see `Node.create_publisher`."""
        publisher = self.create_publisher(msg_type, topic, qos_profile, publisher_class=LifecyclePublisher, **kwargs)
        assert isinstance(publisher, LifecyclePublisher)
        publisher._owner = self
        self._managed[publisher] = None
        return publisher

    def destroy_lifecycle_publisher(self, publisher: LifecyclePublisher) -> bool:
        """Removes a publisher of `create_lifecycle_publisher`."""
        return self.destroy_publisher(publisher)

    def destroy_publisher(self, publisher: Publisher) -> bool:
        """Removes a publisher of either kind."""
        if isinstance(publisher, LifecyclePublisher):
            self._managed.pop(publisher, None)
        return super().destroy_publisher(publisher)

    def _tell_silent(self, topic: str) -> None:
        """Says once per silence why nothing is sent."""
        if self._machine.state == ACTIVE:  # the node works, yet nobody enabled the publisher
            self.get_logger().warning(
                f"nothing is sent on {topic}: its lifecycle publisher was not activated; call super().on_activate(state) after creating it"
            )
        else:
            self.get_logger().debug(f"nothing is sent on {topic} while the node is {self._machine.state.label}")

    # On the wire

    def _publish_event(self, transition: Transition) -> None:
        description = transition.to_msg()
        self._event_publisher.publish(
            _TransitionEvent(
                timestamp=self.get_clock().now().nanoseconds,
                transition=description.transition,
                start_state=description.start_state,
                goal_state=description.goal_state,
            )
        )

    def _on_change_state(self, request: Any, response: Any) -> Any:
        wanted: int | str = request.transition.label or int(request.transition.id)
        try:
            response.success = self._change_state(wanted) is TransitionCallbackReturn.SUCCESS
        except LifecycleError as error:
            self.get_logger().warning(str(error))
            response.success = False
        return response

    def _on_get_state(self, request: Any, response: Any) -> Any:
        response.current_state = self._machine.state.to_msg()
        return response

    def _on_get_available_states(self, request: Any, response: Any) -> Any:
        response.available_states = [state.to_msg() for state in STATES]
        return response

    def _on_get_available_transitions(self, request: Any, response: Any) -> Any:
        response.available_transitions = [transition.to_msg() for transition in self._machine.available()]
        return response

    def _on_get_transition_graph(self, request: Any, response: Any) -> Any:
        response.available_transitions = [transition.to_msg() for transition in TRANSITIONS]
        return response


_CALLBACKS = {
    CONFIGURING: "on_configure",
    ACTIVATING: "on_activate",
    DEACTIVATING: "on_deactivate",
    CLEANINGUP: "on_cleanup",
    SHUTTINGDOWN: "on_shutdown",
    ERRORPROCESSING: "on_error",
}
