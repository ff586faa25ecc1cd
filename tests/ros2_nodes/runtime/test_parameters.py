"""Parameters of the twin: types, ranges, overrides, refusals, and the six services as another node sees them."""

from __future__ import annotations

import array
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cyclonedds", reason="the twin needs the extra dds")

from emotion_perception.engine.errors import EmotionPerceptionError
from emotion_perception.ros2_nodes.runtime.dds.context import init, try_shutdown
from emotion_perception.ros2_nodes.runtime.dds.messages import deserialize, get_message, serialize
from emotion_perception.ros2_nodes.runtime.dds.node import Node
from emotion_perception.ros2_nodes.runtime.dds.parameter import (
    InvalidParameterException,
    InvalidParameterTypeException,
    InvalidParameterValueException,
    Parameter,
    ParameterAlreadyDeclaredException,
    ParameterImmutableException,
    ParameterNotDeclaredException,
    ParameterUninitializedException,
)
from emotion_perception.ros2_nodes.runtime.dds.parameters import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    Parameters,
    SetParametersResult,
)

T = Parameter.Type
VALUES = [
    (None, T.NOT_SET),
    (True, T.BOOL),
    (-7, T.INTEGER),
    (0.5, T.DOUBLE),
    ("näh", T.STRING),
    ([b"\x00", b"\xff"], T.BYTE_ARRAY),
    ([True, False], T.BOOL_ARRAY),
    ([1, -(2**62)], T.INTEGER_ARRAY),
    ([0.25, -1.5], T.DOUBLE_ARRAY),
    (["a", ""], T.STRING_ARRAY),
]


def unit_range(step: float = 0.0) -> Any:
    """The descriptor of a share."""
    return ParameterDescriptor(description="a share", floating_point_range=[FloatingPointRange(from_value=0.0, to_value=1.0, step=step)])


@pytest.fixture
def node(ros_domain: int) -> Iterator[Node]:
    """A node of its own."""
    init(args=[])
    made = Node("esr")
    yield made
    made.destroy_node()
    try_shutdown()


class TestParameter:
    @pytest.mark.parametrize(("value", "type_"), VALUES)
    def test_infers_its_type_and_survives_the_wire(self, value: Any, type_: Parameter.Type) -> None:
        parameter = Parameter("a.b", value=value)
        message = parameter.to_parameter_msg()
        back = Parameter.from_parameter_msg(deserialize(serialize(message), get_message("rcl_interfaces/msg/Parameter")))
        assert (parameter.type_, back.name, back.type_, back.value) == (type_, "a.b", type_, value)
        assert type(back.value) is type(value)

    def test_takes_tuples_and_arrays(self) -> None:
        assert Parameter("a", value=(1, 2)).type_ is T.INTEGER_ARRAY
        assert Parameter("a", value=array.array("d", [1.0])).type_ is T.DOUBLE_ARRAY

    def test_takes_an_empty_list_of_any_type(self) -> None:
        for type_ in (T.BYTE_ARRAY, T.BOOL_ARRAY, T.INTEGER_ARRAY, T.DOUBLE_ARRAY, T.STRING_ARRAY):
            message = Parameter("a", type_, []).to_parameter_msg()
            assert Parameter.from_parameter_msg(deserialize(serialize(message), type(message))).value == []

    @pytest.mark.parametrize("value", [[1, "a"], [1, 2.5], {"a": 1}, object(), b"a"])
    def test_refuses_what_has_no_type(self, value: Any) -> None:
        with pytest.raises(TypeError, match="expected bool, int, float, str"):
            Parameter("a", value=value)

    @pytest.mark.parametrize(
        ("type_", "value"), [(T.DOUBLE, 1), (T.BOOL, 1), (T.STRING, None), (T.BYTE_ARRAY, [b"ab"]), (T.INTEGER, 2**63)]
    )
    def test_refuses_a_value_of_another_type(self, type_: Parameter.Type, value: Any) -> None:
        with pytest.raises(ValueError, match=f"parameter 'a': .* is no {type_.name}"):
            Parameter("a", type_, value)

    def test_refuses_an_unknown_type_on_the_wire(self) -> None:
        message = get_message("rcl_interfaces/msg/Parameter")(name="a")
        message.value.type = 77
        with pytest.raises(ValueError, match="77"):
            Parameter.from_parameter_msg(message)


