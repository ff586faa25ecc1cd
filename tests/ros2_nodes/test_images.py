"""One converter for every encoding. Messages are built here byte by byte, from the definition of each encoding."""

from __future__ import annotations

from array import array
from pathlib import Path
from types import SimpleNamespace as Message
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emotion_perception.engine.data import Image
from emotion_perception.engine.errors import InputError, UsageError
from emotion_perception.ros2_nodes.images import ENCODINGS, compressed_from_rgb, from_rgb, stamp_of, to_image

cv2 = pytest.importorskip("cv2")
HEADER = Message(stamp=Message(sec=1700000000, nanosec=250000000), frame_id="camera_optical_frame")
CONTAINERS = {"array": lambda b: array("B", b), "ndarray": lambda b: np.frombuffer(b, np.uint8), "bytes": bytes, "memoryview": memoryview}
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
sizes = st.tuples(st.integers(1, 24), st.integers(1, 24))


def image(encoding: str, height: int, width: int, step: int, data: Any, big: bool = False) -> Message:
    return Message(header=HEADER, encoding=encoding, height=height, width=width, step=step, data=data, is_bigendian=int(big))


def padded(rows: np.ndarray, padding: int) -> bytes:
    """Rows of bytes, each followed by bytes that are no pixels."""
    return np.pad(rows.reshape(len(rows), -1), ((0, 0), (0, padding)), constant_values=0xA5).tobytes()


