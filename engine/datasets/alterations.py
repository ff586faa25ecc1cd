"""Altered copies of pictures, by name and seed: geometry, light, noise, coverings. OpenCV and NumPy do the arithmetic.

The names and ranges are those of EmoTorch's two augmentation scripts; sizes in pixels were meant for faces of 48 pixels and grow with the
picture. The same picture, name and seed give the same copy, whatever else was altered before.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from emotion_perception.engine.datasets.base import EmotionDataset, Pixels, Targets
from emotion_perception.engine.errors import UsageError, unknown_name
from emotion_perception.engine.vision.opencv import opencv

# A picture (h, w) or (h, w, 3) float32 in [0, 1], newly allocated -> its altered copy, not yet cut to that range.
Floats = NDArray[np.float32]
Random = np.random.Generator
Change = Callable[[Floats, Random], Floats]

ORIGINAL = "original"
_FACE_PX = 48.0


def alter(picture: Pixels, name: str, seed: int, number: int = 0) -> Pixels:
    """Returns an altered copy of a picture.

    Args:
        picture: ``(h, w, 3)`` RGB or ``(h, w)`` grey, uint8.
        name: One of `ALTERATIONS`.
        seed: Seed of the run.
        number: Number of the picture, so that each is altered otherwise.

    Raises:
        UsageError: An unknown name.
    """
    if name not in ALTERATIONS:
        raise unknown_name("alteration", name, ALTERATIONS)
    random = np.random.default_rng((seed, number, zlib.crc32(name.encode())))
    changed = ALTERATIONS[name](picture.astype(np.float32) / np.float32(255.0), random)
    return np.rint(changed.clip(0.0, 1.0) * 255.0).astype(np.uint8)


class AlteredDataset(EmotionDataset):
    """The pictures of a data set and, after them, altered copies, made when they are asked for; nothing is written.

    Made of the training part after a split, no copy can be on the other side of it.
    """

    def __init__(self, dataset: EmotionDataset, names: Sequence[str], share: float = 1.0, seed: int = 0) -> None:
        """Chooses the copies.

        Args:
            dataset: Where the pictures come from; it is not copied.
            names: Of `ALTERATIONS`.
            share: Share of all possible copies (pictures times names) to have, drawn at random.
            seed: Of the drawing and of every copy.

        Raises:
            UsageError: An unknown name, or a share outside [0, 1].
        """
        for name in names:
            if name not in ALTERATIONS:
                raise unknown_name("alteration", name, ALTERATIONS)
        if not 0.0 <= share <= 1.0:
            raise UsageError(f"share of altered copies is {share}, expected 0 to 1")
        self.dataset, self.names, self.seed = dataset, tuple(names), seed
        self.labels = dataset.labels
        n = len(dataset)
        drawn = np.random.default_rng((seed, 1)).permutation(n * len(self.names))[: round(share * n * len(self.names))]
        # Number of the picture and of the name, -1 for the pictures themselves.
        self._rows = np.concatenate([np.stack([np.arange(n), np.full(n, -1)], 1), np.stack([drawn % n, drawn // n], 1)]).astype(np.int64)
        self.targets: Targets = dataset.targets.take(self._rows[:, 0])

    def alteration(self, index: int) -> str:
        """Returns the name of a picture's alteration, ``original`` for those of the data set itself."""
        which = int(self._rows[index, 1])
        return ORIGINAL if which < 0 else self.names[which]

    def original(self, index: int) -> int:
        """Returns the number, in the data set beneath, of the picture that a picture is or is a copy of."""
        return int(self._rows[index, 0])

    def picture(self, index: int) -> Pixels:
        """Returns a picture of the data set beneath, or makes a copy of it."""
        number, name = self.original(index), self.alteration(index)
        picture = self.dataset.picture(number)
        return picture if name == ORIGINAL else alter(picture, name, self.seed, number)

    def name(self, index: int) -> str:
        """Returns the name of the picture, with ``_<alteration>`` before the suffix for a copy."""
        name, alteration = PurePosixPath(self.dataset.name(self.original(index))), self.alteration(index)
        return str(name if alteration == ORIGINAL else name.with_name(f"{name.stem}_{alteration}{name.suffix}"))

    def source(self, index: int) -> str:
        """Returns the source of the picture, which its copies share."""
        return self.dataset.source(self.original(index))

    def crop_scale(self, index: int) -> float:
        """Returns the crop scale of the picture, which its copies share."""
        return self.dataset.crop_scale(self.original(index))


