from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from emotion_perception.engine.errors import EmotionPerceptionError
from emotion_perception.engine.labels import AFFECTNET8, FERPLUS8, LabelSet
from emotion_perception.engine.target import BoundingBox, Category, FaceEmotion, FrameResult

pytest.importorskip("emotion_perception.ros2_nodes.runtime")

from emotion_perception.ros2_nodes import messages  # needs a runtime
from emotion_perception.ros2_nodes.messages import message


@pytest.fixture
def header() -> Any:
    made = message("std_msgs/msg/Header")(frame_id="camera_optical_frame")
    made.stamp.sec, made.stamp.nanosec = 12, 345_000_000
    return made


def face(word: str = "Happy", track_id: int | None = 12, labels: LabelSet = AFFECTNET8, **changes: Any) -> FaceEmotion:
    probabilities = np.full(len(labels), 0.05, np.float32)
    index = labels.index(word)
    probabilities[index] = 1.0 - 0.05 * (len(labels) - 1)
    category = Category(index, labels.words[index], float(probabilities[index]), probabilities)
    return FaceEmotion(
        BoundingBox(100.0, 50.0, 180.0, 150.0, 0.9), category, **{"valence": 0.5, "arousal": -0.25, "track_id": track_id, **changes}
    )


def result(*faces: FaceEmotion, labels: LabelSet = AFFECTNET8) -> FrameResult:
    return FrameResult(faces, "esr", labels, 640, 480, 7, 12.345, "camera_optical_frame", {"total": 3.0})


def test_ids_are_valid_names_on_the_graph() -> None:
    assert [messages.face_id(n) for n in (1, 99999, 123456)] == ["f00001", "f99999", "f123456"]


def test_the_list_of_ids(header: Any) -> None:
    made = messages.ids_list(["f00001", "f00002"], header)
    assert made.header is header
    assert list(made.ids) == ["f00001", "f00002"]
    assert list(messages.ids_list([], header).ids) == []


def test_a_region_is_in_units_of_the_picture_and_stays_inside(header: Any) -> None:
    made = messages.region(BoundingBox(160.0, 120.0, 320.0, 360.0, 0.75), 640, 480, header)
    assert made.header is header
    assert [made.xmin, made.ymin, made.xmax, made.ymax, made.c] == [0.25, 0.25, 0.5, 0.75, 0.75]
    made = messages.region(BoundingBox(-10.0, -5.0, 700.0, 500.0, 1.0), 640, 480, header)
    assert [made.xmin, made.ymin, made.xmax, made.ymax] == [0.0, 0.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("word", "constant"),
    [
        ("Neutral", "NEUTRAL"),
        ("Happy", "HAPPY"),
        ("Sad", "SAD"),
        ("Surprise", "SURPRISED"),
        ("Fear", "SCARED"),
        ("Disgust", "DISGUSTED"),
        ("Anger", "ANGRY"),
    ],
)
def test_an_expression_uses_the_words_of_hri_msgs(header: Any, word: str, constant: str) -> None:
    kind = message("hri_msgs/msg/Expression")
    for labels in (AFFECTNET8, FERPLUS8):
        made = messages.expression(face(word, labels=labels), header)
        assert made.expression == getattr(kind, constant)
    assert made.header is header
    assert (made.valence, made.arousal) == (0.5, -0.25)
    assert made.confidence == pytest.approx(0.65)


def test_contempt_is_what_the_user_says(header: Any) -> None:
    assert messages.expression(face("Contempt"), header).expression == "contempt"
    assert messages.expression(face("Contempt"), header, "annoyed").expression == "annoyed"
    assert messages.expression(face("Happy"), header, "annoyed").expression == "happy"


def test_no_affect_is_not_calm_and_neutral(header: Any) -> None:
    made = messages.expression(face(valence=None, arousal=None), header)
    assert math.isnan(made.valence)
    assert math.isnan(made.arousal)


def test_detections_hold_box_id_and_every_class(header: Any) -> None:
    made = messages.detections(result(face("Sad"), face("Anger", None)), header)
    assert made.header is header
    first, second = made.detections
    assert first.header is header
    assert (first.bbox.center.position.x, first.bbox.center.position.y, first.bbox.center.theta) == (140.0, 100.0, 0.0)
    assert (first.bbox.size_x, first.bbox.size_y) == (80.0, 100.0)
    assert (first.id, second.id) == ("f00012", "")
    assert first.results[0].hypothesis.class_id == "Sad"
    assert first.results[0].hypothesis.score == pytest.approx(0.65)
    assert {each.hypothesis.class_id for each in first.results} == set(AFFECTNET8)
    assert sum(each.hypothesis.score for each in first.results) == pytest.approx(1.0)
    assert list(messages.detections(result(), header).detections) == []


def test_the_class_judged_leads_even_where_the_vote_differs_from_the_mean() -> None:
    category = Category(2, "Sad", 0.4, np.array([0.6, 0.0, 0.4, 0, 0, 0, 0, 0], np.float32))
    made = messages.hypotheses(category, AFFECTNET8)
    assert [each.class_id for each in made[:3]] == ["Sad", "Neutral", "Happy"]
    assert len(made) == 8


def test_a_scene_is_classified_as_a_whole(header: Any) -> None:
    made = messages.classification(result(face("Disgust")), header)
    assert made.header is header
    assert made.results[0].class_id == "Disgust"
    assert len(made.results) == 8


def test_label_info_maps_indices_to_words(header: Any) -> None:
    made = messages.label_info(FERPLUS8, header)
    assert made.header is header
    assert [(int(each.class_id), each.class_name) for each in made.class_map] == list(enumerate(FERPLUS8))


def test_text_and_opendr() -> None:
    assert json.loads(messages.text(result(face()).to_json()).data)["faces"][0]["emotion"] == "Happy"
    made = messages.opendr_hypothesis(face("Fear").category)
    assert (made.class_id, made.score) == ("4", pytest.approx(0.65))


def test_all_of_them_can_be_sent(header: Any) -> None:
    from emotion_perception.ros2_nodes.runtime import RUNTIME

    if RUNTIME != "dds":
        pytest.skip("rclpy checks the fields as they are set")
    from emotion_perception.ros2_nodes.runtime.dds.messages import deserialize, serialize

    frame = result(face(), face("Contempt", None, valence=None, arousal=None))
    for made in (
        messages.ids_list(["f00001"], header),
        messages.region(frame.faces[0].box, 640, 480, header),
        messages.expression(frame.faces[1], header),
        messages.detections(frame, header),
        messages.detections(result(), header),
        messages.classification(frame, header),
        messages.label_info(AFFECTNET8, header),
        messages.text(frame.to_json()),
        messages.opendr_hypothesis(frame.faces[0].category),
    ):
        again = deserialize(serialize(made), type(made))
        if hasattr(made, "header"):
            assert (again.header.stamp.sec, again.header.stamp.nanosec, again.header.frame_id) == (12, 345_000_000, "camera_optical_frame")


def test_a_package_that_is_missing_is_named_with_a_way_out() -> None:
    with pytest.raises(EmotionPerceptionError, match=r"no_such_msgs/msg/Thing.*ros-\$ROS_DISTRO-no-such-msgs"):
        message("no_such_msgs/msg/Thing")
