"""A stage that ends when nothing gets better, a gradient that is kept short, and warm restarts."""

from __future__ import annotations

import math

import pytest
import torch

from emotion_perception.engine.training.schedules import warm_restarts


def test_a_stage_ends_after_so_many_validations_without_a_better_state(small):
    run = small()
    run.scores = [5.0, 3.0, 4.0, 3.5, 9.0, 9.0]
    states = []
    validate = run.validate

    def noted():
        states.append(run.state())
        return validate()

    history = run.trainer([run.stage(epochs=6, patience=2, validate=noted)]).run()
    assert [row["val_loss"] for row in history] == [5.0, 3.0, 4.0, 3.5]
    best = states[1]
    assert all(torch.equal(best[name], value) for name, value in run.state().items())


def test_patience_begins_anew_with_every_stage(small):
    run = small()
    run.scores = [1.0, 2.0, 2.0, 8.0, 7.0, 6.0]
    history = run.trainer([run.stage(epochs=5, patience=2), run.stage("second", epochs=3, patience=2)]).run()
    assert [row["stage"] for row in history] == ["first"] * 3 + ["second"] * 3


def test_a_resumed_run_remembers_how_long_nothing_got_better(small, tmp_path):
    run = small()
    run.scores = [1.0, 2.0]

    def stop():
        if not run.scores:
            raise KeyboardInterrupt
        return {"val_loss": run.scores.pop(0)}

    with pytest.raises(KeyboardInterrupt):
        run.trainer([run.stage(epochs=9, patience=2, validate=stop)], tmp_path).run()
    again = small()
    again.scores = [2.0, 2.0, 2.0]
    history = again.trainer([again.stage(epochs=9, patience=2)], tmp_path).run()
    assert [row["val_loss"] for row in history] == [1.0, 2.0, 2.0]


def test_a_long_gradient_is_shortened(small):
    moved = {}
    for most in (None, 1e-3):
        run = small()
        before = run.state()
        optimizer = torch.optim.SGD(run.model.parameters(), 1.0)
        run.trainer([run.stage(epochs=1, optimizer=optimizer, rate=lambda progress: 1.0, most_gradient=most)], batch_size=30).run()
        names = [name for name, _ in run.model.named_parameters()]
        moved[most] = math.sqrt(sum(float((run.state()[name] - before[name]).square().sum()) for name in names))
    assert moved[1e-3] == pytest.approx(1e-3, rel=1e-2)
    assert moved[None] > 1e-2


def test_warm_restarts_fall_again_and_again_ever_longer():
    rate = warm_restarts(epochs=50, first=10, factor=2, least=0.001)
    at = [rate(epoch / 50) for epoch in range(50)]
    assert at[0] == at[10] == at[30] == 1.0
    assert at[5] == pytest.approx(0.5005)
    assert at[20] == pytest.approx(0.5005)
    assert at[9] < 0.05
    assert at[29] < at[9]
    assert min(at) >= 0.001
    assert rate(0.999 / 50) == at[0]
