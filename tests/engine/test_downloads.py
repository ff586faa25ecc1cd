"""Downloads against a real server on this machine: whole, broken off, wrong, silent, absent; and without any server."""

from __future__ import annotations

import hashlib
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import emotion_perception
from emotion_perception.engine import downloads
from emotion_perception.engine.cards import WeightFile
from emotion_perception.engine.errors import DownloadError, StorageError
from emotion_perception.engine.weights import cache_dir, digest_of, fetch, fetch_url

CONTENT = bytes(range(256)) * 2000  # 512,000 bytes: several chunks
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
NAME = "weights.bin"
PART = f".{NAME}.part"


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


class Site:
    """What the server has, what it was asked for, and how it misbehaves on the next requests (in order; then it behaves)."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.files = {f"/{NAME}": CONTENT}
        self.asked: list[tuple[str, str | None]] = []
        self.plan: deque[str] = deque()
        self.released = threading.Event()

    @property
    def file(self) -> WeightFile:
        return WeightFile(NAME, f"{self.address}/{NAME}", SHA256)

    @property
    def ranges(self) -> list[str | None]:
        return [asked for _, asked in self.asked]

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        asked = request.headers.get("Range")
        self.asked.append((request.path, asked))
        fault, _, value = (self.plan.popleft() if self.plan else "").partition(":")
        if fault == "status":
            request.send_error(int(value))
            return
        if fault in ("silent", "close"):
            self.released.wait(20 if fault == "silent" else 0)
            return
        content = self.files.get(request.path)
        if content is None:
            request.send_error(404)
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and fault != "no-range" else 0
        if start >= len(content):
            request.send_error(416)
            return
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        request.send_header("Content-Length", str(len(content) - start))
        request.end_headers()
        body = content[start:]
        if fault in ("break", "stall"):
            body = body[: int(value)]
        request.wfile.write(body)
        request.wfile.flush()
        if fault == "stall":
            self.released.wait(20)


@pytest.fixture
def site(monkeypatch):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.site.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.site = Site(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield server.site
    server.site.released.set()
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def _quick_and_clean(monkeypatch):
    monkeypatch.setattr(downloads, "BACKOFF_S", 0.01)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for variable in (downloads.CACHE_VARIABLE, downloads.OFFLINE_VARIABLE, downloads.MIRROR_VARIABLE):
        monkeypatch.delenv(variable, raising=False)


@contextmanager
def largest_file(size: int):
    """Makes every write beyond a size fail, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def one_line(error: pytest.ExceptionInfo[BaseException]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


# ---- whole files --------------------------------------------------------------------------------------------------------


def test_a_file_is_fetched_once_and_then_taken_from_the_folder(site, tmp_path):
    path = fetch(site.file, tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / NAME
    assert path.read_bytes() == CONTENT
    assert names(path.parent) == [NAME]
    assert fetch(site.file, path.parent) == path
    assert len(site.asked) == 1


def test_without_a_folder_the_cache_is_used(site, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "platform"))
    assert cache_dir().name == "emotion_perception"
    monkeypatch.setenv(downloads.CACHE_VARIABLE, str(tmp_path / "cache"))
    assert cache_dir() == tmp_path / "cache"
    assert not cache_dir().exists()
    assert fetch(site.file) == tmp_path / "cache" / NAME


def test_git_blob_digest_is_what_git_computes(site, tmp_path):
    (tmp_path / "hello").write_bytes(b"hello\n")
    assert digest_of(tmp_path / "hello", "git-blob") == "git-blob:ce013625030ba8dba906f756967f9e9ca394464a"
    site.files["/hello"] = b"hello\n"
    file = WeightFile("hello", f"{site.address}/hello", "git-blob:ce013625030ba8dba906f756967f9e9ca394464a")
    assert fetch(file, tmp_path / "folder").read_bytes() == b"hello\n"


def test_a_damaged_copy_is_replaced(site, tmp_path):
    (tmp_path / NAME).write_bytes(CONTENT[:1000])
    assert fetch(site.file, tmp_path).read_bytes() == CONTENT


def test_the_file_has_ordinary_permissions(site, tmp_path):
    before = os.umask(0o022)
    try:
        assert fetch(site.file, tmp_path).stat().st_mode & 0o777 == 0o644
    finally:
        os.umask(before)


# ---- broken downloads ---------------------------------------------------------------------------------------------------


def test_a_broken_connection_is_continued_where_it_broke(site, tmp_path):
    site.plan.extend(["break:300000", "status:503", "break:100000"])
    assert fetch(site.file, tmp_path).read_bytes() == CONTENT
    assert site.ranges[0] is None
    starts = [int(asked.removeprefix("bytes=").rstrip("-")) for asked in site.ranges[1:]]
    assert starts[0] == starts[1] > 0
    assert starts[2] > starts[1]
    assert names(tmp_path) == [NAME]


def test_a_download_that_failed_is_continued_by_the_next_call(site, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "ATTEMPTS", 1)
    site.plan.append("break:300000")
    with pytest.raises(DownloadError, match="broke off") as error:
        fetch(site.file, tmp_path)
    assert str(tmp_path / NAME) in one_line(error)
    assert names(tmp_path) == [PART]
    kept = (tmp_path / PART).stat().st_size
    assert fetch(site.file, tmp_path).read_bytes() == CONTENT
    assert site.ranges == [None, f"bytes={kept}-"]
    assert names(tmp_path) == [NAME]


@pytest.mark.parametrize(
    "left_over", [b"x" * 1000, b"x" * len(CONTENT), CONTENT + b"x"], ids=["wrong beginning", "wrong and as long", "too long"]
)
def test_a_partial_file_that_does_not_fit_is_discarded(site, tmp_path, left_over):
    (tmp_path / PART).write_bytes(left_over)
    assert fetch(site.file, tmp_path).read_bytes() == CONTENT
    assert site.ranges[-1] is None
    assert names(tmp_path) == [NAME]


def test_a_partial_file_that_is_whole_needs_no_network(tmp_path):
    (tmp_path / PART).write_bytes(CONTENT)
    assert fetch(WeightFile(NAME, "http://127.0.0.1:9/none", SHA256), tmp_path).read_bytes() == CONTENT


def test_a_server_without_ranges_gives_the_whole_file_again(site, tmp_path):
    (tmp_path / PART).write_bytes(CONTENT[:1000])
    site.plan.append("no-range")
    assert fetch(site.file, tmp_path).read_bytes() == CONTENT
    assert len(site.asked) == 1


def test_a_killed_download_is_continued(site, tmp_path):
    site.plan.append("stall:400000")
    child = start_fetching(site.file, tmp_path)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not ((tmp_path / PART).exists() and (tmp_path / PART).stat().st_size > 300_000):
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert names(tmp_path) == [PART]
    kept = (tmp_path / PART).stat().st_size
    assert fetch(site.file, tmp_path).read_bytes() == CONTENT
    assert site.ranges == [None, f"bytes={kept}-"]


def test_processes_that_want_the_same_file_fetch_it_once(site, tmp_path):
    site.plan.extend(["break:200000"])
    children = [start_fetching(site.file, tmp_path) for _ in range(3)]
    for child in children:
        output, errors = child.communicate(timeout=60)
        assert child.returncode == 0, errors
        assert output.strip() == SHA256
    assert len(site.asked) == 2  # one that broke and one that went on
    assert names(tmp_path) == [NAME]


def start_fetching(file: WeightFile, folder: Path) -> subprocess.Popen[str]:
    program = (
        "import sys; from emotion_perception.engine.weights import *; from emotion_perception.engine.cards import WeightFile;"
        "print(digest_of(fetch(WeightFile(*sys.argv[1:4]), sys.argv[4])))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(emotion_perception.__file__).parents[1])}
    command = [sys.executable, "-c", program, file.name, file.url, file.digest, str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


# ---- failures -----------------------------------------------------------------------------------------------------------


def test_wrong_content_is_refused_and_leaves_nothing(site, tmp_path):
    site.files[f"/{NAME}"] = b"<html>please log in</html>"
    with pytest.raises(DownloadError, match="gave another file") as error:
        fetch(site.file, tmp_path / "folder")
    message = one_line(error)
    assert SHA256 in message
    assert hashlib.sha256(b"<html>please log in</html>").hexdigest() in message
    assert names(tmp_path) == []


def test_wrong_content_leaves_the_old_file(site, tmp_path):
    (tmp_path / NAME).write_bytes(b"an older version")
    site.files[f"/{NAME}"] = b"something else"
    with pytest.raises(DownloadError):
        fetch(site.file, tmp_path)
    assert (tmp_path / NAME).read_bytes() == b"an older version"
    assert names(tmp_path) == [NAME]


def test_a_missing_address_is_asked_once(site, tmp_path):
    site.files.clear()
    with pytest.raises(DownloadError, match="404") as error:
        fetch(site.file, tmp_path / "folder")
    assert site.file.url in one_line(error)
    assert len(site.asked) == 1
    assert names(tmp_path) == []


def test_a_server_in_trouble_is_asked_a_few_times(site, tmp_path):
    site.plan.extend(["status:503"] * 10)
    with pytest.raises(DownloadError, match="503"):
        fetch(site.file, tmp_path)
    assert len(site.asked) == downloads.ATTEMPTS
    assert names(tmp_path) == []


def test_a_server_that_never_answers_is_left(site, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "READ_TIMEOUT_S", 0.2)
    site.plan.append("silent")
    with pytest.raises(DownloadError, match=r"no answer within 0\.2 s") as error:
        fetch(site.file, tmp_path)
    one_line(error)
    assert len(site.asked) == 1
    assert names(tmp_path) == []


def test_a_download_that_stalls_is_continued(site, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "READ_TIMEOUT_S", 0.2)
    site.plan.append("stall:300000")
    assert fetch(site.file, tmp_path).read_bytes() == CONTENT
    assert site.ranges[1] is not None


def test_a_connection_closed_without_an_answer_is_tried_again(site, tmp_path):
    site.plan.append("close")
    assert fetch(site.file, tmp_path).read_bytes() == CONTENT


def test_nobody_listens(tmp_path):
    with pytest.raises(DownloadError, match="no connection") as error:
        fetch(WeightFile(NAME, "http://someone:secret@127.0.0.1:9/weights.bin", SHA256), tmp_path / "folder")
    assert "secret" not in one_line(error)
    assert names(tmp_path) == []


def test_a_full_disk_leaves_nothing(site, tmp_path):
    with largest_file(200_000), pytest.raises(StorageError, match="too large") as error:
        fetch(site.file, tmp_path / "folder")
    assert "free some space" in one_line(error)
    assert names(tmp_path) == []
    assert fetch(site.file, tmp_path / "folder").read_bytes() == CONTENT


def test_places_that_cannot_be_written(site, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder" / NAME).mkdir(parents=True)
    with pytest.raises(StorageError, match="cannot write"):
        fetch(site.file, tmp_path / "file")
    with pytest.raises(StorageError, match="it is a folder"):
        fetch(site.file, tmp_path / "folder")
    with pytest.raises(StorageError, match=r"cannot write.*too long"):  # refused to root too, as another user's folder is to others
        fetch(site.file, tmp_path / ("x" * 300))
    assert site.asked == []


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("ftp://127.0.0.1/weights.bin", "unknown scheme 'ftp'"),
        ("http://[half/weights.bin", "malformed"),
        ("http:///weights.bin", "No host"),
    ],
)
def test_addresses_that_are_none(tmp_path, address, reason):
    with pytest.raises(DownloadError, match=reason) as error:
        fetch(WeightFile(NAME, address, SHA256), tmp_path)
    assert address in one_line(error)
    assert names(tmp_path) == []


# ---- other places -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["path", "folder", "folder/", "file:", "file:folder/"])
def test_local_sources_need_no_network(tmp_path, monkeypatch, kind):
    monkeypatch.setenv(downloads.OFFLINE_VARIABLE, "1")
    folder = tmp_path / "with a blank"
    folder.mkdir()
    (folder / NAME).write_bytes(CONTENT)
    address = {
        "path": str(folder / NAME),
        "folder": str(folder),
        "folder/": f"{folder}/",
        "file:": (folder / NAME).as_uri(),
        "file:folder/": f"{folder.as_uri()}/",
    }[kind]
    path = fetch(WeightFile(NAME, "http://127.0.0.1:9/none", SHA256), tmp_path / "to", url=address)
    assert path.read_bytes() == CONTENT
    assert names(tmp_path / "to") == [NAME]


def test_local_sources_are_checked_too(tmp_path):
    (tmp_path / "truncated").write_bytes(CONTENT[:-1])
    file = WeightFile(NAME, "http://127.0.0.1:9/none", SHA256)
    with pytest.raises(DownloadError, match="gave another file"):
        fetch(file, tmp_path / "to", url=str(tmp_path / "truncated"))
    with pytest.raises(DownloadError, match="No such file") as error:
        fetch(file, tmp_path / "to", url=str(tmp_path / "absent"))
    assert str(tmp_path / "absent") in one_line(error)
    assert not (tmp_path / "to").exists()


def test_offline_forbids_the_network_but_not_the_cache(site, tmp_path, monkeypatch):
    monkeypatch.setenv(downloads.OFFLINE_VARIABLE, "1")
    with pytest.raises(DownloadError, match=downloads.OFFLINE_VARIABLE) as error:
        fetch(site.file, tmp_path)
    assert str(tmp_path / NAME) in one_line(error)
    assert site.asked == []
    (tmp_path / NAME).write_bytes(CONTENT)
    assert fetch(site.file, tmp_path) == tmp_path / NAME
    monkeypatch.setenv(downloads.OFFLINE_VARIABLE, "0")
    assert fetch(site.file, tmp_path / "other").read_bytes() == CONTENT


def test_the_mirror_is_tried_first(site, tmp_path, monkeypatch):
    site.files[f"/mirror/{NAME}"] = CONTENT
    for mirror in (f"{site.address}/mirror", f"{site.address}/mirror/"):
        monkeypatch.setenv(downloads.MIRROR_VARIABLE, mirror)
        (tmp_path / NAME).unlink(missing_ok=True)
        fetch(site.file, tmp_path)
    assert [path for path, _ in site.asked] == [f"/mirror/{NAME}"] * 2


def test_a_mirror_without_the_file_or_with_a_wrong_one_is_passed_over(site, tmp_path, monkeypatch):
    monkeypatch.setenv(downloads.MIRROR_VARIABLE, f"{site.address}/mirror")
    assert fetch(site.file, tmp_path / "1").read_bytes() == CONTENT
    site.files[f"/mirror/{NAME}"] = b"stale"
    assert fetch(site.file, tmp_path / "2").read_bytes() == CONTENT
    monkeypatch.setenv(downloads.MIRROR_VARIABLE, str(tmp_path / "1"))  # a mirror may be a folder
    asked = len(site.asked)
    assert fetch(site.file, tmp_path / "3").read_bytes() == CONTENT
    assert len(site.asked) == asked


def test_an_address_given_by_the_caller_is_the_only_one(site, tmp_path, monkeypatch):
    monkeypatch.setenv(downloads.MIRROR_VARIABLE, f"{site.address}/mirror")
    with pytest.raises(DownloadError, match="404"):
        fetch(site.file, tmp_path, url=f"{site.address}/elsewhere/")
    assert [path for path, _ in site.asked] == [f"/elsewhere/{NAME}"]


# ---- without a digest ---------------------------------------------------------------------------------------------------


def test_without_a_digest_half_a_file_is_never_taken_for_the_whole(site, tmp_path, monkeypatch):
    (tmp_path / PART).write_bytes(b"of another day")
    site.plan.append("break:300000")
    url = site.file.url
    assert fetch_url(url, tmp_path / NAME).read_bytes() == CONTENT
    assert site.ranges == [None, None]
    assert fetch_url(url, tmp_path / NAME) == tmp_path / NAME
    assert len(site.asked) == 2
    monkeypatch.setattr(downloads, "ATTEMPTS", 1)
    site.plan.append("break:300000")
    with pytest.raises(DownloadError, match="broke off"):
        fetch_url(url, tmp_path / "again" / NAME)
    assert names(tmp_path) == [NAME]


def test_with_a_digest_fetch_url_checks(site, tmp_path):
    assert fetch_url(site.file.url, tmp_path / "a", SHA256).read_bytes() == CONTENT
    with pytest.raises(DownloadError, match="gave another file"):
        fetch_url(site.file.url, tmp_path / "b", "sha256:" + "0" * 64)
    assert names(tmp_path) == ["a"]
