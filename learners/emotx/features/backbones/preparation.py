"""How a picture is scaled before a backbone sees it, as it was when the published features were made."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emotion_perception.engine.data import describe
from emotion_perception.engine.errors import InputError
from emotion_perception.engine.target import FloatArray

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Preparation:
    """Size and scale of a picture.

    Attributes:
        side: Height and width in pixels.
        mean, std: Per channel, red first, in the scale of 0..255: ``x = (pixel - mean) / std``.
        short_side: The picture's shorter side is scaled to this many pixels and the middle cut out (between pixels linearly, without
            rounding); None: the whole picture is scaled to the square (by Pillow's bicubic filter, rounded), whatever its proportions.
    """

    side: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    short_side: int | None = None

    def __call__(self, pixels: Pixels) -> FloatArray:
        """Makes the input of one picture.

        Args:
            pixels: ``(height, width, 3)`` uint8 RGB; it is not changed.

        Returns:
            ``(3, side, side)`` float32.

        Raises:
            InputError: Another shape or type.
        """
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
            raise InputError(f"a backbone takes (height, width, 3) uint8 RGB pictures, got {describe(pixels)}; use Image.from_array")
        scaled = self._squeezed(pixels) if self.short_side is None else self._middle(pixels, self.short_side)
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        return np.ascontiguousarray(((scaled - mean) / std).transpose(2, 0, 1))

    def _squeezed(self, pixels: Pixels) -> FloatArray:
        from PIL import Image

        picture = Image.fromarray(pixels).resize((self.side, self.side), Image.Resampling.BICUBIC)
        return np.asarray(picture).astype(np.float32)

    def _middle(self, pixels: Pixels, short_side: int) -> FloatArray:
        from emotion_perception.engine.vision.opencv import opencv

        cv2 = opencv("scene features")
        height, width = pixels.shape[:2]
        short = min(height, width)
        size = short_side * height // short, short_side * width // short
        scaled: FloatArray = cv2.resize(pixels.astype(np.float32), size[::-1], interpolation=cv2.INTER_LINEAR)
        top, left = (round((length - self.side) / 2) for length in size)
        return scaled[top : top + self.side, left : left + self.side]


IMAGENET = Preparation(224, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
KINETICS = Preparation(224, (114.75, 114.75, 114.75), (57.375, 57.375, 57.375), short_side=256)
FACENET = Preparation(160, (127.5, 127.5, 127.5), (128.0, 128.0, 128.0))
FER_RESNET = Preparation(224, (131.88330078125, 105.51170349121094, 92.56940460205078))
FER_VGG = Preparation(224, (131.45376586914062, 103.98748016357422, 91.46234893798828))
