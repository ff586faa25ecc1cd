"""CK+ (Lucey et al. 2010) as it is passed around: a folder per class, pictures named after subject, session and frame."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from emotion_perception.engine.datasets.pictures import ImageFolder
from emotion_perception.engine.labels import AFFECTNET8, LabelSet

WORDS = ("anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise", "neutral")
_SUBJECT = re.compile(r"(S\d{3})_\d{3}_")


class CKPlus(ImageFolder):
    """Frames of posed expressions. All frames of a subject are one source, as those of one sequence are nearly the same."""

    def __init__(self, path: str | Path, labels: LabelSet = AFFECTNET8, also: Mapping[str, str] | None = None, scale: float = 1.0) -> None:
        """Lists the pictures.

        Args:
            path: Folder, or a zip file of one, with the folders ``anger contempt disgust fear happy sadness surprise``, or some of them.
            labels: The label set of the targets; other classes are left out.
            also: Class word of CK+ -> word in ``labels``, for classes that count as one they are not called after.
            scale: Side of the pictures in units of the face's box.

        Raises:
            DatasetError: Missing, or without a picture of a class in ``labels``.
        """
        super().__init__(path, None, labels, scale, classes=labels.index_of(WORDS, also))

    def source(self, index: int) -> str:
        """Returns the subject, where the file is named after one (``S010_004_00000017.png``); else the picture itself."""
        subject = _SUBJECT.match(self.names[index].rpartition("/")[2])
        return f"ckplus/{subject[1]}" if subject else super().source(index)
