"""The life cycle of the twin: states, callbacks that fail, silent publishers, and the services and events that ros2 and launch use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("cyclonedds", reason="the twin needs the extra dds")

from emotion_perception.ros2_nodes.runtime.dds.context import init, try_shutdown
from emotion_perception.ros2_nodes.runtime.dds.lifecycle import (
    STATES,
    TRANSITIONS,
    LifecycleError,
    LifecycleNode,
    LifecyclePublisher,
    ManagedEntity,
    State,
    StateMachine,
    Transition,
    TransitionCallbackReturn,
)
from emotion_perception.ros2_nodes.runtime.dds.messages import get_message

SUCCESS, FAILURE, ERROR = TransitionCallbackReturn
STRING = get_message("std_msgs/msg/String")


class Scripted(LifecycleNode):
    """Does in its callbacks what it is told, and remembers the calls."""

    def __init__(self, name: str, script: dict[str, Any] | None = None, **kwargs: Any) -> None:
        self.script, self.calls = script or {}, []  # type: ignore[var-annotated]
        self.events: list[Transition] = []
        super().__init__(name, **kwargs)

    def _publish_event(self, transition: Transition) -> None:
        self.events.append(transition)
        super()._publish_event(transition)

    def _play(self, callback: str, state: State) -> Any:
        self.calls.append((callback, state.label))
        told = self.script.get(callback, SUCCESS)
        if isinstance(told, BaseException):
            raise told
        passed = getattr(super(), callback)(state)
        return passed if told is SUCCESS else told

    def on_configure(self, state: State) -> Any:
        return self._play("on_configure", state)

    def on_activate(self, state: State) -> Any:
        return self._play("on_activate", state)

    def on_deactivate(self, state: State) -> Any:
        return self._play("on_deactivate", state)

    def on_cleanup(self, state: State) -> Any:
        return self._play("on_cleanup", state)

    def on_shutdown(self, state: State) -> Any:
        return self._play("on_shutdown", state)

    def on_error(self, state: State) -> Any:
        return self._play("on_error", state)

    @property
    def label(self) -> str:
        return self._machine.state.label


Make = Callable[..., Scripted]


@pytest.fixture
def make(ros_domain: int) -> Iterator[Make]:
    """Makes nodes, and removes them."""
    init(args=["--ros-args", "--log-level", "debug"])
    made: list[Scripted] = []

    def build(**script: Any) -> Scripted:
        made.append(Scripted("esr", script))
        return made[-1]

    yield build
    for node in made:
        node.destroy_node()
    try_shutdown()


class TestStateMachine:
    def test_ids_are_those_of_lifecycle_msgs(self) -> None:
        state, transition = get_message("lifecycle_msgs/msg/State"), get_message("lifecycle_msgs/msg/Transition")
        for s in STATES:
            kind = "TRANSITION" if s.state_id >= 10 else "PRIMARY"
            assert getattr(state, f"{kind}_STATE_{s.label.upper()}") == s.state_id
        outcomes = {"configuring": "CONFIGURE", "cleaningup": "CLEANUP", "activating": "ACTIVATE", "deactivating": "DEACTIVATE"}
        outcomes |= {"shuttingdown": "SHUTDOWN", "errorprocessing": "ERROR"}
        for t in TRANSITIONS:
            if t.start.label in outcomes:
                name = f"ON_{outcomes[t.start.label]}_{t.label.removeprefix('transition_').upper()}"
            else:
                name = f"{t.start.label.upper()}_SHUTDOWN" if t.label == "shutdown" else t.label.upper()
            assert getattr(transition, f"TRANSITION_{name}") == t.transition_id
        assert len({t.transition_id for t in TRANSITIONS}) == len(TRANSITIONS) == 25
        for result in TransitionCallbackReturn:
            assert getattr(transition, f"TRANSITION_CALLBACK_{result.name}") == result.value

    def test_every_transition_state_leads_out_in_three_ways(self) -> None:
        for state in STATES:
            leaving = [t.label for t in TRANSITIONS if t.start == state]
            if state.state_id >= 10:
                assert leaving == ["transition_success", "transition_failure", "transition_error"]
            if state.label in ("unknown", "finalized"):
                assert leaving == []

    def test_finds_by_id_and_by_label(self) -> None:
        told: list[Transition] = []
        machine = StateMachine(told.append)
        assert machine.find(1) is machine.find("configure")
        assert machine.find("shutdown").transition_id == 5
        with pytest.raises(
            LifecycleError, match=r"matching activate found for current state unconfigured; possible: configure \(1\), shutdown"
        ):
            machine.find("activate")
        with pytest.raises(LifecycleError, match="matching 99"):
            machine.find(99)
        machine.follow(machine.find(1))
        assert (machine.state.label, [t.label for t in told]) == ("configuring", ["configure"])


class TestCallbacks:
    def test_the_whole_way_and_back(self, make: Make) -> None:
        node = make()
        results = [
            node.trigger_configure(),
            node.trigger_activate(),
            node.trigger_deactivate(),
            node.trigger_cleanup(),
            node.trigger_shutdown(),
        ]
        assert results == [SUCCESS] * 5
        assert node.label == "finalized"
        assert node.calls == [
            ("on_configure", "unconfigured"),
            ("on_activate", "inactive"),
            ("on_deactivate", "active"),
            ("on_cleanup", "inactive"),
            ("on_shutdown", "unconfigured"),
        ]
        assert [t.transition_id for t in node.events] == [1, 10, 3, 30, 4, 40, 2, 20, 5, 50]

    @pytest.mark.parametrize(
        ("before", "trigger", "after"),
        [
            ([], "configure", "unconfigured"),
            (["configure"], "activate", "inactive"),
            (["configure", "activate"], "deactivate", "active"),
            (["configure"], "cleanup", "inactive"),
            (["configure"], "shutdown", "finalized"),
        ],
    )
    def test_failure_goes_back(self, make: Make, before: list[str], trigger: str, after: str) -> None:
        node = make(**{f"on_{trigger}": FAILURE})
        for name in before:
            getattr(node, f"trigger_{name}")()
        assert getattr(node, f"trigger_{trigger}")() is FAILURE
        assert node.label == after
        assert "on_error" not in dict(node.calls)

    @pytest.mark.parametrize("told", [ERROR, RuntimeError("no such file"), None, True])
    @pytest.mark.parametrize(
        ("on_error", "after", "outcome"),
        [(SUCCESS, "unconfigured", 60), (FAILURE, "finalized", 61), (OSError("again"), "finalized", 62)],
    )
    def test_an_error_is_processed(self, make: Make, told: Any, on_error: Any, after: str, outcome: int) -> None:
        node = make(on_configure=told, on_error=on_error)
        assert node.trigger_configure() is ERROR
        assert node.label == after
        assert node.calls == [("on_configure", "unconfigured"), ("on_error", "unconfigured")]
        assert [t.transition_id for t in node.events] == [1, 12, outcome]

    def test_an_exception_is_logged_with_its_cause(self, make: Make, capfd: pytest.CaptureFixture[str]) -> None:
        make(on_configure=FileNotFoundError("weights.safetensors is missing")).trigger_configure()
        printed = "".join(capfd.readouterr())
        (line,) = [line for line in printed.splitlines() if "on_configure failed" in line]
        assert line.endswith("on_configure failed: FileNotFoundError: weights.safetensors is missing")
        assert "Traceback" in printed  # at debug, which this fixture turns on

    def test_a_callback_that_returns_nothing_is_named(self, make: Make, capfd: pytest.CaptureFixture[str]) -> None:
        make(on_configure=None).trigger_configure()
        assert "on_configure returned None; expected TransitionCallbackReturn.SUCCESS" in "".join(capfd.readouterr())

    def test_an_interrupt_is_not_taken_for_an_error(self, make: Make) -> None:
        with pytest.raises(KeyboardInterrupt):
            make(on_configure=KeyboardInterrupt()).trigger_configure()

    def test_impossible_transitions_are_refused(self, make: Make) -> None:
        node = make()
        with pytest.raises(LifecycleError, match="activate found for current state unconfigured"):
            node.trigger_activate()
        node.trigger_shutdown()
        with pytest.raises(LifecycleError, match="possible: none"):
            node.trigger_shutdown()
        assert node.calls == [("on_shutdown", "unconfigured")]

    def test_a_callback_cannot_start_another_transition(self, make: Make, capfd: pytest.CaptureFixture[str]) -> None:
        node = make()
        node.on_configure = lambda state: node.trigger_activate()  # type: ignore[method-assign]
        assert node.trigger_configure() is ERROR
        assert "activate was asked for by on_configure itself" in "".join(capfd.readouterr())

    def test_unknown_parameters_are_reported_after_configuring(self, ros_domain: int, capfd: pytest.CaptureFixture[str]) -> None:
        init(args=["--ros-args", "-p", "treshold:=0.5"])
        node = Scripted("esr")
        node.declare_parameter("threshold", 0.25)
        assert "treshold" not in "".join(capfd.readouterr())
        node.trigger_configure()
        assert "/esr has no parameter 'treshold'" in (printed := "".join(capfd.readouterr()))
        assert "did you mean 'threshold'?" in printed
        node.destroy_node()
        try_shutdown()


class TestManagedEntities:
    def test_follow_and_may_refuse(self, make: Make) -> None:
        class Refusing(ManagedEntity):
            def on_activate(self, state: State) -> TransitionCallbackReturn:
                return FAILURE

        node = make()
        node.add_managed_entity(Refusing())
        node.trigger_configure()
        assert node.trigger_activate() is FAILURE
        assert node.label == "inactive"
        with pytest.raises(TypeError, match="expected a ManagedEntity"):
            node.add_managed_entity(object())  # type: ignore[arg-type]

    def test_publishers_are_silent_while_inactive(self, make: Make, talk: Any, capfd: pytest.CaptureFixture[str]) -> None:
        node = make()
        publisher = node.create_lifecycle_publisher(STRING, "~/text", 10)
        heard = talk.listen("std_msgs/msg/String", "/esr/text")
        talk.until(lambda: publisher.get_subscription_count() == 1)

        def say(text: str) -> None:
            publisher.publish(STRING(data=text))

        say("unconfigured")
        say("unconfigured")
        node.trigger_configure()
        say("inactive")
        node.trigger_activate()
        say("active")
        node.trigger_deactivate()
        say("inactive again")
        node.trigger_activate()
        say("active again")
        talk.until(lambda: len(heard) == 2)
        assert [m.data for m in heard] == ["active", "active again"]
        assert "".join(capfd.readouterr()).count("nothing is sent on /esr/text while the node is unconfigured") == 1

    @pytest.mark.parametrize("told", [FAILURE, ERROR])
    def test_publishers_are_silent_after_a_failed_activation(self, make: Make, told: Any) -> None:
        node = make(on_activate=told)
        publisher = node.create_lifecycle_publisher(STRING, "~/text", 10)
        node.trigger_configure()
        node.trigger_activate()
        assert not publisher.is_activated

    def test_a_publisher_made_while_active_says_that_it_is_mute(self, make: Make, capfd: pytest.CaptureFixture[str]) -> None:
        node = make()
        node.trigger_configure()
        node.trigger_activate()
        publisher = node.create_lifecycle_publisher(STRING, "~/text", 10)
        publisher.publish(STRING())
        assert "lifecycle publisher was not activated; call super().on_activate(state)" in "".join(capfd.readouterr())
        node.trigger_deactivate()
        node.trigger_activate()
        assert publisher.is_activated

    def test_destroyed_publishers_are_forgotten(self, make: Make) -> None:
        node = make()
        for destroy in (node.destroy_lifecycle_publisher, node.destroy_publisher):
            publisher = node.create_lifecycle_publisher(STRING, "~/text", 10)
            assert isinstance(publisher, LifecyclePublisher)
            destroy(publisher)
        assert not node._managed


SERVER = """
import contextlib, sys
from emotion_perception.ros2_nodes.runtime.dds.context import init
from emotion_perception.ros2_nodes.runtime.dds.executor import spin
from emotion_perception.ros2_nodes.runtime.dds.lifecycle import LifecycleNode, TransitionCallbackReturn

