"""The faces of one stream, with ids: searched now and then, followed in between, told apart over time."""

from __future__ import annotations

from emotion_perception.engine.data import Image
from emotion_perception.engine.target import BoundingBox
from emotion_perception.engine.vision.faces import Face, FaceDetector
from emotion_perception.engine.vision.following import FaceFollower
from emotion_perception.engine.vision.tracking import Tracker


class FaceStream:
    """Finds the faces in the frames of one stream and says which is whose. It belongs to one thread."""

    def __init__(self, detector: FaceDetector | None, search_interval_s: float = 0.25) -> None:
        """Makes a stream that has seen nothing.

        Args:
            detector: Who finds the faces; None takes each whole picture for one.
            search_interval_s: Longest time between two searches, in seconds, between which faces are followed; 0 searches every frame.

        Raises:
            UsageError: The interval is out of range.
        """
        self._follower = None if detector is None else FaceFollower(detector, search_interval_s)
        self._tracker = Tracker()

    @property
    def detector(self) -> FaceDetector | None:
        """Who finds the faces; None where whole pictures are taken for them."""
        return None if self._follower is None else self._follower.detector

    @property
    def search_interval_s(self) -> float:
        """Longest time between two searches, in seconds; it may be changed between frames."""
        return 0.0 if self._follower is None else self._follower.interval_s

    @search_interval_s.setter
    def search_interval_s(self, value: float) -> None:
        if self._follower is not None:
            self._follower.interval_s = value

    @property
    def searched(self) -> bool:
        """Whether faces were searched in the last frame, and not followed from the one before."""
        return self._follower is not None and self._follower.searched

    @property
    def track_ids(self) -> frozenset[int]:
        """The ids that may still come back: those of the last frame and of faces unseen for a short time."""
        return self._tracker.track_ids

    def reset(self) -> None:
        """Forgets the faces and counts ids from 1 again."""
        if self._follower is not None:
            self._follower.reset()
        self._tracker.reset()

    def warm_up(self, image: Image) -> None:
        """Does everything once, so that the first frame takes no longer than the next; faces and ids stay as they are."""
        if self.detector is not None:
            self.detector(image)
        Tracker().update([whole(image).box], 0.0)  # it imports SciPy when it is first used, which takes most of a second

    def find(self, image: Image, stamp_s: float, most: int) -> list[Face]:
        """Returns the faces of the next frame, left to right, without asking whose they are.

        Args:
            image: The frame; it is not changed.
            stamp_s: When it was taken, in seconds. A stamp before the last one means that the stream started again.
            most: Most faces returned; those with the best scores.
        """
        if self._follower is None:
            return [whole(image)]
        return sorted(self._follower(image, stamp_s, most), key=lambda face: face.box.center_xy)

    def __call__(self, image: Image, stamp_s: float, most: int) -> list[tuple[int, Face]]:
        """Returns the faces of the next frame with their ids, all different, left to right; the arguments are those of `find`."""
        faces = self.find(image, stamp_s, most)
        if self._follower is not None and self._follower.cut:
            self._tracker.forget()  # the face in the same place may be another person's
        return list(zip(self._tracker.update([face.box for face in faces], stamp_s), faces, strict=True))


def whole(image: Image) -> Face:
    """Returns the whole picture as if it were a face found."""
    return Face(BoundingBox(0.0, 0.0, float(image.width), float(image.height)))
