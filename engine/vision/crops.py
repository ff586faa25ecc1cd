"""From pictures to what a network takes: batches at its size, and face crops as the card says."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotion_perception.engine.cards import CropSpec, InputSpec
from emotion_perception.engine.data import Color, Image, describe, to_pixels
from emotion_perception.engine.errors import InputError, UsageError
from emotion_perception.engine.target import BoundingBox, FloatArray
from emotion_perception.engine.vision.opencv import opencv

# A crop is sampled at most this many times per output pixel and axis, so that the cost does not grow with the face.
_MAX_OVERSAMPLING = 4
# OpenCV's warp keeps coordinates as fixed-point numbers; crops further out or larger than this would overflow them.
_MAX_SIDE_PX = 1e6


def network_input(batch: Any, spec: InputSpec, color: Color = "rgb") -> FloatArray:
    """Makes the array a network takes out of anything that shows pictures.

    Pictures of another size are scaled to the network's, without keeping their proportions. Floats that already have its size
    arrive bit for bit (as float32), apart from the card's mean and standard deviation.

    Args:
        batch: One picture (path, `Image`, array or tensor), a list of them, or an array or tensor with a batch axis,
            ``(n, h, w, 1 | 3 | 4)`` or ``(n, 1 | 3 | 4, h, w)``. Types and ranges are those of `Image.from_array`.
        spec: Size, colour order and scaling that the network was trained with.
        color: Channel order of the arrays and tensors in ``batch``; paths and `Image` are always RGB.

    Returns:
        ``(n, 3, spec.height, spec.width)`` float32, newly allocated; n may be 0.

    Raises:
        InputError: A picture that cannot be used.
    """
    size = spec.height, spec.width
    if isinstance(batch, np.ndarray) and batch.dtype == np.uint8 and batch.shape[1:] == (*size, 3) and color in ("rgb", "bgr"):
        pixels = batch if color == spec.color else batch[..., ::-1]  # the pipeline's crops: all in one step
        x = np.empty((len(batch), 3, *size), np.float32)
        np.divide(pixels.transpose(0, 3, 1, 2), np.float32(255.0), out=x, dtype=np.float32)
    else:
        pictures = _pictures(batch)
        x = np.empty((len(pictures), 3, *size), np.float32)
        for row, picture in zip(x, pictures, strict=True):
            pixels = resized(_pixels(picture, color), *size, spec.interpolation)
            channels = (pixels if spec.color == "rgb" else pixels[..., ::-1]).transpose(2, 0, 1)
            np.divide(channels, np.float32(255.0 if pixels.dtype == np.uint8 else 1.0), out=row, dtype=np.float32)
    mean, std = (np.array(values, np.float32).reshape(3, 1, 1) for values in (spec.mean, spec.std))
    if mean.any():
        x -= mean
    if (std != 1.0).any():
        x /= std
    return x


def resized(pixels: NDArray[Any], height: int, width: int, interpolation: str = "area") -> NDArray[Any]:
    """Scales a picture, without aliasing.

    Args:
        pixels: ``(h, w, 3)`` or ``(h, w)``, uint8 or float32.
        height: The height wanted, in pixels.
        width: The width wanted, in pixels.
        interpolation: ``area`` averages areas along an axis that shrinks and interpolates linearly along one that grows; ``bicubic`` is
            MATLAB's (Keys 1981 with a = -0.5, wider where the picture shrinks).

    Returns:
        ``(height, width)``, with the channels if there are any, of the same type; the input itself where the size is right already.
    """
    if interpolation == "bicubic":
        return _bicubic(pixels, height, width)
    cv2 = opencv("scaling pictures")
    smaller = min(pixels.shape[0], height), min(pixels.shape[1], width)
    # The mean of four means: as good as one of sixteen pixels, and three times as fast.
    while pixels.shape[0] % (2 * smaller[0]) == 0 and pixels.shape[1] % (2 * smaller[1]) == 0:
        pixels = cv2.resize(pixels, (pixels.shape[1] // 2, pixels.shape[0] // 2), interpolation=cv2.INTER_AREA)
    if pixels.shape[:2] != smaller:
        pixels = cv2.resize(pixels, smaller[::-1], interpolation=cv2.INTER_AREA)
    if pixels.shape[:2] != (height, width):
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
    return pixels


def _bicubic(pixels: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """Scales a picture by Pillow, whose bicubic filter is MATLAB's; OpenCV's has no antialiasing."""
    from PIL import Image as PillowImage

    if pixels.shape[:2] == (height, width):
        return pixels

    def scaled(plane: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(PillowImage.fromarray(plane).resize((width, height), PillowImage.Resampling.BICUBIC))

    if pixels.dtype == np.uint8:
        return scaled(pixels)
    planes = pixels[:, :, None] if pixels.ndim == 2 else pixels
    # The filter overshoots at edges.
    joined = np.stack([scaled(np.ascontiguousarray(planes[:, :, i])) for i in range(planes.shape[2])], axis=2).clip(0.0, 1.0)
    return joined[:, :, 0] if pixels.ndim == 2 else joined


def face_crop(image: Image, box: BoundingBox, crop: CropSpec, size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Cuts the square around a face out of a frame, at the network's size and to a fraction of a pixel.

    The square's side is ``crop.scale`` times the longer side of the box, at least one pixel. It is sampled a whole number of
    times per output pixel and the samples are averaged, so that large faces shrink without aliasing.

    Args:
        image: The frame; it is neither changed nor copied.
        box: The face, in pixels of the frame; it may lie partly or wholly outside.
        crop: Scale, shift and border, from the card.
        size_hw: Height and width of the result, in pixels.

    Returns:
        ``(height, width, 3)`` uint8 RGB. What lies outside the frame repeats its nearest pixel (``replicate``) or is black
        (``constant``).

    Raises:
        InputError: The box has NaN or infinite corners.
        UsageError: The crop's border is neither ``replicate`` nor ``constant``.
    """
    if crop.border not in ("replicate", "constant"):
        raise UsageError(f"crop border is {crop.border!r}, expected 'replicate' or 'constant'")
    if not np.isfinite(box.xyxy).all():
        raise InputError(f"face box {box} has NaN or infinite corners; expected pixel coordinates")
    cv2 = opencv("cropping faces")
    longer = max(abs(box.width), abs(box.height))
    side = min(max(longer * crop.scale, 1.0), _MAX_SIDE_PX)
    center_x, center_y = box.center_xy
    # A square wholly outside looks the same however far out it is.
    left = min(max(center_x - side / 2, -side - 2.0), image.width + 2.0)
    top = min(max(center_y + crop.shift_y * longer - side / 2, -side - 2.0), image.height + 2.0)
    # Only the part of the frame that the square touches, with a pixel around it for the interpolation (a view).
    first_x, last_x = _touched(left, side, image.width)
    first_y, last_y = _touched(top, side, image.height)
    part = image.rgb[first_y:last_y, first_x:last_x]

    height, width = size_hw
    samples_x, samples_y = (min(max(math.ceil(side / size), 1), _MAX_OVERSAMPLING) for size in (width, height))
    step_x, step_y = side / (width * samples_x), side / (height * samples_y)
    # Pixel i covers [i, i + 1), so its centre is at i + 0.5 in the box's coordinates and at i in the warp's.
    to_part = np.array([[step_x, 0.0, left - first_x + step_x / 2 - 0.5], [0.0, step_y, top - first_y + step_y / 2 - 0.5]])
    sampled = cv2.warpAffine(
        part,
        to_part,
        (width * samples_x, height * samples_y),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE if crop.border == "replicate" else cv2.BORDER_CONSTANT,
    )
    result: NDArray[np.uint8] = resized(sampled, height, width)
    return result


