"""The contract suite over every learner of this package."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from emotion_perception import learner_names
from emotion_perception.engine.labels import MOVIEGRAPHS10
from emotion_perception.engine.testing import TRAINING_CHECKS, Case, Check, parametrize
from emotion_perception.learners.emotx.clips import ClipFeatures, Stream
from emotion_perception.learners.emotx.datasets import ClipDataset, ClipTargets
from emotion_perception.learners.emotx.settings import FeatureInfo, Settings


class DrawnClips(ClipDataset):
    """Clips with features of 16 numbers, in which what holds shows; the same ones at every call."""

    labels = MOVIEGRAPHS10

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def clip(self, index: int, draw: np.random.Generator | None = None) -> ClipFeatures:
        """Shows the scene's classes in what is seen and said, and each character's in its face."""
        random, targets = np.random.default_rng(index), self.targets(index)

        def stream(shown: np.ndarray) -> Stream:
            length = int(random.integers(3, 9))
            features = np.pad(shown, (0, 6)) + random.normal(0.0, 0.2, (length, 16))
            whole = Stream(features.astype(np.float32), np.sort(random.uniform(0.0, 20.0, length)).astype(np.float32))
            return whole if draw is None else whole.take(np.sort(draw.choice(length, length // 2, replace=False)))

        scene, faces = stream(targets.scene), {name: stream(row) for name, row in zip("AB", targets.characters, strict=False)}
        return ClipFeatures(scene, faces, None if index % 4 == 3 else stream(targets.scene), name=f"clip {index}")

    def targets(self, index: int) -> ClipTargets:
        """Draws two characters, of every third clip one, and takes what holds for any of them to hold for the scene."""
        characters = (np.random.default_rng((7, index)).random((1 if index % 3 == 2 else 2, 10)) < 0.3).astype(np.float32)
        return ClipTargets(characters.max(axis=0), characters)


ESR = {"ensemble_size": 2, "input_size": 54, "batch_size": 8, "device": "cpu", "precision": "fp32"}
ESR |= {"augment": False, "lr": 0.05, "optimizer": "sgd"}
MOBILENET = {"input_size": 32, "batch_size": 8, "device": "cpu", "precision": "fp32", "augment": False, "dropout": 0.2, "lr": 0.002}
EMOTORCH = {"batch_size": 8, "device": "cpu", "max_training_epoch": 6}
# A sixteenth of the channels: the whole network has 57 million parameters.
EMONET = {"width": 0.0625, "batch_size": 8, "device": "cpu", "precision": "fp32", "augment": False, "dropout": 0.0, "lr": 0.001}
EMOTX_WIDTHS = {
    "mvit_v1": FeatureInfo(scene_feat_dim=16),
    "resnet50_fer": FeatureInfo(face_feat_dim=16),
    "roberta": FeatureInfo(srt_feat_dim=16),
}
EMOTX = Settings(
    hidden_dim=32, num_chars=2, epochs=3, lr=0.003, class_weights="none", keep="last", precision="fp32", feat_info=EMOTX_WIDTHS
)
CASES = (
    Case("emonet", {**EMONET, "affect": "fc7", "max_training_epoch": 3}, epochs=3),
    Case(
        "emonet",
        {**EMONET, "affect": "probabilities", "mean": "none", "max_training_epoch": 3},
        "emonet_on_probabilities",
        checks=TRAINING_CHECKS[:3],  # what the head changes: rows, gradients, the loss
    ),
    Case("emotorch", {**EMOTORCH, "copies": 0.05, "lr": 0.01}, epochs=6),
    Case("emotorch", {**EMOTORCH, "network": "baseline", "copies": 0.01, "lr": 0.002}, "emotorch_baseline", 6, checks=TRAINING_CHECKS),
    Case("emotx", {"settings": EMOTX, "device": "cpu"}, epochs=3, clips=DrawnClips),
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
