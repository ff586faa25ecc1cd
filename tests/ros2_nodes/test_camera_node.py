from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from emotion_perception.engine.data import Image
from emotion_perception.engine.errors import InputError, UsageError
from emotion_perception.engine.vision.video import VideoWriter

pytest.importorskip("av")
try:
    import emotion_perception.ros2_nodes.runtime  # noqa: F401
except ImportError as error:
    pytest.skip(str(error), allow_module_level=True)

from emotion_perception.ros2_nodes import camera_node  # needs a runtime
from emotion_perception.ros2_nodes.camera_node import Source


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Six frames at 12 frames a second, each brighter than the one before."""
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, 12, (64, 48)) as writer:
        for i in range(6):
            writer.write(np.full((48, 64, 3), 40 * i, np.uint8))
    return path


def refuse(line: str) -> None:
    raise AssertionError(line)


def brightness(image: Image) -> int:
    return round(float(image.rgb.mean()) / 40)


def test_a_video_is_shown_once_in_its_own_time(clip: Path) -> None:
    shots = list(Source(str(clip)).shots(threading.Event(), refuse))
    assert [brightness(shot.image) for shot in shots] == list(range(6))
    assert [shot.due_s for shot in shots] == pytest.approx([i / 12 for i in range(6)], abs=1e-4)


def test_a_video_that_starts_again_goes_on_in_time(clip: Path) -> None:
    shots = list(islice(Source(str(clip), loop=True).shots(threading.Event(), refuse), 15))
    assert [brightness(shot.image) for shot in shots] == [i % 6 for i in range(15)]
    assert [shot.due_s for shot in shots] == pytest.approx([i / 12 for i in range(15)], abs=1e-4)


def test_another_rate(clip: Path) -> None:
    shots = list(islice(Source(str(clip), 50.0, loop=True).shots(threading.Event(), refuse), 9))
    assert [shot.due_s for shot in shots] == pytest.approx([i / 50 for i in range(9)])


@pytest.mark.parametrize(("rate", "expected"), [(None, 10.0), (4.0, 4.0)])
def test_a_picture_is_repeated_until_told_to_stop(portrait: Path, rate: float | None, expected: float) -> None:
    stop = threading.Event()
    shots = Source(str(portrait), rate).shots(stop, refuse)
    assert [next(shots).due_s for _ in range(4)] == pytest.approx([i / expected for i in range(4)])
    stop.set()
    assert next(shots, None) is None


def fake_camera(count: int) -> Iterator[Image]:
    """There is no camera where tests run."""
    for i in range(count):
        yield Image(np.full((4, 4, 3), i, np.uint8))
    raise InputError("camera 3 gives no more pictures; check that it is plugged in")


def test_an_unplugged_camera_is_said_once_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = iter([fake_camera(2), None, None, fake_camera(5)])

    def opened(index: int) -> Iterator[Image]:
        assert index == 3
        camera = next(attempts)
        if camera is None:
            raise InputError("camera 3 cannot be opened")
        return camera

    monkeypatch.setattr("emotion_perception.engine.vision.video.camera", opened)
    monkeypatch.setattr(camera_node, "_RETRY_S", 0.001)
    lines: list[str] = []
    shots = list(islice(Source("/dev/video3").shots(threading.Event(), lines.append), 4))
    assert [int(shot.image.rgb[0, 0, 0]) for shot in shots] == [0, 1, 0, 1]
    assert [shot.due_s for shot in shots] == [None] * 4
    assert lines == ["camera 3 gives no more pictures; check that it is plugged in; trying again every 0.001 s", "camera 3 is back"]


def test_waiting_for_a_camera_ends_when_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emotion_perception.engine.vision.video.camera", lambda index: fake_camera(1))
    stop = threading.Event()
    shots = Source("3").shots(stop, lambda line: stop.set())
    assert len(list(shots)) == 1


@pytest.mark.parametrize("name", ["missing.mp4", "missing.png", "text.mp4", "empty.jpg"])
def test_a_bad_file_is_refused_at_once(tmp_path: Path, name: str) -> None:
    if not name.startswith("missing"):
        (tmp_path / name).write_bytes(b"" if name.startswith("empty") else b"no video\n" * 50)
    with pytest.raises(InputError, match=name):
        Source(str(tmp_path / name))


@pytest.mark.parametrize("rate", [0.0, -1.0, 1e9, float("nan")])
def test_a_rate_that_cannot_be(clip: Path, rate: float) -> None:
    with pytest.raises(UsageError, match="Hz"):
        Source(str(clip), rate)
