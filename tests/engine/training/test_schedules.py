"""Learning-rate schedules by progress and by epoch."""

from __future__ import annotations

import numpy as np
import pytest

from emotion_perception.engine.training.schedules import constant, one_cycle, step_decay


def test_one_cycle_rises_to_one_then_falls_to_zero():
    rate = one_cycle(warm_up=0.2, start=0.1)
    assert rate(0.0) == pytest.approx(0.1)
    assert rate(0.1) == pytest.approx(0.55)
    assert rate(0.2) == pytest.approx(1.0)
    assert rate(0.6) == pytest.approx(0.5)
    assert rate(1.0) == pytest.approx(0.0, abs=1e-12)
    values = [rate(p) for p in np.linspace(0, 1, 101)]
    top = int(np.argmax(values))
    assert values[: top + 1] == sorted(values[: top + 1])
    assert values[top:] == sorted(values[top:], reverse=True)


def test_step_decay_halves_after_every_ten_epochs_and_not_within_one():
    epochs, steps = 25, 7
    rate = step_decay(epochs, every=10, factor=0.5)
    for epoch in range(epochs):
        seen = {rate((epoch + step / steps) / epochs) for step in range(steps)}
        assert seen == {0.5 ** (epoch // 10)}


def test_step_decay_survives_the_rounding_of_every_progress():
    for epochs in range(1, 120):
        rate = step_decay(epochs, every=1, factor=0.5)
        assert [rate(epoch / epochs) for epoch in range(epochs)] == [0.5**epoch for epoch in range(epochs)]


def test_constant_keeps_the_rate():
    assert {constant(p) for p in (0.0, 0.5, 1.0)} == {1.0}