class TestDeclaring:
    def test_default_then_value(self, node: Node) -> None:
        assert node.declare_parameter("threshold", 0.5, unit_range()).value == 0.5
        assert node.has_parameter("threshold")
        assert not node.has_parameter("nothing")
        assert node.set_parameters([Parameter("threshold", value=0.75)])[0].successful
        assert node.get_parameter("threshold").value == 0.75
        assert node.get_parameter("threshold").type_ is T.DOUBLE

    def test_twice(self, node: Node) -> None:
        node.declare_parameter("a", 1)
        with pytest.raises(ParameterAlreadyDeclaredException, match="'a'"):
            node.declare_parameter("a", 2)

    @pytest.mark.parametrize("name", ["", None])
    def test_without_a_name(self, node: Node, name: Any) -> None:
        with pytest.raises(InvalidParameterException, match="Invalid parameter name"):
            node.declare_parameter(name, 1)

    def test_several_below_a_prefix(self, node: Node) -> None:
        made = node.declare_parameters("q", [("depth", 5), ("name", T.STRING), ("share", 0.5, unit_range())])
        assert [(p.name, p.value) for p in made] == [("q.depth", 5), ("q.name", None), ("q.share", 0.5)]
        assert {name: p.value for name, p in node.get_parameters_by_prefix("q").items()} == {"depth": 5, "name": None, "share": 0.5}
        assert node.get_parameter_or("q.name", Parameter("x", value="y")).value == "y"

    def test_by_type(self, node: Node) -> None:
        node.declare_parameter("names", T.STRING_ARRAY)
        with pytest.raises(ParameterUninitializedException, match="'names' is not initialized"):
            node.get_parameter("names")
        assert node.set_parameters([Parameter("names", T.STRING_ARRAY, [])])[0].successful
        assert node.get_parameter("names").value == []

    def test_without_default_or_type(self, node: Node) -> None:
        with pytest.raises(ValueError, match="neither default nor type"):
            node.declare_parameter("a", None, ParameterDescriptor())
        with pytest.raises(ValueError, match="expected one of the two"):
            node.declare_parameter("a", T.BOOL, ParameterDescriptor(dynamic_typing=True))

    def test_a_shared_descriptor_is_not_changed(self, node: Node) -> None:
        shared = unit_range()
        node.declare_parameter("a", 0.1, shared)
        node.declare_parameter("b", 0.2, shared)
        assert shared.name == ""
        assert [node.describe_parameter(n).name for n in "ab"] == ["a", "b"]
        assert node.describe_parameter("a").type == T.DOUBLE.value

    def test_default_out_of_range(self, node: Node) -> None:
        with pytest.raises(InvalidParameterValueException, match=r"out of range Min: 0\.0, Max: 1\.0, value: 2\.0"):
            node.declare_parameter("a", 2.0, unit_range())
        assert not node.has_parameter("a")

    def test_undeclaring(self, node: Node) -> None:
        node.declare_parameter("a", 1)
        node.declare_parameter("fixed", 1, ParameterDescriptor(read_only=True))
        node.undeclare_parameter("a")
        assert not node.has_parameter("a")
        with pytest.raises(ParameterImmutableException, match="read-only"):
            node.undeclare_parameter("fixed")

    def test_unknown_name_suggests_the_nearest(self, node: Node) -> None:
        node.declare_parameter("threshold", 1)
        with pytest.raises(ParameterNotDeclaredException, match=r"undeclared parameter.*'treshold'; did you mean 'threshold'"):
            node.get_parameter("treshold")
        with pytest.raises(ParameterNotDeclaredException):
            node.set_parameters([Parameter("treshold", value=2)])


