"""Files and folders are whole or not there: after errors, on a full disk, and after a kill at any step."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import emotion_perception
from emotion_perception.engine.errors import InputError, StorageError
from emotion_perception.engine.storage import atomic_write, folder_reading, folder_update

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(emotion_perception.__file__).parents[1])}


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"cannot mount a small file system here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


# ---- one file -----------------------------------------------------------------------------------------------------------


def test_a_file_appears_whole_under_its_name(tmp_path):
    target = tmp_path / "a" / "b" / "video.mp4"
    with atomic_write(target) as part:
        assert part.suffix == ".mp4"
        assert part.parent == target.parent
        part.write_bytes(b"new")
        assert not target.exists()
    assert target.read_bytes() == b"new"
    assert names(target.parent) == ["video.mp4"]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "rows.csv"
    target.write_text("old")

    def write_half() -> None:
        with atomic_write(target) as part:
            part.write_text("half")
            raise InputError("bad frame")

    with pytest.raises(InputError):
        write_half()
    assert target.read_text() == "old"
    assert names(tmp_path) == ["rows.csv"]
    with pytest.raises(KeyboardInterrupt), atomic_write(tmp_path / "new" / "rows.csv"):
        raise KeyboardInterrupt
    assert names(tmp_path) == ["rows.csv"]


def test_errors_about_other_files_stay_what_they_are(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "out.csv"):
        (tmp_path / "input.csv").read_text()
    assert names(tmp_path) == []


def test_a_full_disk_is_a_storage_error(small_disk):
    target = small_disk / "big.bin"
    target.write_bytes(b"old")
    with pytest.raises(StorageError, match="free some space") as error, atomic_write(target) as part:
        part.write_bytes(bytes(2_000_000))
    assert "\n" not in str(error.value)
    assert target.read_bytes() == b"old"
    assert names(small_disk) == ["big.bin"]


def test_targets_that_cannot_be_files(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="it is a folder"), atomic_write(tmp_path):
        pass
    with pytest.raises(StorageError, match="cannot write"), atomic_write(tmp_path / "file" / "below"):
        pass
    with pytest.raises(StorageError, match="too long"), atomic_write(tmp_path / ("n" * 300)):
        pass
    with pytest.raises(StorageError, match="too long"), folder_update(tmp_path / ("n" * 300)):
        pass
    assert names(tmp_path) == ["file"]


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    with atomic_write(tmp_path / "link.txt") as part:
        part.write_text("new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


def test_a_device_is_written_to_and_not_replaced(tmp_path):
    with atomic_write("/dev/null") as part:
        part.write_text("gone")
    assert Path("/dev/null").is_char_device()
    os.mkfifo(tmp_path / "pipe")
    reader = threading.Thread(target=lambda: received.append((tmp_path / "pipe").read_text()))
    received: list[str] = []
    reader.start()
    with atomic_write(tmp_path / "pipe") as part:
        part.write_text("through")
    reader.join(5)
    assert received == ["through"]


def test_new_files_have_ordinary_permissions(tmp_path):
    before = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "file") as part:
            part.write_text("x")
        with folder_update(tmp_path / "folder") as staging:
            (staging / "file").write_text("x")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o750


def write_within_a_write(target):
    """Has two writers at one file at once, and asserts that neither takes the other's away and that nothing else is left."""
    with atomic_write(target) as first:
        first.write_text("first")
        with atomic_write(target) as second:
            second.write_text("second")
        assert first.read_text() == "first"
    assert target.read_text() == "first"
    assert names(target.parent) == [target.name]


def test_what_a_killed_writer_left_is_cleared_and_what_a_living_one_writes_is_not(tmp_path):
    program = "import os, sys, signal\nfrom emotion_perception.engine.storage import atomic_write\n"
    program += "with atomic_write(sys.argv[1]) as part: part.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    child = subprocess.run([sys.executable, "-c", program, str(tmp_path / "out.csv")], env=ENVIRONMENT, check=False)
    assert child.returncode == -signal.SIGKILL
    assert len(names(tmp_path)) == 1
    write_within_a_write(tmp_path / "out.csv")


