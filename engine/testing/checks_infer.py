"""Promises about making a learner and about `infer`."""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import os
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotion_perception.engine.cards import ModelCard
from emotion_perception.engine.errors import EmotionPerceptionError, NotLoadedError, UsageError
from emotion_perception.engine.learners import Learner
from emotion_perception.engine.target import Emotions
from emotion_perception.engine.testing.case import Case, check_same_state, state_of

TOLERANCE = 1e-5
VERBS = ("infer", "inputs", "example", "outputs", "fit", "eval", "save", "load", "optimize", "reset", "download", "build_model", "emotions")
_OUTSIDE = {"socket.connect", "socket.getaddrinfo", "socket.sendto", "subprocess.Popen", "os.mkdir", "os.rename", "os.remove"}
_watchers: list[list[str]] = []


def check_construction_does_nothing(case: Case, folder: Path) -> None:
    """Asserts that making a learner reads no weights, writes no file, opens no connection and prints nothing."""
    cls = case.cls
    for make in (cls, lambda: case.make(folder)):
        printed = io.StringIO()
        with _inside(folder), contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed), _events() as events:
            learner = make()
        assert events == [], f"making the learner reached outside the program: {events}"
        assert printed.getvalue() == "", f"making the learner printed {printed.getvalue()!r}"
        assert not learner.loaded, "a learner that was just made says that it has weights"
        kept = [name for name, value in vars(learner).items() if hasattr(value, "shape") or hasattr(value, "state_dict")]
        assert kept == [], f"a learner that was just made holds arrays or networks: {kept}"
        raises(NotLoadedError, lambda learner=learner: learner.model, "load", "download")
    assert list(folder.iterdir()) == [], "making the learner wrote files"


def check_constructor_keeps_its_arguments(case: Case, folder: Path) -> None:
    """Asserts that every argument given to the constructor is an attribute of that name, unchanged."""
    learner = case.make(folder)
    kept = {name: getattr(learner, name, None) for name in case.arguments}
    assert kept == dict(case.arguments), f"the constructor changed its arguments: given {case.arguments}, kept {kept}"
    raises(UsageError, lambda: case.cls(**{**case.arguments, "device": "gpu"}), "gpu", "cpu")
    raises(UsageError, lambda: case.cls(**{**case.arguments, "batch_size": 0}), "batch_size")


