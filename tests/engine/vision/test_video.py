from __future__ import annotations

import logging
import resource
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from emotion_perception.engine.errors import InputError, StorageError, UsageError
from emotion_perception.engine.vision.video import VideoWriter, camera, read_video

av = pytest.importorskip("av")


def numbered(count: int, width: int = 64, height: int = 48) -> Iterator[np.ndarray]:
    """Frames whose grey level is their number times four, with a red upper left corner."""
    for i in range(count):
        frame = np.full((height, width, 3), 4 * i % 256, np.uint8)
        frame[: height // 4, : width // 4] = (255, 0, 0)
        yield frame


def written(path: Path, count: int = 20, rate: Fraction | float = 25, size: tuple[int, int] = (64, 48)) -> Path:
    with VideoWriter(path, rate, size) as writer:
        for frame in numbered(count, *size):
            writer.write(frame)
    return path


def intra_video(path: Path, count: int, stamps_ms: list[int] | None = None) -> Path:
    """A video of whole pictures, so that damage to one packet costs one frame."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "1", "crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for i, pixels in enumerate(numbered(count)):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = stamps_ms[i] if stamps_ms else 40 * i, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), Fraction(25, 2), 30, 29.97, 120])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_every_frame_and_the_rate_survive(tmp_path: Path, rate: Fraction | float, suffix: str) -> None:
    with read_video(written(tmp_path / f"video{suffix}", 20, rate)) as video:
        images = list(video)
        assert video.fps == pytest.approx(float(rate), rel=2e-3)
        assert video.size == (64, 48)
        assert video.frame_count_estimate == pytest.approx(20, abs=1)
        assert video.skipped_packets == 0
    assert [int(image.rgb[40, 50, 0]) for image in images] == pytest.approx([4 * i for i in range(20)], abs=2)
    assert [image.stamp_s for image in images] == pytest.approx([i / float(rate) for i in range(20)], abs=1e-3)


def test_colours_survive(tmp_path: Path) -> None:
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 120, 30), (255, 255, 255)]
    with VideoWriter(tmp_path / "colours.mp4", 25, (32, 32)) as writer:
        for colour in colours:
            writer.write(np.full((32, 32, 3), colour, np.uint8))
    seen = [image.rgb[16, 16].tolist() for image in read_video(tmp_path / "colours.mp4")]
    assert np.abs(np.array(seen) - colours).max() <= 6


def test_a_variable_rate_is_kept(tmp_path: Path) -> None:
    stamps_s = [0.0, 0.04, 0.1, 0.5, 0.51, 1.7]
    with VideoWriter(tmp_path / "variable.mp4", 25, (64, 48)) as writer:
        for frame, stamp_s in zip(numbered(6), stamps_s, strict=True):
            writer.write(frame, stamp_s)
    assert [image.stamp_s for image in read_video(tmp_path / "variable.mp4")] == pytest.approx(stamps_s, abs=1e-3)


def test_stamps_grow_even_where_the_files_do_not_and_begin_at_zero(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "same.mp4", 25, (64, 48)) as writer:
        for frame in numbered(4):
            writer.write(frame, 0.2)
    stamps_s = [image.stamp_s for image in read_video(tmp_path / "same.mp4")]
    assert len(stamps_s) == 4
    late = [image.stamp_s for image in read_video(intra_video(tmp_path / "late.mkv", 3, [5000, 5040, 5100]))]
    assert late == pytest.approx([0.0, 0.04, 0.1], abs=2e-3)
    assert all(b > a for stamps in (stamps_s, late) for a, b in pairwise(stamps))


@pytest.mark.parametrize("size", [(63, 48), (64, 47), (1, 1), (33, 31)])
def test_odd_sizes_repeat_their_last_column_or_row(tmp_path: Path, size: tuple[int, int]) -> None:
    with read_video(written(tmp_path / "odd.mp4", 3, 25, size)) as video:
        image = next(video)
    assert video.size == (size[0] + size[0] % 2, size[1] + size[1] % 2)
    assert np.abs(image.rgb[-1].astype(int) - image.rgb[-2]).max() < 40


@pytest.mark.parametrize(("degrees", "corner"), [(90, (-1, 0)), (-90, (0, -1)), (180, (-1, -1))])
def test_rotated_video_comes_upright(tmp_path: Path, degrees: int, corner: tuple[int, int]) -> None:
    with av.open(str(tmp_path / "turned.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        if not hasattr(stream, "set_display_rotation"):
            pytest.skip("this PyAV cannot write a rotation")
        stream.set_display_rotation(degrees)
        for pixels in numbered(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    with read_video(tmp_path / "turned.mp4") as video:
        image = next(video)
    assert video.size == ((48, 64) if degrees != 180 else (64, 48))
    assert (image.width, image.height) == video.size
    # The red corner, at the upper left as stored, turns counter-clockwise by the angle.
    red = image.rgb[corner][0]
    assert red > 180
    assert image.rgb[image.height // 2, image.width // 2, 0] < 60


@pytest.mark.parametrize("name", ["2024:1.mp4", "-i.mp4", "file:.mp4"])
def test_a_relative_name_is_a_file_whatever_it_looks_like(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    written(tmp_path / name, 3)
    monkeypatch.chdir(tmp_path)
    with read_video(name) as video:
        assert video.path == Path(name)
        assert (len(list(video)), video.count()) == (3, 3)


def test_a_file_that_does_not_say_its_rate_gets_a_plain_one_and_keeps_its_stamps(tmp_path: Path) -> None:
    stamps_ms = [0, 31, 66, 105, 133, 170]
    with av.open(str(tmp_path / "browser.webm"), "w") as container:
        stream = container.add_stream("libvpx", rate=1000)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for pixels, stamp_ms in zip(numbered(6), stamps_ms, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = stamp_ms, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(str(tmp_path / "browser.webm")) as container:
        assert container.streams.video[0].average_rate == 1000
    with read_video(tmp_path / "browser.webm") as video, VideoWriter(tmp_path / "copy.mp4", video.rate, video.size) as writer:
        assert video.fps == 25.0
        for image in video:
            writer.write(image.rgb, image.stamp_s)
    with read_video(tmp_path / "copy.mp4") as copy:
        assert [image.stamp_s for image in copy] == pytest.approx([stamp_ms / 1000 for stamp_ms in stamps_ms], abs=1e-3)


def test_damaged_packets_are_skipped_counted_and_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = intra_video(tmp_path / "damaged.mkv", 12)
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    assert len(packets) == 12
    data = path.read_bytes()
    for broken in (4, 7):
        data = data.replace(packets[broken], b"\xff" * len(packets[broken]))
    path.write_bytes(data)
    with caplog.at_level(logging.WARNING), read_video(path) as video:
        images = list(video)
    assert video.skipped_packets == 2
    assert [round(image.rgb[40, 50, 0] / 4) for image in images] == [0, 1, 2, 3, 5, 6, 8, 9, 10, 11]
    assert [record.getMessage() for record in caplog.records] == [f"video {path}: damaged packets skipped: 2"]


def test_a_cut_off_video_gives_what_is_there(tmp_path: Path) -> None:
    path = intra_video(tmp_path / "cut.mkv", 60)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    levels = [round(image.rgb[40, 50, 0] / 4) for image in read_video(path)]
    assert 10 < len(levels) < 60
    assert levels == list(range(len(levels)))


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("not a video " * 50)
    (tmp_path / "text.txt").write_text("not a video " * 50)
    whole = written(tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    for name in ("missing.mp4", "empty.mp4", "text.mp4", "text.txt", "cut.mp4", "sound.wav", "."):
        with pytest.raises(InputError) as caught:
            read_video(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_memory_stays_flat(tmp_path: Path) -> None:
    def resident_mb() -> float:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 2**20

    path = written(tmp_path / "long.mp4", 900, 25, (320, 240))
    with read_video(path) as video, VideoWriter(tmp_path / "copy.mp4", video.rate, video.size) as writer:
        for i, image in enumerate(video):
            writer.write(image.rgb, image.stamp_s)
            if i == 200:
                before_mb = resident_mb()
        assert resident_mb() - before_mb < 20  # the frames since then have 153 MB
    assert writer.frames == 900


def test_the_iterator_ends_and_the_file_can_be_left_early(tmp_path: Path) -> None:
    path = written(tmp_path / "video.mp4", 8)
    video = read_video(path)
    assert len(list(video)) == 8
    assert list(video) == []
    video.close()
    with read_video(path) as video:
        next(video)
    assert list(video) == []


def test_an_error_leaves_no_half_written_video(tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    target.write_bytes(b"what was there before")
    with pytest.raises(RuntimeError, match="on purpose"), VideoWriter(target, 25, (64, 48)) as writer:  # noqa: PT012
        writer.write(next(numbered(1)))
        raise RuntimeError("on purpose")
    assert target.read_bytes() == b"what was there before"
    with pytest.raises(InputError, match="no frame"), VideoWriter(target, 25, (64, 48)):
        pass
    with pytest.raises(InputError, match=r"\(48, 64, 3\)"), VideoWriter(target, 25, (64, 48)) as writer:
        writer.write(np.zeros((50, 64, 3), np.uint8))
    assert [file.name for file in tmp_path.iterdir()] == ["out.mp4"]
    written(target, 5)
    assert len(list(read_video(target))) == 5


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (40, 240, 320, 3), dtype=np.uint8)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))  # a file larger than that is refused like a full disk
    try:
        with pytest.raises(StorageError) as caught, VideoWriter(tmp_path / "large.mp4", 25, (320, 240)) as writer:  # noqa: PT012
            for frame in frames:
                writer.write(frame)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "large.mp4" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "fps", "size"),
    [("video.gif", 25, (4, 4)), ("video", 25, (4, 4)), ("v.mp4", 0, (4, 4)), ("v.mp4", float("nan"), (4, 4)), ("v.mp4", 25, (0, 4))],
)
def test_arguments_that_cannot_be_written_are_refused(tmp_path: Path, name: str, fps: float, size: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="expected"):
        VideoWriter(tmp_path / name, fps, size)


def test_a_camera_that_is_not_there_is_said() -> None:
    with pytest.raises(InputError, match="camera 97"):
        camera(97)


@pytest.mark.parametrize(
    ("name", "count", "size"),
    [
        ("WolfgangLanger_Pexels.mp4", 472, (640, 360)),
        ("face_noface.mov", 169, (960, 540)),
        ("head-pose-face-detection-female-and-male.gif", 56, (480, 270)),
    ],
)
def test_real_videos_read_whole(test_data: Path, name: str, count: int, size: tuple[int, int]) -> None:
    with read_video(test_data / "data" / "media" / name) as video:
        stamps_s = [image.stamp_s for image in video]
    assert len(stamps_s) == count
    assert video.size == size
    assert video.skipped_packets == 0
    assert stamps_s[0] == 0.0
    assert np.all(np.diff(stamps_s) > 0)
    assert count / stamps_s[-1] == pytest.approx(video.fps, rel=0.06)
