"""What goes in: pictures as arrays, with their stamp and frame id kept."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from emotion_perception.engine.errors import InputError, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

Color = Literal["rgb", "bgr"]
_ORIENTATION = 0x0112  # EXIF's tag


@dataclass(frozen=True, eq=False)
class Image:
    """One picture.

    Attributes:
        rgb: ``(height, width, 3)`` uint8, red first. Treat it as read-only: it may share memory with its source.
        stamp_s: Time of capture in seconds, or None.
        frame_id: Name of the camera's coordinate frame, as in a ROS header.
    """

    rgb: NDArray[np.uint8]
    stamp_s: float | None = None
    frame_id: str = ""

    def __post_init__(self) -> None:
        """Refuses anything but an RGB uint8 array with pixels; `Image.from_array` converts."""
        rgb = self.rgb
        if not isinstance(rgb, np.ndarray) or rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or not rgb.size:
            raise InputError(f"Image takes a (height, width, 3) uint8 RGB array, got {describe(self.rgb)}; use Image.from_array to convert")

    @property
    def height(self) -> int:
        """Height in pixels."""
        return int(self.rgb.shape[0])

    @property
    def width(self) -> int:
        """Width in pixels."""
        return int(self.rgb.shape[1])

    @classmethod
    def open(cls, path: str | Path) -> Image:
        """Reads a picture file (anything Pillow decodes; of an animation the first frame), upright as its EXIF says.

        Where the EXIF is damaged, the picture is taken as it lies.

        Raises:
            InputError: The file is missing, empty, truncated, too large or not a picture.
        """
        from PIL import Image as Pillow
        from PIL import UnidentifiedImageError

        file = Path(path)
        try:
            if file.stat().st_size == 0:
                raise InputError(f"picture {str(file)!r} is empty (0 bytes); give a JPEG, PNG, BMP, TIFF or WebP file")
            with warnings.catch_warnings():
                # Pillow warns of damaged EXIF, and from 89 megapixels on; it refuses from 179 on, which is limit enough.
                warnings.simplefilter("ignore")
                with Pillow.open(file) as picture:
                    picture.load()
                    upright = _upright(picture)
                    if upright.mode.startswith("I"):  # 16 bits a pixel; Pillow's own conversion would clip it to white
                        return cls.from_array((np.asarray(upright) / 65535.0).clip(0.0, 1.0).astype(np.float32))
                    return cls(np.array(upright.convert("RGB")))
        except Pillow.DecompressionBombError:
            raise InputError(f"picture {str(file)!r} has more than 178 million pixels; scale it down first") from None
        except UnidentifiedImageError:
            raise InputError(f"{str(file)!r} is not a picture; give a JPEG, PNG, BMP, TIFF or WebP file") from None
        except InputError:
            raise
        except Exception as error:  # of any kind: a damaged file leads Pillow's decoders anywhere
            reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
            raise InputError(f"cannot read picture {str(file)!r}: {reason}; give a whole JPEG, PNG, BMP, TIFF or WebP file") from None

    @classmethod
    def from_array(cls, array: Any, color: Color = "rgb", stamp_s: float | None = None, frame_id: str = "") -> Image:
        """Converts an array or tensor to an `Image`.

        Args:
            array: ``(h, w)``, ``(h, w, 1 | 3 | 4)`` or channels first ``(1 | 3 | 4, h, w)``; uint8 in 0..255, bool, or float in
                [0, 1]. An alpha channel is dropped. A torch tensor is accepted, on any device.
            color: Order of the colour channels in ``array``.
            stamp_s: Time of capture in seconds.
            frame_id: Name of the camera's coordinate frame.

        Raises:
            InputError: Another shape or type, not finite, or floats outside [0, 1].
        """
        pixels = to_pixels(array, color)
        if pixels.dtype != np.uint8:
            pixels = np.rint(pixels * 255.0).astype(np.uint8)
        return cls(pixels, stamp_s, frame_id)

    def opencv(self) -> NDArray[np.uint8]:
        """Returns a BGR copy, ``(height, width, 3)`` uint8, for OpenCV."""
        return np.array(self.rgb[:, :, ::-1], dtype=np.uint8, order="C")

    def numpy(self) -> NDArray[np.uint8]:
        """Returns an RGB copy, ``(height, width, 3)`` uint8."""
        return np.array(self.rgb)

    def __repr__(self) -> str:
        """Says size and stamp instead of printing pixels."""
        return f"Image({self.width}x{self.height}, stamp_s={self.stamp_s}, frame_id={self.frame_id!r})"


def _upright(picture: PillowImage) -> PillowImage:
    """Turns a decoded picture as its EXIF says; one whose EXIF cannot be read stays as it lies."""
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    try:
        turn = turns.get(picture.getexif().get(_ORIENTATION, 1))
    except Exception:  # of any kind, as with the picture itself
        return picture
    return picture if turn is None else picture.transpose(turn)


def describe(value: Any) -> str:
    """Says type, shape and dtype of a value, for error messages."""
    shape = getattr(value, "shape", None)
    kind = type(value).__name__
    return kind if shape is None else f"{kind} of shape {tuple(shape)} and type {getattr(value, 'dtype', '?')}"


def to_pixels(array: Any, color: Color = "rgb") -> NDArray[Any]:
    """Converts one picture to ``(h, w, 3)`` RGB, uint8 in 0..255 or float32 in [0, 1], as its source was.

    Arguments and errors are those of `Image.from_array`; floats stay floats, so nothing is lost.
    """
    if color not in ("rgb", "bgr"):
        raise UsageError(f"color is {color!r}, expected 'rgb' or 'bgr'")
    if hasattr(array, "detach"):
        array = array.detach().cpu().numpy()
    if not isinstance(array, np.ndarray):
        raise InputError(f"a picture is a path, an Image, an array or a tensor, got {describe(array)}")
    pixels = array
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.ndim == 3 and pixels.shape[2] not in (1, 3, 4) and pixels.shape[0] in (1, 3, 4):
        pixels = pixels.transpose(1, 2, 0)
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4) or 0 in pixels.shape:
        raise InputError(f"a picture has shape (h, w), (h, w, 1|3|4) or (1|3|4, h, w), got {describe(array)}")
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8) * 255
    elif pixels.dtype.kind == "f":
        low, high = float(pixels.min()), float(pixels.max())  # NaN propagates through min and max
        if not (np.isfinite(low) and np.isfinite(high)):
            raise InputError(f"the picture ({describe(array)}) has NaN or infinite values; expected floats in [0, 1]")
        if low < 0.0 or high > 1.0:
            given = f"the picture ({describe(array)}) has floats in [{low:.3g}, {high:.3g}]"
            raise InputError(f"{given}, expected [0, 1]; divide by 255 or pass uint8")
        pixels = pixels.astype(np.float32, copy=False)
    elif pixels.dtype != np.uint8:
        raise InputError(f"a picture is uint8 in 0..255 or float in [0, 1], got {describe(array)}; convert it first")
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    elif color == "bgr":
        pixels = pixels[:, :, 2::-1]
    else:
        pixels = pixels[:, :, :3]
    return np.ascontiguousarray(pixels)
