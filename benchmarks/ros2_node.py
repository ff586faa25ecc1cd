"""Measures a node on this machine, with real processes on the loopback interface: what the camera sends, what comes out, and when.

From the project's root, on rclpy where it is installed and on the runtime without ROS elsewhere::

    python -m benchmarks.ros2_node stream   # 640x480 at 30 Hz with a face: losses, latency, parameters meanwhile
    python -m benchmarks.ros2_node slow     # the same with an inference of 100 ms: age of the frames, drops, parameters meanwhile
    python -m benchmarks.ros2_node soak     # an hour's 108,000 small frames in fast motion: memory, threads, file descriptors

Each prints a table and writes ``<date>-ros2-<name>.md`` and ``.json`` beside this file; the exit status is 1 when a target is missed. Linux
only: it reads ``/proc``.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ros2_session import session
from benchmarks.slow_learner import INFER_S
from emotion_perception.engine.machine import machine
from emotion_perception.engine.storage import atomic_write

_CALLS = 100
_SOAK_SIZE = ("128", "96")

_MOST_ADDED_MS = 5.0
_MOST_PARAMETER_MS = 100.0
_MOST_AGE_MS = 135.0
_MOST_GROWTH_MB = 20.0


@dataclass(frozen=True)
class Row:
    """One line of the report.

    Attributes:
        what: What was measured.
        figure: What came out.
        target: What is asked for; empty if nothing is.
        met: Whether it was reached; True where nothing is asked for.
    """

    what: str
    figure: str
    target: str = ""
    met: bool = True


@dataclass
class Outcome:
    """What a run gave: the lines of the report, and everything behind them."""

    rows: list[Row]
    numbers: dict[str, Any]
    more: list[str] = field(default_factory=list)


def _stream(options: argparse.Namespace, learner: str) -> tuple[dict[str, Any], list[Row]]:
    """Runs camera, node and listener at 30 Hz; returns the numbers, and the lines that every stream's report has."""
    with session(options.domain, learner) as run:
        listener = run.start("benchmarks.ros2_members", "listener", "--node", run.name)
        run.until(lambda: listener.said)
        frames = round(options.seconds * 30)
        camera = run.start("benchmarks.ros2_members", "camera", "--frames", str(frames))
        run.until(lambda: camera.said)
        before, started_s = run.tested.facts(), time.monotonic()
        asked_ms: list[float] = []
        period_s = max(0.02, 0.9 * options.seconds / _CALLS)
        while len(camera.said) < 2:
            camera.check()
            if len(asked_ms) < _CALLS:
                asked_ms.append(run.ask())
            run.spin(period_s)
        busy = (run.tested.facts()["cpu_s"] - before["cpu_s"]) / (time.monotonic() - started_s)
        run.spin(2.5)  # one more message of diagnostics
        counts, status = run.counts(), run.status
        sent, heard = camera.end(), listener.end()
        run.tested.end()
    ages, results = np.array(heard["detections_ms"]), heard["results"]
    stages = {name: np.array([each[name] for each in results]) for name in ("age", "detect", "infer")}
    numbers = {
        "sent": sent["sent"],
        "camera_late_ms": sent["late_ms"],
        **counts,
        "detections": len(ages),
        "results": len(results),
        "with_one_face": sum(each["faces"] == 1 for each in results),
        "age_ms": _spread(ages),
        **{f"{name}_ms": _spread(stages[name]) for name in ("detect", "infer")},
        "detect_and_infer_ms": _spread(stages["detect"] + stages["infer"]),
        "added_ms": _spread(stages["age"] - stages["detect"] - stages["infer"]),
        "parameters_ms": _spread(np.array(asked_ms)),
        "parameter_calls": len(asked_ms),
        "node_cpu": busy,
        "status": status,
    }
    asked = numbers["parameters_ms"]
    rows = [
        Row("frames judged; replaced by a newer one", f"{counts['processed']}; {counts['dropped']}"),
        Row("results that reached the listener", f"{len(results)} (with one face: {numbers['with_one_face']})"),
        Row("detection; inference, p50", f"{numbers['detect_ms']['p50']:.1f} ms; {numbers['infer_ms']['p50']:.1f} ms"),
        Row(
            f"a parameter answered meanwhile, {len(asked_ms)} calls: p50; longest",
            f"{asked['p50']:.1f} ms; {asked['max']:.1f} ms",
            f"longest <= {_MOST_PARAMETER_MS:g} ms",
            asked["max"] <= _MOST_PARAMETER_MS,
        ),
        Row("computing of the node", f"{busy:.2f} cores"),
    ]
    return numbers, rows