def test_on_nfs_a_living_writers_file_is_not_cleared(tmp_path, monkeypatch):
    real = fcntl.flock

    def as_on_nfs(descriptor: int, operation: int) -> None:
        reads_only = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
        if operation & fcntl.LOCK_EX and reads_only:
            raise OSError(errno.EBADF, "Bad file descriptor")
        real(descriptor, operation)

    def without_locks(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    for flock in (as_on_nfs, without_locks):
        monkeypatch.setattr(fcntl, "flock", flock)
        write_within_a_write(tmp_path / "out.csv")


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no /proc on this system")
def test_a_redirected_device_is_refused_with_the_name_of_its_file(tmp_path):
    file = tmp_path / "all.csv"
    file.write_text("before\n")
    with file.open("a") as stream:
        for name in (f"/dev/fd/{stream.fileno()}", f"/proc/self/fd/{stream.fileno()}"):
            said = f"cannot write '{name}': it leads to '{file}', which would be replaced; give that file's name"
            with pytest.raises(StorageError, match=f"^{re.escape(said)}$"), atomic_write(name) as part:
                part.write_text("gone")
    assert file.read_text() == "before\n"


# ---- a folder -----------------------------------------------------------------------------------------------------------


def put(folder: Path, content: str, files: tuple[str, ...] = ("a", "b"), stale: tuple[str, ...] = ("a", "b", "gone")) -> None:
    with folder_update(folder, stale) as staging:
        for name in files:
            (staging / name).write_text(content)


def contents(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in sorted(folder.iterdir())}


def test_a_folder_appears_with_its_whole_content(tmp_path):
    folder = tmp_path / "deep" / "weights"
    with folder_update(folder) as staging:
        (staging / "a").write_text("1")
        assert not folder.exists()
    assert contents(folder) == {"a": "1"}
    assert names(folder.parent) == ["weights"]


def test_an_update_replaces_removes_and_keeps(tmp_path):
    put(tmp_path, "old", ("a", "b", "gone"))
    (tmp_path / "foreign").write_text("mine")
    put(tmp_path, "new")
    assert contents(tmp_path) == {"a": "new", "b": "new", "foreign": "mine"}


def test_a_failed_update_changes_nothing(tmp_path, small_disk):
    put(small_disk, "old")
    with pytest.raises(StorageError, match="free some space"):
        put(small_disk, "x" * 600_000)
    assert contents(small_disk) == {"a": "old", "b": "old"}
    with pytest.raises(StorageError, match="free some space"):
        put(small_disk / "new" / "folder", "x" * 600_000)
    assert contents(small_disk) == {"a": "old", "b": "old"}
    (tmp_path / "blocked" / "a").mkdir(parents=True)
    with pytest.raises(StorageError, match="a folder has that name"):
        put(tmp_path / "blocked", "x")
    assert names(tmp_path / "blocked") == ["a"]
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="a file is there"):
        put(tmp_path / "file", "x")


KILLED_AT_A_STEP = """
import os, signal, sys
from pathlib import Path
from emotion_perception.engine.storage import folder_update

left = int(sys.argv[2])

def step(event, arguments):
    global left
    if event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "open") and str(arguments[0]).startswith(sys.argv[1]):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(step)
with folder_update(Path(sys.argv[1]), ("a", "b", "gone")) as staging:
    for name in ("a", "b"):
        (staging / name).write_text("new")
"""


def test_a_kill_at_any_step_leaves_all_old_or_all_new(tmp_path):
    (tmp_path / "program.py").write_text(KILLED_AT_A_STEP)
    folder = tmp_path / "weights"
    seen = []
    for number in range(100):
        put(folder, "old", ("a", "b", "gone"))
        (folder / "foreign").write_text("mine")
        assert names(folder) == ["a", "b", "foreign", "gone"]
        child = subprocess.run([sys.executable, str(tmp_path / "program.py"), str(folder), str(number)], env=ENVIRONMENT, check=False)
        with folder_reading(folder):
            found = {name: (folder / name).read_text() for name in ("a", "b", "gone", "foreign") if (folder / name).exists()}
        old = {"a": "old", "b": "old", "gone": "old", "foreign": "mine"}
        new = {"a": "new", "b": "new", "foreign": "mine"}
        assert found in (old, new)
        seen.append(found == new)
        if child.returncode == 0:
            break
        assert child.returncode == -signal.SIGKILL
    assert seen == sorted(seen), "once the new state holds, it holds"
    assert seen[-1]
    assert seen.count(False) >= 5
    assert seen.count(True) >= 4  # kills after the moment that counts, completed by the reader


def test_a_new_folder_killed_half_way_is_not_there_and_is_cleared(tmp_path):
    (tmp_path / "program.py").write_text(KILLED_AT_A_STEP.replace("startswith(sys.argv[1])", "endswith('/b')"))
    folder = tmp_path / "models" / "weights"
    subprocess.run([sys.executable, str(tmp_path / "program.py"), str(folder), "0"], env=ENVIRONMENT, check=False)
    assert not folder.exists()
    assert len(names(folder.parent)) == 1
    put(folder, "new")
    assert names(folder.parent) == ["weights"]
    assert contents(folder) == {"a": "new", "b": "new"}


def test_an_interrupted_update_that_cannot_be_completed_is_said(tmp_path, monkeypatch):
    put(tmp_path, "old")
    (tmp_path / ".saved").mkdir()
    (tmp_path / ".saved" / "a").write_text("new")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", refuse)
        with pytest.raises(StorageError, match="interrupted"), folder_reading(tmp_path):
            pass
    with folder_reading(tmp_path):
        assert contents(tmp_path) == {"a": "new", "b": "old"}


def test_a_folder_does_not_change_while_it_is_read(tmp_path):
    put(tmp_path, "old")
    writer = threading.Thread(target=put, args=(tmp_path, "new"))
    with folder_reading(tmp_path):
        writer.start()
        writer.join(0.3)
        assert {name: (tmp_path / name).read_text() for name in ("a", "b")} == {"a": "old", "b": "old"}
    writer.join(10)
    assert contents(tmp_path) == {"a": "new", "b": "new"}


def test_a_reader_never_sees_a_mixture(tmp_path):
    put(tmp_path, "0")
    failures = []

    def write() -> None:
        try:
            for number in range(1, 16):
                put(tmp_path, str(number))
        except Exception as error:
            failures.append(error)

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        with folder_reading(tmp_path):
            assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text()
    assert failures == []
    assert contents(tmp_path) == {"a": "15", "b": "15"}
