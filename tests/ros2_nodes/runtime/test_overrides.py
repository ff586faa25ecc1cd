"""Parameter files and values: the types that rcl reads, the nodes that the file means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cyclonedds")
pytest.importorskip("rosbags")

from emotion_perception.engine.errors import UsageError
from emotion_perception.ros2_nodes.runtime.dds.arguments import parse
from emotion_perception.ros2_nodes.runtime.dds.overrides import Override, parse_value, read_file


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("yes", True),
        ("Off", False),
        ("'yes'", "yes"),
        ("5", 5),
        ("-5", -5),
        ("+5", 5),
        ("0x1F", 31),
        ("010", 8),
        ("0", 0),
        ("'5'", "5"),
        ("5.0", 5.0),
        ("5.", 5.0),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("-1.5e-3", -0.0015),
        (".inf", float("inf")),
        ("-.inf", float("-inf")),
        ("word", "word"),
        ("two words", "two words"),
        ("a:b", "a:b"),
        ("cuda:0", "cuda:0"),
        ("/path/to/file", "/path/to/file"),
        ("1:30", "1:30"),
        ("2026-11-24", "2026-11-24"),
        ("''", ""),
        ("", ""),
        ("[1, 2]", [1, 2]),
        ("[1.0, 2.5]", [1.0, 2.5]),
        ("[a, 'b']", ["a", "b"]),
        ("[true, no]", [True, False]),
        ("[]", []),
    ],
)
def test_values_have_the_types_of_rcl(text: str, value: Any) -> None:
    found = parse_value(text, "p")
    assert found == value
    assert type(found) is type(value)


def test_not_a_number_is_one() -> None:
    assert parse_value(".nan", "p") != parse_value(".nan", "p")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[1, 2.0]", "mixed types"),
        ("[[1], [2]]", "a list of values"),
        ("{a: 1}", "a mapping"),
        ("~", "no value"),
        ("null", "no value"),
        ("99999999999999999999", "64 bits"),
        ("[1, 2", "not YAML"),
        ("'a", "not YAML"),
    ],
)
def test_other_values_are_refused(text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason) as caught:
        parse_value(text, "parameter p on the command line")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "node", "applies"),
    [
        ("/**", "/esr", True),
        ("/**", "/a/b/esr", True),
        ("/*", "/esr", True),
        ("/*", "/a/esr", False),
        ("/esr", "/esr", True),
        ("/esr", "/a/esr", False),
        ("/a/esr", "/a/esr", True),
        ("/**/esr", "/a/b/esr", True),
        ("/**/esr", "/esr", True),
        ("/*/esr", "/a/esr", True),
        ("/*/esr", "/esr", False),
        ("/a/**", "/a/b/c", True),
    ],
)
def test_patterns_of_nodes(pattern: str, node: str, applies: bool) -> None:
    assert Override(pattern, "p", 1, "").applies_to(node) is applies


def test_a_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "esr.yaml"
    file.write_text(
        "/**:\n  ros__parameters:\n    device: cpu\n    detector:\n      threshold: 0.9\n      sizes: [1, 2]\n"
        "esr:\n  ros__parameters:\n    device: cuda\n"
        "left:\n  esr:\n    ros__parameters: {device: 'left'}\n"
        "/empty:\n  ros__parameters:\n"
    )
    found, _ = parse(["--ros-args", "--params-file", str(file)])
    base = {"detector.threshold": 0.9, "detector.sizes": [1, 2]}
    assert found.values_for("/other")[0] == {**base, "device": "cpu"}
    assert found.values_for("/esr")[0] == {**base, "device": "cuda"}
    assert found.values_for("/left/esr")[0] == {**base, "device": "left"}
    assert found.values_for("/esr")[1]["device"] == str(file)
    later, _ = parse(["--ros-args", "--params-file", str(file), "-p", "device:=xpu"])
    assert later.values_for("/esr")[0]["device"] == "xpu"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("device: cpu\n", r"line 1: found 'cpu', expected node names with ros__parameters"),
        ("ros__parameters:\n  device: cpu\n", "stands at the top"),
        ("/**:\n  ros__parameters: [1]\n", "line 2: found a sequence, expected parameters"),
        ("/**:\n  ros__parameters:\n    a: [1, x]\n", "parameter a is a list of mixed types"),
        ("/**:\n  ros__parameters:\n    a:\n", "parameter a has no value"),
        ("/**:\n\tros__parameters:\n", "line 2: this is not YAML"),
    ],
)
def test_a_file_that_is_none_is_refused_with_the_place(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "esr.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=reason) as caught:
        read_file(str(file))
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_empty_file_says_nothing(tmp_path: Path) -> None:
    file = tmp_path / "empty.yaml"
    file.write_text("# nothing\n")
    assert read_file(str(file)) == []
