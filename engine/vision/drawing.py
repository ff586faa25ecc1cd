"""Results drawn into a picture: box, id, word, probability bar and the point in the valence-arousal plane."""

from __future__ import annotations

import colorsys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotion_perception.engine.data import describe
from emotion_perception.engine.errors import UsageError
from emotion_perception.engine.labels import concept
from emotion_perception.engine.target import BoundingBox, FaceEmotion, FrameResult
from emotion_perception.engine.vision.opencv import opencv

Rgb = tuple[int, int, int]
Corners = tuple[int, int, int, int]

# One colour per emotion, light enough to stand out on the dark panels.
_COLORS: dict[str, Rgb] = {
    "neutral": (200, 206, 214),
    "happy": (255, 202, 40),
    "sad": (92, 156, 255),
    "surprised": (255, 145, 48),
    "scared": (190, 130, 255),
    "disgusted": (124, 212, 96),
    "angry": (255, 84, 84),
    "contempt": (64, 208, 196),
}
_PANEL: Rgb = (18, 20, 24)
_PANEL_OPACITY = 0.78
# What every value of a channel becomes under a panel, (1, 256, 3).
_SHADED = np.rint((1 - _PANEL_OPACITY) * np.arange(256)[:, None] + _PANEL_OPACITY * np.array(_PANEL)).astype(np.uint8)[None]
_TRACK: Rgb = (92, 97, 106)
_WHITE: Rgb = (255, 255, 255)
# Height of a capital letter in OpenCV's Hershey fonts at scale 1, in pixels.
_CAPITAL_PX = 21.0
_LEAST_CAPITAL_PX = 6.0
_UNREADABLE_CAPITAL_PX = 2.0


def draw(frame_rgb: NDArray[np.uint8], result: FrameResult) -> None:
    """Draws a result into a picture, in place.

    Each face gets its box in the colour of its emotion, a strip with id, word, probability and a bar, and, where the model gives
    affect, a disc: pleasant to the right, aroused upwards, the rim at 1. Sizes follow the picture and the face; strips and discs stay
    inside the picture.

    Args:
        frame_rgb: ``(h, w, 3)`` uint8 RGB, contiguous and writeable, e.g. from `Image.numpy`.
        result: What was found in it, in its pixels.

    Raises:
        UsageError: The array cannot be drawn into.
    """
    usable = isinstance(frame_rgb, np.ndarray) and frame_rgb.dtype == np.uint8 and frame_rgb.ndim == 3 and frame_rgb.shape[2] == 3
    if not usable or 0 in frame_rgb.shape or not (frame_rgb.flags.writeable and frame_rgb.flags.c_contiguous):
        raise UsageError(f"draw takes a writeable contiguous (h, w, 3) uint8 RGB array, got {describe(frame_rgb)}; pass image.numpy()")
    pen = _Pen(frame_rgb, [face.box for face in result.faces])
    for face in result.faces:  # all boxes first, so that no box crosses a neighbour's label
        pen.box(face.box, color_of(face))
    for face in result.faces:
        pen.label(face, color_of(face))
    for face in result.faces:
        if face.valence is not None and face.arousal is not None:
            pen.affect(face.box, face.valence, face.arousal, color_of(face))


def draw_timings(frame_rgb: NDArray[np.uint8], result: FrameResult, rate: float | None = None) -> None:
    """Writes into the upper left corner, in place, how long a frame took: finding the faces, and judging them.

    Args:
        frame_rgb: As `draw` takes it.
        result: What was found in it; it names its stages' milliseconds.
        rate: Frames per second to write beside them, or None.
    """
    cv2: Any = opencv("drawing")
    words = [] if rate is None else [f"{rate:.1f} FPS"]
    words += [f"{stage} {result.latency_ms[stage]:.1f} ms" for stage in ("detect", "infer") if stage in result.latency_ms]
    text, font = "  ".join(words), cv2.FONT_HERSHEY_SIMPLEX
    height, width = frame_rgb.shape[:2]
    scale = max(height / 720.0, 0.5)
    wide = cv2.getTextSize(text, font, scale, 1)[0][0] + 20 * scale
    scale *= min(1.0, width / wide)  # all of it, in a narrow picture too
    for color, stroke in (((0, 0, 0), 4), (_WHITE, 1)):
        cv2.putText(frame_rgb, text, (round(10 * scale), round(30 * scale)), font, scale, color, max(1, round(stroke * scale)), cv2.LINE_AA)


