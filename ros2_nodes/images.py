"""sensor_msgs Image and CompressedImage to the engine's `Image` and back: one converter for both runtimes and for bags.

A message is whatever has the fields: rclpy's with an ``array.array``, the twin's and a bag's with an array of NumPy.
"""

from __future__ import annotations

from array import array
from difflib import get_close_matches
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from emotion_perception.engine.data import Image
from emotion_perception.engine.errors import InputError, UsageError
from emotion_perception.engine.vision.opencv import opencv

Pixels = NDArray[np.uint8]

# Encoding -> type of a channel, channels, order of the colours. Names like 8UC3 say no colours: OpenCV's order holds.
_PACKED: dict[str, tuple[str, int, str]] = {
    **{f"{order}{bits}": (f"u{bits // 8}", len(order), order) for order in ("rgb", "bgr", "rgba", "bgra") for bits in (8, 16)},
    **{f"mono{bits}": (f"u{bits // 8}", 1, "gray") for bits in (8, 16)},
    **{
        f"{kind}C{channels}": (code, channels, order)
        for kind, code in (("8U", "u1"), ("16U", "u2"), ("32F", "f4"))
        for channels, order in ((1, "gray"), (3, "bgr"), (4, "bgra"))
    },
}
_YUV422 = {"uyvy": "UYVY", "yuv422": "UYVY", "yuyv": "YUYV", "yuv422_yuy2": "YUYV"}
_YUV420 = {"nv12": "NV12", "nv21": "NV21"}
_BAYER = {f"bayer_{pattern}{bits}": (pattern.upper(), bits // 8) for pattern in ("rggb", "bggr", "gbrg", "grbg") for bits in (8, 16)}
ENCODINGS = (*_PACKED, *_YUV422, *_YUV420, "nv24", *_BAYER)

# ITU-R BT.601 with the range of video, as OpenCV has it for the other YUV encodings: R, G, B from Y, U, V, 1.
_YUV_TO_RGB = np.array([[1.164383, 0.0, 1.596027], [1.164383, -0.391762, -0.812968], [1.164383, 2.017232, 0.0]])
_YUV_TO_RGB = np.column_stack([_YUV_TO_RGB, _YUV_TO_RGB @ [-16.0, -128.0, -128.0]])


def to_image(message: Any) -> Image:
    """Converts an Image or CompressedImage message; stamp and frame id come along.

    Rows may be padded and 16-bit values stored either way round. Without a change of colours or depth (``rgb8``) the result shares the
    message's memory. 16-bit values keep their upper 8 bits, but for ``16UC1``, which says no range and is scaled until its brightest
    pixel is white. Floats lie in [0, 1]. YUV is BT.601 in the range of video.

    Args:
        message: ``sensor_msgs/Image`` in one of `ENCODINGS`, or ``sensor_msgs/CompressedImage`` that holds a JPEG, PNG or the like.

    Raises:
        InputError: An unknown encoding, no pixels, a step or data too short for the size, data that do not decode.
        MissingDependencyError: OpenCV is not installed, and something has to be converted.
    """
    rgb = _decoded(message) if hasattr(message, "format") else _converted(message)
    return Image(rgb, stamp_of(message.header), str(message.header.frame_id))


def stamp_of(header: Any) -> float | None:
    """Returns the stamp of a header in seconds; None for the zero stamp, which says that nobody set it."""
    stamp = header.stamp
    seconds = float(stamp.sec) + float(stamp.nanosec) * 1e-9
    return seconds or None


def from_rgb(rgb: Pixels, header: Any, encoding: Literal["rgb8", "bgr8"] = "rgb8") -> Any:
    """Makes an Image message of the runtime in use.

    Args:
        rgb: ``(height, width, 3)`` uint8. On the twin an ``rgb8`` message of contiguous pixels shares their memory: publish it before
            they change.
        header: The header of the message, kept as it is.
        encoding: What to publish.
    """
    from emotion_perception.ros2_nodes.runtime import get_message

    if encoding not in ("rgb8", "bgr8"):
        raise UsageError(f"pictures are written as 'rgb8' or 'bgr8', not {encoding!r}")
    height, width = rgb.shape[:2]
    pixels = _recolored(rgb, "BGR2RGB") if encoding == "bgr8" else np.ascontiguousarray(rgb)
    message = get_message("sensor_msgs/msg/Image")()
    message.header = header
    message.height, message.width, message.step = int(height), int(width), 3 * int(width)
    message.encoding, message.is_bigendian = encoding, 0
    message.data = _byte_field(pixels)
    return message


def compressed_from_rgb(rgb: Pixels, header: Any, quality: int = 90) -> Any:
    """Makes a CompressedImage message that holds a JPEG.

    Args:
        rgb: ``(height, width, 3)`` uint8.
        header: The header of the message, kept as it is.
        quality: Of the JPEG, 0 to 100.
    """
    from emotion_perception.ros2_nodes.runtime import get_message

    cv2 = opencv("compressing pictures")
    done, data = cv2.imencode(".jpg", _recolored(rgb, "RGB2BGR"), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise InputError(f"a picture of {rgb.shape[1]}x{rgb.shape[0]} cannot be written as JPEG; make it smaller than 65500 pixels a side")
    message = get_message("sensor_msgs/msg/CompressedImage")()
    message.header, message.format = header, "rgb8; jpeg compressed bgr8"
    message.data = _byte_field(data)
    return message


def _byte_field(values: NDArray[np.uint8]) -> Any:
    """Returns what a ``uint8[]`` field takes fastest: on rclpy only an ``array.array`` is not checked element by element."""
    from emotion_perception.ros2_nodes.runtime import RUNTIME

    flat = values.reshape(-1)
    if RUNTIME != "rclpy":
        return flat
    field = array("B")
    field.frombytes(flat)  # type: ignore[arg-type]  # takes any buffer
    return field


def _converted(message: Any) -> Pixels:
    """Returns the pixels of an Image message as RGB."""
    encoding, height, width = str(message.encoding), int(message.height), int(message.width)
    if encoding not in ENCODINGS:
        nearest = get_close_matches(encoding.lower(), [name.lower() for name in ENCODINGS], n=1)
        hint = next((f"did you mean {name!r}? " for name in ENCODINGS if [name.lower()] == nearest), "")
        raise InputError(f"cannot convert image encoding {encoding[:40]!r}; {hint}known: {', '.join(ENCODINGS)}")
    if height < 1 or width < 1:
        raise InputError(f"{_named(message)} has no pixels; check the driver that publishes it")
    data = _buffer(message)
    if encoding in _PACKED:
        kind, channels, order = _PACKED[encoding]
        return _packed(message, data, kind, channels, order)
    if encoding in _BAYER:
        pattern, depth = _BAYER[encoding]
        if min(height, width) < 3:
            raise InputError(f"{_named(message)} is too small to tell its colours; give at least 3x3 pixels")
        return _recolored(_channels(message, data, f"u{depth}", 1), f"Bayer{pattern}2RGB")
    if width % 2 and encoding != "nv24":
        raise InputError(f"{_named(message)} has an odd width, but two pixels of {encoding} share their colour; give an even width")
    if encoding in _YUV422:
        return _recolored(_channels(message, data, "u1", 2), f"YUV2RGB_{_YUV422[encoding]}")
    return _planar(message, data)


def _packed(message: Any, data: Pixels, kind: str, channels: int, order: str) -> Pixels:
    """Converts pixels whose channels lie side by side."""
    if kind == "f4":
        return Image.from_array(_view(message, data, kind, channels).astype(np.float32), "bgr").rgb
    if message.encoding == "16UC1":
        values = _view(message, data, kind, channels).astype(np.uint16)
        scaled = opencv("converting images").convertScaleAbs(values, alpha=255.0 / max(int(values.max()), 1))
        return _recolored(scaled, "GRAY2RGB")
    pixels = _channels(message, data, kind, channels)
    return pixels if order == "rgb" else _recolored(pixels, f"{order.upper()}2RGB")


def _planar(message: Any, data: Pixels) -> Pixels:
    """Converts a plane of luma followed by a plane of colour."""
    encoding, height, width = message.encoding, int(message.height), int(message.width)
    full = encoding == "nv24"
    if height % 2 and not full:
        raise InputError(f"{_named(message)} has an odd height, but two rows of {encoding} share their colour; give an even height")
    rows = 3 * height if full else height * 3 // 2  # of the length of a row of luma
    # Drivers do not agree on what the step of a planar picture counts. Without padding, the size alone says where everything is.
    step = width if data.size == rows * width else _checked_step(message, width)
    _check_length(message, data, (rows - 1) * step + width)
    if not full:
        return _recolored(np.ndarray((rows, width), np.uint8, data, strides=(step, 1)), f"YUV2RGB_{_YUV420[encoding]}")
    yuv = np.empty((height, width, 3), np.uint8)
    yuv[:, :, 0] = np.ndarray((height, width), np.uint8, data, strides=(step, 1))
    yuv[:, :, 1:] = np.ndarray((height, width, 2), np.uint8, data, offset=step * height, strides=(2 * step, 2, 1))
    rgb: Pixels = opencv("converting images").transform(yuv, _YUV_TO_RGB)
    return rgb


def _view(message: Any, data: Pixels, kind: str, channels: int) -> NDArray[Any]:
    """Returns the values as they lie in the message, ``(height, width, channels)`` in the message's byte order."""
    dtype = np.dtype(kind).newbyteorder(">" if message.is_bigendian else "<")
    height, width, pixel = int(message.height), int(message.width), channels * dtype.itemsize
    step = _checked_step(message, width * pixel)
    _check_length(message, data, (height - 1) * step + width * pixel)
    view: NDArray[Any] = np.ndarray((height, width, channels), dtype, data, strides=(step, pixel, dtype.itemsize))
    return view


def _channels(message: Any, data: Pixels, kind: str, channels: int) -> Pixels:
    """Returns the channels as 8 bits: a view, or for 16 bits a copy of the upper bytes."""
    view = _view(message, data, kind, channels)
    if kind == "u1":
        return view
    upper = np.ndarray(view.shape, np.uint8, data, offset=0 if message.is_bigendian else 1, strides=view.strides)
    return np.ascontiguousarray(upper)


def _recolored(pixels: Pixels, conversion: str) -> Pixels:
    cv2 = opencv("converting images")
    result: Pixels = cv2.cvtColor(pixels, getattr(cv2, f"COLOR_{conversion}"))
    return result


def _decoded(message: Any) -> Pixels:
    """Returns the pixels of a CompressedImage message as RGB; as everywhere in ROS, an orientation in the file's EXIF is not applied."""
    label = f"compressed image (format {str(message.format)!r})"
    data = _buffer(message)
    if not data.size:
        raise InputError(f"{label} has no data; check the driver that publishes it")
    if "compresseddepth" in str(message.format).lower():
        raise InputError(f"{label} is a depth map; give the topic of a colour or grey camera")
    start, whole = data[:2].tobytes(), data.tobytes()
    # A JPEG without its end would decode to a picture with a grey rest. Inside the last scan no such bytes occur.
    if start == b"\xff\xd8" and whole.rfind(b"\xff\xd9") < max(whole.rfind(b"\xff\xda"), 0):
        raise InputError(f"{label} is cut off after {data.size} bytes; check the network and the driver that publishes it")
    cv2 = opencv("decoding images")
    try:
        bgr = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:  # e.g. more pixels than OpenCV allows
        bgr = None
    if bgr is None:
        raise InputError(f"{label} of {data.size} bytes does not decode; expected a whole JPEG or PNG of a common size")
    return _recolored(bgr, "BGR2RGB")


def _buffer(message: Any) -> Pixels:
    """Returns the data of a message as flat bytes, shared where the field is a buffer."""
    data = message.data
    return np.frombuffer(data, np.uint8) if len(data) else np.empty(0, np.uint8)


def _checked_step(message: Any, row: int) -> int:
    """Returns the bytes from row to row, if a row fits in."""
    step = int(message.step)
    if step < row:
        raise InputError(f"{_named(message)} has a step of {step} bytes, but a row takes {row}; check the driver that publishes it")
    return step


def _check_length(message: Any, data: Pixels, least: int) -> None:
    """Refuses data that end before the last pixel; the last row may lack its padding."""
    if data.size < least:
        expected = f"a step of {int(message.step)} takes at least {least}"
        raise InputError(f"{_named(message)} has {data.size} bytes of data, but {expected}; check the driver that publishes it")


def _named(message: Any) -> str:
    return f"image of {int(message.width)}x{int(message.height)} in {str(message.encoding)[:40]!r}"
