"""Promises about files: `save`, `load`, `optimize`, `download`."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import unittest
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from emotion_perception.engine.cards import CARD_NAME, FORMAT_VERSION
from emotion_perception.engine.downloads import MIRROR_VARIABLE, OFFLINE_VARIABLE
from emotion_perception.engine.errors import DownloadError, NotLoadedError, UsageError, WeightsError
from emotion_perception.engine.learners import Learner
from emotion_perception.engine.testing.case import Case, check_same_state, state_of
from emotion_perception.engine.testing.checks_infer import agree, raises
from emotion_perception.engine.weights import EXPORTED_NAME, MODEL_NAME

OPTIMIZED_TOLERANCE = 1e-4


def check_save_and_optimize_need_weights(case: Case, folder: Path) -> None:
    """Asserts that a learner without weights saves and optimises nothing."""
    learner = case.make(folder)
    raises(NotLoadedError, lambda: learner.save(folder / "saved"), "load", "download")
    raises(NotLoadedError, lambda: learner.optimize(), "load", "download")
    assert list(folder.rglob("*")) == [], "a refused save or optimize left files"


def check_save_and_load_are_exact(case: Case, folder: Path) -> None:
    """Asserts that a saved learner is read back to the last bit, also from where its folder was moved to."""
    learner, pictures = case.loaded(folder), case.batch(3)
    check_same_state(state_of(learner), case.training.state, "the weights after save and load")
    expected = learner.infer(pictures)
    saved = learner.save(folder / "saved")
    moved = saved.rename(folder / "moved to another name")
    other = case.make(folder)
    other.load(moved)
    check_same_state(state_of(other), case.training.state, "the weights after moving their folder")
    agree(other.infer(pictures), expected, 0.0, "the learner that was read and the one that was saved")
    assert other.card == learner.card, "the card read is not the card saved"


def check_load_refuses_what_is_not_there(case: Case, folder: Path) -> None:
    """Asserts that a missing folder, an empty one and a file are refused by name."""
    learner = case.loaded(folder)
    (folder / "empty").mkdir()
    (folder / "file").write_bytes(b"")
    for name in ("missing", "empty", "file"):
        _refused(case, learner, folder / name, name)


def check_load_refuses_another_learners_weights(case: Case, folder: Path) -> None:
    """Asserts that the folder of another learner is refused with both names."""
    other = _copy(case, folder)
    _edit_card(other, learner="somebody_else")
    _refused(case, case.loaded(folder), other, "somebody_else", case.cls.card.learner)


def check_load_refuses_a_newer_format(case: Case, folder: Path) -> None:
    """Asserts that weights of a later version of the format are refused with both versions."""
    newer = _copy(case, folder)
    _edit_card(newer, format_version=FORMAT_VERSION + 1)
    _refused(case, case.loaded(folder), newer, str(FORMAT_VERSION + 1), str(FORMAT_VERSION))


def check_load_refuses_incomplete_weights(case: Case, folder: Path) -> None:
    """Asserts that a missing tensor, one of another shape, one too many and a truncated file are refused, the tensor by name."""
    import torch
    from safetensors.torch import load_file, save_file

    learner, owner = case.loaded(folder), {"learner": case.cls.card.learner}
    damaged = _copy(case, folder)
    tensors = load_file(damaged / MODEL_NAME)
    first = next(iter(tensors))
    for change, word in (
        ({name: value for name, value in tensors.items() if name != first}, first),
        ({**tensors, first: torch.zeros((3, *tensors[first].shape))}, first),
        ({**tensors, "one.too.many": torch.zeros(1)}, "one.too.many"),
    ):
        save_file(change, damaged / MODEL_NAME, owner)
        _refused(case, learner, damaged, word)
    whole = (case.training.weights / MODEL_NAME).read_bytes()
    for size in (0, 4, len(whole) // 2, len(whole) - 1):
        (damaged / MODEL_NAME).write_bytes(whole[:size])
        _refused(case, learner, damaged, MODEL_NAME)


def check_load_runs_no_code(case: Case, folder: Path) -> None:
    """Asserts that a pickle in the place of any file that is read, raw or in torch's own format, is never run."""
    import torch

    ran = folder / "ran"
    raw = pickle.dumps(_Bomb(ran), protocol=2)
    torch.save(_Bomb(ran), folder / "bomb.pt")
    pickle.loads(raw)
    assert ran.is_dir(), "the trap of this check does not work"
    ran.rmdir()
    learner = case.loaded(folder)
    for number, bomb in enumerate((raw, (folder / "bomb.pt").read_bytes())):
        for name in (CARD_NAME, MODEL_NAME, EXPORTED_NAME):
            trapped = _copy(case, folder, f"{number} {name}")
            (trapped / name).write_bytes(bomb)
            _refused(case, learner, trapped)
        published = folder / f"{number} published"
        published.mkdir()
        for name in (*(file.name for file in case.cls.card.files), "pytorch_model.bin", "model.pt", "model.pth"):
            (published / name).write_bytes(bomb)
        _refused(case, learner, published)
    assert not ran.exists(), "load ran code from a file"


