"""``--ros-args``: what rcl understands is understood, what it does not is refused in one line."""

from __future__ import annotations

import pytest

pytest.importorskip("cyclonedds")
pytest.importorskip("rosbags")

from emotion_perception.engine.errors import UsageError
from emotion_perception.ros2_nodes.runtime.dds.arguments import RosArguments, parse, remove_ros_args

TOPIC, SERVICE = "rostopic://", "rosservice://"


def ros(*arguments: str) -> RosArguments:
    return parse(["program", "--ros-args", *arguments])[0]


def test_the_command_line_is_split() -> None:
    argv = ["program", "a", "--ros-args", "-r", "x:=y", "--", "b", "--ros-args", "-p", "k:=1"]
    found, others = parse(argv)
    assert others == ["program", "a", "b"] == remove_ros_args(argv)
    assert [rule.new for rule in found.remaps] == ["y"]
    assert found.values_for("/n")[0] == {"k": 1}


def test_node_name_and_namespace() -> None:
    given = ros("-r", "__node:=esr", "-r", "__ns:=/robot/left")
    assert given.node_identity("node", "/") == ("esr", "/robot/left")
    assert ros().node_identity("node", "robot") == ("node", "/robot")
    only = ros("-r", "talker:__node:=b", "-r", "talker:__ns:=/x")
    assert only.node_identity("talker", "/") == ("b", "/x")
    assert only.node_identity("listener", "/") == ("listener", "/")


@pytest.mark.parametrize(
    ("rule", "name", "expected"),
    [
        ("image_raw:=/camera/image", "image_raw", "/camera/image"),
        ("/ns/image_raw:=other", "image_raw", "/ns/other"),
        ("~/result:=/result", "~/result", "/result"),
        ("image_raw:=~/picture", "image_raw", "/ns/node/picture"),
        ("node:image_raw:=a", "image_raw", "/ns/a"),
        ("other:image_raw:=a", "image_raw", "/ns/image_raw"),
        ("image_raw:=a", "image", "/ns/image"),
        ("/image_raw:=a", "image_raw", "/ns/image_raw"),
        ("rostopic://image_raw:=a", "image_raw", "/ns/a"),
        ("rosservice://image_raw:=a", "image_raw", "/ns/image_raw"),
        ("node:rostopic://image_raw:=rostopic://a", "image_raw", "/ns/a"),
    ],
)
def test_topics_are_remapped(rule: str, name: str, expected: str) -> None:
    assert ros("-r", rule).resolve(name, "node", "/ns", TOPIC) == expected
    assert ros("--remap", rule).resolve(name, "node", "/ns", TOPIC) == expected


def test_the_first_rule_that_fits_wins_and_services_are_remapped_too() -> None:
    given = ros("-r", "a:=b", "-r", "a:=c", "-r", "b:=d")
    assert given.resolve("a", "node", "/", TOPIC) == "/b"
    assert given.resolve("a", "node", "/", SERVICE) == "/b"
    assert given.resolve("b", "node", "/", TOPIC) == "/d"


def test_log_levels_and_switches() -> None:
    given = ros("--log-level", "debug", "--log-level", "esr:=WARN", "--disable-rosout-logs", "--enable-external-lib-logs", "-e", "/e")
    assert [(name, level.name) for name, level in given.log_levels] == [("", "DEBUG"), ("esr", "WARN")]
    assert (given.rosout_logs, given.stdout_logs, given.enclave) == (False, True, "/e")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--nonsense"], "unknown argument '--nonsense'"),
        (["model:=x"], "unknown argument 'model:=x'"),
        (["-r"], "end of the command line"),
        (["-r", "a"], "expected from:=to"),
        (["-r", "a:="], "expected from:=to"),
        (["-r", "a:=b c"], "'b c' is invalid"),
        (["-r", "__node:=1a"], "node name '1a'"),
        (["-r", "__nod:=a"], "__node and __ns"),
        (["-r", "__ns:=a-b"], "namespace 'a-b'"),
        (["-p", "a=1"], "expected name:=value"),
        (["-p", "a:=[1, x]"], "mixed types"),
        (["-p", "a:={b: 1}"], "a mapping"),
        (["--log-level", "loud"], "unknown log level 'loud'"),
        (["--params-file", "/no/such/file.yaml"], "cannot read the parameter file '/no/such/file.yaml': No such file"),
        (["--disable-everything"], "unknown argument"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(arguments: list[str], reason: str) -> None:
    with pytest.raises(UsageError, match=reason) as caught:
        ros(*arguments)
    assert "\n" not in str(caught.value)


def test_a_later_value_wins_and_a_node_can_be_named() -> None:
    given = ros("-p", "k:=1", "-p", "k:=2", "-p", "talker:k:=3")
    assert given.values_for("/listener")[0] == {"k": 2}
    assert given.values_for("/talker")[0] == {"k": 3}
    assert given.values_for("/talker")[1] == {"k": "the command line"}
