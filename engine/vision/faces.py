"""Face detectors behind one call: YuNet, and OpenCV 4's Haar cascade where YuNet cannot be had."""

from __future__ import annotations

import functools
import logging
import math
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from emotion_perception.engine.cards import WeightFile
from emotion_perception.engine.data import Image
from emotion_perception.engine.errors import DownloadError, MissingDependencyError, StorageError, UsageError, WeightsError, unknown_name
from emotion_perception.engine.target import BoundingBox, FloatArray
from emotion_perception.engine.vision.opencv import opencv

logger = logging.getLogger(__name__)

YUNET = WeightFile(
    "yunet_n_320_320.onnx",
    "https://raw.githubusercontent.com/ShiqiYu/libfacedetection.train/02246e79b1e976c83d1e135a85e0628120c93769/onnx/yunet_n_320_320.onnx",
    "sha256:81dbde155e982455488235acb8ec2dec5d647edf7cf7080d33e4abb69b93a0d2",
)

# Measured on 66 faces in photos and videos: YuNet's box in units of the side of the Haar cascade's square, and how much lower it lies.
_YUNET_WIDTH, _YUNET_HEIGHT, _YUNET_SHIFT_Y = 0.80, 1.14, 0.02
# On pictures of 32 pixels or less along an axis OpenCV gives numbers that YuNet never computed.
_YUNET_LEAST_SIDE_PX = 64


@dataclass(frozen=True, eq=False)
class Face:
    """A face found in a picture.

    Attributes:
        box: Where it is, in pixels of the picture, with the detector's score; corners may lie outside.
        landmarks: ``(5, 2)`` float32 pixels: right eye, left eye, nose tip, right and left corner of the mouth (right and left are the
            person's), or None.
    """

    box: BoundingBox
    landmarks: FloatArray | None = None


class FaceDetector(Protocol):
    """What finds faces.

    Attributes:
        name: Name of the detector, e.g. ``yunet``.
    """

    name: str

    def __call__(self, image: Image) -> list[Face]:
        """Returns the faces of a picture, best score first, in pixels of the picture; the picture is not changed."""


@dataclass(frozen=True, eq=False)
class Reduced:
    """A small copy of a picture, in which faces are searched and followed.

    Attributes:
        rgb: ``(height, width, 3)`` uint8, red first; the picture itself where it is small enough.
        scale_xy: ``(2,)`` float64, from the copy's pixels to those of the picture.
    """

    rgb: NDArray[np.uint8]
    scale_xy: NDArray[np.float64]

    @classmethod
    def of(cls, image: Image, max_side: int) -> Reduced:
        """Makes the copy, with its longer side at most ``max_side`` pixels; smaller pictures are not enlarged."""
        scale = min(max_side / max(image.height, image.width), 1.0)
        # Rounded per axis, so the way back has its own factor per axis.
        height, width = max(round(image.height * scale), 1), max(round(image.width * scale), 1)
        return cls(_shrunk(image.rgb, height, width), np.array([image.width / width, image.height / height]))

    def grey(self) -> NDArray[np.uint8]:
        """Returns its brightness, ``(height, width)`` uint8."""
        cv2 = opencv("face detection")
        grey: NDArray[np.uint8] = cv2.cvtColor(self.rgb, cv2.COLOR_RGB2GRAY)
        return grey


@runtime_checkable
class SharesCopy(Protocol):
    """A detector that searches a copy which others may have made already.

    Attributes:
        max_side: Longer side of the copy, in pixels.
    """

    max_side: int

    def search(self, copy: Reduced) -> list[Face]:
        """Returns the faces of the picture that the copy was made of, as the detector itself would when called with it."""