def _affine(x: Floats, linear: NDArray[np.float64]) -> Floats:
    """Warps about the centre, black outside; ``linear`` (2, 2) leads from a pixel of the result to one of the picture."""
    cv2 = opencv("altering pictures")
    center = np.array([(x.shape[1] - 1) / 2.0, (x.shape[0] - 1) / 2.0])
    matrix = np.hstack([linear, (center - linear @ center)[:, None]])
    return np.asarray(cv2.warpAffine(x, matrix, (x.shape[1], x.shape[0]), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP), np.float32)


def _rotation(x: Floats, random: Random) -> Floats:
    angle = np.deg2rad(random.uniform(-25.0, 25.0))
    return _affine(x, np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]))


def _shear(x: Floats, random: Random) -> Floats:
    return _affine(x, np.array([[1.0, 0.0], [np.tan(np.deg2rad(random.uniform(-12.0, 12.0))), 1.0]]))


def _zoom_in(x: Floats, random: Random) -> Floats:
    """Shows a part with 60 to 75 % of the area, anywhere."""
    cv2 = opencv("altering pictures")
    share = np.sqrt(random.uniform(0.6, 0.75))
    height, width = (max(1, round(size * share)) for size in x.shape[:2])
    top, left = int(random.integers(0, x.shape[0] - height + 1)), int(random.integers(0, x.shape[1] - width + 1))
    part = np.ascontiguousarray(x[top : top + height, left : left + width])
    return np.asarray(cv2.resize(part, (x.shape[1], x.shape[0]), interpolation=cv2.INTER_LINEAR), np.float32)


def _perspective(x: Floats, random: Random) -> Floats:
    """Moves every corner inwards by up to an eighth of the sides."""
    cv2 = opencv("altering pictures")
    height, width = x.shape[:2]
    corners = np.array([(0, 0), (width - 1, 0), (width - 1, height - 1), (0, height - 1)], np.float32)
    inwards = np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)], np.float32)
    moved = corners + inwards * random.uniform(0.0, 0.125, (4, 2)).astype(np.float32) * np.array([width, height], np.float32)
    return np.asarray(cv2.warpPerspective(x, cv2.getPerspectiveTransform(corners, moved), (width, height)), np.float32)


