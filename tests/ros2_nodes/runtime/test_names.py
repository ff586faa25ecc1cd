"""Names: expanded as ROS does, refused when ROS would."""

from __future__ import annotations

import pytest

pytest.importorskip("cyclonedds")
pytest.importorskip("rosbags")

from emotion_perception.engine.errors import UsageError
from emotion_perception.ros2_nodes.runtime.dds.names import check_namespace, check_node_name, dds_type_name, expand


@pytest.mark.parametrize(
    ("name", "namespace", "expected"),
    [
        ("image_raw", "/", "/image_raw"),
        ("image_raw", "/ns", "/ns/image_raw"),
        ("a/b", "/ns", "/ns/a/b"),
        ("/image_raw", "/ns", "/image_raw"),
        ("~/result", "/", "/node/result"),
        ("~/result", "/ns/deep", "/ns/deep/node/result"),
        ("~", "/ns", "/ns/node"),
    ],
)
def test_names_are_expanded(name: str, namespace: str, expected: str) -> None:
    assert expand(name, "node", namespace) == expected


@pytest.mark.parametrize("name", ["", "/", "a b", "1a", "a//b", "a/", "a-b", "a/~", "ä"])
def test_invalid_topics_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="invalid"):
        expand(name, "node", "/")


def test_node_names_and_namespaces() -> None:
    assert check_node_name("esr_2") == "esr_2"
    assert [check_namespace(n) for n in ("", "/", "a", "/a/b", "/a/")] == ["/", "/", "/a", "/a/b", "/a"]
    for wrong in ("", "2esr", "a/b", "a b"):
        with pytest.raises(UsageError, match="node name"):
            check_node_name(wrong)
    with pytest.raises(UsageError, match="namespace"):
        check_namespace("/a//b")


def test_types_on_the_wire() -> None:
    assert dds_type_name("sensor_msgs/msg/Image") == "sensor_msgs.msg.dds_.Image_"
    assert dds_type_name("std_srvs/srv/SetBool_Request") == "std_srvs.srv.dds_.SetBool_Request_"
