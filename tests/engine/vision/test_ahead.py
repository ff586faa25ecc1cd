from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from emotion_perception.engine.errors import InputError, UsageError
from emotion_perception.engine.vision.ahead import Ahead


class Source:
    """Counts what was taken of it."""

    def __init__(self, count: int, error: Exception | None = None) -> None:
        self.count, self.error, self.taken = count, error, 0

    def __iter__(self) -> Iterator[int]:
        for i in range(self.count):
            self.taken = i + 1
            yield i
        if self.error is not None:
            raise self.error


def settled(source: Source) -> int:
    """How much was taken once no more is."""
    before = -1
    while before != source.taken:
        before = source.taken
        time.sleep(0.05)
    return before


@pytest.mark.parametrize("most", [1, 4, 1000])
def test_everything_comes_once_and_in_order(most: int) -> None:
    with Ahead(Source(200), most) as ahead:
        assert list(ahead) == list(range(200))
        assert list(ahead) == []


@pytest.mark.parametrize("most", [1, 4])
def test_it_is_a_few_items_ahead_and_no_more(most: int) -> None:
    source = Source(100)
    with Ahead(source, most) as ahead:
        assert settled(source) == most
        assert [next(ahead), next(ahead)] == [0, 1]
        assert settled(source) == most + 2


def test_an_error_comes_after_the_items_before_it() -> None:
    with Ahead(Source(3, InputError("the file is broken"))) as ahead:
        assert [next(ahead) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(InputError, match="broken"):
            next(ahead)
        assert list(ahead) == []


def test_closing_ends_the_thread_at_once() -> None:
    before = threading.active_count()
    source = Source(10**9)
    start = time.perf_counter()
    with Ahead(source) as ahead:
        next(ahead)
    assert time.perf_counter() - start < 1.0
    assert threading.active_count() == before
    taken = source.taken
    time.sleep(0.05)
    assert source.taken == taken
    assert list(ahead) == []


def test_the_callers_error_ends_it_too() -> None:
    before = threading.active_count()
    with pytest.raises(ValueError, match="mine"), Ahead(Source(10**9)):
        raise ValueError("mine")
    assert threading.active_count() == before


def test_nothing_ahead_is_refused() -> None:
    with pytest.raises(UsageError, match="most is 0"):
        Ahead([], 0)
