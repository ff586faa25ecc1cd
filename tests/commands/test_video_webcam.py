from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from emotion_perception.commands.webcam import NewestFrame, Rate, line
from emotion_perception.engine.data import Image
from emotion_perception.engine.errors import InputError
from emotion_perception.engine.target import FrameResult
from emotion_perception.engine.vision.video import VideoWriter, read_video

av = pytest.importorskip("av")


def portraits(portrait: Path, count: int) -> list[np.ndarray]:
    """Frames in which the face moves a little to the right."""
    picture = np.asarray(PillowImage.open(portrait).convert("RGB").crop((100, 0, 356, 256)))
    return [np.ascontiguousarray(np.roll(picture, 2 * i, axis=1)) for i in range(count)]


@pytest.fixture
def clip(portrait: Path, tmp_path: Path) -> Path:
    """A video of 12 frames at 12 frames a second."""
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, 12, (256, 256)) as writer:
        for frame in portraits(portrait, 12):
            writer.write(frame)
    return path


def test_every_frame_is_judged_drawn_and_written(command, clip: Path, tiny_weights: Path, tmp_path: Path) -> None:
    files = ("--save", tmp_path / "out.mp4", "--csv", tmp_path / "t.csv", "--jsonl", tmp_path / "t.jsonl")
    status, out, err = command("video", clip, "--weights", tiny_weights, "--detector", "haar", *files)
    assert status == 0
    assert [f"wrote {file}" in err for file in files[1::2]] == [True] * 3
    header, row = out.splitlines()
    assert header.split() == ["face", "from_s", "to_s", "frames", "emotion", "share", "valence", "arousal"]
    assert row.split()[0] == "1"

    table = list(csv.DictReader((tmp_path / "t.csv").open()))
    assert {row["track_id"] for row in table} == {"1"}
    assert [row["frame"] for row in table] == [str(i) for i in range(12)]
    stamps = [json.loads(text)["stamp_s"] for text in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert stamps == pytest.approx([i / 12 for i in range(12)], abs=1e-4)

    with read_video(clip) as before, read_video(tmp_path / "out.mp4") as after:
        assert (after.rate, after.size) == (before.rate, before.size)
        pairs = list(zip(before, after, strict=True))
    assert len(pairs) == 12
    assert all((np.abs(a.rgb.astype(int) - b.rgb) > 60).any(axis=2).sum() > 200 for a, b in pairs)


def test_json_summary(command, clip: Path, tiny_weights: Path) -> None:
    status, out, err = command("video", clip, "--weights", tiny_weights, "--detector", "haar", "--json")
    assert (status, err) == (0, "")
    summary = json.loads(out)
    assert (summary["frames"], summary["fps"]) == (12, 12.0)
    spent = summary["latency_ms"]
    assert 0 < spent["infer"] < spent["total"]
    assert spent["detect"] + spent["infer"] < spent["total"]
    (face,) = summary["faces"]
    assert face["frames"] == 12
    assert 0 < face["share"] <= 1


def test_timings_are_written_into_the_frames_that_are_kept(command, clip: Path, tiny_weights: Path, tmp_path: Path) -> None:
    words = ("video", clip, "--weights", tiny_weights, "--detector", "haar")
    assert command(*words, "--save", tmp_path / "plain.mp4").status == 0
    assert command(*words, "--save", tmp_path / "timed.mp4", "--timings").status == 0
    with read_video(tmp_path / "plain.mp4") as plain, read_video(tmp_path / "timed.mp4") as timed:
        for a, b in zip(plain, timed, strict=True):
            changed = np.abs(a.rgb.astype(int) - b.rgb).max(axis=2) > 100
            assert changed[:24].sum() > 100
            assert not changed[40:].any()
    status, _, err = command(*words, "--timings")
    assert (status, err.count("\n")) == (2, 1)
    assert "--save" in err


@pytest.mark.parametrize("kind", ["missing", "empty", "truncated", "text"])
def test_a_bad_video_is_one_line_and_leaves_nothing(command, clip: Path, tmp_path: Path, kind: str) -> None:
    bad = tmp_path / "bad.mp4"
    content = {"missing": None, "empty": b"", "truncated": clip.read_bytes()[:300], "text": b"no video\n" * 50}[kind]
    if content is not None:
        bad.write_bytes(content)
    before = sorted(tmp_path.iterdir())
    status, out, err = command("video", bad, "--save", tmp_path / "out.mp4", "--csv", tmp_path / "t.csv")
    assert (status, out) == (1, "")
    assert err.startswith("emotion-perception: error: ")
    assert err.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_what_ends_it_early_leaves_nothing_behind(
    portrait: Path, tiny_weights: Path, tmp_path: Path, quiet_environment: None, sent: signal.Signals, status: int
) -> None:
    frames = portraits(portrait, 8)
    with VideoWriter(tmp_path / "long.mp4", 25, (256, 256)) as writer:
        for i in range(400):
            writer.write(frames[i % 8])
    line = [
        sys.executable,
        "-m",
        "emotion_perception",
        "video",
        "long.mp4",
        "--weights",
        str(tiny_weights),
        "--save",
        "o.mp4",
        "--csv",
        "o.csv",
    ]
    # Where the tests run in the background of a shell, SIGINT is ignored, and a child would inherit that.
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    running = subprocess.Popen(line, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed)
    until = time.monotonic() + 60
    while not list(tmp_path.glob(".o.*.part.csv")) and time.monotonic() < until:
        time.sleep(0.05)
    running.send_signal(sent)
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (status, "")
    assert "Traceback" not in err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["long.mp4"]


@pytest.mark.parametrize("name", ["clip.mp4", "out.avi"])
def test_a_target_that_cannot_be_is_refused_before_anything_is_done(command, clip: Path, tmp_path: Path, name: str) -> None:
    content = clip.read_bytes()
    status, _, err = command("video", clip, "--save", tmp_path / name)
    assert status == 2
    assert err.count("\n") == 1
    assert clip.read_bytes() == content


def test_a_camera_that_is_not_there_is_one_line(process) -> None:
    status, out, err = process("webcam", "97")
    assert (status, out) == (1, "")
    assert err.startswith("emotion-perception: error: camera 97 cannot be opened")
    assert err.count("\n") == 1


def fake_camera(frames: list[np.ndarray], error: Exception | None = None) -> Generator[Image, None, None]:
    for i, frame in enumerate(frames):
        yield Image(frame, stamp_s=i / 10)
    if error is not None:
        raise error


def test_webcam_prints_and_writes_what_it_sees(
    command, monkeypatch: pytest.MonkeyPatch, portrait: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr("emotion_perception.engine.vision.video.camera", lambda index: fake_camera(portraits(portrait, 3)))
    words = ("webcam", "--no-window", "--weights", tiny_weights, "--detector", "haar")
    status, out, _ = command(*words, "--jsonl", tmp_path / "t.jsonl")
    assert status == 0
    lines = out.splitlines()
    # Never more than the camera gave; the newest one is always among them.
    assert 1 <= len(lines) <= 3
    assert all("FPS" in text and "#1" in text and "valence" in text for text in lines)
    assert json.loads((tmp_path / "t.jsonl").read_text().splitlines()[-1])["stamp_s"] == 0.2
    status, out, err = command(*words, "--save", tmp_path / "me.mp4")
    assert (status, out) == (0, "")
    assert "wrote" in err
    with read_video(tmp_path / "me.mp4") as video:
        assert video.size == (256, 256)
        assert 1 <= len(list(video)) <= 3


def test_an_unplugged_camera_is_one_line(command, monkeypatch: pytest.MonkeyPatch, portrait: Path, tiny_weights: Path) -> None:
    gone = InputError("camera 0 gives no more pictures; check that it is plugged in")
    monkeypatch.setattr("emotion_perception.engine.vision.video.camera", lambda index: fake_camera(portraits(portrait, 1), gone))
    status, _, err = command("webcam", "--no-window", "--weights", tiny_weights, "--detector", "haar")
    assert status == 1
    assert err.splitlines()[-1] == f"emotion-perception: error: {gone}"


@pytest.mark.parametrize(("ended", "ends"), [(InputError("camera 0 gives no more pictures"), 1), (SystemExit(143), 143)])
def test_what_a_webcam_saw_is_kept_when_it_is_unplugged_or_told_to_end(
    command, monkeypatch: pytest.MonkeyPatch, portrait: Path, tiny_weights: Path, tmp_path: Path, ended: BaseException, ends: int
) -> None:
    def frames() -> Generator[Image, None, None]:
        for i, frame in enumerate(portraits(portrait, 2)):
            yield Image(frame, stamp_s=i / 10)
            judged.wait(20.0)  # each is judged before the next
            judged.clear()
        raise ended

    judged = threading.Event()
    monkeypatch.setattr("emotion_perception.engine.vision.video.camera", lambda index: frames())
    monkeypatch.setattr("emotion_perception.commands.webcam.Rate.tick", lambda self: judged.set() or 1.0)
    words = ("webcam", "--no-window", "--weights", tiny_weights, "--detector", "haar")
    status, _, err = command(*words, "--save", tmp_path / "me.mp4", "--csv", tmp_path / "me.csv")
    assert status == ends
    assert err.count("wrote ") == 2
    with read_video(tmp_path / "me.mp4") as video:
        assert len(list(video)) == 2
    assert len((tmp_path / "me.csv").read_text().splitlines()) == 3


def test_only_the_newest_frame_is_handed_out() -> None:
    taken = threading.Event()

    def frames() -> Generator[Image, None, None]:
        for i in range(50):
            yield Image(np.full((2, 2, 3), i, np.uint8))
        taken.set()

    with NewestFrame(frames()) as newest:
        assert taken.wait(5.0)
        assert [int(image.rgb[0, 0, 0]) for image in newest] == [49]


def test_frames_per_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("emotion_perception.commands.webcam.time.monotonic", lambda: now[0])
    rate = Rate()
    for _ in range(40):
        fps = rate.tick()
        now[0] += 0.1
    assert fps == pytest.approx(10.0)


def test_a_line_says_when_there_is_no_face() -> None:
    from emotion_perception.engine.labels import AFFECTNET8

    assert line(FrameResult((), "esr", AFFECTNET8, 4, 4), 9.96) == "10.0 FPS  no face"
