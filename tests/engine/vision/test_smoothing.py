from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emotion_perception.engine.errors import UsageError
from emotion_perception.engine.vision.smoothing import Smoother

NEUTRAL = np.array([1, 0, 0], np.float32)
HAPPY = np.array([0, 1, 0], np.float32)


@pytest.mark.parametrize("fps", [5, 30, 120])
def test_a_change_takes_equally_long_at_every_rate(fps: int) -> None:
    smoother = Smoother(0.3)
    smoother.update(1, NEUTRAL, np.array([0.0, 0.0], np.float32), 0.0)
    for frame in range(1, round(0.6 * fps) + 1):
        probabilities, affect = smoother.update(1, HAPPY, np.array([0.8, -0.4], np.float32), frame / fps)
    reached = 1 - math.exp(-0.6 / 0.3)
    assert probabilities == pytest.approx([1 - reached, reached, 0], abs=1e-6)
    assert affect == pytest.approx([0.8 * reached, -0.4 * reached], abs=1e-6)


@settings(max_examples=50, deadline=None)
@given(
    steps=st.lists(st.tuples(st.floats(0, 0.9), st.lists(st.floats(0.01, 1), min_size=4, max_size=4)), min_size=1, max_size=12),
    time_constant_s=st.floats(0, 5),
)
def test_results_stay_within_what_went_in(steps: list[tuple[float, list[float]]], time_constant_s: float) -> None:
    smoother = Smoother(time_constant_s)
    now, given_rows = 0.0, []
    for gap, weights in steps:
        now += gap
        row = (np.array(weights) / sum(weights)).astype(np.float32)
        given_rows.append(row)
        probabilities, affect = smoother.update(7, row, row[:2] * 2 - 1, now)
        assert probabilities.dtype == np.float32
        assert probabilities.sum() == pytest.approx(1.0, abs=1e-5)
        assert (probabilities <= np.max(given_rows, axis=0) + 1e-6).all()
        assert (probabilities >= np.min(given_rows, axis=0) - 1e-6).all()
        assert affect is not None
        assert np.abs(affect).max() <= 1 + 1e-6


def test_zero_switches_it_off() -> None:
    smoother = Smoother(0.0)
    smoother.update(1, NEUTRAL, None, 0.0)
    probabilities, affect = smoother.update(1, HAPPY, None, 0.001)
    assert np.array_equal(probabilities, HAPPY)
    assert affect is None


def test_faces_do_not_mix_and_inputs_are_not_changed() -> None:
    smoother = Smoother(10.0)
    smoother.update(1, NEUTRAL, None, 0.0)
    probabilities, _ = smoother.update(2, HAPPY, None, 0.1)
    assert np.array_equal(probabilities, HAPPY)
    smoother.update(1, HAPPY, None, 0.2)
    assert NEUTRAL.tolist() == [1, 0, 0]
    assert HAPPY.tolist() == [0, 1, 0]


def test_the_past_of_an_unseen_face_is_forgotten() -> None:
    smoother = Smoother(100.0, memory_s=1.0)
    for stamp_s, expected in ((0.0, 0.0), (1.0, 0.00995), (2.5, 1.0)):
        probabilities, _ = smoother.update(1, NEUTRAL if stamp_s == 0.0 else HAPPY, None, stamp_s)
        assert probabilities[1] == pytest.approx(expected, abs=1e-4)
    for track_id in range(5000):
        smoother.update(track_id, HAPPY, None, 3.0 + track_id)
    assert len(smoother._states) <= 2  # memory stays flat over a day of passers-by


@pytest.mark.parametrize("how", ["backwards", "reset"])
def test_a_stream_that_starts_again_has_no_past(how: str) -> None:
    smoother = Smoother(100.0)
    smoother.update(1, NEUTRAL, None, 50.0)
    if how == "reset":
        smoother.reset()
    probabilities, _ = smoother.update(1, HAPPY, None, 49.9 if how == "backwards" else 50.1)
    assert np.array_equal(probabilities, HAPPY)


@pytest.mark.parametrize("wrong", [{"time_constant_s": -0.1}, {"time_constant_s": float("nan")}, {"memory_s": float("inf")}])
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="expected"):
        Smoother(**wrong)
