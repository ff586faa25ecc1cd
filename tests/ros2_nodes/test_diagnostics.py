from __future__ import annotations

import pytest

pytest.importorskip("emotion_perception.ros2_nodes.runtime")

from emotion_perception.ros2_nodes.diagnostics import Statistics, status_array  # needs a runtime
from emotion_perception.ros2_nodes.messages import message


def test_nothing_seen_is_said_as_such() -> None:
    values = Statistics().values()
    assert values["frames received"] == "0"
    assert {values[name] for name in ("latency p50 (ms)", "work p95 (ms)", "age of last frame (s)")} == {"-"}


def test_counts_and_percentiles() -> None:
    statistics = Statistics()
    statistics.arrived()
    statistics.counts.received, statistics.counts.dropped, statistics.counts.refused = 120, 15, 5
    for n in range(100):
        statistics.done(n / 1000, 2.0 * n)
    values = statistics.values()
    assert (values["frames received"], values["frames processed"], values["frames dropped"]) == ("120", "100", "15")
    assert (values["frames refused"], values["frames failed"]) == ("5", "0")
    assert (values["latency p50 (ms)"], values["latency p95 (ms)"]) == ("50.0", "95.0")
    assert (values["work p50 (ms)"], values["work p95 (ms)"]) == ("100.0", "190.0")
    assert float(values["age of last frame (s)"]) >= 0.0
    statistics.start()
    assert statistics.values()["latency p50 (ms)"] == "-"
    assert statistics.age_s is None
    assert statistics.counts.received == 120  # counts are since the node was made


@pytest.mark.parametrize("age_s", [None, -0.5, 1e9])
def test_ages_by_a_foreign_clock_are_left_out(age_s: float | None) -> None:
    statistics = Statistics()
    statistics.done(age_s, 1.0)
    assert statistics.values()["latency p50 (ms)"] == "-"
    assert statistics.counts.processed == 1


def test_only_the_last_frames_count() -> None:
    statistics = Statistics()
    for n in range(1000):
        statistics.done(1.0 if n < 700 else 0.01, 1.0)
    assert statistics.values()["latency p95 (ms)"] == "10.0"


@pytest.mark.parametrize("level", ["OK", "WARN", "ERROR"])
def test_the_message(level: str) -> None:
    stamp = message("builtin_interfaces/msg/Time")(sec=3, nanosec=4)
    made = status_array("/esr: emotion perception", level, "all is well", {"state": "active"}, "torch cpu", stamp)
    (status,) = made.status
    assert made.header.stamp.sec == 3
    assert status.level == getattr(message("diagnostic_msgs/msg/DiagnosticStatus"), level)
    assert (status.name, status.message, status.hardware_id) == ("/esr: emotion perception", "all is well", "torch cpu")
    assert [(pair.key, pair.value) for pair in status.values] == [("state", "active")]
