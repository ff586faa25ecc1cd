from __future__ import annotations

import json
import math
from array import array
from io import StringIO
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emotion_perception.engine.errors import UsageError
from emotion_perception.ros2_nodes.echo import MOST_VALUES, as_json, as_yaml, message_class, to_plain

try:
    import emotion_perception.ros2_nodes.runtime  # noqa: F401
except ImportError as error:
    pytest.skip(str(error), allow_module_level=True)
yaml = pytest.importorskip("ruamel.yaml")


def read_yaml(text: str) -> Any:
    assert text.endswith("\n---")
    return yaml.YAML(typ="safe").load(StringIO(text.removesuffix("---")))


def message(name: str, **values: Any) -> Any:
    return message_class(name)(**values)


def detections(words: list[str], scores: list[float]) -> Any:
    array_message = message("vision_msgs/msg/Detection2DArray")
    array_message.header.frame_id = "camera"
    array_message.header.stamp.sec, array_message.header.stamp.nanosec = 12, 34
    for word, score in zip(words, scores, strict=True):
        pair = message("vision_msgs/msg/ObjectHypothesisWithPose")
        pair.hypothesis.class_id, pair.hypothesis.score = word, score
        array_message.detections.append(message("vision_msgs/msg/Detection2D", id=word, results=[pair, pair]))
    return array_message


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"])), st.floats(allow_nan=False)), max_size=3),
)
def test_what_is_printed_can_be_read_again(pairs: list[tuple[str, float]]) -> None:
    sent = detections([word for word, _ in pairs], [score for _, score in pairs])
    values = json.loads(as_json(to_finite(sent)))
    assert read_yaml(as_yaml(to_finite(sent), None)) == values
    assert [d["id"] for d in values["detections"]] == [word for word, _ in pairs]
    assert values["header"] == {"stamp": {"sec": 12, "nanosec": 34}, "frame_id": "camera"}


def to_finite(sent: Any) -> Any:
    """JSON has no infinity; that YAML has one is another test's."""
    for detection in sent.detections:
        for pair in detection.results:
            if not math.isfinite(pair.hypothesis.score):
                pair.hypothesis.score = 0.5
    return sent


@pytest.mark.parametrize("text", ["", "yes", "No", "null", "12", "1e5", "a: b", "# c", "- d", "two words", "{}", "~", "'q'", "ä ö", "/a/b"])
def test_text_stays_text(text: str) -> None:
    assert read_yaml(as_yaml(message("std_msgs/msg/String", data=text))) == {"data": text}


def test_numbers_that_json_does_not_know() -> None:
    expression = message("hri_msgs/msg/Expression", valence=math.nan, arousal=math.inf)
    assert json.loads(as_json(expression))["valence"] is None
    shown = read_yaml(as_yaml(expression))
    assert math.isnan(shown["valence"])
    assert shown["arousal"] == math.inf


@pytest.mark.parametrize(
    "values", [np.arange(100, dtype=np.uint8), array("B", range(100)), list(range(100))], ids=lambda v: type(v).__name__
)
def test_long_arrays_are_shortened_in_text_and_whole_in_json(values: Any) -> None:
    # Not only the class of this runtime: on the other one, arrays are of another kind.
    image = SimpleNamespace(data=values, get_fields_and_field_types=lambda: {"data": "sequence<uint8>"})
    line = as_yaml(image).splitlines()[0]
    assert line.startswith("data: [0, 1, 2, ")
    assert line.endswith(f"15, ...]  # {MOST_VALUES} of 100 values")
    assert read_yaml(as_yaml(image, None))["data"] == json.loads(as_json(image))["data"] == list(range(100))


def test_long_lists_of_messages_are_shortened() -> None:
    text = as_yaml(detections(list("abcdefghijklmnopqrstuvwxyz"), [0.5] * 26))
    assert f"# {MOST_VALUES} of 26 shown" in text
    assert len(read_yaml(text)["detections"]) == MOST_VALUES


def test_the_other_runtimes_bytes_are_numbers() -> None:
    status = SimpleNamespace(level=b"\x02", get_fields_and_field_types=lambda: {"level": "octet"})
    assert to_plain(status) == {"level": 2}


@pytest.mark.parametrize("name", ["std_msgs/msg/Strin", "nowhere_msgs/msg/String", "String", "", "std_msgs/srv/String", "a/b/c/d"])
def test_an_unknown_type_is_one_line(name: str) -> None:
    with pytest.raises(UsageError) as refusal:
        message_class(name)
    assert "\n" not in str(refusal.value)


def test_the_middle_of_a_type_may_be_left_out() -> None:
    assert message_class("std_msgs/String") is message_class("std_msgs/msg/String")
