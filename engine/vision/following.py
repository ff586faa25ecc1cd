"""The faces of a stream: searched now and then, followed in between."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotion_perception.engine.data import Image
from emotion_perception.engine.errors import UsageError
from emotion_perception.engine.target import BoundingBox
from emotion_perception.engine.vision.faces import Face, FaceDetector, Reduced, SharesCopy
from emotion_perception.engine.vision.opencv import opencv

# Longer side of the copy in which faces are followed where the detector has none to share.
_MAX_SIDE_PX = 320
# Points per face and axis, on a grid in the middle of its box: at the box's rim is background. Grids of 4 to 8 points, windows of 9 to 15
# pixels and 50 to 90 % of the box were equally near to the detector's boxes in real videos; this is the cheapest.
_GRID = 5
_GRID_SHARE = 0.7
_POINTS = np.stack(np.meshgrid(*[np.linspace(0.0, 1.0, _GRID)] * 2), axis=-1).reshape(-1, 2)
_PAIRS = np.triu_indices(len(_POINTS), 1)
_WINDOW_PX = 9
# Halvings of the copy: with two, moves of up to 10 pixels of the copy from frame to frame are followed by all points, 15 by most.
_HALVINGS = 2
# A point that comes back further than this from where it started, in pixels of the copy, was lost; so is a face with fewer points left.
_MAX_RETURN_PX = 1.0
_LEAST_SHARE = 0.5
# Faces that move further (in units of their size) or change their size more from one frame to the next are searched instead. In real
# videos at 12 to 26 frames a second it was at most 0.11 and 1.07.
_MAX_SHIFT = 0.3
_MAX_GROWTH = 1.2
# The picture as a whole: mean difference of two frames' thumbnails in grey levels. At most 6 within a shot, at least 40 over a cut.
_CUT_LEVELS = 20.0
_THUMBNAIL = (32, 18)


class FaceFollower:
    """Finds the faces of one stream with a detector that is only asked now and then.

    In between, each face's box moves and grows as the median of points on it does, its landmarks with it (median flow: Kalal,
    Mikolajczyk and Matas, ICPR 2010). A frame is searched when no face is known, when the last search is too long ago, when a face is
    lost or moves too fast, when the picture changes as a whole, and once more after a search that found more or fewer faces than there
    were. One follower belongs to one stream and one thread.

    Attributes:
        detector: Who finds the faces.
        searched: Whether the last frame was searched.
        cut: Whether the last frame shows another shot than the one before it; not known, and False, where every frame is searched.
    """

    def __init__(self, detector: FaceDetector, interval_s: float = 0.25) -> None:
        """Makes a follower that knows no face.

        Args:
            detector: Who finds the faces.
            interval_s: Longest time between two searches, in seconds; 0 searches every frame.

        Raises:
            UsageError: The interval is out of range.
        """
        self.detector = detector
        self.interval_s = interval_s
        self.reset()

    @property
    def interval_s(self) -> float:
        """Longest time between two searches, in seconds; it may be changed between frames. 0 searches every frame."""
        return self._interval_s

    @interval_s.setter
    def interval_s(self, value: float) -> None:
        if not 0.0 <= value < math.inf:
            raise UsageError(f"search_interval_s is {value}, expected 0 or more seconds")
        self._interval_s = value

    def reset(self) -> None:
        """Forgets the faces: the next frame is searched."""
        self.searched = self.cut = False
        self._faces: list[Face] = []
        self._grey: NDArray[np.uint8] | None = None
        self._searched_s = self._now_s = -math.inf
        self._unsure = False

    def __call__(self, image: Image, stamp_s: float, most: int) -> list[Face]:
        """Returns the faces of the stream's next frame, in pixels of the picture, best score of the last search first.

        Args:
            image: The frame; it is not changed.
            stamp_s: When it was taken, in seconds. A stamp before the last one means that the stream started again.
            most: Most faces returned.
        """
        if self.interval_s == 0.0:
            self.reset()
            self.searched = True
            return self.detector(image)[:most]
        if stamp_s < self._now_s:
            self.reset()
        self._now_s = stamp_s
        copy = Reduced.of(image, self.detector.max_side if isinstance(self.detector, SharesCopy) else _MAX_SIDE_PX)
        grey = copy.grey()
        before = self._grey
        self.cut = before is not None and (before.shape != grey.shape or _changed(opencv("following faces"), before, grey))
        due = self.cut or not self._faces or self._unsure or stamp_s - self._searched_s >= self.interval_s
        followed = None if due or before is None else self._followed(before, grey, copy.scale_xy)
        self.searched = followed is None
        if followed is None:
            found = self.detector.search(copy) if isinstance(self.detector, SharesCopy) else self.detector(image)
            followed = found[:most]
            # Detectors miss a face in a frame, or see one that is none: a change counts once the next frame shows it as well.
            self._unsure = not self._unsure and len(followed) != len(self._faces)
            self._searched_s = stamp_s
        self._faces, self._grey = followed[:most], grey
        return list(self._faces)

    def _followed(self, before: NDArray[np.uint8], grey: NDArray[np.uint8], scale_xy: NDArray[np.float64]) -> list[Face] | None:
        """Returns the known faces as they are in this frame, or None where one of them is lost."""
        cv2 = opencv("following faces")
        grids = _grids(self._faces, scale_xy, grey.shape)
        ends, good = _flow(cv2, before, grey, grids.reshape(-1, 2))
        starts_px, ends_px = ((points.reshape(grids.shape) + 0.5) * scale_xy for points in (grids, ends))
        faces = []
        for face, start, end, kept in zip(self._faces, starts_px, ends_px, good.reshape(grids.shape[:2]), strict=True):
            moved = _moved(face, start, end, kept)
            if moved is None:
                return None
            faces.append(moved)
        return faces


def _changed(cv2: Any, before: NDArray[np.uint8], grey: NDArray[np.uint8]) -> bool:
    """Says whether two frames are of different shots."""
    thumbnails = [cv2.resize(picture, _THUMBNAIL, interpolation=cv2.INTER_LINEAR) for picture in (before, grey)]
    return bool(cv2.norm(*thumbnails, cv2.NORM_L1) > _CUT_LEVELS * thumbnails[0].size)


def _grids(faces: list[Face], scale_xy: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Returns the points to follow, ``(faces, n, 2)`` in the copy, where pixel i has its centre at i, on what of each face is inside it."""
    centers = np.array([face.box.center_xy for face in faces])
    halves = np.array([(face.box.width, face.box.height) for face in faces]) / 2 * _GRID_SHARE
    last = shape[1] - 1.0, shape[0] - 1.0
    low, high = (np.clip(corners / scale_xy - 0.5, 0.0, last)[:, None] for corners in (centers - halves, centers + halves))
    return (low + (high - low) * _POINTS).astype(np.float32)


