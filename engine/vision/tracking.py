"""Ids over frames: overlap first, nearness for what moved fast, and a short memory by time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emotion_perception.engine.errors import UsageError
from emotion_perception.engine.target import BoundingBox

# A face that moved too fast to overlap itself is the same one when its centre moved by less than this many face sizes ...
_MAX_CENTER_SHIFT = 1.0
# ... and its size changed by less than this factor.
_MAX_SIZE_RATIO = 1.6


@dataclass
class _Track:
    track_id: int
    box_xyxy: NDArray[np.float64]
    seen_s: float


class Tracker:
    """Gives each face an id that stays with it from frame to frame.

    Boxes are matched to the tracks by the best sum of overlaps (intersection over union, Hungarian method); what is left is matched
    by distance of the centres, for fast motion and low frame rates. A track unseen for longer than the memory is forgotten. Ids
    count up from 1 and are not reused before `reset`. One tracker belongs to one stream and one thread.
    """

    def __init__(self, iou_threshold: float = 0.3, memory_s: float = 1.0) -> None:
        """Makes a tracker without tracks.

        Args:
            iou_threshold: Least overlap at which two boxes are taken for the same face, in (0, 1].
            memory_s: How long a face may be unseen and still get its id back, in seconds.
        """
        if not 0.0 < iou_threshold <= 1.0:
            raise UsageError(f"iou_threshold is {iou_threshold}, expected a number in (0, 1]")
        if not memory_s >= 0.0:
            raise UsageError(f"memory_s is {memory_s}, expected 0 or more seconds")
        self.iou_threshold = iou_threshold
        self.memory_s = memory_s
        self.reset()

    def reset(self) -> None:
        """Forgets all tracks and counts ids from 1 again."""
        self._tracks: list[_Track] = []
        self._next_id = 1
        self._now_s = -np.inf

    def forget(self) -> None:
        """Forgets all tracks, ids go on counting: the next picture shows other faces, or the same ones from elsewhere."""
        self._tracks = []

    @property
    def track_ids(self) -> frozenset[int]:
        """The ids of the tracks that are remembered."""
        return frozenset(track.track_id for track in self._tracks)

    def update(self, boxes: Sequence[BoundingBox], stamp_s: float) -> list[int]:
        """Takes the boxes of one frame and returns the id of each.

        Args:
            boxes: The faces of the frame, in any order; none is fine.
            stamp_s: When the frame was taken, in seconds. A stamp before the last one means that the stream started again: all
                tracks are forgotten, ids go on counting.

        Returns:
            One id per box, in the order of the boxes, all different.
        """
        if stamp_s < self._now_s:
            self.forget()
        self._now_s = stamp_s
        self._tracks = [track for track in self._tracks if stamp_s - track.seen_s <= self.memory_s]
        current = np.array([(box.left, box.top, box.right, box.bottom) for box in boxes], np.float64).reshape(-1, 4)
        known = np.array([track.box_xyxy for track in self._tracks], np.float64).reshape(-1, 4)

        owner = _match(_overlap(known, current), self.iou_threshold)
        free_tracks = [i for i in range(len(known)) if i not in owner.values()]
        free_boxes = [i for i in range(len(current)) if i not in owner]
        near = _match(_nearness(known[free_tracks], current[free_boxes]), 0.0)
        owner |= {free_boxes[box]: free_tracks[track] for box, track in near.items()}

        ids = []
        for i, box_xyxy in enumerate(current):
            if i in owner:
                track = self._tracks[owner[i]]
                track.box_xyxy, track.seen_s = box_xyxy, stamp_s
            else:
                track = _Track(self._next_id, box_xyxy, stamp_s)
                self._next_id += 1
                self._tracks.append(track)
            ids.append(track.track_id)
        return ids


def _match(score: NDArray[np.float64], least: float) -> dict[int, int]:
    """Returns column -> row of the assignment with the largest sum of scores, pairs below ``least`` left out."""
    from scipy.optimize import linear_sum_assignment

    # Pairs that may not match count as nothing, or they would draw others away from their right partner.
    rows, columns = linear_sum_assignment(np.where(score >= least, score, -1e3), maximize=True)
    return {int(c): int(r) for r, c in zip(rows, columns, strict=True) if score[r, c] >= least}


def _overlap(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the intersection over union of two sets of boxes, ``(len(a), len(b))`` in [0, 1]."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0.0, None), axis=2)
    area_a, area_b = (np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (a, b))
    union: NDArray[np.float64] = area_a[:, None] + area_b[None, :] - shared
    overlap: NDArray[np.float64] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return overlap


def _nearness(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns 1 for boxes with the same centre down to 0 at the largest shift, -1 for pairs too far apart or too unlike in size."""
    size_a, size_b = (np.maximum((boxes[:, 2:] - boxes[:, :2]).mean(axis=1), 1e-6) for boxes in (a, b))
    center_a, center_b = ((boxes[:, :2] + boxes[:, 2:]) / 2 for boxes in (a, b))
    shift = np.linalg.norm(center_a[:, None] - center_b[None, :], axis=2) / np.maximum(size_a[:, None], size_b[None, :])
    ratio = size_a[:, None] / size_b[None, :]
    alike = (np.maximum(ratio, 1 / ratio) <= _MAX_SIZE_RATIO) & (shift <= _MAX_CENTER_SHIFT)
    return np.where(alike, 1.0 - shift / _MAX_CENTER_SHIFT, -1.0)
