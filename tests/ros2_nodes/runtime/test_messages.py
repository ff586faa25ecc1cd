"""Message classes behave as rclpy's do, and are the same bytes and the same types on the wire."""

from __future__ import annotations

import array
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rosbags")

from emotion_perception.engine.errors import UsageError
from emotion_perception.ros2_nodes.runtime.dds.definitions import MESSAGES, SERVICES
from emotion_perception.ros2_nodes.runtime.dds.messages import deserialize, get_message, get_service, serialize, store, type_hash

HASHES = json.loads((Path(__file__).parents[2] / "data" / "ros2_type_hashes.json").read_text(encoding="utf-8"))

# Written out by hand from the rules of XCDR1: little endian, every number aligned to its size counted from after the first four bytes,
# strings with their length and a final zero, the whole padded to a multiple of four.
HEADER = "01000000 02000000 04000000 63616d00"  # 1 s, 2 ns, "cam"
GOLDEN = {
    "std_msgs/msg/Header": HEADER,
    "std_msgs/msg/String": "03000000 68690000",
    "hri_msgs/msg/Expression": f"{HEADER} 06000000 6861707079000000 0000003f 000080be 0000803f",
    "hri_msgs/msg/IdsList": f"{HEADER} 02000000 03000000 66310000 04000000 66323200",
    "vision_msgs/msg/Detection2DArray": " ".join(
        [
            *(HEADER, "01000000"),  # one detection
            *(HEADER, "01000000"),  # with one result
            *("04000000 73616400", "000000000000e83f"),  # "sad", 0.75
            *("00" * 24, "00" * 24, "000000000000f03f", "00" * 288),  # position, quaternion (0, 0, 0, 1), covariance
            *("0000000000002440 0000000000003440", "00" * 8),  # centre (10, 20), no rotation
            *("0000000000001040 0000000000000040", "03000000 66310000"),  # size (4, 2), "f1"
        ]
    ),
}


def header() -> Any:
    return get_message("std_msgs/msg/Header")(stamp=get_message("builtin_interfaces/msg/Time")(sec=1, nanosec=2), frame_id="cam")


def sample(name: str) -> Any:
    cls = get_message(name)
    if name == "std_msgs/msg/Header":
        return header()
    if name == "std_msgs/msg/String":
        return cls(data="hi")
    if name == "hri_msgs/msg/Expression":
        return cls(header=header(), expression=cls.HAPPY, valence=0.5, arousal=-0.25, confidence=1.0)
    if name == "hri_msgs/msg/IdsList":
        return cls(header=header(), ids=["f1", "f22"])
    detection = get_message("vision_msgs/msg/Detection2D")(header=header(), id="f1")
    result = get_message("vision_msgs/msg/ObjectHypothesisWithPose")()
    result.hypothesis.class_id, result.hypothesis.score = "sad", 0.75
    detection.results.append(result)
    detection.bbox.center.position.x, detection.bbox.center.position.y = 10.0, 20.0
    detection.bbox.size_x, detection.bbox.size_y = 4.0, 2.0
    return cls(header=header(), detections=[detection])


@pytest.mark.parametrize("name", GOLDEN)
def test_bytes_are_those_of_xcdr1(name: str) -> None:
    expected = bytes.fromhex("00010000" + GOLDEN[name].replace(" ", ""))
    assert serialize(sample(name)).hex() == expected.hex()
    assert deserialize(expected, get_message(name)) == sample(name)


@pytest.mark.parametrize("name", HASHES["known"])
def test_types_hash_to_what_ros_makes_of_them(name: str) -> None:
    assert type_hash(name) == HASHES["known"][name]


@pytest.mark.parametrize("name", MESSAGES)
def test_every_written_out_message_passes_through_bytes(name: str) -> None:
    message = get_message(name)()
    assert deserialize(serialize(message), get_message(name)) == message


@pytest.mark.parametrize("name", SERVICES)
def test_every_written_out_service_passes_through_bytes(name: str) -> None:
    for part in (get_service(name).Request, get_service(name).Response):
        assert deserialize(serialize(part()), part) == part()


@pytest.mark.parametrize("name", sorted(n for n in store().fielddefs if n.split("/")[0] in {"sensor_msgs", "std_msgs", "diagnostic_msgs"}))
def test_every_message_has_defaults_that_can_be_sent(name: str) -> None:
    message = get_message(name)()
    assert deserialize(serialize(message), get_message(name)) == message


def test_defaults_and_constants_are_rclpys() -> None:
    image = get_message("sensor_msgs/msg/Image")()
    assert (image.header.stamp.sec, image.header.frame_id, image.encoding, len(image.data)) == (0, "", "", 0)
    assert get_message("geometry_msgs/msg/Quaternion")().w == 1.0
    assert get_message("diagnostic_msgs/msg/DiagnosticStatus")().level == get_message("diagnostic_msgs/msg/DiagnosticStatus").OK
    assert get_message("hri_msgs/msg/Expression").SCARED == "scared"
    assert len(get_message("hri_msgs/msg/FacialLandmarks")().landmarks) == 70
    first, second = get_message("sensor_msgs/msg/Image")(), get_message("sensor_msgs/msg/Image")()
    first.header.frame_id = "one"
    assert second.header.frame_id == ""
    assert image.get_fields_and_field_types()["data"] == "sequence<uint8>"
    assert image.get_fields_and_field_types()["header"] == "std_msgs/Header"