class TestOverrides:
    def parameters(self, node: Node, **given: Any) -> Parameters:
        """Parameters with values from a file."""
        return Parameters(node, given, dict.fromkeys(given, "esr.yaml"))

    def test_replaces_the_default(self, node: Node) -> None:
        parameters = self.parameters(node, a=2, b=3)
        assert parameters.declare("a", 1).value == 2
        assert parameters.declare("b", 1, None, True).value == 1
        assert parameters.unused_overrides() == []

    def test_an_empty_list_is_of_any_type(self, node: Node) -> None:
        assert self.parameters(node, names=[]).declare("names", ["a"]).type_ is T.STRING_ARRAY

    @pytest.mark.parametrize(
        ("default", "given", "message"),
        [
            (0.5, 1, "parameter 'a' of /esr: 1 is an INTEGER (from esr.yaml), expected a DOUBLE; write 1.0"),
            ([0.5], [1], "parameter 'a' of /esr: [1] is an INTEGER_ARRAY (from esr.yaml), expected a DOUBLE_ARRAY; write [1.0]"),
            ("x", 5, "parameter 'a' of /esr: 5 is an INTEGER (from esr.yaml), expected a STRING; write it in quotes"),
            ([1], 5, "parameter 'a' of /esr: 5 is an INTEGER (from esr.yaml), expected an INTEGER_ARRAY; write a list: [5]"),
            (True, "yes", "parameter 'a' of /esr: 'yes' is a STRING (from esr.yaml), expected a BOOL"),
            (1, None, "parameter 'a' of /esr: None is a NOT_SET (from esr.yaml), expected an INTEGER"),
        ],
    )
    def test_wrong_type_is_one_clear_line(self, node: Node, default: Any, given: Any, message: str) -> None:
        with pytest.raises(InvalidParameterTypeException) as caught:
            self.parameters(node, a=given).declare("a", default)
        assert str(caught.value) == message
        assert isinstance(caught.value, EmotionPerceptionError)

    def test_a_params_file_is_named(self, ros_domain: int, tmp_path: Path) -> None:
        file = tmp_path / "esr.yaml"
        file.write_text("/**:\n  ros__parameters:\n    threshold: 1\n")
        init(args=["--ros-args", "--params-file", str(file), "-p", "device:=7"])
        node = Node("esr")
        with pytest.raises(InvalidParameterTypeException, match=rf"1 is an INTEGER \(from {file}\), expected a DOUBLE; write 1\.0"):
            node.declare_parameter("threshold", 0.5)
        with pytest.raises(InvalidParameterTypeException, match=r"7 is an INTEGER \(from the command line\), expected a STRING"):
            node.declare_parameter("device", "cpu")
        node.destroy_node()
        try_shutdown()

    def test_mixed_list(self, node: Node) -> None:
        with pytest.raises(InvalidParameterTypeException, match=r"'a' of /esr: the list \[1, 'b'\] mixes types.*esr.yaml"):
            self.parameters(node, a=[1, "b"]).declare("a", [1])

    def test_out_of_range_names_the_file(self, node: Node) -> None:
        with pytest.raises(InvalidParameterValueException, match=r"'a' of /esr: Parameter a out of range .*1\.5 \(from esr\.yaml\)"):
            self.parameters(node, a=1.5).declare("a", 0.5, unit_range())

    def test_a_read_only_parameter_takes_its_override(self, node: Node) -> None:
        assert self.parameters(node, a=2).declare("a", 1, ParameterDescriptor(read_only=True)).value == 2

    def test_unknown_names_are_reported_once_with_the_nearest(self, node: Node, capfd: pytest.CaptureFixture[str]) -> None:
        parameters = self.parameters(node, treshold=1.0, zzz=1)
        parameters.declare("threshold", 0.5)
        first, second = parameters.unused_overrides()
        assert first == "/esr has no parameter 'treshold' (from esr.yaml), its value is ignored; did you mean 'threshold'?"
        assert "'zzz'" in second
        parameters.warn_unused_overrides()
        parameters.warn_unused_overrides()
        printed = capfd.readouterr()
        assert (printed.out + printed.err).count(first) == 1


