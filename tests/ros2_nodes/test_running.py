from __future__ import annotations

import pytest

pytest.importorskip("emotion_perception.ros2_nodes.runtime", exc_type=ImportError)

from emotion_perception.ros2_nodes import face_emotion_node, runtime, scene_emotion_node


@pytest.mark.parametrize(
    ("program", "words", "says"),
    [
        (face_emotion_node, ["esr", "emonet"], "expected the name of one learner, got esr emonet"),
        (scene_emotion_node, [], "expected the name of one learner, got none"),
        (face_emotion_node, ["esr", "--ros-args", "-p", "max_faces:=0"], "max_faces"),
        (face_emotion_node, ["esr", "--ros-args", "-p", "input:=camra"], "did you mean 'camera'?"),
        (face_emotion_node, ["esr", "--ros-args", "-r", "__node:=1 2"], "1 2"),
    ],
)
def test_what_cannot_start_says_why_in_one_line(
    ros_domain: int, capfd: pytest.CaptureFixture[str], program: object, words: list[str], says: str
) -> None:
    assert program.main([f"/opt/ros/lib/{program.__name__.split('.')[-1]}", *words]) == 2  # type: ignore[attr-defined]
    said = capfd.readouterr().err
    assert said.startswith(f"{program.__name__.split('.')[-1]}: error: ")  # type: ignore[attr-defined]
    assert says in said
    assert said.count("\n") == 1
    assert not runtime.ok()
