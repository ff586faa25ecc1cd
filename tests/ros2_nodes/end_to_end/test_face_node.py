from __future__ import annotations

import json
import signal
from typing import Any

import numpy as np
import pytest

FACE = "/humans/faces/f00001"


def plain(header: Any) -> tuple[int, int, str]:
    """Returns the fields of a header, to compare and sort."""
    return int(header.stamp.sec), int(header.stamp.nanosec), str(header.frame_id)


def test_a_face_is_published_on_every_topic_with_the_pictures_header(
    graph: Any, program: Any, happy: np.ndarray, empty: np.ndarray
) -> None:
    node = program("node", "esr", "--ros-args", "-p", "opendr_topics:=true", "-p", "crop_width:=160")
    heard = {
        topic: graph.hear(kind, topic)
        for topic, kind in (
            ("/esr/result", "std_msgs/msg/String"),
            ("/esr/detections", "vision_msgs/msg/Detection2DArray"),
            ("/esr/image_annotated", "sensor_msgs/msg/Image"),
            ("/humans/faces/tracked", "hri_msgs/msg/IdsList"),
            (f"{FACE}/roi", "hri_msgs/msg/NormalizedRegionOfInterest2D"),
            (f"{FACE}/expression", "hri_msgs/msg/Expression"),
            (f"{FACE}/cropped", "sensor_msgs/msg/Image"),
            ("/opendr/facial_emotion_estimation", "vision_msgs/msg/ObjectHypothesis"),
            ("/opendr/facial_emotion_estimation_description", "std_msgs/msg/String"),
        )
    }
    diagnostics = graph.hear("diagnostic_msgs/msg/DiagnosticArray", "/diagnostics")
    node.says("active: esr on")
    sent = set()

    def all_heard() -> bool:
        sent.add(plain(graph.show(happy)))
        graph.spin(0.1)
        return all(heard.values())

    graph.until(all_heard, node)
    for topic, messages in heard.items():
        if hasattr(messages[0], "header"):
            headers = [plain(each.header) for each in messages]
            assert set(headers) <= sent, topic
            assert headers == sorted(headers), topic
    assert {len(each.detections) for each in heard["/esr/detections"]} == {1}
    detection = heard["/esr/detections"][-1].detections[0]
    assert detection.id == "f00001"
    assert detection.results[0].hypothesis.class_id == "Happy"
    assert {each.expression for each in heard[f"{FACE}/expression"]} == {"happy"}
    expression = heard[f"{FACE}/expression"][-1]
    assert expression.valence > 0.0
    assert 0.0 < expression.confidence <= 1.0
    assert {tuple(each.ids) for each in heard["/humans/faces/tracked"]} == {("f00001",)}
    roi = heard[f"{FACE}/roi"][-1]
    assert roi.xmin * 512 == pytest.approx(detection.bbox.center.position.x - detection.bbox.size_x / 2, abs=1.0)
    cropped = heard[f"{FACE}/cropped"][-1]
    assert (cropped.width, cropped.height, cropped.encoding) == (160, 128, "rgb8")
    pixels = np.asarray(cropped.data).reshape(128, 160, 3)
    assert not pixels[:, :16].any()  # padded, not stretched
    assert pixels[:, 16:144].any()
    annotated = heard["/esr/image_annotated"][-1]
    assert not np.array_equal(np.asarray(annotated.data).reshape(512, 512, 3), happy)
    result = json.loads(heard["/esr/result"][-1].data)
    assert (result["learner"], result["frame_id"], result["faces"][0]["track_id"]) == ("esr", "camera", 1)
    assert heard["/opendr/facial_emotion_estimation"][-1].class_id == "1"
    assert heard["/opendr/facial_emotion_estimation_description"][-1].data == "Happy"
    # Somebody who comes late still learns the classes.
    late = graph.hear("vision_msgs/msg/LabelInfo", "/esr/label_info", latched=True)
    (labels,) = graph.until(lambda: late, node)
    assert [each.class_name for each in labels.class_map][:2] == ["Neutral", "Happy"]

    header = plain(graph.show(empty))
    graph.until(lambda: plain(heard["/esr/detections"][-1].header) == header, node)
    assert list(heard["/esr/detections"][-1].detections) == []
    graph.until(lambda: json.loads(heard["/esr/result"][-1].data)["faces"] == [], node)
    graph.until(lambda: plain(heard["/humans/faces/tracked"][-1].header) == header, node)
    assert list(heard["/humans/faces/tracked"][-1].ids) == []

    graph.until(lambda: int((graph.values(diagnostics, "/esr") or {"frames processed": 0})["frames processed"]) > len(sent) // 2, node)
    status = graph.values(diagnostics, "/esr")
    assert (status["level"], status["state"], status["learner"], status["back end"]) == ("OK", "active", "esr", "torch")
    assert status["input"] == "/image_raw"
    assert float(status["latency p50 (ms)"]) > 0.0
    assert node.end() == 0
    assert "Traceback" not in node.output


def test_the_topics_of_a_face_go_when_it_is_gone(graph: Any, program: Any, happy: np.ndarray, empty: np.ndarray) -> None:
    node = program("node", "esr")
    faces = graph.hear("hri_msgs/msg/IdsList", "/humans/faces/tracked")
    subscription = graph.subscribe("hri_msgs/msg/Expression", f"{FACE}/expression", lambda message: None)
    now_ds = 1000  # tenths of a second
    node.says("active")

    def shown(picture: np.ndarray, there: int) -> bool:
        nonlocal now_ds
        now_ds += 1 if picture is happy else 20  # a face is remembered for a second
        graph.show(picture, stamp=(now_ds // 10, now_ds % 10 * 100_000_000))
        graph.spin(0.1)
        return bool(subscription.get_publisher_count() == there)

    graph.until(lambda: shown(happy, 1) and ["f00001"] in [list(each.ids) for each in faces], node)
    graph.until(lambda: shown(empty, 0), node)
    graph.until(lambda: not list(faces[-1].ids), node)

    # Pictures that stop leave nobody behind either, and a face that comes back then is another one.
    graph.until(lambda: shown(happy, 0) and list(faces[-1].ids), node)
    assert list(faces[-1].ids) == ["f00002"]
    graph.until(lambda: not list(faces[-1].ids), node)
    # Stamps that go back are said once, ids go on.
    now_ds = 100
    graph.until(lambda: shown(happy, 0) and list(faces[-1].ids), node)
    assert {*faces[-1].ids}.isdisjoint({"f00001", "f00002"})
    node.says("stamps went back by")
    assert node.output.count("stamps went back by") == 1


def test_the_life_cycle_is_driven_by_services(graph: Any, program: Any, happy: np.ndarray, node_runtime: str) -> None:
    node = program("node", "esr", "--no-autostart")
    results = graph.hear("std_msgs/msg/String", "/esr/result")
    tracked = graph.hear("hri_msgs/msg/IdsList", "/humans/faces/tracked")
    assert graph.state("/esr") == "unconfigured"
    if node_runtime == "dds":
        assert not graph.change_state("/esr", 3)  # activate before configure
    else:  # rclpy raises instead of an answer; the node is to survive that
        with pytest.raises(AssertionError, match="in vain"):
            graph.change_state("/esr", 3, patience_s=3.0)
        node.says("going on after: ")
    assert graph.set("/esr", "image_depth", 3).successful  # nothing needs a new configure yet
    assert graph.change_state("/esr", 1)
    assert graph.state("/esr") == "inactive"
    refused = graph.set("/esr", "image_depth", 4)
    assert not refused.successful
    assert "image_depth needs a new configure" in refused.reason
    assert graph.set("/esr", "image_depth", 3).successful  # as it is
    assert graph.change_state("/esr", 3)
    assert graph.state("/esr") == "active"

    def judged() -> bool:
        before = len(results)
        graph.show(happy)
        graph.spin(0.2)
        return len(results) > before

    graph.until(judged, node)
    for name, value, words in (
        ("detector_score", 1.5, "range"),
        ("max_faces", 0, "range"),
        ("max_faces", "many", "type"),
        ("device", "cpu", "device needs a new configure"),
        ("image_transport", "compresed", "did you mean 'compressed'?"),
        ("autostart", False, "read-only"),
    ):
        refused = graph.set("/esr", name, value)
        assert not refused.successful, name
        assert words in refused.reason, refused.reason
    # What may change while it works does: faces larger than the picture are not there.
    assert graph.set("/esr", "min_face_px", 4000.0).successful
    graph.until(lambda: judged() and not json.loads(results[-1].data)["faces"], node)
    assert graph.set("/esr", "min_face_px", 20.0).successful
    graph.until(lambda: judged() and json.loads(results[-1].data)["faces"], node)

    answer = graph.ask("std_srvs/srv/SetBool", "/esr/enable", data=False)
    assert (answer.success, "paused" in answer.message) == (True, True)
    graph.spin(0.5)
    before = len(results)
    for _ in range(3):
        graph.show(happy)
        graph.spin(0.1)
    assert len(results) == before
    graph.until(lambda: not list(tracked[-1].ids), node)
    assert graph.ask("std_srvs/srv/SetBool", "/esr/enable", data=True).success
    graph.until(judged, node)

    assert graph.change_state("/esr", 4)
    assert graph.state("/esr") == "inactive"
    graph.until(lambda: not list(tracked[-1].ids), node)
    assert graph.change_state("/esr", 2)
    assert graph.state("/esr") == "unconfigured"
    assert graph.set("/esr", "device", "cpu").successful
    assert graph.change_state("/esr", 1)
    assert graph.change_state("/esr", 3)
    graph.until(judged, node)
    assert node.end(signal.SIGINT) == 0
    assert "Traceback" not in node.output


def test_weights_that_are_not_there_are_said_and_may_be_corrected(graph: Any, program: Any) -> None:
    node = program("node", "esr", "--ros-args", "-p", "weights:=/no/such/folder", "-p", "wieghts:=typo")
    diagnostics = graph.hear("diagnostic_msgs/msg/DiagnosticArray", "/diagnostics")
    node.says("cannot configure: ")
    graph.until(lambda: graph.values(diagnostics, "/esr"), node)
    status = graph.values(diagnostics, "/esr")
    assert (status["level"], status["state"]) == ("ERROR", "unconfigured")
    assert "/no/such/folder" in status["message"]
    assert graph.state("/esr") == "unconfigured"
    assert node.output.count("/no/such/folder") == 1  # one line, and no traceback
    assert "wieghts" in node.output
    assert not graph.change_state("/esr", 1)
    assert graph.set("/esr", "weights", "").successful
    assert graph.change_state("/esr", 1)
    diagnostics.clear()
    graph.until(lambda: graph.values(diagnostics, "/esr").get("level") == "OK", node)


def test_bad_pictures_are_refused_and_missing_ones_missed(graph: Any, program: Any, happy: np.ndarray) -> None:
    node = program("node", "esr", "--ros-args", "-p", "no_frame_warning_s:=0.2")
    results = graph.hear("std_msgs/msg/String", "/esr/result")
    diagnostics = graph.hear("diagnostic_msgs/msg/DiagnosticArray", "/diagnostics")
    node.says("no picture for 0.2 s on /image_raw (best effort, volatile, depth 5; publishers: 0)")
    graph.until(lambda: graph.values(diagnostics, "/esr").get("level") == "WARN", node)

    camera = graph.camera("/image_raw")
    kind = camera.msg_type
    for _ in range(3):
        for fields in (
            {"height": 0, "width": 0, "encoding": "rgb8"},
            {"height": 4, "width": 4, "encoding": "rgb9", "step": 12, "data": np.zeros(48, np.uint8)},
            {"height": 4, "width": 4, "encoding": "rgb8", "step": 5, "data": np.zeros(48, np.uint8)},
            {"height": 4, "width": 4, "encoding": "rgb8", "step": 12, "data": np.zeros(7, np.uint8)},
        ):
            camera.publish(kind(**fields))
            graph.spin(0.1)
    graph.until(lambda: int(graph.values(diagnostics, "/esr")["frames refused"]) >= 4, node)

    def judged() -> bool:
        graph.show(happy)
        graph.spin(0.1)
        return bool(results)

    graph.until(judged, node)
    assert json.loads(results[0].data)["faces"][0]["emotion"] == "Happy"
    assert node.output.count("refused a picture") <= 3  # throttled, not one line for each


def test_wrong_start_is_one_line(program: Any, tmp_path: Any) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("/**:\n  ros__parameters:\n    max_faces: many\n")
    for words, status, says in (
        (("node", "esr", "--params-file", wrong), 2, "max_faces"),
        (("node", "ers"), 2, "did you mean 'esr'?"),
        (("node", "esr", "--params-file", tmp_path / "none.yaml"), 2, "none.yaml"),
        (("node", "esr", "--ros-args", "-p", "device:=gpu"), 2, "expected one of auto, cpu, cuda"),
    ):
        running = program(*words)
        assert running.process.wait(60) == status, running.output
        running.says(says)
        running.end()
        assert running.output.count("\n") == 1, running.output
        assert running.output.startswith("emotion-perception: error: ")