class TestSetting:
    @pytest.mark.parametrize(
        ("value", "reason"),
        [
            (0.0, ""),
            (1.0, ""),
            (1.0 + 1e-9, ""),
            (0.25, ""),
            (1.5, "Parameter a out of range Min: 0.0, Max: 1.0, value: 1.5"),
            (math.nan, "Parameter a out of range Min: 0.0, Max: 1.0, value: nan"),
            (math.inf, "Parameter a out of range Min: 0.0, Max: 1.0, value: inf"),
            (0.3, "The parameter value for a is not close enough to a valid step. Min: 0.0, max: 1.0, value: 0.3, step: 0.25"),
            (1, "Wrong parameter type, expected 'Type.DOUBLE' got 'Type.INTEGER'"),
            (None, "Static parameter cannot be undeclared"),
        ],
    )
    def test_doubles(self, node: Node, value: Any, reason: str) -> None:
        node.declare_parameter("a", 0.5, unit_range(step=0.25))
        (result,) = node.set_parameters([Parameter("a", value=value)])
        assert (result.successful, result.reason) == (not reason, reason)
        assert (node.get_parameter("a").value == 0.5) == bool(reason)

    @pytest.mark.parametrize(
        ("value", "reason"),
        [
            (10, ""),
            (3, ""),
            (9, ""),
            (11, "Parameter a out of range. Min: 0, Max: 10, value: 11"),
            (4, "The parameter value for a is not a valid step. Min: 0, max: 10, value: 4, step: 3"),
        ],
    )
    def test_integers(self, node: Node, value: int, reason: str) -> None:
        node.declare_parameter("a", 0, ParameterDescriptor(integer_range=[IntegerRange(from_value=10, to_value=0, step=3)]))
        (result,) = node.set_parameters([Parameter("a", value=value)])
        assert (result.successful, result.reason) == (not reason, reason)

    def test_read_only(self, node: Node) -> None:
        node.declare_parameter("a", 1, ParameterDescriptor(read_only=True))
        (result,) = node.set_parameters([Parameter("a", value=2)])
        assert result.reason == "Trying to set a read-only parameter: a."
        assert node.get_parameter("a").value == 1

    def test_dynamic_typing(self, node: Node) -> None:
        node.declare_parameter("a", 1, ParameterDescriptor(dynamic_typing=True))
        assert node.set_parameters([Parameter("a", value="x")])[0].successful
        assert node.describe_parameter("a").type == T.STRING.value
        assert node.set_parameters([Parameter("a", value=None)])[0].successful
        assert not node.has_parameter("a")

    def test_all_callbacks_have_to_accept(self, node: Node) -> None:
        node.declare_parameter("a", 1)
        asked: list[Any] = []

        def even(parameters: list[Parameter]) -> Any:
            asked.append([p.value for p in parameters])
            return SetParametersResult(successful=parameters[0].value % 2 == 0, reason="odd")

        node.add_on_set_parameters_callback(lambda parameters: SetParametersResult(successful=parameters[0].value < 10, reason="big"))
        node.add_on_set_parameters_callback(even)
        reasons = [node.set_parameters([Parameter("a", value=v)])[0].reason for v in (2, 3, 12)]
        assert reasons == ["", "odd", "big"]
        assert node.get_parameter("a").value == 2
        node.remove_on_set_parameters_callback(even)
        assert node.set_parameters([Parameter("a", value=3)])[0].successful
        assert asked == [[2], [3], [12]]

    def test_a_callback_that_returns_nothing_is_named(self, node: Node) -> None:
        node.declare_parameter("a", 1)

        def forgetful(_: list[Parameter]) -> None: ...

        node.add_on_set_parameters_callback(forgetful)
        with pytest.raises(TypeError, match=r"forgetful returned None.*SetParametersResult"):
            node.set_parameters([Parameter("a", value=2)])

    def test_atomically_all_or_none(self, node: Node) -> None:
        node.declare_parameter("a", 1)
        node.declare_parameter("b", 0.5, unit_range())
        assert not node.set_parameters_atomically([Parameter("a", value=2), Parameter("b", value=7.0)]).successful
        assert node.get_parameter("a").value == 1
        with pytest.raises(ParameterNotDeclaredException):
            node.set_parameters_atomically([Parameter("a", value=2), Parameter("c", value=1)])
        assert node.get_parameter("a").value == 1
        assert node.set_parameters_atomically([Parameter("a", value=2), Parameter("b", value=1.0)]).successful
        assert (node.get_parameter("a").value, node.get_parameter("b").value) == (2, 1.0)