class YuNetDetector:
    """YuNet (Wu et al., Machine Intelligence Research 2023) as OpenCV runs it, on a reduced copy of the picture.

    It finds faces from about 9 pixels in the copy on. OpenCV's detector is not thread-safe, so calls from several threads wait for one
    another; give each thread its own detector where that matters.

    Attributes:
        max_side: Longer side of the reduced copy, in pixels.
        min_size_px: Least length of a face's longer side, in pixels of the picture. Like `score_threshold`, both may be changed.
    """

    name = "yunet"

    def __init__(
        self,
        model_path: str | Path,
        score_threshold: float = 0.6,
        nms_threshold: float = 0.3,
        max_side: int = 640,
        min_size_px: float = 0.0,
    ) -> None:
        """Loads the network.

        Args:
            model_path: The ONNX file, see `YUNET`.
            score_threshold: Least score, in [0, 1].
            nms_threshold: Overlap (intersection over union) above which the weaker of two boxes is dropped, in [0, 1].
            max_side: Longer side of the reduced copy, in pixels; smaller pictures are not enlarged. The time grows with its square.
            min_size_px: Faces whose longer side in the picture is shorter than this are left out.

        Raises:
            WeightsError: The file is missing or not a network that OpenCV reads.
        """
        cv2 = opencv("face detection")
        _check_limits(score_threshold, max_side, min_size_px)
        self.max_side = max_side
        self.min_size_px = min_size_px
        self._score_threshold = score_threshold
        self._lock = threading.Lock()
        if not Path(model_path).is_file():
            raise WeightsError(f"there is no YuNet model {str(model_path)!r}; run: emotion-perception download yunet")
        try:
            self._network = cv2.FaceDetectorYN.create(str(model_path), "", (320, 320), score_threshold, nms_threshold, 5000)
        except cv2.error:
            raise WeightsError(f"{str(model_path)!r} is not a YuNet model in ONNX form; run: emotion-perception download yunet") from None

    @property
    def score_threshold(self) -> float:
        """Least score of a face, in [0, 1]."""
        return self._score_threshold

    @score_threshold.setter
    def score_threshold(self, value: float) -> None:
        _check_limits(value, self.max_side, self.min_size_px)
        with self._lock:
            self._score_threshold = value
            self._network.setScoreThreshold(value)

    def __call__(self, image: Image) -> list[Face]:
        """Returns the faces of a picture, best score first, in pixels of the picture."""
        return self.search(Reduced.of(image, self.max_side))

    def search(self, copy: Reduced) -> list[Face]:
        """Returns the faces of the picture that a copy was made of, best score first, in pixels of the picture."""
        cv2 = opencv("face detection")
        frame_bgr = cv2.cvtColor(copy.rgb, cv2.COLOR_RGB2BGR)  # YuNet was trained on BGR
        below, right = (max(_YUNET_LEAST_SIDE_PX - side, 0) for side in frame_bgr.shape[:2])
        if below or right:
            frame_bgr = cv2.copyMakeBorder(frame_bgr, 0, below, 0, right, cv2.BORDER_CONSTANT)
        with self._lock:
            self._network.setInputSize((frame_bgr.shape[1], frame_bgr.shape[0]))
            _, rows = self._network.detect(frame_bgr)
        if rows is None:
            return []
        # A row is left, top, width, height, five points, score.
        points = rows[:, :14].reshape(-1, 7, 2) * copy.scale_xy.astype(np.float32)
        faces = []
        for corner_and_size, landmarks, score in zip(points[:, :2], points[:, 2:], rows[:, 14], strict=True):
            (left, top), (width, height) = corner_and_size.tolist()
            box = BoundingBox(left, top, left + width, top + height, float(score))
            faces.append(Face(box, np.ascontiguousarray(landmarks)))
        return _best_first(faces, self.min_size_px)


class HaarDetector:
    """The Haar cascade that comes with OpenCV 4 (Viola and Jones 2001; Lienhart): needs no file, but finds frontal faces only.

    Its square boxes are turned into boxes like YuNet's, so that a card's crop fits both; it gives no landmarks. The score is made from
    the cascade's weight (about 0.7 for the weakest real faces, 0.97 for the median one). Calls from several threads wait for one another.

    Attributes:
        score_threshold: Least score of a face, in [0, 1].
        max_side: Longer side of the reduced copy, in pixels.
        min_size_px: Least length of a face's longer side, in pixels of the picture. All three may be changed.
    """

    name = "haar"

    def __init__(self, score_threshold: float = 0.6, max_side: int = 480, min_size_px: float = 0.0) -> None:
        """Loads the cascade.

        Args:
            score_threshold: Least score, in [0, 1].
            max_side: Longer side of the reduced copy, in pixels; faces below 24 pixels in it are not found.
            min_size_px: Faces whose longer side in the picture is shorter than this are left out.

        Raises:
            MissingDependencyError: This OpenCV has no Haar cascades (version 5, or a build without its data files).
        """
        cv2 = opencv("face detection")
        _check_limits(score_threshold, max_side, min_size_px)
        self.score_threshold = score_threshold
        self.max_side = max_side
        self.min_size_px = min_size_px
        self._lock = threading.Lock()
        folder = getattr(getattr(cv2, "data", None), "haarcascades", "")
        cascade = Path(folder) / "haarcascade_frontalface_default.xml"
        if not hasattr(cv2, "CascadeClassifier") or not cascade.is_file():
            raise MissingDependencyError(f"OpenCV 4 with its cascades (this is {cv2.__version__})", "the Haar face detector", "vision")
        self._cascade = cv2.CascadeClassifier(str(cascade))

    def __call__(self, image: Image) -> list[Face]:
        """Returns the faces of a picture, best score first, in pixels of the picture."""
        return self.search(Reduced.of(image, self.max_side))

    def search(self, copy: Reduced) -> list[Face]:
        """Returns the faces of the picture that a copy was made of, best score first, in pixels of the picture."""
        cv2 = opencv("face detection")
        scale_x, scale_y = copy.scale_xy
        grey = cv2.equalizeHist(copy.grey())
        with self._lock:
            squares, _, weights = self._cascade.detectMultiScale3(
                grey, scaleFactor=1.2, minNeighbors=4, minSize=(24, 24), outputRejectLevels=True
            )
        faces = []
        for (x, y, side, _), weight in zip(squares, np.ravel(weights), strict=True):
            score = 1.0 - math.exp(-max(float(weight), 0.0) / 2.0)
            if score < self.score_threshold:
                continue
            center_x, center_y = x + side / 2, y + side * (0.5 + _YUNET_SHIFT_Y)
            half_width, half_height = side * _YUNET_WIDTH / 2, side * _YUNET_HEIGHT / 2
            box = BoundingBox(
                float((center_x - half_width) * scale_x),
                float((center_y - half_height) * scale_y),
                float((center_x + half_width) * scale_x),
                float((center_y + half_height) * scale_y),
                score,
            )
            faces.append(Face(box))
        return _best_first(faces, self.min_size_px)