def color_of(face: FaceEmotion) -> Rgb:
    """Returns the colour of a face's emotion; words beyond the basic emotions get one by their class index."""
    word = concept(face.category.description)
    if word in _COLORS:
        return _COLORS[word]
    red, green, blue = colorsys.hsv_to_rgb(face.category.data * 0.618034 % 1.0, 0.55, 1.0)  # the golden ratio spreads the hues
    return round(red * 255), round(green * 255), round(blue * 255)


class _Pen:
    """Draws into one frame, at sizes that suit it and where it hides least."""

    def __init__(self, frame: NDArray[np.uint8], boxes: list[BoundingBox]) -> None:
        self.cv2: Any = opencv("drawing")
        self.frame = frame
        self.height, self.width = frame.shape[:2]
        self.capital_px = max(0.018 * (self.width * self.height) ** 0.5, _LEAST_CAPITAL_PX)
        self.taken = [self.rectangle(box) for box in boxes]

    def place(self, width: int, height: int, corners: list[tuple[int, int]]) -> tuple[int, int]:
        """Returns the upper left corner, moved into the picture, at which a panel covers least of faces and other panels.

        The first of the corners wins where several are equally good.
        """
        inside = [(min(max(x, 0), self.width - width), min(max(y, 0), self.height - height)) for x, y in corners]
        covered = [sum(_shared_px((x, y, x + width, y + height), other) for other in self.taken) for x, y in inside]
        x, y = inside[covered.index(min(covered))]
        self.taken.append((x, y, x + width, y + height))
        return x, y

    def capital(self, box: BoundingBox) -> float:
        """Returns the height of a capital letter for a face: small faces get smaller letters, or neighbours' labels would overlap."""
        wanted = max(0.65 * self.capital_px, 0.1 * max(box.width, box.height), _LEAST_CAPITAL_PX)
        return float(min(wanted, self.capital_px))

    def rectangle(self, box: BoundingBox) -> Corners:
        """Returns the box in whole pixels; far outside, it is cut where OpenCV would overflow."""
        left, right = (round(min(max(x, -self.width), 2 * self.width)) for x in (box.left, box.right))
        top, bottom = (round(min(max(y, -self.height), 2 * self.height)) for y in (box.top, box.bottom))
        return left, top, right, bottom

    def line_px(self, box: BoundingBox) -> int:
        """Returns the thickness of thin lines."""
        return max(round(self.capital(box) / 7), 1)

    def box(self, box: BoundingBox, color: Rgb) -> None:
        """Draws the box, with a dark seam that shows it on any background."""
        left, top, right, bottom = self.rectangle(box)
        line = self.line_px(box)
        for thickness, ink in ((line + 2, _PANEL), (line, color)):
            self.cv2.rectangle(self.frame, (left, top), (right, bottom), ink, thickness)

    def label(self, face: FaceEmotion, color: Rgb) -> None:
        """Draws the strip: id and word, percentage, and below them the bar."""
        capital, line = self.capital(face.box), self.line_px(face.box)
        left, top, right, bottom = self.rectangle(face.box)
        words, percent, scale, text_px = self.text(face, capital)
        capital = scale * _CAPITAL_PX
        if capital < _UNREADABLE_CAPITAL_PX:
            return  # a picture this small has no room for it
        pad = round(0.6 * capital)
        width = min(max(text_px + 2 * pad, min(right - left, round(18 * capital))), self.width)
        height = min(round(2.9 * capital), self.height)
        above, below = top - line - height, bottom + line + 1
        x, y = self.place(width, height, [(left, above), (left, below), (right - width, above), (right - width, below), (left, top)])

        panel = self.frame[y : y + height, x : x + width]
        panel[:] = self.cv2.LUT(panel, _SHADED)
        base = y + round(1.6 * capital)
        self.write(words, x + pad, base, scale)
        if percent:
            self.write(percent, x + width - pad - self.measure(percent, scale), base, scale)
        bar_top, bar_bottom = y + round(2.15 * capital), y + max(round(2.5 * capital), round(2.15 * capital) + 1)
        bar_px = max(width - 2 * pad, 1)
        filled = round(bar_px * min(max(face.category.confidence, 0.0), 1.0))
        self.frame[bar_top:bar_bottom, x + pad : x + pad + bar_px] = _TRACK
        self.frame[bar_top:bar_bottom, x + pad : x + pad + filled] = color

    def text(self, face: FaceEmotion, capital: float) -> tuple[str, str, float, int]:
        """Returns words, percentage, font scale and width in pixels of the fullest text that fits the picture."""
        word = face.category.description
        named = word if face.track_id is None else f"#{face.track_id} {word}"
        percent = f"{face.category.confidence:.0%}"
        scale = capital / _CAPITAL_PX
        room = self.width - 2 * round(0.6 * capital)
        for words, number in ((named, percent), (word, percent), (word, "")):
            width = self.measure(f"{words}  {number}" if number else words, scale)
            if width <= room:
                return words, number, scale, width
        scale *= max(room, 1) / width
        return word, "", scale, self.measure(word, scale)

    def affect(self, box: BoundingBox, valence: float, arousal: float, color: Rgb) -> None:
        """Draws the disc of valence and arousal beside the box, or in its lower right corner where there is no room."""
        capital = self.capital(box)
        radius = round(2.4 * capital)
        gap = round(0.5 * capital)
        left, top, right, bottom = self.rectangle(box)
        size = 2 * radius + 1
        if size > min(self.width, self.height):
            return  # a picture this small has no room for it
        beside = [(x, y) for y in (top, bottom - size) for x in (right + gap, left - gap - size)]
        x, y = self.place(size, size, [*beside, (right - gap - size, bottom - gap - size)])

        part = self.frame[y : y + size, x : x + size]
        disc = part.copy()
        center, antialiased = (radius, radius), self.cv2.LINE_AA
        rim = radius - 1
        self.cv2.circle(disc, center, rim, _PANEL, -1, antialiased)
        part[:] = self.cv2.addWeighted(part, 1 - _PANEL_OPACITY, disc, _PANEL_OPACITY, 0)
        line = self.line_px(box)
        self.cv2.line(part, (radius - rim, radius), (radius + rim, radius), _TRACK, line)
        self.cv2.line(part, (radius, radius - rim), (radius, radius + rim), _TRACK, line)
        self.cv2.circle(part, center, rim, _COLORS["neutral"], max(round(capital / 14), 1), antialiased)
        dot = max(round(0.42 * capital), 2)
        reach = rim - dot - line  # the point stays inside the rim, also at 1
        length = max((valence**2 + arousal**2) ** 0.5, 1.0)  # both at 1 would lie in the corner of the square around the disc
        point = round(radius + reach * valence / length), round(radius - reach * arousal / length)
        self.cv2.line(part, center, point, color, line, antialiased)
        self.cv2.circle(part, point, dot + line, _WHITE, -1, antialiased)
        self.cv2.circle(part, point, dot, color, -1, antialiased)

    def write(self, text: str, x: int, base: int, scale: float) -> None:
        """Writes white text whose base line is at ``base``."""
        self.cv2.putText(self.frame, text, (x, base), self.cv2.FONT_HERSHEY_DUPLEX, scale, _WHITE, self.stroke(scale), self.cv2.LINE_AA)

    def measure(self, text: str, scale: float) -> int:
        """Returns the width of a text in pixels."""
        (width, _), _ = self.cv2.getTextSize(text, self.cv2.FONT_HERSHEY_DUPLEX, scale, self.stroke(scale))
        return int(width)

    def stroke(self, scale: float) -> int:
        """Returns the thickness of the letters' strokes; large letters need more than a line."""
        return max(round(1.6 * scale), 1)


def _shared_px(a: Corners, b: Corners) -> int:
    """Returns the area that two rectangles (left, top, right, bottom) share."""
    if a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]:
        return 0
    return (min(a[2], b[2]) - max(a[0], b[0])) * (min(a[3], b[3]) - max(a[1], b[1]))
