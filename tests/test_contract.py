"""The contract suite over every learner of this package."""

from __future__ import annotations

from pathlib import Path

from emotion_perception import learner_names
from emotion_perception.engine.testing import TRAINING_CHECKS, Case, Check, parametrize

ESR = {"ensemble_size": 2, "input_size": 54, "batch_size": 8, "device": "cpu", "precision": "fp32"}
ESR |= {"augment": False, "lr": 0.05, "optimizer": "sgd"}
MOBILENET = {"input_size": 32, "batch_size": 8, "device": "cpu", "precision": "fp32", "augment": False, "dropout": 0.2, "lr": 0.002}
EMOTORCH = {"batch_size": 8, "device": "cpu", "max_training_epoch": 6}
CASES = (
    Case("emotorch", {**EMOTORCH, "copies": 0.05, "lr": 0.01}, epochs=6),
    Case("emotorch", {**EMOTORCH, "network": "baseline", "copies": 0.01, "lr": 0.002}, "emotorch_baseline", 6, checks=TRAINING_CHECKS),
    Case("esr", {**ESR, "schedule": "joint", "branch_share": 1.0, "max_training_epoch": 4}, epochs=4),
    Case("esr", {**ESR, "schedule": "published", "max_training_epoch": 2, "later_epochs": 2}, "esr_published", 4, checks=TRAINING_CHECKS),
    Case("mobilenetv2_affectnet", {**MOBILENET, "max_training_epoch": 4}, epochs=4),
    Case(
        "mobilenetv2_affectnet",
        {**MOBILENET, "shared": False, "lr": 0.0003, "max_training_epoch": 3},
        "mobilenetv2_two",
        6,
        checks=TRAINING_CHECKS,
    ),
)


@parametrize(*CASES)
def test_contract(case: Case, check: Check, tmp_path: Path) -> None:
    check(case, tmp_path)


def test_every_learner_of_this_package_is_checked(root: Path) -> None:
    folders = {folder.name for folder in (root / "learners").iterdir() if (folder / "card.py").is_file()}
    assert folders <= set(learner_names())
    assert folders == {case.learner for case in CASES if case.checks is None}
