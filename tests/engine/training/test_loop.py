"""The training loop: stages, resume from every step, best states, and what goes wrong."""

from __future__ import annotations

import math
import resource
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from emotion_perception.engine.errors import StorageError, UsageError, WeightsError
from emotion_perception.engine.training.distributed import Processes
from emotion_perception.engine.training.loop import CHECKPOINT


def assert_same(actual: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert actual.keys() == expected.keys()
    assert [name for name in expected if not torch.equal(actual[name], expected[name])] == []


class Killed(BaseException):
    """Stands for what ends a process; nothing may catch it."""


def test_every_epoch_sees_every_picture_once_in_a_new_order(small):
    run = small(pictures=30)
    history = run.trainer([run.stage(epochs=2)]).run()
    sizes = [len(numbers) for _, numbers in run.steps]
    assert sizes == [8, 8, 8, 6] * 2
    epochs = [[number for _, numbers in run.steps[i : i + 4] for number in numbers] for i in (0, 4)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(30))] * 2
    assert epochs[0] != epochs[1]
    assert [row["epoch"] for row in history] == [1, 2]


def test_a_last_batch_of_one_picture_joins_the_one_before(small):
    run = small(pictures=25)
    run.trainer([run.stage(epochs=1)]).run()
    assert [len(numbers) for _, numbers in run.steps] == [8, 8, 9]


def test_losses_and_numbers_are_averaged_over_the_steps_of_an_epoch(small):
    run = small(pictures=16)
    given = iter([3.0, 1.0, 0.5, 0.25])
    weight = next(run.model.parameters())
    stage = run.stage(epochs=2, loss=lambda batch, generator: (weight.sum() * 0.0 + (value := next(given)), {"twice": 2 * value}))
    history = run.trainer([stage]).run()
    assert [(row["loss"], row["twice"]) for row in history] == [(2.0, 4.0), (0.375, 0.75)]


def test_a_number_that_not_every_step_has_is_averaged_over_those_that_do(small):
    run = small(pictures=24)
    given = iter([{"accuracy": 0.5}, {}, {"accuracy": 1.0}])
    weight = next(run.model.parameters())
    (row,) = run.trainer([run.stage(epochs=1, loss=lambda batch, generator: (weight.sum() * 0.0, next(given)))]).run()
    assert row["accuracy"] == 0.75


def test_a_run_learns(small):
    run = small(pictures=64)
    history = run.trainer([run.stage(epochs=20, rate=lambda progress: 1.0)]).run()
    assert history[-1]["loss"] < 0.85 * history[0]["loss"]
    assert history[-1]["val_loss"] < history[0]["val_loss"]


def test_the_rate_scales_every_groups_own_initial_rate_step_by_step(small):
    run = small(pictures=16)
    seen = []
    first, second = list(run.model[0].parameters()), list(run.model[3].parameters())
    optimizer = torch.optim.SGD([{"params": first, "lr": 0.4}, {"params": second}], lr=0.1)
    step = optimizer.step
    optimizer.step = lambda: (seen.append([group["lr"] for group in optimizer.param_groups]), step())[1]
    run.trainer([run.stage(epochs=2, optimizer=optimizer)]).run()
    np.testing.assert_allclose(seen, [[0.4 * f, 0.1 * f] for f in (1.0, 0.75, 0.5, 0.25)])


def test_compute_counts_pictures_times_passes_over_all_stages(small):
    run = small(pictures=30)
    stages = [run.stage("first", 2, passes_per_picture=1.0), run.stage("second", 1, passes_per_picture=2.5)]
    assert [row["compute"] for row in run.trainer(stages).run()] == [30.0, 60.0, 135.0]


# ---- best states --------------------------------------------------------------------------------------------------------


def test_the_best_state_is_restored_when_later_epochs_are_worse(small):
    best = small()
    best.scores = [0.5, 0.2]
    best.trainer([best.stage(epochs=2, rate=lambda progress: 1.0)]).run()

    run = small()
    run.scores = [0.5, 0.2, 0.4, 0.3]
    history = run.trainer([run.stage(epochs=4, rate=lambda progress: 1.0)]).run()
    assert [row["val_loss"] for row in history] == [0.5, 0.2, 0.4, 0.3]
    assert_same(run.state(), best.state())


def test_higher_is_better_turns_the_comparison_and_a_tie_goes_to_the_later_state(small):
    states = []
    run = small()
    run.scores = [0.5, 0.7, 0.7, 0.1]
    measure = run.validate
    stage = run.stage(epochs=4, higher_is_better=True, validate=lambda: (states.append(run.state()), measure())[1])
    run.trainer([stage]).run()
    assert_same(run.state(), states[2])


def test_a_score_that_is_no_number_is_never_the_best(small):
    run = small()
    run.scores = [math.nan, 3.0, -math.inf, 2.0, math.nan]
    states = []
    validate = run.validate

    def noted():
        states.append(run.state())
        return validate()

    run.trainer([run.stage(epochs=5, validate=noted)]).run()
    assert all(torch.equal(states[3][name], value) for name, value in run.state().items())