def stream(options: argparse.Namespace) -> Outcome:
    """Measures a camera of 640x480 at 30 Hz, best effort, with one face."""
    numbers, rows = _stream(options, "esr")
    lost = numbers["sent"] - numbers["received"]
    age, work = numbers["age_ms"], numbers["detect_and_infer_ms"]["p50"]
    added = age["p50"] - work
    first = [
        Row("frames sent; received by the node", f"{numbers['sent']}; {numbers['received']}", "none lost", lost == 0),
        Row("from stamp to result received, p50; p95", f"{age['p50']:.1f} ms; {age['p95']:.1f} ms"),
        Row("of that not detection and inference, p50", f"{added:.1f} ms", f"<= {_MOST_ADDED_MS:g} ms", added <= _MOST_ADDED_MS),
    ]
    return Outcome(first + rows, numbers | {"lost": lost})


def slow(options: argparse.Namespace) -> Outcome:
    """Measures the same camera with an inference that takes 100 ms."""
    numbers, rows = _stream(options, "slow")
    numbers["unaccounted"] = numbers["received"] - sum(numbers[what] for what in ("processed", "dropped", "refused", "failed"))
    age = numbers["age_ms"]
    first = [
        Row("frames sent; received by the node", f"{numbers['sent']}; {numbers['received']}"),
        Row("age of the frame at its result, p50", f"{age['p50']:.1f} ms", f"< {_MOST_AGE_MS:g} ms", age["p50"] < _MOST_AGE_MS),
        Row("the same, p95", f"{age['p95']:.1f} ms"),
        Row("frames neither judged nor counted as dropped", str(numbers["unaccounted"]), "0", numbers["unaccounted"] == 0),
    ]
    return Outcome(first + rows, numbers | {"infer_s": INFER_S})


def soak(options: argparse.Namespace) -> Outcome:
    """Sends an hour's frames as fast as the node judges them, and watches both processes."""
    samples: list[dict[str, Any]] = []
    with session(options.domain, "esr", ("--ros-args", "-p", "image_reliability:=reliable")) as run:
        words = ["camera", "--frames", str(options.frames), "--fast", f"{run.name}/detections", "--size", *_SOAK_SIZE]
        camera = run.start("benchmarks.ros2_members", *words)
        run.until(lambda: camera.said)

        def sample() -> None:
            facts = {"node": run.tested.facts(), "camera": camera.facts()}
            samples.append({"seconds": time.monotonic() - started_s, "received": run.counts()["received"], **facts})

        started_s = time.monotonic()
        sample()
        while len(camera.said) < 2:
            seen = len(run.statuses)
            run.until(lambda: len(run.statuses) > seen)  # noqa: B023  # called at once
            sample()
            if len(samples) % 15 == 0:
                _note(_sampled(samples[-1]))
        run.spin(3.0)  # nobody is there any more: the last face's topics go
        sample()
        counts, status, sent = run.counts(), run.status, camera.end()
        run.tested.end()
    warm = next(each for each in samples if each["received"] >= options.frames / 10)
    chosen = {"at the start": samples[0], "after a tenth": warm, "at the end": samples[-1]}
    rows = [
        Row("frames sent; received; judged", f"{sent['sent']}; {counts['received']}; {counts['processed']}"),
        Row("frames replaced by a newer one; without an answer", f"{counts['dropped']}; {sent['sent'] - sent['answers']}"),
        Row("frames a second; faces that came and went", f"{sent['sent'] / sent['seconds']:.0f}; {sent['faces']}"),
    ]
    for who in ("node", "camera"):
        rss, threads, descriptors = ([each[who][key] for each in chosen.values()] for key in ("rss_mb", "threads", "descriptors"))
        growth = rss[-1] - rss[1]
        figure = f"{_arrows(rss)} MB ({growth:+.1f} MB)"
        rows.append(Row(f"{who}: memory", figure, f"<= {_MOST_GROWTH_MB:g} MB after the first tenth", growth <= _MOST_GROWTH_MB))
        rows.append(Row(f"{who}: threads", _arrows(threads), "no growth after the first tenth", threads[-1] <= threads[1]))
        rows.append(
            Row(f"{who}: file descriptors", _arrows(descriptors), "no growth after the first tenth", descriptors[-1] <= descriptors[1])
        )
    shown = [samples[round(i)] for i in np.linspace(0, len(samples) - 1, min(13, len(samples)))]
    lines = ["", "Arrows go from the start over the end of the first tenth to the end. Over time:", ""]
    lines += [f"- {_sampled(each)}" for each in shown]
    return Outcome(
        rows, {**counts, **{f"camera_{name}": value for name, value in sent.items()}, "status": status, "samples": samples}, lines
    )