def check_signatures_are_those_of_the_base(case: Case, folder: Path) -> None:
    """Asserts that every verb takes the base class's arguments by name and by position, and that all others have defaults."""
    for verb in VERBS:
        base, own = (inspect.signature(getattr(cls, verb)).parameters for cls in (Learner, case.cls))
        for place, (name, wanted) in enumerate(base.items()):
            assert name in own, f"{verb} lacks the argument {name!r} of Learner.{verb}"
            if wanted.kind is not wanted.KEYWORD_ONLY:
                assert list(own).index(name) == place, f"{verb}: argument {name!r} is not in place {place} as in Learner.{verb}"
            kinds = {wanted.kind, wanted.POSITIONAL_OR_KEYWORD}
            assert own[name].kind in kinds, f"{verb}: argument {name!r} is {own[name].kind.description}, not {wanted.kind.description}"
            if wanted.default is not wanted.empty:
                assert own[name].default is not wanted.empty, f"{verb}: argument {name!r} has no default, in Learner.{verb} it has one"
        needed = {name for name, p in own.items() if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
        extra = sorted(needed - set(base))
        assert extra == [], f"{verb}: arguments without a default that Learner.{verb} does not have: {extra}"


def check_card_is_valid(case: Case, folder: Path) -> None:
    """Asserts that the class's card says what it has to, and survives being written."""
    card = case.cls.card
    if isinstance(case.learner, str):
        assert card.learner == case.learner, f"the card says learner {card.learner!r}, it is registered as {case.learner!r}"
    words = card.label_set.words
    assert len(words) > 1, f"label set {card.labels!r} has fewer than two classes"
    assert len({word.casefold() for word in words}) == len(words), f"label set {card.labels!r} names a class twice"
    for name in ("title", "licence", "paper"):
        assert getattr(card, name).strip(), f"the card's {name} is empty"
    assert np.isfinite([*card.input.mean, *card.input.std]).all(), f"mean or std of {card.input} is not finite"
    assert len(card.input.mean) == len(card.input.std) == 3, f"mean and std of {card.input} are not one number per channel"
    names = [file.name for file in card.files]
    assert len(set(names)) == len(names), f"the card names a file twice: {names}"
    for file in card.files:
        assert Path(file.name).name == file.name, f"the card's file {file.name!r} is a path, not a name"
        assert file.url.startswith("https://"), f"the address of {file.name} is {file.url!r}, expected https"
    assert ModelCard.from_dict(json.loads(json.dumps(card.to_dict()))) == card, "the card read back from JSON is another one"
    assert len(case.cls.output_names) > 0, "output_names is empty"
    assert (card.perceives == "clip") == (case.clips is not None), f"the learner perceives a {card.perceives}; give its case `clips` or not"


def check_infer_needs_weights(case: Case, folder: Path) -> None:
    """Asserts that without weights `infer` and `eval` say how to get some."""
    learner = case.make(folder)
    for call in (lambda: learner.infer([]), lambda: learner.infer(case.data(1)[0][0]), lambda: learner.eval(case.data())):
        raises(NotLoadedError, call, "load", "download")


def check_infer_result_is_coherent(case: Case, folder: Path) -> None:
    """Asserts that categories, probabilities, affect and extras of a result agree with each other and with the card."""
    learner = case.loaded(folder)
    result = learner.infer(case.batch(5))
    categories, affect = result
    labels = learner.card.label_set
    assert len(result) == len(categories) == 5, f"infer returned {len(result)} rows for five inputs"
    assert result.labels == labels, f"the result counts in {result.labels.name}, the card says {labels.name}"
    assert result.probabilities.shape == (5, len(labels)), f"probabilities have shape {result.probabilities.shape}"
    assert result.probabilities.dtype == np.float32, f"probabilities are {result.probabilities.dtype}, expected float32"
    assert np.isfinite(result.probabilities).all(), "probabilities are not finite"
    assert ((result.probabilities >= 0.0) & (result.probabilities <= 1.0 + 1e-6)).all(), "probabilities lie outside [0, 1]"
    if not labels.multi_label:
        sums = result.probabilities.sum(axis=1)
        assert np.allclose(sums, 1.0, atol=1e-5), f"probabilities sum to {sums.tolist()}"
    if learner.card.affect:
        assert affect is not None, "the card promises valence and arousal, the result has none"
        assert affect.shape == (5, 2), f"affect has shape {affect.shape}"
        assert (np.abs(affect) <= 1.0).all(), f"affect lies outside [-1, 1] or is not finite: {affect.tolist()}"
    else:
        assert affect is None, "the card promises no valence and arousal, the result has some"
    for row, category in enumerate(categories):
        assert category.data == result.index[row], f"category {row} is of another class than the index says"
        assert category.description == labels.words[category.data], f"category {row} has the word of another class"
        assert category.confidence == result.probabilities[row, category.data], f"the confidence of category {row} is not its probability"
    for name, values in result.extras.items():
        assert len(values) == 5, f"extra {name!r} has {len(values)} rows for five inputs"


def check_infer_one_equals_a_batch_of_one(case: Case, folder: Path) -> None:
    """Asserts that an input, a list and a tuple of it give the same."""
    learner, given = case.loaded(folder), case.batch(1)[0]
    one = learner.infer(given)
    assert len(one) == 1, f"infer of one input returned {len(one)} rows"
    for batch in ([given], (given,)):
        agree(learner.infer(batch), one, 0.0, "a batch of one and the input alone")


def check_infer_batch_equals_singles(case: Case, folder: Path) -> None:
    """Asserts that an input is judged the same whatever is in the batch with it, also across forward passes."""
    learner = case.loaded(folder)
    inputs = case.batch(learner.batch_size + 3)
    together = learner.infer(inputs)
    for number, given in enumerate(inputs):
        agree(together[number], learner.infer(given), TOLERANCE, f"input {number} in a batch and alone")
    agree(learner.infer(inputs[::-1])[::-1], together, TOLERANCE, "a batch and the same in reverse")


def check_infer_empty_batch_is_empty(case: Case, folder: Path) -> None:
    """Asserts that no inputs give no results."""
    learner = case.loaded(folder)
    result = learner.infer([])
    categories, affect = result
    assert (len(result), categories) == (0, []), f"an empty batch gave {categories}"
    assert result.probabilities.shape == (0, len(learner.card.label_set)), f"probabilities have shape {result.probabilities.shape}"
    assert (affect is not None) == learner.card.affect, "an empty result has affect where the card says none, or the other way round"


def check_infer_leaves_its_input_alone(case: Case, folder: Path) -> None:
    """Asserts that every array in an input is the same after `infer`, and may be read-only."""
    learner, given = case.loaded(folder), case.batch(1)[0]
    arrays = list(_arrays(given))
    assert arrays, f"the input is a {type(given).__name__} without arrays"
    before = [array.copy() for array in arrays]
    for array in arrays:
        array.flags.writeable = False
    learner.infer([given, given])
    for array, copy in zip(arrays, before, strict=True):
        assert np.array_equal(array, copy), f"infer changed its input, an array of {array.dtype}"


def check_infer_is_repeatable(case: Case, folder: Path) -> None:
    """Asserts that the same input gives the same output, that no gradients are kept and that the network stays as it was."""
    import torch

    learner, inputs = case.loaded(folder), case.batch(3)
    before, expected = state_of(learner), learner.infer(inputs)
    learner.model.train()
    agree(learner.infer(inputs), expected, 0.0, "the second call, after training mode, and the first")
    assert not learner.model.training, "the network is in training mode after infer"
    check_same_state(state_of(learner), before, "infer changed the network")
    assert all(parameter.grad is None for parameter in learner.model.parameters()), "infer left gradients"
    assert torch.is_grad_enabled(), "infer switched gradients off for everybody"


def check_reset_clears_state(case: Case, folder: Path) -> None:
    """Asserts that after `reset` a learner judges as if it had seen nothing before."""
    fresh, used = case.loaded(folder), case.loaded(folder)
    inputs = case.batch(4)
    used.infer(inputs)
    assert used.reset() is None, "reset returned something"  # type: ignore[func-returns-value]  # that is what is checked
    agree(used.infer(inputs[::-1]), fresh.infer(inputs[::-1]), 0.0, "a learner after reset and a fresh one")
    case.make(folder).reset()


def check_infer_works_from_two_threads(case: Case, folder: Path) -> None:
    """Asserts that threads that infer at once get what one thread gets."""
    learner, inputs = case.loaded(folder), case.batch(4)
    expected = [learner.infer(given) for given in inputs]
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(learner.infer, inputs * 4))
    for number, result in enumerate(results):
        agree(result, expected[number % 4], TOLERANCE, "two threads and one")


