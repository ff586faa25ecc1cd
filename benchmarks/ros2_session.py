"""A node under test with the processes around it, in a domain that nothing outside this machine sees; `benchmarks.ros2_node` uses it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PATIENCE_S = 120.0

_ROOT = Path(__file__).resolve().parent.parent
_INTERFACE = '<NetworkInterface address="127.0.0.1" multicast="false"/>'
_LOOPBACK = f"<CycloneDDS><Domain><General><Interfaces>{_INTERFACE}</Interfaces></General></Domain></CycloneDDS>"
# What pip leaves of a package that registers a learner; its module is in this folder, where the processes start.
_METADATA = "Metadata-Version: 2.1\nName: slow-learner\nVersion: 1.0\n"
_ENTRY_POINT = "[emotion_perception.learners]\nslow = benchmarks.slow_learner:SlowLearner\n"
_LOG_CHARACTERS = 4000


class Member:
    """A process of a run.

    Attributes:
        said: What it printed: JSON, one object per line.
    """

    def __init__(self, words: Sequence[str], log: Path) -> None:
        """Starts it.

        Args:
            words: A module of this environment, and its arguments.
            log: Takes its stderr, which is shown if it fails.
        """
        self.said: list[dict[str, Any]] = []
        self._name, self._log = " ".join(words), log
        line = [sys.executable, "-m", *words]
        with log.open("w") as file:
            self.process = subprocess.Popen(line, cwd=_ROOT, stdout=subprocess.PIPE, stderr=file, text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self.said.append(json.loads(line))

    def check(self) -> None:
        """Ends the benchmark if the process has ended."""
        if self.process.poll() is not None:
            raise SystemExit(f"{self._name} ended with status {self.process.returncode}:\n{self._tail()}")

    def end(self) -> dict[str, Any]:
        """Stops it and returns what it said last."""
        self.check()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30.0)
        except subprocess.TimeoutExpired:
            raise SystemExit(f"{self._name} does not end on SIGTERM:\n{self._tail()}") from None
        self._reader.join(30.0)
        return self.said[-1] if self.said else {}

    def kill(self) -> None:
        """Ends it if it still runs."""
        self.process.kill()
        self.process.wait()

    def facts(self) -> dict[str, float]:
        """Returns what the system says about it now: resident memory, threads, file descriptors, seconds of computing."""
        folder = Path("/proc") / str(self.process.pid)
        status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines() if ":" in line)
        ticks = (folder / "stat").read_text().rpartition(")")[2].split()[11:13]
        return {
            "rss_mb": int(status["VmRSS"].split()[0]) / 1024,
            "threads": int(status["Threads"]),
            "descriptors": len(list((folder / "fd").iterdir())),
            "cpu_s": sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"),
        }

    def _tail(self) -> str:
        return self._log.read_text()[-_LOG_CHARACTERS:]


class Session:
    """The node under test, the processes around it, and this process, which looks on and asks.

    Attributes:
        name: The node's full name.
        tested: Its process.
        statuses: The values of its diagnostics, the newest last.
    """

    def __init__(self, folder: Path, learner: str, words: Sequence[str]) -> None:
        """Joins the graph; `begin` starts the node.

        Args:
            folder: Takes the logs of the processes.
            learner: The learner of the node.
            words: More words for its command line.
        """
        from emotion_perception.ros2_nodes import runtime

        self.name, self.statuses = f"/{learner}", list[dict[str, str]]()
        self._folder, self._members = folder, list[Member]()
        self._runtime = runtime
        runtime.init(args=[])
        self._node = runtime.Node("benchmark")
        kind = runtime.get_message("diagnostic_msgs/msg/DiagnosticArray")
        self._node.create_subscription(kind, "/diagnostics", self._on_diagnostics, 100)
        service = runtime.get_service("rcl_interfaces/srv/GetParameters")
        self._request, self._client = service.Request, self._node.create_client(service, f"{self.name}/get_parameters")
        self.tested = self.start("emotion_perception", "node", learner, *words)

    @property
    def status(self) -> dict[str, str]:
        """The values of the newest diagnostics."""
        return self.statuses[-1] if self.statuses else {}

    def counts(self) -> dict[str, int]:
        """Returns what became of the frames, as the newest diagnostics have it."""
        return {what: int(self.status[f"frames {what}"]) for what in ("received", "processed", "dropped", "refused", "failed")}

    def start(self, *words: str) -> Member:
        """Starts a process: a module and its arguments."""
        self._members.append(Member(words, self._folder / f"{len(self._members)}.log"))
        return self._members[-1]

    def until(self, condition: Callable[[], Any], patience_s: float = PATIENCE_S) -> None:
        """Spins until a condition holds, and looks that all processes are alive."""
        end_s = time.monotonic() + patience_s
        while not condition():
            for member in self._members:
                member.check()
            if time.monotonic() > end_s:
                raise SystemExit(f"waited for {patience_s:g} s in vain; the node's diagnostics: {self.status or 'none'}")
            self._runtime.spin_once(self._node, timeout_sec=0.2)

    def spin(self, seconds: float) -> None:
        """Spins for some time."""
        end_s = time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0:
            self._runtime.spin_once(self._node, timeout_sec=left_s)

    def ask(self) -> float:
        """Asks the node for a parameter and returns the milliseconds until it was answered; infinity after ten seconds."""
        asked_s = time.perf_counter()
        future = self._client.call_async(self._request(names=["max_faces"]))
        self._runtime.spin_until_future_complete(self._node, future, timeout_sec=10.0)
        return (time.perf_counter() - asked_s) * 1e3 if future.done() else float("inf")

    def close(self) -> None:
        """Ends what still runs, and leaves the graph."""
        for member in self._members:
            member.kill()
        self._node.destroy_node()
        self._runtime.try_shutdown()

    def _on_diagnostics(self, array: Any) -> None:
        for status in array.status:
            if status.name.startswith(f"{self.name}:"):
                self.statuses.append({pair.key: pair.value for pair in status.values})


@contextmanager
def session(domain: int, learner: str, words: Sequence[str] = ()) -> Iterator[Session]:
    """Runs a node, active when the block begins; nothing runs any more when it ends.

    Args:
        domain: Number of a DDS domain that nobody else uses.
        learner: The learner of the node; ``slow`` is `benchmarks.slow_learner`.
        words: More words for its command line.
    """
    with tempfile.TemporaryDirectory() as name:
        package = Path(name) / "site" / "slow_learner-1.0.dist-info"
        package.mkdir(parents=True)
        (package / "METADATA").write_text(_METADATA)
        (package / "entry_points.txt").write_text(_ENTRY_POINT)
        path = [str(package.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        # Humble knows no range of discovery, and later releases warn of what it knows.
        local = {"ROS_LOCALHOST_ONLY": "1"} if os.environ.get("ROS_DISTRO") == "humble" else {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
        os.environ.update({"PYTHONPATH": os.pathsep.join(path), "ROS_DOMAIN_ID": str(domain), "CYCLONEDDS_URI": _LOOPBACK, **local})
        run = Session(Path(name), learner, words)
        try:
            run.until(lambda: run.status.get("state") == "active")
            yield run
        finally:
            run.close()
