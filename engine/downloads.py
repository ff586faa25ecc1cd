"""Fetching files: verified, resumed where they broke off, from the network, a mirror or a local path."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from emotion_perception.engine.cards import ModelCard, WeightFile
from emotion_perception.engine.errors import DownloadError, EmotionPerceptionError, StorageError, WeightsError, unknown_name
from emotion_perception.engine.storage import lock, made_folder, refusal

logger = logging.getLogger(__name__)

CACHE_VARIABLE = "EMOTION_PERCEPTION_CACHE"
OFFLINE_VARIABLE = "EMOTION_PERCEPTION_OFFLINE"
MIRROR_VARIABLE = "EMOTION_PERCEPTION_MIRROR"
ATTEMPTS = 4
BACKOFF_S = 0.5
CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 30.0
_CHUNK = 1 << 16


def cache_dir() -> Path:
    """Returns the folder of fetched files: ``EMOTION_PERCEPTION_CACHE``, else the platform's cache folder. It need not exist."""
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given).expanduser()
    import pooch

    return Path(pooch.os_cache("emotion_perception"))


def fetch(
    file: WeightFile,
    folder: str | Path | None = None,
    url: str | None = None,
    progress: bool = True,
    check: Callable[[Path], object] | None = None,
) -> Path:
    """Makes sure that a published file is in a folder, whole and right, and returns its path.

    A right copy that is already there is used as it is, without a network. Otherwise ``<EMOTION_PERCEPTION_MIRROR>/<name>`` is
    tried first where that variable is set, then the file's own address. What arrived before a connection broke is kept in a hidden
    file and continued by the next call; the file gets its name only when its digest is right. Where none was published, ``check`` says
    whether it is right, the digest that it has is logged, and what broke off starts anew.

    Args:
        file: Name, address and digest.
        folder: Where to put it; `cache_dir` if None.
        url: The only address to use instead: http, https or file, or a local path; of the file, or (a local folder, or ending in
            ``/``) of a folder that holds it.
        progress: Show a progress bar on a terminal.
        check: Raises `WeightsError` for a file that is not the right one; for files without a digest.

    Raises:
        DownloadError: No address gave the right file, or ``EMOTION_PERCEPTION_OFFLINE`` forbids the network.
        StorageError: The folder cannot be written.
    """
    mirror = os.environ.get(MIRROR_VARIABLE)
    addresses = [url] if url else [f"{mirror.rstrip('/')}/", file.url] if mirror else [file.url]
    target = (cache_dir() if folder is None else Path(folder)) / file.name
    _fetch([_of_file(address, file.name) for address in addresses], target, file.digest, progress, check)
    if file.digest is None:
        found = digest_of(target)
        logger.warning("%s: its publisher names no digest, so only its content was checked; this copy is %s", target.name, found)
    return target


def fetch_published(
    card: ModelCard, folder: str | Path, mode: str = "pretrained", url: str | None = None, check: Callable[[Path], object] | None = None
) -> Path:
    """Fetches all files that a card names, as `Learner.download` promises it, and returns the folder they are in.

    Args:
        card: Of the published weights.
        folder: What ``pretrained/<learner>`` is made in.
        mode: ``pretrained``; anything else raises `UsageError`.
        url: Another folder (http, https or file) that the files lie in.
        check: As `fetch` takes it.

    Raises:
        DownloadError: A file could not be had.
        StorageError: The folder cannot be written.
    """
    if mode != "pretrained":
        raise unknown_name("download mode", mode, ("pretrained",))
    target = Path(folder) / mode / card.learner
    for file in card.files:
        fetch(file, target, None if url is None else f"{url.rstrip('/')}/{file.name}", check=check)
    return target


def fetch_url(url: str, target: str | Path, digest: str | None = None, progress: bool = True) -> Path:
    """Fetches one address into a file, as `fetch` does.

    Without a digest an existing ``target`` is taken as it is, and a download that broke off starts anew: nothing says whether what
    is already there belongs to the same content.

    Args:
        url: http, https or file address, or a local path.
        target: The file to write.
        digest: ``sha256:<hex>`` or ``git-blob:<hex>``; None if unknown.
        progress: Show a progress bar on a terminal.

    Raises:
        DownloadError: The address cannot be read, or gave something else.
        StorageError: The file cannot be written.
    """
    return _fetch([url], Path(target), digest, progress)


