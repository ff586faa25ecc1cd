from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import pytest

from emotion_perception.ros2_nodes.worker import Counts, NewestSlot, Worker

PATIENCE_S = 30.0


def idle() -> None:
    """Nothing to do."""


def unlimited() -> float:
    return 0.0


class Judge:
    """Work that waits for permission, and keeps what it was given."""

    def __init__(self) -> None:
        self.given: list[Mapping[str, Any]] = []
        self.begun, self.go = threading.Semaphore(0), threading.Semaphore(0)

    def __call__(self, items: Mapping[str, Any]) -> None:
        self.given.append(items)
        self.begun.release()
        assert self.go.acquire(timeout=PATIENCE_S)


def test_only_the_newest_message_waits_and_drops_are_counted() -> None:
    counts, judge = Counts(), Judge()
    worker = Worker(judge, idle, unlimited, counts, "test")
    worker.slot.put("first")
    assert judge.begun.acquire(timeout=PATIENCE_S)  # the worker is busy with the first now
    for n in range(5):
        worker.slot.put(n)
    judge.go.release()
    assert judge.begun.acquire(timeout=PATIENCE_S)
    judge.go.release()
    assert worker.stop()
    assert [dict(items) for items in judge.given] == [{"": "first"}, {"": 4}]
    assert (counts.received, counts.dropped) == (6, 4)


def test_each_source_keeps_its_own_newest_message() -> None:
    counts = Counts()
    slot = NewestSlot(counts)
    for item, source in ((1, "a"), (2, "b"), (3, "a"), (4, "c")):
        slot.put(item, source)
    slot.forget("c")
    slot.forget("nobody")
    assert slot.take(0.0) == {"a": 3, "b": 2}
    assert slot.take(0.0) == {}
    assert (counts.received, counts.dropped) == (4, 2)


def test_stopping_ends_the_waiting_and_takes_nothing_more() -> None:
    counts = Counts()
    worker = Worker(lambda items: None, idle, lambda: 1e-3, counts, "test")
    worker.slot.put("judged, then the rate makes it wait for a quarter of an hour")
    worker.slot.pause(0.05)
    worker.slot.put("left over")
    assert worker.stop()
    worker.slot.put("too late")
    assert worker.slot.take(0.0) == {}
    assert counts.received == 2
    assert counts.dropped >= 1  # what is left over is counted as well


def test_without_messages_it_says_so() -> None:
    called = threading.Event()
    worker = Worker(lambda items: None, called.set, unlimited, Counts(), "test")
    assert called.wait(PATIENCE_S)
    assert worker.stop()


def test_a_new_rate_ends_the_wait_for_the_old_one() -> None:
    limit = [1e-3]
    done = threading.Semaphore(0)
    worker = Worker(lambda items: done.release(), idle, lambda: limit[0], Counts(), "test")
    for _ in range(2):  # the first does not hold up the second
        worker.slot.put("frame")
        assert done.acquire(timeout=PATIENCE_S)
    worker.slot.put("waits for a quarter of an hour")
    worker.slot.pause(0.05)
    assert not done.acquire(blocking=False)
    limit[0] = 1000.0
    assert done.acquire(timeout=PATIENCE_S)
    assert worker.stop()


@pytest.mark.parametrize("rate", [20.0, 1000.0])
def test_the_rate_is_a_limit_and_may_change(rate: float) -> None:
    limit = [rate]
    done = threading.Semaphore(0)
    worker = Worker(lambda items: done.release(), idle, lambda: limit[0], Counts(), "test")
    for _ in range(3):
        worker.slot.put("frame")
        assert done.acquire(timeout=PATIENCE_S)
    limit[0] = 0.0
    worker.slot.put("frame")
    assert done.acquire(timeout=PATIENCE_S)
    assert worker.stop()