def _elastic(x: Floats, random: Random) -> Floats:
    """Moves every pixel by smoothed noise."""
    cv2 = opencv("altering pictures")
    height, width = x.shape[:2]
    noise = random.uniform(-1.0, 1.0, (height, width, 2)).astype(np.float32)
    shift = cv2.GaussianBlur(noise, (33, 33), 5.0 * _scale(x)) * np.float32(max(height, width) / 2.0)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    moved = cv2.remap(x, columns + shift[..., 0], rows + shift[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(moved, np.float32)


def _brightness(low: float, high: float) -> Change:
    return lambda x, random: np.asarray(x * random.uniform(low, high), np.float32)


def _contrast(low: float, high: float) -> Change:
    def change(x: Floats, random: Random) -> Floats:
        mean = x.mean()
        return np.asarray((x - mean) * random.uniform(low, high) + mean, np.float32)

    return change


def _gamma(low: float, high: float) -> Change:
    return lambda x, random: np.asarray(x ** random.uniform(low, high), np.float32)


def _noise(deviation: float) -> Change:
    return lambda x, random: x + random.normal(0.0, deviation, x.shape).astype(np.float32)


def _blur(x: Floats, random: Random) -> Floats:
    cv2 = opencv("altering pictures")
    size = 2 * round(4 * _scale(x)) + 1
    return np.asarray(cv2.GaussianBlur(x, (size, size), random.uniform(3.0, 5.0) * _scale(x)), np.float32)


def _motion(direction: float) -> Change:
    """Blurs along a nearly horizontal line whose weight falls off in one direction."""

    def change(x: Floats, random: Random) -> Floats:
        cv2 = opencv("altering pictures")
        size = 2 * round(4 * _scale(x)) + 1
        kernel = np.zeros((size, size), np.float32)
        kernel[size // 2] = np.linspace(max(direction, 0.0), max(-direction, 0.0), size)
        turn = cv2.getRotationMatrix2D((size // 2, size // 2), random.uniform(-10.0, 10.0), 1.0)
        kernel = cv2.warpAffine(kernel, turn, (size, size))
        return np.asarray(cv2.filter2D(x, -1, kernel / kernel.sum(), borderType=cv2.BORDER_CONSTANT), np.float32)

    return change


def _erase(area: tuple[float, float], ratio: tuple[float, float]) -> Change:
    """Blackens a box with a share of the area and a ratio of height to width."""

    def change(x: Floats, random: Random) -> Floats:
        pixels, shape = random.uniform(*area) * x.shape[0] * x.shape[1], random.uniform(*ratio)
        height, width = min(x.shape[0], round(np.sqrt(pixels * shape))), min(x.shape[1], max(1, round(np.sqrt(pixels / shape))))
        top, left = int(random.integers(0, x.shape[0] - height + 1)), int(random.integers(0, x.shape[1] - width + 1))
        x[top : top + height, left : left + width] = 0.0
        return x

    return change


def _posterize(x: Floats, random: Random) -> Floats:
    """Keeps two bits of each value."""
    return np.asarray(np.floor(np.rint(x * 255.0) / 64.0) * (64.0 / 255.0), np.float32)


def _solarize(x: Floats, random: Random) -> Floats:
    """Adds up to 0.4 either way and inverts what is then brighter than a threshold around the middle."""
    x = (x + np.float32(random.uniform(-0.4, 0.4))).clip(0.0, 1.0)
    return np.where(x < random.uniform(0.3, 0.7), x, 1.0 - x).astype(np.float32)


def _by_channel(x: Floats, change: Callable[[Pixels], Pixels]) -> Floats:
    pixels = np.rint(x * 255.0).astype(np.uint8)
    channels = [np.ascontiguousarray(pixels[..., i]) for i in range(x.shape[2])] if x.ndim == 3 else [pixels]
    changed = np.stack([change(channel) for channel in channels], axis=-1).reshape(x.shape)
    return np.asarray(changed / 255.0, np.float32)


def _equalize(x: Floats, random: Random) -> Floats:
    return _by_channel(x, opencv("altering pictures").equalizeHist)


def _clahe(x: Floats, random: Random) -> Floats:
    return _by_channel(x, opencv("altering pictures").createCLAHE(random.uniform(4.0, 8.0), (8, 8)).apply)


def _spots(count: int, side: int, strength: float) -> Change:
    """Brightens squares at random places."""

    def change(x: Floats, random: Random) -> Floats:
        mask, size = np.zeros(x.shape[:2], np.float32), max(1, round(side * _scale(x)))
        for row, column in random.integers(0, np.maximum(np.array(mask.shape) - size + 1, 1), (count, 2)).tolist():
            mask[row : row + size, column : column + size] = strength
        return x + _as(mask, x)

    return change


def _strands(random: Random, x: Floats, count: int, amplitude: float, frequency: float, jitter: float, thick: bool) -> NDArray[np.bool_]:
    """Draws wavy strands from the top to the middle, as a mask ``(h, w)``; thick ones are two to three pixels wide."""
    mask, scale = np.zeros(x.shape[:2], np.bool_), _scale(x)
    rows = np.arange(max(1, x.shape[0] // 2))
    for _ in range(count):
        wave = amplitude * scale * np.sin(rows / scale * frequency + jitter * random.random(len(rows)))
        center = int(random.integers(0, x.shape[1])) + wave.astype(np.int64)
        widths = np.rint(scale * random.integers(2, 4, len(rows))).astype(np.int64) if thick else np.ones(len(rows), np.int64)
        for row, middle, width in zip(rows.tolist(), center.tolist(), widths.tolist(), strict=True):
            mask[row, max(0, middle - width // 2) : max(0, middle - width // 2 + width)] = True
    return mask


def _hair(x: Floats, random: Random) -> Floats:
    """Brightens four thin strands, as the published script does, though it calls them dark."""
    return x + _as(0.3 * _strands(random, x, 4, 2.0, 0.15, 0.0, thick=False).astype(np.float32), x)


def _heavy_hair(x: Floats, random: Random) -> Floats:
    return _darkened(x, _strands(random, x, int(random.integers(8, 16)), 3.0, 0.2, 2.0, thick=True), 0.2)


def _top_rectangle(x: Floats, random: Random) -> Floats:
    """Darkens the upper 25 to 42 %, as a hat or a hijab would."""
    return _darkened(x, np.arange(x.shape[0])[:, None] < int(x.shape[0] * random.uniform(0.25, 0.42)), 0.2)


def _top_diagonal(side: str) -> Change:
    """Darkens what lies in the upper half on one side of a diagonal."""

    def change(x: Floats, random: Random) -> Floats:
        height, width = x.shape[:2]
        rows, columns = np.arange(height)[:, None], np.arange(width)[None] * height / width
        beyond = columns < height - rows if side == "left" else columns > rows
        return _darkened(x, (rows < height // 2) & beyond, 0.25)

    return change


def _forehead_bar(x: Floats, random: Random) -> Floats:
    """Darkens a bar over the forehead, as a headband would."""
    start = int(random.integers(x.shape[0] // 6, x.shape[0] // 3 + 1))
    rows = np.arange(x.shape[0])[:, None]
    return _darkened(x, (rows >= start) & (rows < start + max(1, round(_scale(x) * int(random.integers(3, 7))))), 0.15)


def _darkened(x: Floats, mask: NDArray[np.bool_], factor: float) -> Floats:
    return x * _as(np.where(np.broadcast_to(mask, x.shape[:2]), factor, 1.0).astype(np.float32), x)


def _as(mask: NDArray[np.float32], x: Floats) -> Floats:
    """Gives a mask ``(h, w)`` the axes of a picture."""
    return mask if x.ndim == 2 else mask[:, :, None]


def _scale(x: Floats) -> float:
    return max(float(min(x.shape[:2])) / _FACE_PX, 0.25)


ALTERATIONS: Mapping[str, Change] = {
    "rotation": _rotation,
    "flip": lambda x, random: np.ascontiguousarray(x[:, ::-1]),
    "zoom_in": _zoom_in,
    "zoom_out": lambda x, random: _affine(x, np.eye(2) * random.uniform(1.1, 1.3)),
    "shear": _shear,
    "perspective": _perspective,
    "elastic": _elastic,
    "dark": _brightness(0.2, 0.4),
    "bright": _brightness(1.6, 2.2),
    "low_contrast": _contrast(0.2, 0.4),
    "high_contrast": _contrast(2.5, 3.5),
    "gamma_dark": _gamma(0.2, 0.5),  # published under this name; it brightens
    "gamma_bright": _gamma(1.8, 2.8),
    "posterize": _posterize,
    "heavy_noise": _noise(0.12),
    "light_noise": _noise(0.04),
    "blur": _blur,
    "motion_left": _motion(-1.0),
    "motion_right": _motion(1.0),
    "squares": _erase((0.08, 0.2), (0.7, 1.3)),
    "bars": _erase((0.03, 0.08), (4.0, 8.0)),
    "solarize": _solarize,
    "equalize": _equalize,
    "clahe": _clahe,
    "invert": lambda x, random: 1.0 - x,
    "snowflakes": _spots(20, 3, 0.7),
    "dust": _spots(60, 1, 0.4),
    "hair": _hair,
    "top_rectangle": _top_rectangle,
    "top_left_diagonal": _top_diagonal("left"),
    "top_right_diagonal": _top_diagonal("right"),
    "forehead_bar": _forehead_bar,
    "heavy_hair": _heavy_hair,
}