def create_detector(
    name: str = "auto", *, min_score: float = 0.6, min_size_px: float = 20.0, max_side: int | None = None, offline: bool = False
) -> YuNetDetector | HaarDetector:
    """Makes a face detector.

    Args:
        name: ``yunet``, ``haar``, or ``auto``: YuNet from the cache or fetched once, else, with one warning, Haar.
        min_score: Least score of a face, in [0, 1].
        min_size_px: Faces whose longer side in the picture is shorter than this are left out; emotions cannot be read from them.
        max_side: Longer side, in pixels, of the reduced copy that is searched; the detector's own default if None (YuNet 640, which
            suits photos; 320 suits video, at a quarter of the time).
        offline: Never use the network; YuNet must be in the cache then.

    Raises:
        UsageError: There is no detector of that name, or a limit out of range.
        DownloadError: ``yunet`` was asked for and could not be fetched.
        MissingDependencyError: OpenCV is missing, or has no Haar cascades.
    """
    if name not in ("auto", "yunet", "haar"):
        raise unknown_name("face detector", name, ("auto", "yunet", "haar"))
    limits: dict[str, Any] = {"score_threshold": min_score, "min_size_px": min_size_px}
    if max_side is not None:
        limits["max_side"] = max_side
    if name == "haar":
        return HaarDetector(**limits)
    try:
        return YuNetDetector(_yunet_file(offline), **limits)
    except (DownloadError, StorageError, WeightsError) as error:
        if name == "yunet":
            raise
        _warn_of_fallback(str(error))
        return HaarDetector(**limits)


def _yunet_file(offline: bool) -> Path:
    """Returns YuNet's verified file in the cache, fetched first where that is allowed."""
    from emotion_perception.engine.weights import cache_dir, fetch

    # Not Path.is_file: that raises where one may not look.
    if offline and not os.path.isfile(cache_dir() / YUNET.name):  # noqa: PTH113
        way_out = "run once with a network: emotion-perception download yunet"
        raise DownloadError(f"{YUNET.name} is not in the cache {str(cache_dir())!r} and offline was asked for; {way_out}")
    return fetch(YUNET, progress=False)


@functools.cache
def _warn_of_fallback(reason: str) -> None:
    """Warns once per reason and process: every pipeline makes a detector."""
    logger.warning(
        "finding faces with OpenCV's Haar cascade, which misses turned and small faces (for YuNet: emotion-perception download yunet): %s",
        reason,
    )


def _check_limits(score_threshold: float, max_side: int, min_size_px: float) -> None:
    if not 0.0 <= score_threshold <= 1.0:
        raise UsageError(f"least score of a face is {score_threshold}, expected a number in [0, 1]")
    if max_side < 32:
        raise UsageError(f"max_side is {max_side}, expected at least 32 pixels")
    if not min_size_px >= 0.0:
        raise UsageError(f"min_size_px is {min_size_px}, expected 0 or more pixels")


def _shrunk(rgb: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Scales a picture down; the picture itself where it has the size already."""
    cv2 = opencv("face detection")
    # OpenCV is quick at halving and slow at averaging other areas (1280x720 to 320x180: 0.36 against 1.25 ms; 960x540: 0.29 against 0.86).
    while rgb.shape[0] >= 2 * height and rgb.shape[1] >= 2 * width:
        rgb = cv2.resize(rgb, (rgb.shape[1] // 2, rgb.shape[0] // 2), interpolation=cv2.INTER_AREA)
    return rgb if rgb.shape[:2] == (height, width) else cv2.resize(rgb, (width, height), interpolation=cv2.INTER_LINEAR)


def _best_first(faces: list[Face], min_size_px: float) -> list[Face]:
    large = (face for face in faces if max(face.box.width, face.box.height) >= min_size_px)
    return sorted(large, key=lambda face: -face.box.score)