def digest_of(path: Path, kind: str = "sha256") -> str:
    """Returns the digest of a file's content: ``sha256:<hex>``, or for ``git-blob`` the id that git gives it."""
    if kind == "git-blob":
        state = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
        with path.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                state.update(chunk)
        return f"git-blob:{state.hexdigest()}"
    import pooch

    return f"sha256:{pooch.file_hash(str(path), alg='sha256')}"


def _fetch(addresses: list[str], target: Path, digest: str | None, progress: bool, check: Callable[[Path], object] | None = None) -> Path:
    try:
        if target.is_dir():
            raise StorageError(f"cannot write {str(target)!r}: it is a folder; give the path of a file")
        if _is_right(target, digest) and _problem(check, target) is None:
            return target
        if target.exists():
            logger.warning("%s is damaged or of another version; fetching it again", target)
        with made_folder(target.parent), _partial(target, keep=digest is not None) as (part, stream):
            # Another process may have fetched it while this one waited.
            if _is_right(target, digest) and _problem(check, target) is None:
                return target
            _fill(addresses, part, stream, target, digest, progress)
            problem = _problem(check, part)
            if problem is not None:
                way_out = f"check the address, or put the right file at {str(target)!r}"
                raise DownloadError(f"{_shown(addresses[-1])} gave another file than {target.name!r}: {problem}; {way_out}")
            os.fsync(stream.fileno())
            part.replace(target)
    except OSError as error:
        if isinstance(error, EmotionPerceptionError):
            raise
        raise refusal(target, error) from error
    return target


def _fill(addresses: list[str], part: Path, stream: BinaryIO, target: Path, digest: str | None, progress: bool) -> None:
    """Fills the partial file with the right content from the first address that has it, or raises the last one's error."""
    for number, address in enumerate(addresses, 1):
        try:
            _transfer(address, part, stream, target, digest, progress)
            return
        except DownloadError as error:
            if number == len(addresses):
                raise
            logger.warning("%s; trying the next address", error)


def _transfer(address: str, part: Path, stream: BinaryIO, target: Path, digest: str | None, progress: bool) -> None:
    """Fetches one address into the partial file; what was there before is continued if it turns out to fit."""
    if digest is None:
        stream.truncate(0)
    continued = _size(stream) > 0
    if continued and _is_right(part, digest):
        return
    try:
        scheme = urlsplit(address).scheme
    except ValueError as error:
        raise DownloadError(f"address {address!r} is malformed: {error}; give an http, https or file address or a local path") from None
    if scheme in ("http", "https"):
        if os.environ.get(OFFLINE_VARIABLE, "0") not in ("", "0"):
            way_out = f"put it at {str(target)!r} or unset the variable"
            raise DownloadError(f"there is no right copy of {target.name!r}, and {OFFLINE_VARIABLE} forbids the network; {way_out}")
        _download(address, stream, target, digest is not None, progress)
    elif scheme == "file" or "://" not in address:
        _copy(Path(unquote(urlsplit(address).path)) if scheme == "file" else Path(address).expanduser(), stream, target)
        continued = False
    else:
        raise DownloadError(f"cannot download {address!r}: unknown scheme {scheme!r}; give an http, https or file address or a local path")
    stream.flush()
    if _is_right(part, digest):
        return
    found = digest_of(part, str(digest).partition(":")[0])
    stream.truncate(0)
    if continued:
        logger.info("the part of %s from an earlier attempt does not fit; starting anew", target.name)
        _transfer(address, part, stream, target, digest, progress)
        return
    raise DownloadError(
        f"{_shown(address)} gave another file than {target.name!r}: {found}, expected {digest}; "
        f"check the address, or put the right file at {str(target)!r}"
    )