class Face(LifecycleNode):
    def __init__(self):
        super().__init__("face")
        self.declare_parameter("weights", "good")

    def on_configure(self, state):
        if self.get_parameter("weights").value == "bad":
            raise ValueError("weights are bad")
        return super().on_configure(state)

init(args=sys.argv)
node = Face()
print("ready", flush=True)
with contextlib.suppress(KeyboardInterrupt):
    spin(node)
"""


def test_another_process_drives_it(node_process: Any, talk: Any) -> None:
    with node_process(SERVER, "--ros-args", "-r", "__node:=esr", "-r", "__ns:=/robot") as server:
        events = talk.listen("lifecycle_msgs/msg/TransitionEvent", "/robot/esr/transition_event")

        def ask(service: str, name: str, **fields: Any) -> Any:
            return talk.ask(f"lifecycle_msgs/srv/{service}", f"/robot/esr/{name}", **fields)

        def change(transition_id: int = 0, label: str = "") -> bool:
            transition = get_message("lifecycle_msgs/msg/Transition")(id=transition_id, label=label)
            return bool(ask("ChangeState", "change_state", transition=transition).success)

        def state() -> str:
            return str(ask("GetState", "get_state").current_state.label)

        assert state() == "unconfigured"
        assert [s.id for s in ask("GetAvailableStates", "get_available_states").available_states] == [0, 1, 2, 3, 4, 10, 11, 12, 13, 14, 15]
        offered = ask("GetAvailableTransitions", "get_available_transitions").available_transitions
        assert [(t.transition.id, t.transition.label, t.goal_state.label) for t in offered] == [
            (1, "configure", "configuring"),
            (5, "shutdown", "shuttingdown"),
        ]
        assert len(ask("GetAvailableTransitions", "get_transition_graph").available_transitions) == len(TRANSITIONS)

        assert not change(3)  # not from here
        assert change(1)
        assert change(label="activate")
        assert change(4, "deactivate")
        assert not change(1, "no such thing")
        assert state() == "inactive"
        assert change(2)

        parameter = get_message("rcl_interfaces/msg/Parameter")(name="weights")
        parameter.value.type, parameter.value.string_value = 4, "bad"
        assert talk.ask("rcl_interfaces/srv/SetParameters", "/robot/esr/set_parameters", parameters=[parameter]).results[0].successful
        assert not change(1)
        assert state() == "unconfigured"
        parameter.value.string_value = "good"
        talk.ask("rcl_interfaces/srv/SetParameters", "/robot/esr/set_parameters", parameters=[parameter])
        assert change(1)  # an error is not the end

        expected = [(1, 10), (10, 2), (2, 13), (13, 3), (3, 14), (14, 2), (2, 11), (11, 1), (1, 10), (10, 15), (15, 1), (1, 10), (10, 2)]
        talk.until(lambda: len(events) >= len(expected))
        assert [(e.start_state.id, e.goal_state.id) for e in events] == expected
        assert [(e.transition.id, e.transition.label) for e in events[:2]] == [(1, "configure"), (10, "transition_success")]
    assert "on_configure failed: ValueError: weights are bad" in server.output
    assert "No transition matching activate" not in server.output
    assert "No transition matching 3 found for current state unconfigured" in server.output