def agree(actual: Emotions, expected: Emotions, tolerance: float, what: str) -> None:
    """Asserts that two results differ by at most a tolerance in probabilities and affect."""
    pairs: list[tuple[str, NDArray[np.float32] | None, NDArray[np.float32] | None]] = [
        ("probabilities", actual.probabilities, expected.probabilities),
        ("affect", actual.affect, expected.affect),
    ]
    for name, one, other in pairs:
        if one is None or other is None:
            assert one is other, f"{what}: only one of them has {name}"
            continue
        assert one.shape == other.shape, f"{what}: {name} have shapes {one.shape} and {other.shape}"
        difference = float(np.abs(one - other).max(initial=0.0))
        assert difference <= tolerance, f"{what}: {name} differ by {difference:.3g}, expected at most {tolerance:.3g}"


def raises(kind: type[EmotionPerceptionError], call: Any, *words: str) -> str:
    """Asserts that a call raises a kind of error, in one line that holds all of some words, and returns that line."""
    try:
        call()
    except kind as error:
        text = str(error)
    except Exception as error:
        raise AssertionError(f"expected {kind.__name__}, got {type(error).__name__}: {error}") from error
    else:
        raise AssertionError(f"expected {kind.__name__}, but nothing was raised")
    assert "\n" not in text, f"the error is longer than one line: {text!r}"
    missing = [word for word in words if word not in text]
    assert missing == [], f"the error does not say {missing}: {text!r}"
    return text


def _arrays(value: Any) -> Iterator[NDArray[Any]]:
    """Yields the arrays that an input is made of."""
    if isinstance(value, np.ndarray):
        yield value
    elif is_dataclass(value):
        yield from _arrays(vars(value))
    elif isinstance(value, (Mapping, list, tuple)):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _arrays(part)


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """Makes a folder the working folder for a while (`contextlib.chdir` of Python 3.11)."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextlib.contextmanager
def _events() -> Iterator[list[str]]:
    """Collects what the interpreter does outside itself: connections, programs started, files written."""
    if not _watchers:
        sys.addaudithook(_audit)  # hooks cannot be removed
        _watchers.append([])
    events: list[str] = []
    _watchers.append(events)
    try:
        yield events
    finally:
        _watchers.remove(events)


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if len(_watchers) < 2:
        return
    writes = event == "open" and (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    # The compiled form of a module that is imported for the first time is no work of the learner's.
    if (writes or event in _OUTSIDE) and "__pycache__" not in str(arguments[0]):
        _watchers[-1].append(f"{event} {arguments[:2]}")