def _download(address: str, stream: BinaryIO, target: Path, resumable: bool, progress: bool) -> None:
    import requests
    from urllib3.exceptions import MaxRetryError, ReadTimeoutError

    reason = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            logger.info("%s: %s; attempt %d of %d", target.name, reason, attempt + 1, ATTEMPTS)
            time.sleep(BACKOFF_S * 2 ** (attempt - 1))
        if not resumable:
            stream.truncate(0)
        start = _size(stream)
        # Compressed transfer would make the range count other bytes than the file's.
        headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {})}
        connected = False
        try:
            with requests.get(address, headers=headers, stream=True, timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S)) as response:
                connected = True
                status = response.status_code
                reason = f"the server answers {status} {response.reason}"
                if start and status == 416:  # it has no more bytes than are here, and those are not right
                    stream.truncate(0)
                    continue
                if status >= 400:
                    if status < 500 and status not in (408, 429):
                        break
                    continue
                if not (status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {start}-")):
                    stream.truncate(0)
                total = int(response.headers.get("Content-Length") or 0)
                with _progress_bar(target.name, _size(stream), total, progress) as advance:
                    for chunk in response.iter_content(_CHUNK):
                        stream.write(chunk)
                        advance(len(chunk))
                        total -= len(chunk)
                if total <= 0:
                    return
                reason = "the connection broke off"
        except (requests.ConnectTimeout, requests.ReadTimeout) as error:
            reason = f"no answer within {CONNECT_TIMEOUT_S if isinstance(error, requests.ConnectTimeout) else READ_TIMEOUT_S:g} s"
            break
        except requests.ConnectionError as error:
            if not connected and isinstance(error.args[0], MaxRetryError):
                reason = f"no connection ({type(error).__name__})"
                break  # nobody there: a machine without a network should not wait for more attempts
            reason = "the connection stalled" if isinstance(error.args[0], ReadTimeoutError) else "the connection broke off"
        except requests.exceptions.ChunkedEncodingError:
            reason = "the connection broke off"
        except (requests.RequestException, ValueError) as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            break
    way_out = f"check network and address, give another address, or put the file at {str(target)!r}"
    raise DownloadError(f"cannot download {target.name!r} from {_shown(address)}: {reason}; {way_out}")


def _copy(source: Path, stream: BinaryIO, target: Path) -> None:
    stream.truncate(0)
    try:
        original = source.open("rb")
    except OSError as error:
        raise DownloadError(f"cannot read {str(source)!r} for {target.name!r}: {error.strerror}; give the path of the file") from None
    with original:
        shutil.copyfileobj(original, stream)


@contextmanager
def _partial(target: Path, keep: bool) -> Iterator[tuple[Path, BinaryIO]]:
    """Opens the hidden partial file of a target for appending, locked against other processes that want the same.

    Args:
        target: The file in the making.
        keep: Keep what arrived when a download fails, so that it can be continued.
    """
    part = target.with_name(f".{target.name}.part")
    while True:
        stream = part.open("ab")
        if not lock(stream.fileno(), wait=False):
            logger.info("waiting for another process that is fetching %s", target.name)
            lock(stream.fileno())
        # Whoever held the lock before has moved the file to its place, or removed it: then this one is no longer the partial file.
        if part.exists() and part.stat().st_ino == os.fstat(stream.fileno()).st_ino:
            break
        stream.close()
    try:
        yield part, stream
    except BaseException as error:
        full = isinstance(error, OSError) and not isinstance(error, EmotionPerceptionError)
        if not keep or full or _size(stream) == 0:
            part.unlink(missing_ok=True)
        raise
    else:
        if part.exists() and part.stat().st_ino == os.fstat(stream.fileno()).st_ino:
            part.unlink()  # not needed: another process had fetched the file
    finally:
        with suppress(OSError):  # on a full disk, what is still buffered fails once more
            stream.close()


@contextmanager
def _progress_bar(name: str, done: int, remaining: int, wanted: bool) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not (wanted and console.is_terminal)) as bar:
        task = bar.add_task(name, total=done + remaining if remaining else None, completed=done)
        yield lambda count: bar.update(task, advance=count)


def _is_right(path: Path, digest: str | None) -> bool:
    return path.is_file() and (digest is None or digest_of(path, digest.partition(":")[0]) == digest)


def _problem(check: Callable[[Path], object] | None, path: Path) -> str | None:
    """Returns what a check finds wrong with a file; None if nothing, or without a check."""
    if check is None:
        return None
    try:
        check(path)
    except WeightsError as error:
        return str(error).partition("; ")[0]
    return None


def _size(stream: BinaryIO) -> int:
    stream.flush()
    return os.fstat(stream.fileno()).st_size


def _of_file(address: str, name: str) -> str:
    """Returns the address of a file, given that of the file or of a folder that holds it."""
    if address.endswith("/"):
        return address + name
    return str(Path(address).expanduser() / name) if "://" not in address and Path(address).expanduser().is_dir() else address


def _shown(address: str) -> str:
    """Returns an address without the password it may contain."""
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if parts.netloc else address