def test_the_next_stage_starts_from_the_best_state_of_the_one_before(small):
    run = small()
    run.scores = [0.1, 0.9, 0.5]
    starts = []
    second = run.stage("second", 1, prepare=lambda: (starts.append(run.state()), run.model.train()))
    states = []
    measure = run.validate
    first = run.stage("first", 2, validate=lambda: (states.append(run.state()), measure())[1])
    run.trainer([first, second]).run()
    assert_same(starts[0], states[0])


def test_without_validation_the_last_state_is_kept(small):
    run, same = small(), small()
    run.trainer([run.stage(epochs=3, validate=dict, monitor="loss", rate=lambda progress: 10.0)]).run()
    same.trainer([same.stage(epochs=3, validate=dict, monitor="nothing", rate=lambda progress: 10.0)]).run()
    assert_same(run.state(), same.state())


def test_validation_every_so_many_epochs_and_after_the_last(small):
    run = small()
    history = run.trainer([run.stage(epochs=5, validate_every=2)]).run()
    assert ["val_loss" in row for row in history] == [False, True, False, True, True]


# ---- resume -------------------------------------------------------------------------------------------------------------


def test_a_run_that_ends_at_any_step_is_resumed_to_the_same_weights(small, tmp_path):
    def stages_of(run):
        return [run.stage("first", 2), run.stage("second", 1, optimizer=torch.optim.AdamW(run.model.parameters(), 1e-2))]

    whole = small()
    expected = whole.trainer(stages_of(whole)).run()
    folder = tmp_path / "run"
    for stop in range(1, 12):  # the run has 12 steps; every attempt makes it one step further than the last checkpoint
        run = small()
        trainer = run.trainer(stages_of(run), folder, checkpoint_every_s=-1.0)
        step = trainer._step

        def until(*arguments: object, trainer=trainer, step=step, made=[0]) -> None:  # noqa: B006
            if made[0] == 1:
                raise Killed
            made[0] += 1
            step(*arguments)

        trainer._step = until
        with pytest.raises(Killed):
            trainer.run()
        assert len(run.steps) == 1, stop
    run = small()
    history = run.trainer(stages_of(run), folder).run()
    assert len(run.steps) == 1
    assert_same(run.state(), whole.state())
    assert history == expected


def test_a_killed_process_is_resumed_to_the_same_weights(small, tmp_path, root):
    """A real process, a real SIGKILL at no particular moment, twice."""
    program = tmp_path / "program.py"
    conftest = Path(__file__).with_name("conftest.py")
    program.write_text(
        textwrap.dedent(f"""
            import importlib.util, sys, time
            from pathlib import Path
            spec = importlib.util.spec_from_file_location("support", {str(conftest)!r})
            support = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(support)
            run = support.Small(pictures=400)
            load = run.stage().load
            slow = lambda numbers, epoch: (time.sleep(0.005), load(numbers, epoch))[1]
            stages = [run.stage("first", 4, load=slow), run.stage("second", 2, load=slow)]
            run.trainer(stages, Path(sys.argv[1]), checkpoint_every_s=0.02).run()
        """)
    )
    whole = small(pictures=400)
    expected = whole.trainer([whole.stage("first", 4), whole.stage("second", 2)]).run()
    folder = tmp_path / "run"
    stored = folder / CHECKPOINT
    for _ in range(2):
        before = stored.stat().st_mtime_ns if stored.exists() else 0
        process = subprocess.Popen([sys.executable, str(program), str(folder)], cwd=root)
        while not (stored.exists() and stored.stat().st_mtime_ns > before):
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(np.random.default_rng().uniform(0.0, 0.3))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    position = torch.load(stored, weights_only=True)["position"]
    assert position["stage"] < 2  # it really was in the middle of the run
    run = small(pictures=400)
    history = run.trainer([run.stage("first", 4), run.stage("second", 2)], folder).run()
    assert 0 < len(run.steps) < 300
    assert_same(run.state(), whole.state())
    assert history == expected


def test_a_finished_run_is_only_loaded(small, tmp_path):
    done = small()
    expected = done.trainer([done.stage()], tmp_path).run()
    again = small(seed=3)
    assert again.trainer([again.stage()], tmp_path).run() == expected
    assert again.steps == []
    assert_same(again.state(), done.state())