def random_rgb(height: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def arranged(rgb: np.ndarray, order: str) -> np.ndarray:
    """Channels in the order of an encoding; alpha is noise, which must not show."""
    alpha = np.random.default_rng(9).integers(0, 256, rgb.shape[:2], np.uint8)
    return np.stack([rgb[:, :, "rgb".index(c)] if c != "a" else alpha for c in order], axis=2)


ORDERS = {name + "8": name for name in ("rgb", "bgr", "rgba", "bgra")} | {"8UC3": "bgr", "8UC4": "bgra"}
DEEP_ORDERS = {name + "16": name for name in ("rgb", "bgr", "rgba", "bgra")} | {"16UC3": "bgr", "16UC4": "bgra"}


@QUICK
@given(sizes, st.integers(0, 70), st.sampled_from(sorted(ORDERS)), st.booleans(), st.sampled_from(sorted(CONTAINERS)), st.integers(0, 99))
def test_colours_come_back_bit_for_bit(size, padding, encoding, big, container, seed) -> None:
    rgb = random_rgb(*size, seed)
    pixels = arranged(rgb, ORDERS[encoding])
    data = CONTAINERS[container](padded(pixels, padding))
    converted = to_image(image(encoding, *size, pixels[0].size + padding, data, big))
    assert np.array_equal(converted.rgb, rgb)
    assert (converted.stamp_s, converted.frame_id) == (1700000000.25, "camera_optical_frame")


@QUICK
@given(sizes, st.integers(0, 9), st.sampled_from(sorted(DEEP_ORDERS)), st.booleans(), st.integers(0, 99))
def test_sixteen_bits_keep_their_upper_eight_in_both_byte_orders(size, padding, encoding, big, seed) -> None:
    rgb = random_rgb(*size, seed)
    low = np.random.default_rng(seed).integers(0, 256, size, np.uint16)[:, :, None]
    values = (arranged(rgb, DEEP_ORDERS[encoding]).astype(np.uint16) << 8) + low
    stored = np.ascontiguousarray(values.astype(">u2" if big else "<u2")).view(np.uint8)
    data = padded(stored, padding)
    assert np.array_equal(to_image(image(encoding, *size, stored[0].size + padding, data, big)).rgb, rgb)


@QUICK
@given(sizes, st.integers(0, 9), st.sampled_from(["mono8", "8UC1", "mono16"]), st.booleans(), st.integers(0, 99))
def test_grey_becomes_three_equal_channels(size, padding, encoding, big, seed) -> None:
    grey = random_rgb(*size, seed)[:, :, 0]
    stored = grey if encoding != "mono16" else np.ascontiguousarray((grey.astype(np.uint16) * 257).astype(">u2" if big else "<u2"))
    data = padded(stored.view(np.uint8), padding)
    converted = to_image(image(encoding, *size, stored.view(np.uint8)[0].size + padding, data, big)).rgb
    assert np.array_equal(converted, np.repeat(grey[:, :, None], 3, axis=2))


@pytest.mark.parametrize("big", [False, True])
def test_values_without_a_range_are_scaled_to_the_brightest(big: bool) -> None:
    values = np.array([[0, 100], [512, 1023]]).astype(">u2" if big else "<u2")
    converted = to_image(image("16UC1", 2, 2, 4, values.tobytes(), big))
    assert converted.rgb[:, :, 0].tolist() == [[0, 25], [128, 255]]
    assert not to_image(image("16UC1", 2, 2, 4, bytes(8), big)).rgb.any()


@pytest.mark.parametrize("big", [False, True])
def test_floats_are_taken_from_zero_to_one(big: bool) -> None:
    rgb = random_rgb(5, 7, 3)
    stored = (rgb[:, :, ::-1] / 255.0).astype(">f4" if big else "<f4")
    assert np.array_equal(to_image(image("32FC3", 5, 7, 7 * 12, stored.tobytes(), big)).rgb, rgb)
    grey = np.ascontiguousarray(stored[:, :, 0])
    assert np.array_equal(to_image(image("32FC1", 5, 7, 28, grey.tobytes(), big)).rgb[:, :, 1], rgb[:, :, 2])
    for bad in (np.nan, 3.5):
        grey[2, 2] = bad
        with pytest.raises(InputError, match="expected"):
            to_image(image("32FC1", 5, 7, 28, grey.tobytes(), big))


def yuv(rgb: tuple[int, int, int]) -> tuple[int, int, int]:
    """BT.601 in the range of video, from its definition."""
    r, g, b = (v / 255.0 for v in rgb)
    luma = 0.299 * r + 0.587 * g + 0.114 * b
    return round(16 + 219 * luma), round(128 + 224 * (b - luma) / 1.772), round(128 + 224 * (r - luma) / 1.402)


# Left half and right half of a picture, so that a wrong place of the colours shows.
LEFT, RIGHT = (200, 40, 90), (30, 160, 220)


def two_halves(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    rgb, planes = np.zeros((2, height, width, 3), np.uint8)
    for colour, columns in ((LEFT, slice(None, width // 2)), (RIGHT, slice(width // 2, None))):
        rgb[:, columns], planes[:, columns] = colour, yuv(colour)
    return rgb, planes


def stored_yuv(encoding: str, planes: np.ndarray) -> list[np.ndarray]:
    """The rows of a YUV picture, in the order of the definition of each encoding; one array per plane."""
    y, u, v = (planes[:, :, i] for i in range(3))
    if encoding in ("uyvy", "yuv422"):
        return [np.stack([u[:, ::2], y[:, ::2], v[:, ::2], y[:, 1::2]], axis=2)]
    if encoding in ("yuyv", "yuv422_yuy2"):
        return [np.stack([y[:, ::2], u[:, ::2], y[:, 1::2], v[:, ::2]], axis=2)]
    if encoding == "nv24":
        return [y, np.stack([u, v], axis=2)]
    pair = (u, v) if encoding == "nv12" else (v, u)
    return [y, np.stack([plane[::2, ::2] for plane in pair], axis=2)]


YUV = ["uyvy", "yuv422", "yuyv", "yuv422_yuy2", "nv12", "nv21", "nv24"]


@pytest.mark.parametrize("padding", [0, 13])
@pytest.mark.parametrize("encoding", YUV)
def test_yuv_colours_are_right_at_their_place(encoding: str, padding: int) -> None:
    rgb, planes = two_halves(6, 16)
    # A row of nv24's second plane is as long as two of its first one.
    parts = [padded(p, padding * (2 if encoding == "nv24" and i else 1)) for i, p in enumerate(stored_yuv(encoding, planes))]
    step = len(parts[0]) // 6
    converted = to_image(image(encoding, 6, 16, step, b"".join(parts))).rgb
    assert np.abs(converted.astype(int) - rgb).max() <= 4


@pytest.mark.parametrize("step", [1, 16, 24, 32])
def test_an_unpadded_planar_picture_needs_no_agreement_on_its_step(step: int) -> None:
    rgb, planes = two_halves(6, 16)
    data = b"".join(p.tobytes() for p in stored_yuv("nv12", planes))
    assert np.abs(to_image(image("nv12", 6, 16, step, data)).rgb.astype(int) - rgb).max() <= 4


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_patterns(pattern: str, bits: int, big: bool) -> None:
    rgb, _ = two_halves(10, 16)
    mosaic = np.empty((10, 16), np.uint16)
    for i, colour in enumerate(pattern):
        mosaic[i // 2 :: 2, i % 2 :: 2] = rgb[i // 2 :: 2, i % 2 :: 2, "rgb".index(colour)]
    stored = mosaic.astype(np.uint8) if bits == 8 else np.ascontiguousarray((mosaic << 8).astype(">u2" if big else "<u2")).view(np.uint8)
    converted = to_image(image(f"bayer_{pattern}{bits}", 10, 16, stored.shape[1] + 6, padded(stored, 6), big)).rgb
    inside = np.r_[1:7, 9:15]  # away from the rim and from the edge between the halves, where colours are guessed
    assert np.array_equal(converted[1:-1, inside], rgb[1:-1, inside])


def test_a_picture_without_change_shares_the_memory_of_its_message() -> None:
    data = bytearray(6 * 40)
    message = image("rgb8", 6, 12, 40, data)
    converted = to_image(message)
    data[40 * 2 + 3 * 5] = 77
    assert converted.rgb[2, 5, 0] == 77


def test_the_last_row_may_lack_its_padding() -> None:
    rgb = random_rgb(4, 5, 1)
    data = padded(rgb, 7)
    assert np.array_equal(to_image(image("rgb8", 4, 5, 22, data[:-7])).rgb, rgb)
    with pytest.raises(InputError, match="80 bytes of data"):
        to_image(image("rgb8", 4, 5, 22, data[:-7][:-1]))  # one byte fewer is a pixel fewer
    with pytest.raises(InputError, match="has a step of 14 bytes, but a row takes 15"):
        to_image(image("rgb8", 4, 5, 14, data))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_refuses_what_is_too_small_or_too_short(encoding: str) -> None:
    whole = image(encoding, 8, 8, 128, bytes(128 * 8 * 3))
    assert to_image(whole).rgb.shape == (8, 8, 3)
    for wrong in ({"height": 0}, {"width": 0}, {"data": b""}, {"data": bytes(20)}, {"step": 3}, {"step": 0}, {"height": 10**9}):
        message = Message(**(vars(whole) | wrong))
        with pytest.raises(InputError) as refusal:
            to_image(message)
        assert encoding in str(refusal.value)
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(("encoding", "hint"), [("BGR8", "'bgr8'"), ("bayer_rgbg8", "'bayer_"), ("", "known: "), ("64FC1", "known: rgb8")])
def test_an_unknown_encoding_is_refused_by_name(encoding: str, hint: str) -> None:
    with pytest.raises(InputError, match=f"image encoding '{encoding}'") as refusal:
        to_image(image(encoding, 8, 8, 8 * 16, bytes(8 * 16 * 4)))
    assert hint in str(refusal.value)


@pytest.mark.parametrize(("encoding", "height", "width"), [("nv12", 5, 8), ("nv21", 6, 7), ("uyvy", 6, 7), ("bayer_rggb8", 2, 2)])
def test_sizes_that_an_encoding_cannot_have(encoding: str, height: int, width: int) -> None:
    with pytest.raises(InputError, match=f"{width}x{height} in '{encoding}'"):
        to_image(image(encoding, height, width, 64, bytes(2048)))


def test_no_stamp_is_none() -> None:
    unset = Message(stamp=Message(sec=0, nanosec=0), frame_id="")
    assert stamp_of(unset) is None
    assert to_image(Message(**(vars(image("mono8", 1, 1, 1, b"\x05")) | {"header": unset}))).stamp_s is None


def compressed(data: bytes, form: str = "rgb8; jpeg compressed bgr8") -> Message:
    return Message(header=HEADER, format=form, data=np.frombuffer(data, np.uint8))


def encoded(suffix: str, bgr: np.ndarray) -> bytes:
    done, data = cv2.imencode(suffix, bgr)
    assert done
    return data.tobytes()


@pytest.mark.parametrize("container", sorted(CONTAINERS))
def test_compressed_pictures(container: str) -> None:
    rgb, _ = two_halves(32, 48)
    for suffix, tolerance in ((".png", 0), (".jpg", 12)):
        message = compressed(encoded(suffix, rgb[:, :, ::-1]))
        message.data = CONTAINERS[container](bytes(message.data))
        converted = to_image(message)
        assert np.abs(converted.rgb.astype(int) - rgb)[:, np.r_[:20, 28:48]].max() <= tolerance
        assert (converted.stamp_s, converted.frame_id) == (1700000000.25, "camera_optical_frame")
    grey = compressed(encoded(".png", np.full((4, 4), 60000, np.uint16)), "mono16; png compressed")
    assert (to_image(grey).rgb == 60000 >> 8).all()


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_compressed_picture_that_is_cut_off_is_refused(suffix: str) -> None:
    data = encoded(suffix, random_rgb(64, 64, 5))
    for length in (0, 1, 10, len(data) // 2, len(data) - 2):
        with pytest.raises(InputError, match="compressed image") as refusal:
            to_image(compressed(data[:length]))
        assert "\n" not in str(refusal.value)
    assert to_image(compressed(data + bytes(100))).width == 64  # drivers pad


def test_a_depth_map_and_what_is_no_picture_are_refused() -> None:
    with pytest.raises(InputError, match="depth map"):
        to_image(compressed(bytes(12) + encoded(".png", np.zeros((4, 4), np.uint16)), "16UC1; compressedDepth png"))
    with pytest.raises(InputError, match="does not decode"):
        to_image(compressed(b"this is no picture at all"))


@pytest.fixture
def message_header() -> Any:
    try:
        from emotion_perception.ros2_nodes.runtime import get_message
    except ImportError as error:
        pytest.skip(str(error))
    header = get_message("std_msgs/msg/Header")(frame_id="lens")
    header.stamp.sec, header.stamp.nanosec = 12, 500_000_000
    return header


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8"])
@pytest.mark.parametrize("view", [np.s_[:, :], np.s_[2:7, 3:], np.s_[::-1, ::2]], ids=["whole", "part", "mirrored"])
def test_a_message_of_this_runtime_and_back(message_header: Any, encoding: str, view: tuple[slice, slice]) -> None:
    rgb = random_rgb(9, 14, 2)[view]
    message = from_rgb(rgb, message_header, encoding)
    assert message.header is message_header
    assert (message.height, message.width, message.step, message.encoding) == (*rgb.shape[:2], 3 * rgb.shape[1], encoding)
    assert bytes(message.data)[:3] == bytes(rgb[0, 0] if encoding == "rgb8" else rgb[0, 0, ::-1])
    image = to_image(message)
    assert np.array_equal(image.rgb, rgb)
    assert (image.stamp_s, image.frame_id) == (12.5, "lens")


def test_rclpy_is_given_the_only_type_that_it_does_not_check(message_header: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emotion_perception.ros2_nodes.runtime.RUNTIME", "rclpy")
    for rgb in (random_rgb(9, 14, 2), random_rgb(9, 14, 2)[:, ::2]):
        data = from_rgb(rgb, message_header).data
        assert isinstance(data, array)
        assert (data.typecode, data.tobytes()) == ("B", rgb.tobytes())
    assert isinstance(compressed_from_rgb(rgb, message_header).data, array)


def test_a_jpeg_of_this_runtime_and_back(message_header: Any) -> None:
    rgb, _ = two_halves(32, 48)
    message = compressed_from_rgb(rgb, message_header, quality=95)
    assert message.header is message_header
    assert np.abs(to_image(message).rgb.astype(int) - rgb)[:, np.r_[:20, 28:48]].max() <= 6


def test_only_two_encodings_are_written(message_header: Any) -> None:
    with pytest.raises(UsageError, match="'mono8'"):
        from_rgb(random_rgb(4, 4, 1), message_header, "mono8")  # type: ignore[arg-type]


def test_padded_and_read_only_pictures_go_through_detection_and_crop(portrait: Path) -> None:
    from emotion_perception.engine.cards import CropSpec
    from emotion_perception.engine.vision.crops import face_crop
    from emotion_perception.engine.vision.faces import create_detector

    rgb = Image.open(portrait).rgb
    plain, odd = (to_image(image("rgb8", *rgb.shape[:2], rgb.shape[1] * 3 + n, padded(rgb, n))) for n in (0, 7))
    detector = create_detector("haar")
    (face,), (same,) = detector(plain), detector(odd)
    assert face.box == same.box
    crops = [face_crop(each, face.box, CropSpec(), (48, 48)) for each in (plain, odd)]
    assert np.array_equal(*crops)
