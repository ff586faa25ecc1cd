"""Promises about `fit` and `eval`. Most compare with the one training that a case's checks share."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotion_perception.engine.datasets.base import Targets
from emotion_perception.engine.errors import DatasetError
from emotion_perception.engine.testing.case import Case, Watched, check_same_state, state_of
from emotion_perception.engine.testing.checks_infer import raises

_CHILD = "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); run, *given = pickle.load(sys.stdin.buffer); run(*given)"


def check_fit_returns_a_row_per_epoch(case: Case, folder: Path) -> None:
    """Asserts that the history has a row per epoch, with the epoch, a finite loss and plain values only."""
    history = case.training.history
    assert history, "fit returned an empty history"
    epochs = [row.get("epoch") for row in history]
    assert epochs == list(range(1, len(history) + 1)), f"the history's epochs are {epochs}, expected 1, 2, ..."
    if case.epochs is not None:
        assert len(history) == case.epochs, f"the history has {len(history)} rows, expected {case.epochs}"
    for row in history:
        assert np.isfinite(row.get("loss", np.nan)), f"the history has a row without a finite loss: {row}"
    assert json.loads(json.dumps(history)) == history, "the history holds values that JSON does not have"


def check_fit_changes_every_trainable_parameter(case: Case, folder: Path) -> None:
    """Asserts that training reaches every parameter: each gets a new value, or a gradient that is not zero.

    A value can stay the same in spite of a gradient, as that of a bias before batch norm, which is only rounding.
    """
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    learner = case.loaded(folder)
    before = state_of(learner)
    reached: dict[int, Any] = {}

    def note(optimizer: Any, *given: Any) -> None:
        for group in optimizer.param_groups:
            reached.update({id(p): p for p in group["params"] if p.grad is not None and bool(p.grad.any())})

    handle = register_optimizer_step_pre_hook(note)
    try:
        learner.fit(case.data(card=learner.card))
    finally:
        handle.remove()
    after = state_of(learner)
    trainable = {name: parameter for name, parameter in learner.model.named_parameters() if parameter.requires_grad}
    assert trainable, "the network has no trainable parameters after fit"
    same = [name for name, p in trainable.items() if np.array_equal(after[name], before[name]) and id(p) not in reached]
    assert same == [], f"training reached {len(trainable) - len(same)} of {len(trainable)} parameters, not {same}"


def check_fit_lowers_the_loss(case: Case, folder: Path) -> None:
    """Asserts that eight pictures or clips can be learnt: within every stage that has several epochs the loss falls."""
    stages: dict[str, list[float]] = {}
    for row in case.training.history:
        stages.setdefault(str(row.get("stage", "")), []).append(row["loss"])
    compared = {stage: losses for stage, losses in stages.items() if len(losses) > 1}
    assert compared, f"no stage has two epochs, so nothing can fall; give the case more epochs: {stages}"
    # By more than rounding: in another order the same losses have another sum.
    risen = {stage: losses for stage, losses in compared.items() if not losses[-1] < losses[0] - 1e-4 * abs(losses[0])}
    assert risen == {}, f"the loss did not fall in {risen}"


def check_fit_is_reproduced_by_its_seed(case: Case, folder: Path) -> None:
    """Asserts that the same arguments train the same weights to the last bit, also without a folder for logs."""
    learner = case.make(folder)
    history = learner.fit(case.data())["history"]
    check_same_state(state_of(learner), case.training.state, "a second training with the same seed")
    assert history == case.training.history, "a second training with the same seed has another history"


def check_fit_interrupted_is_resumed(case: Case, folder: Path) -> None:
    """Asserts that training stopped by Ctrl-C in its middle goes on in the same folder and ends in the same weights."""
    data = Watched(case.data(), _middle(case), _interrupt)
    learner = case.make(folder)
    try:
        learner.fit(data.dataset, logging_path=str(folder / "run"))
    except KeyboardInterrupt:
        _check_resumed(case, folder)
        return
    raise AssertionError("fit swallowed Ctrl-C")


def check_fit_killed_is_resumed(case: Case, folder: Path) -> None:
    """Asserts that training killed in its middle (SIGKILL, another process) goes on and ends in the same weights."""
    import torch

    work: tuple[Callable[..., None], Any, Any, Any, Any] = (_fit_and_die, replace(case), folder, _middle(case), torch.get_num_threads())
    given = pickle.dumps(sys.path) + pickle.dumps(work)
    done = subprocess.run([sys.executable, "-c", _CHILD], input=given, capture_output=True, timeout=600, check=False)
    assert done.returncode == -signal.SIGKILL, f"the process ended with {done.returncode}: {done.stderr.decode(errors='replace')[-800:]}"
    _check_resumed(case, folder)


def check_eval_agrees_with_a_count_by_hand(case: Case, folder: Path) -> None:
    """Asserts that where six of eight pictures are labelled as judged, `eval` says an accuracy of 6/8, and that all it says is plain.

    Of clips it asserts that ``map_scene`` is the mean average precision of the scenes, over the classes that some clip has.
    """
    learner = case.loaded(folder)
    data = case.data(card=learner.card).subset(np.arange(8))
    judged = learner.infer([data[i][0] for i in range(8)])
    wrong = np.array([0, 1, 0, 0, 0, 1, 0, 0])
    affect = None if judged.affect is None else np.clip(judged.affect - np.float32(0.25), -1.0, 1.0)
    if case.clips is None:
        data.targets = Targets((judged.index + wrong) % len(judged.labels), affect=affect)
    result = learner.eval(data)
    assert all(isinstance(name, str) for name in result), f"eval returned names that are not words: {list(result)}"
    assert json.loads(json.dumps(result)) == result, "eval returned values that JSON does not have"
    if case.clips is not None:
        by_hand = _mean_precision(judged.probabilities, np.stack([data.targets(i).scene for i in range(8)]))
        said = result.get("map_scene", np.nan)
        assert abs(said - by_hand) < 1e-6, f"eval says map_scene {said}, by hand it is {by_hand}"
        return
    assert result.get("accuracy") == 0.75, f"eval says accuracy {result.get('accuracy')}, six of eight are right"
    if affect is not None and judged.affect is not None:
        by_hand = np.sqrt(np.square(judged.affect - affect).mean(axis=0, dtype=np.float64))
        given = [result.get("rmse_valence"), result.get("rmse_arousal")]
        assert None not in given, f"eval says nothing of rmse_valence and rmse_arousal, only {list(result)}"
        assert np.allclose(np.array(given, np.float64), by_hand, atol=1e-4), f"eval says rmse {given}, by hand it is {by_hand.tolist()}"


def check_eval_changes_nothing(case: Case, folder: Path) -> None:
    """Asserts that `eval` leaves the weights as they are, says the same again, and refuses an empty data set."""
    learner = case.loaded(folder)
    data, before = case.data(card=learner.card), state_of(learner)
    assert learner.eval(data) == learner.eval(data), "eval says something else the second time"
    check_same_state(state_of(learner), before, "eval changed the network")
    raises(DatasetError, lambda: learner.eval(data.subset([])), "empty")


def _mean_precision(probabilities: NDArray[np.float32], targets: NDArray[np.float32]) -> float:
    """Returns the mean over classes of the mean over their true rows of: the share of true rows among those at least as probable."""
    found = []
    for said, true in zip(probabilities.T, targets.T > 0, strict=True):
        if true.any():
            found.append(np.mean([true[said >= p].mean() for p in said[true]]))
    assert found, "no clip has a class, so nothing can be measured; give the case clips with some"
    return float(np.mean(found))


def _middle(case: Case) -> int:
    """Returns the number of a read in the middle of the shared training."""
    return case.training.reads // 2 + 1


def _interrupt() -> None:
    raise KeyboardInterrupt


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _fit_and_die(case: Case, folder: Path, at: int, threads: int) -> None:
    """Trains until a read kills this process."""
    import torch

    torch.set_num_threads(threads)
    case.make(folder).fit(Watched(case.data(), at, _die).dataset, logging_path=str(folder / "run"))


def _check_resumed(case: Case, folder: Path) -> None:
    """Asserts that a new learner finishes the run in the folder as the shared training went, without doing all of it again."""
    learner, data = case.make(folder), Watched(case.data())
    history = learner.fit(data.dataset, logging_path=str(folder / "run"))["history"]
    check_same_state(state_of(learner), case.training.state, "the resumed training")
    assert history == case.training.history, "the resumed training has another history"
    assert data.reads < case.training.reads, f"the training was not resumed but repeated: {data.reads} reads"