def test_wrong_names_of_fields_are_refused_as_in_rclpy() -> None:
    message = get_message("std_msgs/msg/String")()
    with pytest.raises(AttributeError):
        message.dta = "x"
    with pytest.raises(TypeError):
        get_message("std_msgs/msg/String")(dta="x")


def test_messages_compare_by_value() -> None:
    image = get_message("sensor_msgs/msg/Image")
    data = np.arange(6, dtype=np.uint8)
    assert image(height=1, data=data) == image(height=1, data=data.copy())
    assert image(height=1, data=data) != image(height=1, data=data[:5])
    assert image() != header()


@pytest.mark.parametrize(
    "data",
    [
        bytes(range(12)),
        bytearray(range(12)),
        memoryview(bytes(range(12))),
        list(range(12)),
        array.array("B", range(12)),
        np.arange(12, dtype=np.uint8),
        np.arange(12, dtype=np.uint8).reshape(2, 2, 3),
        np.arange(24, dtype=np.uint8)[::2] // 2,
        np.arange(12),
    ],
    ids=["bytes", "bytearray", "memoryview", "list", "array", "ndarray", "picture", "strided", "int64"],
)
def test_numbers_are_taken_in_any_common_form(data: Any) -> None:
    image = get_message("sensor_msgs/msg/Image")
    got = deserialize(serialize(image(data=data)), image)
    assert bytes(got.data) == bytes(range(12))


def test_floats_are_converted_not_reinterpreted() -> None:
    pose = get_message("geometry_msgs/msg/PoseWithCovariance")
    got = deserialize(serialize(pose(covariance=np.arange(36))), pose)  # int64 is as wide as float64
    assert got.covariance.tolist() == list(range(36))


def test_received_arrays_are_views() -> None:
    image = get_message("sensor_msgs/msg/Image")
    data = serialize(image(data=bytes(1000)))
    assert np.shares_memory(deserialize(data, image).data, np.frombuffer(data, np.uint8))


@pytest.mark.parametrize(
    ("name", "fields", "reason"),
    [
        ("std_msgs/msg/String", {"data": 3}, "std_msgs/msg/String"),
        ("std_msgs/msg/UInt8", {"data": 300}, "std_msgs/msg/UInt8"),
        ("sensor_msgs/msg/Image", {"data": [1, 300]}, "do not fit into uint8"),
        ("sensor_msgs/msg/Image", {"height": "tall"}, "'height': 'uint32'"),
        ("geometry_msgs/msg/PoseWithCovariance", {"covariance": [0.0] * 35}, "length"),
    ],
)
def test_what_cannot_be_sent_is_refused_by_type(name: str, fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        serialize(get_message(name)(**fields))


def test_two_threads_get_the_same_class() -> None:
    code = (
        "import sys, threading; sys.setswitchinterval(1e-6)\n"
        "from emotion_perception.ros2_nodes.runtime.dds.messages import get_message\n"
        "found = []\n"
        "ask = lambda: found.append(get_message('vision_msgs/msg/Detection2DArray'))\n"
        "threads = [threading.Thread(target=ask) for _ in range(8)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
        "assert len(found) == 8 and len(set(found)) == 1\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_class_is_made_also_after_the_type_was_read_from_a_bag() -> None:
    plain, name = store(), "geometry_msgs/msg/Vector3Stamped"
    data = plain.serialize_cdr(plain.deserialize_cdr(bytes.fromhex("00010000" + "00" * 8 + "01000000" + "00" * 28), name), name)
    assert type(deserialize(data, get_message(name))) is get_message(name)


def test_unknown_types_are_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="sensor_msgs/msg/Image"):
        get_message("sensor_msgs/msg/Imgae")
    with pytest.raises(UsageError, match="std_srvs/srv/SetBool"):
        get_service("std_srvs/srv/SetBol")


def test_the_store_needs_no_dds(tmp_path: Path) -> None:
    # As on a machine with rclpy: the package's own names come from elsewhere.
    code = (
        "import sys, types\n"
        "runtime = types.ModuleType('emotion_perception.ros2_nodes.runtime')\n"
        "import emotion_perception.ros2_nodes as nodes\n"
        "runtime.__path__ = [nodes.__path__[0] + '/runtime']\n"
        "sys.modules[runtime.__name__] = runtime\n"
        "from emotion_perception.ros2_nodes.runtime.dds.messages import get_message\n"
        "get_message('std_msgs/msg/String')\n"
        "assert 'cyclonedds' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
