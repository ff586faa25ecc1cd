"""Augmentation that carries small grey faces over to colour cameras.

Every picture's randomness comes from (seed, epoch, index) alone. So a batch is the same whichever process or thread makes it, and
a resumed run continues exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Augmentation:
    """Ranges of the random changes to a face crop.

    Attributes:
        scale: Range of the crop's side in units of the picture's, log-uniform: above 1 shows more than the crop, below 1 less.
        shift: Largest shift of the centre, in units of the side.
        rotation_deg: Largest rotation.
        flip: Probability of mirroring.
        light: Largest change of brightness (share of full scale) and of contrast (factor 1 +- light).
        cast: Largest colour cast, as a factor 1 +- cast per channel; grey pictures get it too, so that colour says nothing.
        grey: Probability that a colour picture loses its colour.
        blur: Probability of a Gaussian blur, of down-sampling to as little as 32 pixels, and of sensor noise, each.
        erase: Probability that a random box of up to a quarter of the picture is filled with grey.
    """

    scale: tuple[float, float] = (0.85, 1.45)
    shift: float = 0.06
    rotation_deg: float = 15.0
    flip: float = 0.5
    light: float = 0.3
    cast: float = 0.25
    grey: float = 0.3
    blur: float = 0.15
    erase: float = 0.1

    @staticmethod
    def kind(augment: bool, augment_light: bool) -> bool | str:
        """Returns one word for the two options of `of`, by which runs are told apart; earlier ones know only True and False."""
        return "position" if augment and not augment_light else augment

    @classmethod
    def of(cls, augment: bool, augment_light: bool) -> Augmentation | None:
        """Makes what two options of a learner ask for: no change, all changes, or only those of where the face is and how large."""
        if not augment:
            return None
        return cls() if augment_light else cls(light=0.0, cast=0.0, grey=0.0, blur=0.0, erase=0.0)

    def __call__(self, picture: Pixels, size: int, seed: tuple[int, int, int], zoom: float = 1.0) -> Pixels:
        """Returns a changed copy at the network's size.

        Args:
            picture: ``(h, w)`` or ``(h, w, 3)`` uint8.
            size: Side of the result in pixels.
            seed: (seed of the run, epoch, index of the picture).
            zoom: Side of the wanted crop in units of the picture's, before the random scale.

        Returns:
            ``(size, size, 3)`` uint8.
        """
        import cv2

        random = np.random.Generator(np.random.Philox(key=[(seed[0] << 32) + seed[1], seed[2]]))
        # Only cameras come with low-resolution detail at any crop size; sources that are small already are left alone.
        if random.random() < self.blur and min(picture.shape[:2]) > 48:
            side = int(random.integers(32, 65))
            picture = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA).astype(np.uint8)
        # A warp takes single pixels. Averaged first, what is much larger than the result looks as it does at inference.
        times = int(zoom * self.scale[0] * min(picture.shape[:2]) / size)
        if times > 1:
            picture = cv2.resize(picture, None, fx=1.0 / times, fy=1.0 / times, interpolation=cv2.INTER_AREA).astype(np.uint8)
        matrix = self._warp(random, picture.shape[0], picture.shape[1], size, zoom)
        border = (cv2.BORDER_REPLICATE, cv2.BORDER_CONSTANT, cv2.BORDER_REFLECT_101)[int(random.integers(3))]
        warped = cv2.warpAffine(picture, matrix, (size, size), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=border)
        x: NDArray[np.float32] = warped.astype(np.float32)
        if x.ndim == 3 and random.random() < self.grey:
            x = x @ np.array([0.299, 0.587, 0.114], np.float32)
        if x.ndim == 2:
            x = np.repeat(x[:, :, None], 3, axis=2)
        x = self._light(random, x, size)
        if random.random() < self.blur:
            x = cv2.GaussianBlur(x, (0, 0), float(random.uniform(0.3, 0.02 * size))).astype(np.float32, copy=False)
        if random.random() < self.blur:
            x += random.normal(0.0, random.uniform(2.0, 10.0), x.shape).astype(np.float32)
        if random.random() < self.erase:
            height, width = (int(random.integers(size // 8, size // 2 + 1)) for _ in range(2))
            top, left = int(random.integers(0, size - height + 1)), int(random.integers(0, size - width + 1))
            x[top : top + height, left : left + width] = random.uniform(0.0, 255.0)
        return np.clip(np.rint(x), 0, 255).astype(np.uint8)

    def _warp(self, random: np.random.Generator, height: int, width: int, size: int, zoom: float) -> NDArray[np.float64]:
        """Draws the 2x3 matrix from a pixel of the result to one of the picture: rotation, scale, mirror and shift in one."""
        scale = zoom * float(np.exp(random.uniform(np.log(self.scale[0]), np.log(self.scale[1]))))
        angle = np.deg2rad(random.uniform(-self.rotation_deg, self.rotation_deg))
        mirror = -1.0 if random.random() < self.flip else 1.0
        shift = random.uniform(-self.shift, self.shift, size=2)
        per_pixel = np.array([width, height]) * scale / size
        linear = np.array([[np.cos(angle) * mirror, -np.sin(angle)], [np.sin(angle) * mirror, np.cos(angle)]]) * per_pixel[:, None]
        center = np.array([(width - 1) / 2.0, (height - 1) / 2.0]) + shift * np.array([width, height])
        offset = center - linear @ np.full(2, (size - 1) / 2.0)
        return np.hstack([linear, offset[:, None]])

    def _light(self, random: np.random.Generator, x: NDArray[np.float32], size: int) -> NDArray[np.float32]:
        """Changes contrast, brightness, colour cast and the direction of the light."""
        gain = (1.0 + random.uniform(-self.light, self.light)) * (1.0 + random.uniform(-self.cast, self.cast, size=3) * random.random())
        mean = float(x.mean())
        x = (x - mean) * gain.astype(np.float32) + mean * (1.0 + 0.5 * (gain - gain.mean())).astype(np.float32)
        x += 255.0 * random.uniform(-self.light, self.light) * 0.6
        if random.random() < 0.3:
            slope = random.uniform(-1.0, 1.0, size=2) * self.light
            ramp = np.linspace(-1.0, 1.0, size, dtype=np.float32)
            x *= (1.0 + slope[0] * ramp[:, None] + slope[1] * ramp[None, :])[:, :, None].astype(np.float32)
        return x
