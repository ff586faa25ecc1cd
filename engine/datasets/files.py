"""Reads pictures out of folders and, in place, out of zip files."""

from __future__ import annotations

import logging
import os
import threading
import zipfile
import zlib
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np

from emotion_perception.engine.datasets.base import EmotionDataset, Pixels, Targets
from emotion_perception.engine.datasets.sources import source_of
from emotion_perception.engine.errors import DatasetError, InputError
from emotion_perception.engine.vision.opencv import opencv

logger = logging.getLogger(__name__)

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".pgm", ".ppm"})

# First bytes of a format, and last bytes of a whole file of it.
_ENDS = ((b"\xff\xd8\xff", b"\xff\xd9"), (b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"))


class Files:
    """The files in a folder or in a zip file, by their path inside it.

    Reading is safe from several threads and from forked processes: each process opens the zip file for itself.
    """

    def __init__(self, path: Path) -> None:
        """Opens nothing yet.

        Raises:
            DatasetError: There is neither a folder nor a whole zip file at the path.
        """
        self.path = path
        self._folder = path.is_dir()
        self._local: tuple[int, zipfile.ZipFile] | None = None
        self._lock = threading.Lock()
        if not path.exists():
            raise DatasetError(f"there is no folder or zip file {str(path)!r}; check the path")
        if not self._folder and not zipfile.is_zipfile(path):
            raise DatasetError(f"{str(path)!r} is neither a folder nor a whole zip file; fetch it again or unpack it")

    def names(self) -> list[str]:
        """Returns the paths of all files, with forward slashes, sorted."""
        if self._folder:
            found = [os.path.relpath(os.path.join(folder, file), self.path) for folder, _, files in os.walk(self.path) for file in files]  # noqa: PTH118
            return sorted(name.replace(os.sep, "/") for name in found)
        return sorted(name for name in self._zip().namelist() if not name.endswith("/"))

    def read(self, name: str) -> bytes:
        """Returns the bytes of a file; one that is missing or damaged raises `InputError`."""
        try:
            return (self.path / name).read_bytes() if self._folder else self._zip().read(name)
        except (OSError, KeyError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:  # the last: a password, another compression
            raise InputError(f"cannot read {name!r} in {str(self.path)!r}: {getattr(error, 'strerror', None) or error}") from None

    def is_whole(self, name: str) -> bool:
        """Judges whether a file is a whole picture that `decode` reads.

        OpenCV alone does not tell: it fills what is missing of a truncated JPEG with grey. The usual formats are whole by their ends.
        """
        try:
            data = self.read(name)
        except InputError:
            return False
        if not any(data.startswith(first) and data.endswith(last) for first, last in _ENDS) and not _is_whole(data):
            return False
        cv2 = opencv("reading pictures")
        # An eighth of a JPEG takes a third of the time and fails where the whole would; other formats have no such short cut.
        return _decoded(data, cv2.IMREAD_REDUCED_COLOR_8 if data.startswith(_ENDS[0][0]) else cv2.IMREAD_COLOR) is not None

    def _zip(self) -> zipfile.ZipFile:
        # A fork shares the file position with its parent, so a handle is good only in the process that opened it.
        with self._lock:
            if self._local is None or self._local[0] != os.getpid():
                self._local = (os.getpid(), zipfile.ZipFile(self.path))
            return self._local[1]

    def __getstate__(self) -> dict[str, object]:
        """Leaves the open handle out, for processes that are spawned."""
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Path]) -> None:
        """Opens the same folder or file again."""
        self.__init__(state["path"])  # type: ignore[misc]


def decode(data: bytes, name: str, grey: bool = False) -> Pixels:
    """Decodes a picture, upright as its EXIF says.

    Args:
        data: The bytes of the file.
        name: What to call it in an error.
        grey: Return ``(h, w)`` luminance instead of ``(h, w, 3)`` RGB.

    Raises:
        InputError: Empty, or not a picture.
    """
    cv2 = opencv("reading pictures")
    pixels = _decoded(data, cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR)
    if pixels is None:
        raise InputError(f"{name!r} is not a picture that can be read; remove it or fetch it again")
    return np.asarray(pixels if grey else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _decoded(data: bytes, flags: int) -> Pixels | None:
    """Returns what OpenCV makes of a picture, None where it cannot read it."""
    cv2 = opencv("reading pictures")
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error:  # what it makes of sides beyond its limits
        return None


def _is_whole(data: bytes) -> bool:
    from PIL import Image as PillowImage

    try:
        with PillowImage.open(BytesIO(data)) as picture:
            picture.load()
    except Exception:  # of any kind: a damaged file leads Pillow's decoders anywhere
        return False
    return True


def report_skipped(source: str, skipped: Sequence[str], kept: int) -> None:
    """Says once how many pictures were left out; raises `DatasetError` when none is left."""
    if not kept:
        first = f"; the first of {len(skipped)} that cannot be read is {skipped[0]!r}" if skipped else ""
        raise DatasetError(f"{source} has no usable picture{first}")
    if skipped:
        everything = len(skipped) + kept
        logger.warning("%s: left out %d of %d pictures that cannot be read, the first is %r", source, len(skipped), everything, skipped[0])


class FilesDataset(EmotionDataset):
    """Pictures that stay in their files until they are asked for.

    Attributes:
        files: Where the pictures are.
        names: Their paths in it.
        scale: The crop scale of all pictures, see `crop_scale`.
    """

    files: Files
    names: list[str]
    scale: float = 1.0

    def _keep_whole(self, source: str, files: Files, names: Sequence[str], targets: Targets) -> None:
        """Sets the attributes, without the pictures that are missing, truncated or none."""
        whole = [files.is_whole(name) for name in names]
        skipped = [name for name, good in zip(names, whole, strict=True) if not good]
        report_skipped(source, skipped, len(names) - len(skipped))
        self.skipped = len(skipped)
        self.files = files
        self.names = [name for name, good in zip(names, whole, strict=True) if good]
        self.targets = targets.take(np.flatnonzero(whole))

    def picture(self, index: int) -> Pixels:
        """Reads one picture, ``(height, width, 3)`` RGB uint8; raises `InputError` if it has become unreadable."""
        return decode(self.files.read(self.names[index]), self.names[index])

    def crop_scale(self, index: int) -> float:
        """Returns the same scale for all pictures."""
        return self.scale

    def name(self, index: int) -> str:
        """Returns the path of the picture in its folder or zip file."""
        return self.names[index]

    def source(self, index: int) -> str:
        """Returns the picture that this one is, or is an altered copy of by its name, with the folder that both are in."""
        return source_of(f"{self.files.path.resolve().as_posix()}/{self.names[index]}")