def _flow(
    cv2: Any, before: NDArray[np.uint8], grey: NDArray[np.uint8], points: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Follows points from a frame to the next and back; returns where they are, and which came back to where they were."""
    options = {
        "winSize": (_WINDOW_PX, _WINDOW_PX),
        "maxLevel": _HALVINGS,
        "criteria": (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 10, 0.03),
    }
    there, found, _ = cv2.calcOpticalFlowPyrLK(before, grey, points, None, **options)
    back, found_back, _ = cv2.calcOpticalFlowPyrLK(grey, before, there, None, **options)
    inside = ((there >= 0.0) & (there <= (grey.shape[1] - 1, grey.shape[0] - 1))).all(axis=1)
    returned = np.square(back - points).sum(axis=1) <= _MAX_RETURN_PX**2
    return there, inside & returned & (found.ravel() == 1) & (found_back.ravel() == 1)


def _moved(face: Face, start: NDArray[np.float64], end: NDArray[np.float64], kept: NDArray[np.bool_]) -> Face | None:
    """Moves a face as points on it moved; None if too few were kept, or if that is more than a face moves.

    Args:
        face: The face in the frame before.
        start: ``(n, 2)``, where its points were, in pixels of the picture.
        end: Where they are.
        kept: ``(n,)``, which of them were followed.
    """
    if kept.mean() < _LEAST_SHARE:
        return None
    shift = _median((end - start)[kept])
    one, other = _PAIRS
    apart_before, apart_now = (np.hypot(*(points[one] - points[other]).T) for points in (start, end))
    seen = kept[one] & kept[other] & (apart_before > 0.0)
    growth = float(_median(apart_now[seen] / apart_before[seen])) if seen.any() else 0.0
    size = max(face.box.width, face.box.height)
    if math.hypot(*shift) > _MAX_SHIFT * size or not 1.0 / _MAX_GROWTH <= growth <= _MAX_GROWTH:
        return None
    middle = start[kept].mean(axis=0)

    def now(points: NDArray[Any]) -> NDArray[np.float64]:
        there: NDArray[np.float64] = middle + shift + growth * (points - middle)
        return there

    left, top, right, bottom = now(face.box.xyxy.reshape(2, 2)).ravel().tolist()
    landmarks = None if face.landmarks is None else now(face.landmarks).astype(np.float32)
    return Face(BoundingBox(left, top, right, bottom, face.box.score), landmarks)


def _median(values: NDArray[np.float64]) -> Any:
    """Returns the median along the first axis, of an even number the upper one; NumPy's own takes ten times as long for so few."""
    return np.sort(values, axis=0)[len(values) // 2]
