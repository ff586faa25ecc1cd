"""Video files in and out, frame by frame, and cameras."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotion_perception.engine.data import Image, describe
from emotion_perception.engine.errors import InputError, MissingDependencyError, StorageError, UsageError
from emotion_perception.engine.vision.opencv import opencv

logger = logging.getLogger(__name__)

# Containers that keep each frame's own time.
_FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
# MPEG-4 allows at most 65535 ticks a second; 60000 holds the usual rates exactly.
_TICKS_PER_SECOND = 60000
_RATE_LIMIT = 1000  # frames per second
_ITU709 = 1


def read_video(path: str | Path) -> VideoReader:
    """Opens a video file (anything FFmpeg decodes, animated GIF too) to be read frame by frame.

    Raises:
        InputError: The file is missing, empty, or has no picture that can be decoded.
        MissingDependencyError: PyAV is not installed.
    """
    return VideoReader(path)


class VideoReader:
    """An iterator over the frames of a video, each an `Image` with its own time; also a context manager that closes the file.

    Only the frame in hand is kept, so memory stays flat. Frames are upright as the file's rotation says. Packets that cannot be
    decoded are skipped, and said in one warning at the end. A stream that changes its size is scaled to the size of its first frame.

    Attributes:
        path: The file.
        rate: Average frames per second, exact; 25 where the file does not say it, as those that browsers record.
        size: Width and height of the frames, in pixels.
        frame_count_estimate: Number of frames the file claims to have, or None.
        skipped_packets: Damaged packets so far.
    """

    def __init__(self, path: str | Path) -> None:
        """Opens the file and decodes its first frame."""
        av = _pyav("reading video")
        self.path = Path(path)
        self._address = str(self.path.absolute())  # FFmpeg takes what stands before a relative name's colon for a protocol
        self.skipped_packets = 0
        with ExitStack() as on_error:
            try:
                if self.path.stat().st_size == 0:
                    raise InputError(f"video {str(self.path)!r} is empty (0 bytes); give a video file")
                self._container = on_error.enter_context(av.open(self._address))
            except av.FFmpegError as error:
                raise InputError(f"{str(self.path)!r} is not a video that can be read ({error.strerror}); give e.g. an MP4 file") from None
            except OSError as error:
                if isinstance(error, InputError):
                    raise
                raise InputError(f"cannot read video {str(self.path)!r}: {error.strerror}; give a video file") from None
            self._stream = self._picture_track()
            # Where a file does not say its rate, FFmpeg may take the clock of its stamps for it: 1000 in Matroska and WebM.
            guesses = (self._stream.average_rate, self._stream.guessed_rate)
            self.rate: Fraction = next((rate for rate in guesses if rate and rate < _RATE_LIMIT), Fraction(25))
            self.frame_count_estimate = self._estimate()
            self._frames = self._decoded()
            self._first: Image | None = next(self._frames, None)
            if self._first is None:
                raise InputError(f"no frame of video {str(self.path)!r} can be decoded; give a whole video file")
            self.size = self._first.width, self._first.height
            on_error.pop_all()

    @property
    def fps(self) -> float:
        """Average frames per second."""
        return float(self.rate)

    def __iter__(self) -> VideoReader:
        """Returns itself: a video is read once; open it again to read it again."""
        return self

    def __next__(self) -> Image:
        """Returns the next frame; its ``stamp_s`` counts from the first one and always grows."""
        image, self._first = self._first, None  # decoded already, to open the file
        return image or next(self._frames)

    def __enter__(self) -> VideoReader:
        """Returns itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Closes the file."""
        self.close()

    def count(self) -> int:
        """Returns how many frames the file holds, without decoding them; what is damaged counts too."""
        av = _pyav("reading video")
        count = 0
        with suppress(av.FFmpegError), av.open(self._address) as container:
            for packet in container.demux(container.streams[self._stream.index]):
                count += packet.size > 0
        return count

    def close(self) -> None:
        """Closes the file; damaged packets are reported now. Closing twice does no harm."""
        self._frames.close()
        self._first = None
        self._container.close()

    def _picture_track(self) -> Any:
        """Returns the first track of moving pictures."""
        av = _pyav("reading video")
        # A sound file's cover is no video, and FFmpeg would draw any text file as if it were a terminal.
        tracks = [track for track in self._container.streams.video if not track.disposition & av.stream.Disposition.attached_pic]
        if not tracks or self._container.format.name == "tty":
            raise InputError(f"{str(self.path)!r} has no video track; give a video file")
        return tracks[0]

    def _estimate(self) -> int | None:
        if self._stream.frames:
            return int(self._stream.frames)
        if self._stream.duration:
            count: int = round(self._stream.duration * self._stream.time_base * self.rate)
            return count
        return round(self._container.duration / 1e6 * self.rate) if self._container.duration else None

    def _decoded(self) -> Generator[Image, None, None]:
        """Yields upright frames with growing stamps."""
        start_s: float = 0.0
        stamp_s: float | None = None
        size: dict[str, int] = {}
        try:
            for frame in self._decoded_frames():
                time_s = None if frame.pts is None else float(frame.pts * frame.time_base)
                if stamp_s is None:
                    start_s, stamp_s = time_s or 0.0, 0.0
                    size = {"width": frame.width, "height": frame.height}
                elif time_s is not None and time_s - start_s > stamp_s:
                    stamp_s = time_s - start_s
                else:  # no stamp, or one that goes backwards
                    stamp_s += float(1 / self.rate)
                rgb = frame.to_ndarray(format="rgb24", **size)
                quarter_turns = round(frame.rotation / 90) % 4  # counter-clockwise, as NumPy counts them
                yield Image(np.ascontiguousarray(np.rot90(rgb, quarter_turns)) if quarter_turns else rgb, stamp_s)
        finally:
            if self.skipped_packets:
                logger.warning("video %s: damaged packets skipped: %d", self.path, self.skipped_packets)

    def _decoded_frames(self) -> Iterator[Any]:
        """Yields what can be decoded and counts the packets that cannot."""
        av = _pyav("reading video")
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
                frames = [] if packet is None else packet.decode()
            except av.FFmpegError:
                self.skipped_packets += 1
                continue
            if packet is None:
                return
            yield from frames


class VideoWriter:
    """A context manager that writes an H.264 video (MPEG-4 where FFmpeg has no x264), all of it or nothing.

    The frames go to a temporary file beside the target, which takes its place when the block ends well. H.264 needs even sizes: a
    picture of odd width or height gets its last column or row twice.
    """

    def __init__(self, path: str | Path, fps: float | Fraction, size: tuple[int, int]) -> None:
        """Checks the arguments; the file is opened by ``with``.

        Args:
            path: The video to write: ``.mp4``, ``.m4v``, ``.mov`` or ``.mkv``.
            fps: Frames per second of frames that come without a stamp, and what the file says; `VideoReader.rate` keeps it exact.
            size: Width and height of the frames, in pixels.

        Raises:
            UsageError: A suffix, rate or size that cannot be written.
        """
        self.path = Path(path)
        if self.path.suffix.lower() not in _FORMATS:
            raise UsageError(f"video file {str(path)!r} ends in {self.path.suffix!r}, expected one of {', '.join(_FORMATS)}")
        if not 0 < fps < _RATE_LIMIT:
            raise UsageError(f"fps is {fps}, expected a number above 0 and below {_RATE_LIMIT}")
        if min(size) < 1:
            raise UsageError(f"size is {size}, expected width and height in pixels")
        self.rate = Fraction(fps).limit_denominator(1001)
        self.size = size
        self.frames = 0
        self._ticks = -1
        # A whole number of ticks per frame where that is possible, so that the rate comes out exact.
        numerator = self.rate.numerator
        self._tick = Fraction(1, numerator * (_TICKS_PER_SECOND // numerator) or _TICKS_PER_SECOND)

    def __enter__(self) -> VideoWriter:
        """Opens the temporary file."""
        self._file = self._opened()
        self._file.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool | None:
        """Finishes the video, or, after an error, removes what was written.

        Raises:
            StorageError: The rest could not be written.
            InputError: There was no frame.
        """
        return self._file.__exit__(kind, error, trace)

    def write(self, frame_rgb: NDArray[np.uint8], stamp_s: float | None = None) -> None:
        """Adds a frame.

        Args:
            frame_rgb: ``(height, width, 3)`` uint8 RGB, of the writer's size.
            stamp_s: When it is shown, in seconds from the first frame, to keep a variable rate; by number and rate if None.

        Raises:
            InputError: The frame has another shape or type.
            StorageError: It could not be written, e.g. the disk is full.
        """
        av = _pyav("writing video")
        width, height = self.size
        if getattr(frame_rgb, "shape", None) != (height, width, 3) or frame_rgb.dtype != np.uint8:
            raise InputError(f"the video takes ({height}, {width}, 3) uint8 RGB frames, got {describe(frame_rgb)}")
        if width % 2 or height % 2:
            frame_rgb = np.pad(frame_rgb, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(frame_rgb, format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=_ITU709)
        shown_s = Fraction(stamp_s) if stamp_s is not None else self.frames / self.rate
        self._ticks = max(round(shown_s / self._tick), self._ticks + 1)  # times must grow
        frame.pts, frame.time_base = self._ticks, self._tick
        self._put(frame)
        self.frames += 1

    @contextmanager
    def _opened(self) -> Iterator[None]:
        from emotion_perception.engine.weights import atomic_write

        av = _pyav("writing video")
        with atomic_write(self.path) as part:
            try:
                self._container = av.open(str(part), "w", format=_FORMATS[self.path.suffix.lower()])
                self._stream = self._add_stream()
            except av.FFmpegError as error:
                raise self._refusal(error) from None
            try:
                yield
                if not self.frames:
                    raise InputError(f"no frame was given for video {str(self.path)!r}; nothing was written")
                self._put(None)
                try:
                    self._container.close()
                except av.FFmpegError as error:
                    raise self._refusal(error) from None
            finally:
                with suppress(av.FFmpegError):
                    self._container.close()

    def _add_stream(self) -> Any:
        av = _pyav("writing video")
        codec, options = "libx264", {"preset": "veryfast", "crf": "20"}
        if codec not in av.codecs_available:
            codec, options = "mpeg4", {"qscale": "3"}
        stream = self._container.add_stream(codec, rate=self.rate, options=options)
        width, height = self.size
        stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
        stream.time_base = stream.codec_context.time_base = self._tick
        # Said in the file, so that players show the colours that went in.
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = _ITU709
        context.color_range = 1
        return stream

    def _put(self, frame: Any) -> None:
        """Encodes a frame (None: the rest) and writes what the encoder gives."""
        try:
            self._container.mux(self._stream.encode(frame))
        except _pyav("writing video").FFmpegError as error:
            raise self._refusal(error) from None

    def _refusal(self, error: Any) -> StorageError:
        return StorageError(f"cannot write video {str(self.path)!r}: {error.strerror}; check the free space, or choose another place")


def camera(index: int = 0) -> Generator[Image, None, None]:
    """Opens a camera and returns an iterator over its pictures, stamped in seconds since it was opened; closing it frees the camera.

    Args:
        index: Number of the camera, from 0.

    Raises:
        InputError: There is no such camera, or it stops giving pictures.
        MissingDependencyError: OpenCV is not installed.
    """
    cv2 = opencv("reading a camera")
    source = cv2.VideoCapture(index)
    if not source.isOpened():
        source.release()
        raise InputError(f"camera {index} cannot be opened; check that it is there, that you may read it, and that no program uses it")
    source.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest picture, not one that waited
    return _camera_pictures(source, index)


def _camera_pictures(source: Any, index: int) -> Generator[Image, None, None]:
    start_s = time.monotonic()
    try:
        while True:
            there, frame_bgr = source.read()
            if not there:
                raise InputError(f"camera {index} gives no more pictures; check that it is plugged in")
            yield Image.from_array(frame_bgr, "bgr", stamp_s=time.monotonic() - start_s)
    finally:
        source.release()


def _pyav(purpose: str) -> Any:
    try:
        import av
    except ImportError:
        raise MissingDependencyError("PyAV", purpose, "video") from None
    return av
