"""Where a picture comes from: the picture an altered copy was made of, by the names that data sets give to copies."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

# <source>_<alteration>: a source ends in a digit (1604, train_00001, S010_004_00000017), an alteration is words of small letters.
_COPY = re.compile(r"(.*?\d)_[a-z]+(_[a-z]+)*")
# A folder of altered copies is called after the folder of their sources.
_COPIES_FOLDER = re.compile(r"[-_ ]augmented$", re.IGNORECASE)


def source_of(name: str) -> str:
    """Returns the name of the picture that a file shows or was made of, without suffix.

    Args:
        name: Path of the file, with slashes of either kind: ``FER-Original-Dataset-Augmented/FER/anger/1604_rotation.png``.

    Returns:
        The same for a picture and all its altered copies: ``FER-Original-Dataset/FER/anger/1604``.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    copy = _COPY.fullmatch(path.stem)
    folders = [_COPIES_FOLDER.sub("", folder) for folder in path.parts[:-1]]
    return str(PurePosixPath(*folders, copy[1] if copy else path.stem))