def test_changed_options_are_refused_by_name(small, tmp_path):
    done = small()
    done.trainer([done.stage(epochs=1)], tmp_path, fingerprint={"lr": 0.1, "epochs": 1}).run()
    run = small()
    cases = [
        ({"fingerprint": {"lr": 0.2, "epochs": 1}}, ["first"], "(lr)"),
        ({"fingerprint": {"lr": 0.1}}, ["first"], "(epochs)"),
        ({"batch_size": 4, "seed": 9}, ["first"], "(batch_size, epochs, lr, seed)"),
        ({"fingerprint": {"lr": 0.1, "epochs": 1}}, ["first", "affect"], "(stages)"),
    ]
    for options, names, named in cases:
        with pytest.raises(WeightsError) as error:
            run.trainer([run.stage(name) for name in names], tmp_path, **options).run()
        assert named in str(error.value)
        assert str(tmp_path) in str(error.value)
        assert "\n" not in str(error.value)
    assert run.steps == []


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_a_damaged_checkpoint_is_named_in_one_line(small, tmp_path, content):
    run = small()
    run.trainer([run.stage(epochs=1)], tmp_path).run()
    stored = tmp_path / CHECKPOINT
    stored.write_bytes(stored.read_bytes()[:-100] if content is None else content)
    with pytest.raises(WeightsError) as error:
        run.trainer([run.stage(epochs=1)], tmp_path).run()
    assert str(stored) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_checkpoint_that_would_run_code_is_refused(small, tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"position": Evil(), "fingerprint": {}, "model": {}}, tmp_path / CHECKPOINT)
    run = small()
    with pytest.raises(WeightsError, match="delete it") as error:
        run.trainer([run.stage(epochs=1)], tmp_path).run()
    assert "\n" not in str(error.value)
    assert not (tmp_path / "ran").exists()


# ---- what goes wrong ----------------------------------------------------------------------------------------------------


def test_divergence_is_an_error_in_one_line(small):
    run = small()
    with pytest.raises(WeightsError, match=r"diverged in stage 'first', epoch \d+: .*; lower the learning rate") as error:
        run.trainer([run.stage(epochs=50, lr=1e30)]).run()
    assert "\n" not in str(error.value)


def test_divergence_in_the_very_last_step_is_seen_too(small):
    run = small(pictures=8)
    with pytest.raises(WeightsError, match="weights are not finite"):
        run.trainer([run.stage(epochs=1, lr=float("inf"))]).run()


def test_a_full_disk_leaves_the_old_checkpoint_whole(small, tmp_path):
    first = small(width=20_000)
    stages = [first.stage(epochs=2)]
    trainer = first.trainer(stages, tmp_path)
    epoch = trainer._epoch
    trainer._epoch = lambda stage: epoch(stage) if trainer.at.epoch == 0 else (_ for _ in ()).throw(Killed())
    with pytest.raises(Killed):
        trainer.run()
    stored = (tmp_path / CHECKPOINT).read_bytes()
    listed = {path.name for path in tmp_path.iterdir()}

    run = small(width=20_000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(stored) // 2, hard))  # files cannot grow beyond, as on a full disk
    try:
        with pytest.raises(StorageError) as error:
            run.trainer([run.stage(epochs=2)], tmp_path).run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(tmp_path / CHECKPOINT) in str(error.value)
    assert "free some space" in str(error.value)
    assert "\n" not in str(error.value)
    assert (tmp_path / CHECKPOINT).read_bytes() == stored
    assert {path.name for path in tmp_path.iterdir()} == listed | {"curves.png"}

    again = small(width=20_000)  # with space again the run goes on
    whole = small(width=20_000)
    again.trainer([again.stage(epochs=2)], tmp_path).run()
    whole.trainer([whole.stage(epochs=2)]).run()
    assert_same(again.state(), whole.state())


def test_an_error_while_loading_pictures_comes_through(small):
    run = small()

    def load(numbers, epoch):
        raise OSError("the pictures are gone")

    with pytest.raises(OSError, match="the pictures are gone"):
        run.trainer([run.stage(load=load)]).run()


@pytest.mark.parametrize(("pictures", "batch_size"), [(30, 1), (1, 8)])
def test_a_batch_too_small_for_batch_norm_is_an_error_in_one_line(small, tmp_path, pictures, batch_size):
    run = small(pictures=pictures)
    message = rf"^batch_size is {batch_size}, and a batch of stage 'first' comes down to one value per channel; .* give a larger batch_size"
    with pytest.raises(UsageError, match=message) as error:
        run.trainer([run.stage()], tmp_path, batch_size=batch_size).run()
    assert "\n" not in str(error.value)
    again = small(pictures=30)  # the folder holds no run yet
    assert len(again.trainer([again.stage()], tmp_path).run()) == 3


def test_an_error_of_ones_own_comes_through(small):
    run = small()
    with pytest.raises(ValueError, match=r"^mine$"):
        run.trainer([run.stage(loss=lambda batch, generator: (_ for _ in ()).throw(ValueError("mine")))]).run()


def test_a_batch_too_small_for_the_processes_is_refused(small):
    run = small()
    with pytest.raises(UsageError, match="batch_size is 3, expected at least 4"):
        run.trainer([run.stage()], batch_size=3, processes=Processes(0, 2))