@pytest.mark.parametrize(
    ("prefixes", "depth", "names", "groups"),
    [
        ([], 0, ["a", "q.depth", "q.deep.er", "r.x"], ["q", "q.deep", "r"]),
        ([], 1, ["a"], []),
        ([], 2, ["a", "q.depth", "r.x"], ["q", "r"]),
        (["q"], 0, ["q.depth", "q.deep.er"], ["q", "q.deep"]),
        (["q"], 1, ["q.depth"], ["q"]),
        (["q.deep", "a"], 1, ["a", "q.deep.er"], ["q.deep"]),
        (["q.de"], 0, [], []),
    ],
)
def test_lists_by_prefix_and_depth(node: Node, prefixes: list[str], depth: int, names: list[str], groups: list[str]) -> None:
    parameters = Parameters(node)
    for name in ("a", "q.depth", "q.deep.er", "r.x"):
        parameters.declare(name, 1)
    result = parameters.list_names(prefixes, depth)
    assert (result.names, result.prefixes) == (names, groups)


SERVER = """
import contextlib, sys
from emotion_perception.ros2_nodes.runtime.dds.context import init
from emotion_perception.ros2_nodes.runtime.dds.executor import spin
from emotion_perception.ros2_nodes.runtime.dds.node import Node
from emotion_perception.ros2_nodes.runtime.dds.parameters import *

init(args=sys.argv)
node = Node("esr")
share = [FloatingPointRange(from_value=0.0, to_value=1.0)]
node.declare_parameter("threshold", 0.5, ParameterDescriptor(description="a share", floating_point_range=share))
node.declare_parameter("device", "cpu", ParameterDescriptor(read_only=True))
node.declare_parameter("q.sizes", [1, 2])
node.declare_parameter("crash", False)

def refuse(parameters):
    if any(p.name == "crash" and p.value for p in parameters):
        raise RuntimeError("boom")
    return SetParametersResult(successful=True)

node.add_on_set_parameters_callback(refuse)
print("ready", flush=True)
with contextlib.suppress(KeyboardInterrupt):
    spin(node)
"""


def test_another_process_reads_and_changes_them(node_process: Any, talk: Any) -> None:
    def parameter(name: str, value: Any) -> Any:
        return Parameter(name, value=value).to_parameter_msg()

    arguments = ["--ros-args", "-r", "__ns:=/robot", "-p", "threshold:=0.25"]
    with node_process(SERVER, *arguments) as server:
        events = talk.listen("rcl_interfaces/msg/ParameterEvent", "/parameter_events")

        def ask(service: str, name: str, **fields: Any) -> Any:
            return talk.ask(f"rcl_interfaces/srv/{service}", f"/robot/esr/{name}", **fields)

        listed = ask("ListParameters", "list_parameters").result
        assert {"threshold", "device", "q.sizes"} <= set(listed.names)
        assert listed.prefixes == ["q"]
        values = ask("GetParameters", "get_parameters", names=["threshold", "q.sizes"]).values
        assert (values[0].double_value, values[1].integer_array_value.tolist()) == (0.25, [1, 2])
        assert ask("GetParameters", "get_parameters", names=["threshold", "nothing"]).values == []
        assert ask("GetParameterTypes", "get_parameter_types", names=["device", "q.sizes"]).types.tolist() == [4, 7]
        (described,) = ask("DescribeParameters", "describe_parameters", names=["threshold"]).descriptors
        assert (described.name, described.type, described.description) == ("threshold", 3, "a share")
        assert described.floating_point_range[0].to_value == 1.0

        wanted = [parameter("threshold", 0.75), parameter("threshold", 1.5), parameter("device", "cuda"), parameter("treshold", 1.0)]
        results = ask("SetParameters", "set_parameters", parameters=[*wanted, parameter("crash", True)]).results
        assert [r.successful for r in results] == [True, False, False, False, False]
        assert results[1].reason == "Parameter threshold out of range Min: 0.0, Max: 1.0, value: 1.5"
        assert "did you mean 'threshold'" in results[3].reason
        assert results[4].reason == "RuntimeError: boom"
        both = ask("SetParametersAtomically", "set_parameters_atomically", parameters=[parameter("q.sizes", [3]), parameter("device", "x")])
        assert both.result.reason == "Trying to set a read-only parameter: device."
        assert ask("GetParameters", "get_parameters", names=["q.sizes"]).values[0].integer_array_value.tolist() == [1, 2]

        talk.until(lambda: any(e.changed_parameters for e in events))
        event = next(e for e in events if e.changed_parameters)
        assert (event.node, event.changed_parameters[0].name) == ("/robot/esr", "threshold")
        assert event.changed_parameters[0].value.double_value == 0.75
    assert "boom" in server.output