def _arrows(values: Sequence[float]) -> str:
    return " -> ".join(f"{value:.4g}" for value in values)


def _sampled(each: dict[str, Any]) -> str:
    """Returns a sample as words."""
    parts = [
        f"{who} {each[who]['rss_mb']:.1f} MB, {each[who]['threads']} threads, {each[who]['descriptors']} files"
        for who in ("node", "camera")
    ]
    return f"{each['received']:,} frames, {each['seconds']:.0f} s: {'; '.join(parts)}"


def _spread(values: np.ndarray) -> dict[str, float]:
    if not len(values):
        raise SystemExit("nothing arrived; is another benchmark or node in this domain? give another --domain")
    return {"p50": float(np.percentile(values, 50)), "p95": float(np.percentile(values, 95)), "max": float(values.max())}


def _note(words: str) -> None:
    sys.stderr.write(f"{words}\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measures a node with real processes on this machine.")
    parser.add_argument("name", choices=("stream", "slow", "soak"))
    parser.add_argument("--seconds", type=float, default=60.0, help="stream and slow: how long the camera sends")
    parser.add_argument("--frames", type=int, default=108_000, help="soak: how many frames are sent")
    parser.add_argument("--domain", type=int, default=101, help="DDS domain; the default one is none that the tests use")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="folder of the report")
    return parser.parse_args()


def _page(result: dict[str, Any], outcome: Outcome, title: str) -> str:
    """Writes the report as markdown."""
    missed = [row for row in outcome.rows if not row.met]
    verdict = "; ".join(f"**missed: {row.what}: {row.figure}, expected {row.target}**" for row in missed) or "Every target was met."
    lines = [f"# {title} ({result['date']})", "", verdict, "", "| measured | figure | target | |", "|---|---|---|---|"]
    lines += [
        f"| {row.what} | {row.figure} | {row.target} | {('met' if row.met else 'MISSED') if row.target else ''} |" for row in outcome.rows
    ]
    lines += [*outcome.more, "", "Machine: " + ", ".join(f"{key} {value}" for key, value in result["machine"].items())]
    lines += ["", f"`python -m benchmarks.ros2_node {result['name']}`; every number is in the JSON file beside this one.", ""]
    return "\n".join(lines)


def main() -> int:
    """Measures, prints the table and writes the report."""
    options = _options()
    measures = {"stream": stream, "slow": slow, "soak": soak}
    titles = {
        "stream": f"A node at 640x480 and 30 Hz, one face, {options.seconds:g} s",
        "slow": f"The same stream with an inference of {INFER_S * 1e3:g} ms, {options.seconds:g} s",
        "soak": f"{options.frames:,} frames of {'x'.join(_SOAK_SIZE)} in fast motion",
    }
    outcome = measures[options.name](options)
    from emotion_perception.ros2_nodes.runtime import RUNTIME

    status = outcome.numbers["status"]
    facts = {"runtime": f"cyclonedds {metadata.version('cyclonedds')}" if RUNTIME == "dds" else f"rclpy {os.environ.get('ROS_DISTRO', '')}"}
    facts |= {"detector": status["detector"], "back end": status["back end"], "network on": status["device"], **machine()}
    result = {"date": datetime.date.today().isoformat(), "name": options.name, "machine": facts, "numbers": outcome.numbers}
    result |= {"rows": [vars(row) for row in outcome.rows]}
    page = _page(result, outcome, titles[options.name])
    target = options.output / f"{result['date']}-ros2-{options.name}"
    for suffix, words in ((".json", json.dumps(result, indent=1) + "\n"), (".md", page)):
        with atomic_write(target.with_suffix(suffix)) as file:
            file.write_text(words, encoding="utf-8")
    sys.stdout.write(page)
    missed = [row for row in outcome.rows if not row.met]
    for row in missed:
        _note(f"missed: {row.what}: {row.figure}, expected {row.target}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