def central_crop(picture: NDArray[np.uint8], size: int, zoom: float = 1.0, interpolation: str = "area") -> NDArray[np.uint8]:
    """Returns the middle of a picture, ``zoom`` times its side, scaled to ``(size, size, 3)``; above 1 its border is repeated."""
    cv2 = opencv("cropping pictures")
    if zoom != 1.0:
        height, width = picture.shape[:2]
        top, left = round(height * (1.0 - zoom) / 2.0), round(width * (1.0 - zoom) / 2.0)
        if zoom > 1.0:
            picture = cv2.copyMakeBorder(picture, -top, -top, -left, -left, cv2.BORDER_REPLICATE).astype(np.uint8)
        else:
            picture = picture[top : height - top, left : width - left]
    scaled = resized(picture, size, size, interpolation)
    return np.repeat(scaled[:, :, None], 3, axis=2) if scaled.ndim == 2 else scaled


def _touched(start: float, side: float, length: int) -> tuple[int, int]:
    """Returns first and last + 1 index of the pixels along one axis that a crop reads; at least one."""
    first = min(max(math.floor(start) - 1, 0), length - 1)
    return first, min(max(math.ceil(start + side) + 1, first + 1), length)


def _pictures(batch: Any) -> list[Any]:
    """Splits a batch into single pictures; tensors become arrays once, not one by one."""
    if isinstance(batch, (list, tuple)):
        return list(batch)
    batch = _array(batch)
    if getattr(batch, "ndim", 0) != 4:
        return [batch]
    if not ({batch.shape[1], batch.shape[3]} & {1, 3, 4}):
        raise InputError(f"a batch has shape (n, h, w, 1|3|4) or (n, 1|3|4, h, w), got {describe(batch)}")
    return list(batch)


def _pixels(picture: Any, color: Color) -> NDArray[Any]:
    """Returns one picture as ``(h, w, 3)`` RGB, uint8 or float32."""
    if isinstance(picture, Image):
        return picture.rgb
    if isinstance(picture, (str, Path)):
        return Image.open(picture).rgb
    return to_pixels(_array(picture), color)


def _array(value: Any) -> Any:
    """Turns a tensor into an array, through float32 for types NumPy does not have (bfloat16); leaves the rest alone."""
    if not hasattr(value, "detach"):
        return value
    tensor = value.detach().cpu()
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()
