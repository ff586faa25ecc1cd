from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture(scope="module")
def scene_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a small EmoNet that has learned nothing."""
    from emotion_perception.learners.emonet import EmoNetLearner

    learner = EmoNetLearner(width=0.0625, affect="fc7", device="cpu")
    learner.init_model()
    return learner.save(tmp_path_factory.mktemp("weights") / "emonet")


def test_a_scene_learner_judges_the_whole_picture(graph: Any, program: Any, happy: np.ndarray, scene_weights: Path) -> None:
    node = program("node", "emonet", "--ros-args", "-p", f"weights:={scene_weights}")
    kinds = {"classification": "vision_msgs/msg/Classification", "result": "std_msgs/msg/String"}
    kinds["image_annotated"] = "sensor_msgs/msg/Image"
    heard = {topic: graph.hear(kind, f"/emonet/{topic}") for topic, kind in kinds.items()}
    node.says("active: emonet on")

    def all_heard() -> bool:
        graph.show(happy, frame_id="wall")
        graph.spin(0.1)
        return all(heard.values())

    graph.until(all_heard, node)
    judged = heard["classification"][-1]
    assert judged.header.frame_id == "wall"
    assert len(judged.results) == 20
    assert sum(each.score for each in judged.results) == pytest.approx(1.0, abs=1e-3)
    result = json.loads(heard["result"][-1].data)
    (scene,) = result["faces"]
    assert (result["learner"], scene["box_xyxy"]) == ("emonet", [0, 0, 512, 512])
    assert -1.0 <= scene["valence"] <= 1.0
    drawn = np.asarray(heard["image_annotated"][-1].data).reshape(512, 512, 3)
    assert not np.array_equal(drawn, happy)
    labels = graph.hear("vision_msgs/msg/LabelInfo", "/emonet/label_info", latched=True)
    (names,) = graph.until(lambda: labels, node)
    assert [each.class_name for each in names.class_map][:2] == ["Adoration", "Aesthetic Appreciation"]
    assert node.end() == 0
