"""Writing files and folders so that a full disk, an error or a kill never leaves half of one (POSIX systems)."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from emotion_perception.engine.errors import EmotionPerceptionError, StorageError, WeightsError

_JOURNAL = ".saved"
_REMOVED = ".removed"


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Gives a temporary path beside ``path`` to write to, which replaces ``path`` when the block ends well.

    After an error nothing is left, and a file that was there before stays as it was. The temporary name keeps the suffix, so
    writers that choose a format by it do the right thing. Missing folders are made. A pipe or device is written to directly; one that
    is redirected to a file is refused, as the file would lose what it holds.

    Args:
        path: The file to write. A link stays a link; the file it points to is replaced.

    Raises:
        StorageError: Disk full, no permission, ``path`` is a folder or leads through a device to a file. Errors of the block about
            other files pass unchanged.
    """
    target = Path(path)
    try:
        is_folder, is_special = target.is_dir(), target.exists() and not target.is_file()
        resolved = target.resolve()
    except OSError as error:  # e.g. a name that is too long
        raise refusal(target, error) from error
    if is_folder:
        raise StorageError(f"cannot write {str(target)!r}: it is a folder; give the path of a file")
    if is_special:
        yield target
        return
    if _is_redirected(target, resolved):
        raise StorageError(f"cannot write {str(target)!r}: it leads to {str(resolved)!r}, which would be replaced; give that file's name")
    target = resolved
    prefix, suffix = f".{target.stem[:60]}.", f".part{target.suffix}"
    part = target.with_name(f"{prefix}{secrets.token_hex(4)}{suffix}")
    try:
        with made_folder(target.parent):
            _sweep(target.parent, prefix, suffix)
            with _temporary(part, is_folder=False):
                yield part
                _sync(part)
                part.replace(target)
                _sync(target.parent)
    except OSError as error:
        if isinstance(error, EmotionPerceptionError) or not _concerns(error, part):
            raise
        raise refusal(target, error) from error


@contextmanager
def folder_update(folder: str | Path, stale: Iterable[str] = ()) -> Iterator[Path]:
    """Gives an empty folder to write files into, which all go into ``folder`` at once when the block ends well.

    A folder that does not exist yet appears with its whole content. In one that does, the files are collected first; renaming
    that collection is the moment from which the new state holds, and what a kill interrupts after it, the next
    `folder_reading` or `folder_update` completes. Other files in the folder stay.

    Args:
        folder: Where the files go. Missing parents are made.
        stale: Names to remove from ``folder`` in the same step, unless the block wrote them.

    Raises:
        StorageError: The files could not be written; ``folder`` is as it was before and nothing is left over.
    """
    target = Path(folder).resolve()
    try:
        if target.exists() and not target.is_dir():
            raise StorageError(f"cannot write folder {str(target)!r}: a file is there; choose another name")
        home = target if target.is_dir() else target.parent
        prefix, suffix = f".{target.name[:60]}.", ".saving"
        staging = home / f"{prefix}{secrets.token_hex(4)}{suffix}"
        with made_folder(home):
            for place in {home, target.parent}:
                _sweep(place, prefix, suffix)
            with _temporary(staging, is_folder=True):
                yield staging
                _commit(staging, target, set(stale))
    except OSError as error:
        if isinstance(error, EmotionPerceptionError):
            raise
        raise refusal(target, error) from error


@contextmanager
def folder_reading(folder: Path) -> Iterator[None]:
    """Keeps a folder that `folder_update` writes unchanged while it is read, and completes an interrupted update first.

    Raises:
        StorageError: An update was interrupted and cannot be completed, e.g. for lack of permission.
    """
    if (folder / _JOURNAL).is_dir():
        try:
            with held(folder):
                _roll_forward(folder)
        except OSError as error:
            reason = f"a save into {str(folder)!r} was interrupted and cannot be completed ({error.strerror})"
            raise StorageError(f"{reason}; make the folder writable and read it once") from error
    with held(folder, shared=True):
        yield


@contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    """Makes a folder and its missing parents, and removes again what it made if the block fails and left it empty."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for each in missing:
            with suppress(OSError):
                each.rmdir()
        raise


def refusal(target: Path, error: OSError) -> StorageError:
    """Makes the error for a target that the operating system refuses to write."""
    way_out = "choose another path"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        way_out = "free some space or choose another folder"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        way_out = "choose a folder that you may write to"
    return StorageError(f"cannot write {str(target)!r}: {error.strerror or error}; {way_out}")


def lock(descriptor: int, *, shared: bool = False, wait: bool = True) -> bool:
    """Locks an open file or folder against other processes and threads until it is closed.

    Returns:
        False if another holds it and ``wait`` is False. True also where the file system knows no locks: they guard against
        rare overlaps, and no work should stop for lack of them.
    """
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


@contextmanager
def held(folder: Path, shared: bool = False) -> Iterator[None]:
    """Locks a folder for the block, as `lock` does."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        lock(descriptor, shared=shared)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _temporary(path: Path, is_folder: bool) -> Iterator[None]:
    """Makes an empty file or folder, locked while the block runs, and removes it if the block fails."""
    try:
        descriptor = _make_locked(path, is_folder)
        try:
            yield
        finally:
            os.close(descriptor)
    except BaseException:
        _remove(path)
        raise


def _make_locked(path: Path, is_folder: bool) -> int:
    """Makes an empty file or folder and returns its locked descriptor."""
    while True:
        if is_folder:
            path.mkdir()
        try:
            descriptor = os.open(path, os.O_RDONLY if is_folder else os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileNotFoundError:
            if not is_folder:
                raise
            continue
        lock(descriptor)
        # Before it was locked, another process's `_sweep` may have taken it for a leftover; then it is made again.
        if path.exists():
            return descriptor
        os.close(descriptor)


def _sweep(folder: Path, prefix: str, suffix: str) -> None:
    """Removes temporary files and folders of this name whose writer was killed: nobody holds their lock."""
    ours = re.compile(f"{re.escape(prefix)}[0-9a-f]{{8}}{re.escape(suffix)}")
    with suppress(OSError):  # clearing up must not stop a write that may well succeed
        for entry in folder.iterdir():
            if ours.fullmatch(entry.name):
                with suppress(OSError):  # no lock, no proof: it is held, or cannot be had here, and the entry stays
                    # NFS gives an exclusive lock only to who may write.
                    descriptor = os.open(entry, os.O_RDONLY if entry.is_dir() else os.O_RDWR)
                    try:
                        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        _remove(entry)
                    finally:
                        os.close(descriptor)


def _commit(staging: Path, target: Path, stale: set[str]) -> None:
    """Moves what was collected to its place; see `folder_update`."""
    files = list(staging.iterdir())
    for file in files:
        _sync(file)
    if not target.is_dir():
        with suppress(OSError):  # another process may have made the folder meanwhile
            _sync(staging)
            staging.rename(target)
            _sync(target.parent)
            return
    with held(target):
        _roll_forward(target)
        for file in files:
            if (target / file.name).is_dir():
                raise StorageError(f"cannot write {str(target / file.name)!r}: a folder has that name; choose another folder")
        for name in stale - {file.name for file in files}:
            if (target / name).is_file():
                (staging / f"{name}{_REMOVED}").touch()
        _sync(staging)
        staging.rename(target / _JOURNAL)
        _sync(target)
        _roll_forward(target)


def _roll_forward(target: Path) -> None:
    """Does what a committed update has not done yet; may be interrupted and repeated."""
    journal = target / _JOURNAL
    if not journal.is_dir():
        return
    for entry in list(journal.iterdir()):
        if entry.name.endswith(_REMOVED):
            (target / entry.name.removesuffix(_REMOVED)).unlink(missing_ok=True)
            entry.unlink()
        else:
            entry.replace(target / entry.name)
    _sync(target)
    journal.rmdir()


def _is_redirected(target: Path, resolved: Path) -> bool:
    """Says whether a name below /dev or /proc, such as /dev/stdout, leads to an ordinary file elsewhere."""
    special = ("/dev/", "/proc/")
    return os.path.abspath(target).startswith(special) and not str(resolved).startswith(special)  # noqa: PTH100


def _concerns(error: OSError, part: Path) -> bool:
    """Says whether an error is about a temporary file or a folder above it, not about something else the block used."""
    if error.filename is None:
        return True
    name = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else str(error.filename)
    return name.startswith(str(part)) or part.is_relative_to(name)


def _sync(path: Path) -> None:
    """Makes the system write a file's or folder's state to the disk now, where it can."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


class SameFile:
    """A file that is read once more later, and must still be the same then."""

    def __init__(self, path: Path) -> None:
        """Notes what is there now."""
        self._given, self._path, self._seen = path, path.absolute(), _identity(path)

    def path(self) -> Path:
        """Returns the absolute path; raises `WeightsError` if another file has taken its place."""
        if _identity(self._path) != self._seen:
            raise WeightsError(f"{str(self._given)!r} is gone or was replaced since it was made or loaded; load or optimise again")
        return self._path


def _identity(path: Path) -> tuple[int, ...] | None:
    """Returns what tells a file from another at the same place, None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