def check_optimize_is_used(case: Case, folder: Path) -> None:
    """Asserts that after `optimize` the exported model answers, and the same; and that saving and loading keep it."""
    learner, pictures = case.loaded(folder), case.batch(3)
    expected = learner.infer(pictures)
    with _runs(learner) as runs:
        file = learner.optimize()
        runs.update(session=0, module=0)
        agree(learner.infer(pictures), expected, OPTIMIZED_TOLERANCE, "the optimised model and the network")
    assert file.is_file(), f"optimize returned {str(file)!r}, which is not a file"
    assert runs["session"] > 0, "infer does not use the optimised model"
    assert runs["module"] == 0, "infer runs the network beside the optimised model"
    other = case.make(folder)
    other.load(learner.save(folder / "saved").rename(folder / "moved"))
    with _runs(other) as runs:
        agree(other.infer(pictures), expected, OPTIMIZED_TOLERANCE, "the optimised model, saved and loaded, and the network")
    assert (runs["session"] > 0, runs["module"]) == (True, 0), f"a loaded optimised model is not used: {runs}"


def check_download_refuses_an_unknown_mode(case: Case, folder: Path) -> None:
    """Asserts that an unknown mode is refused by name, with the nearest right one where weights can be had, and leaves nothing."""
    near = ("pretrained",) if case.cls.card.files else ()
    text = raises(UsageError, lambda: case.make(folder).download(folder / "got", mode="pretraind"), "pretraind")
    assert all(f"{word!r}" in text for word in near), f"the error does not name {near}: {text!r}"
    assert list(folder.rglob("*")) == [], "a refused download left files"


def check_download_leaves_nothing_of_wrong_files(case: Case, folder: Path) -> None:
    """Asserts that files with other content than the card says, none at all, or no network leave nothing behind."""
    files = case.cls.card.files
    if not files:
        raise unittest.SkipTest("the card names no files")
    served = folder / "served"
    served.mkdir()
    for file in files:
        (served / file.name).write_bytes(b"something else")
    learner = case.make(folder)
    for url in (served.as_uri(), str(served), (folder / "nothing here").as_uri()):
        raises(DownloadError, lambda url=url: learner.download(folder / "got", mode="pretrained", url=url), files[0].name)
    environment = {name: value for name, value in os.environ.items() if name != MIRROR_VARIABLE}
    with mock.patch.dict(os.environ, {**environment, OFFLINE_VARIABLE: "1"}, clear=True):
        raises(DownloadError, lambda: learner.download(folder / "got", mode="pretrained"), OFFLINE_VARIABLE)
    left = [path for path in (folder / "got").rglob("*") if path.is_file()]
    assert left == [], f"a failed download left {left}"


class _Bomb:
    """A pickle of this makes a folder when it is read."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


def _copy(case: Case, folder: Path, name: str = "copy") -> Path:
    return Path(shutil.copytree(case.training.weights, folder / name))


def _edit_card(folder: Path, **changes: Any) -> None:
    file = folder / CARD_NAME
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **changes}), encoding="utf-8")


def _refused(case: Case, learner: Learner, folder: Path, *words: str) -> None:
    """Asserts that a folder is refused in one line with some words, and that the learner is the same afterwards."""
    card = learner.card
    raises(WeightsError, lambda: learner.load(folder), *words)
    assert learner.card is card, f"the refused weights in {folder.name!r} changed the card"
    check_same_state(state_of(learner), case.training.state, f"the refused weights in {folder.name!r} changed the learner")
    assert learner.loaded, f"after refusing {folder.name!r} the learner has no weights any more"


@contextmanager
def _runs(learner: Learner) -> Iterator[dict[str, int]]:
    """Counts the runs of ONNX Runtime's sessions, and those of a learner's torch module."""
    import onnxruntime

    runs = {"session": 0, "module": 0}
    real = onnxruntime.InferenceSession.run

    def run(*given: Any, **named: Any) -> Any:
        runs["session"] += 1
        return real(*given, **named)

    def forward(*given: Any) -> None:
        runs["module"] += 1

    handle = learner.model.register_forward_pre_hook(forward)
    try:
        with mock.patch.object(onnxruntime.InferenceSession, "run", run):
            yield runs
    finally:
        handle.remove()
