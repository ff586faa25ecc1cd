"""A small network, and clips in memory in which features tell the emotions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from emotion_perception.engine.labels import label_set
from emotion_perception.learners.emotx.clips import ClipFeatures, Stream
from emotion_perception.learners.emotx.datasets import ClipDataset, ClipTargets
from emotion_perception.learners.emotx.settings import FeatureInfo, Settings

WIDTH = 16
KINDS = ("mvit_v1", "resnet50_places", "generic", "resnet50_fer", "emo", "roberta")
SMALL = {
    "feat_info": {kind: FeatureInfo(WIDTH, WIDTH, WIDTH) for kind in KINDS},
    "hidden_dim": 32,
    "num_enc_layers": 1,
    "max_feats": 12,
    "max_srt_feats": 12,
    "epochs": 2,
    "precision": "fp32",
    "lr": 3e-3,
}


class HeldClips(ClipDataset):
    """Clips whose first emotion every stream shows, by its sign in the first feature; some emotions nobody has."""

    def __init__(self, count: int, labels: str = "moviegraphs10", seed: int = 0, classes: Sequence[int] = (0, 1, 2)) -> None:
        self.labels, self.seed = label_set(labels), seed
        random = np.random.default_rng(seed)
        k = len(self.labels)
        self._targets, self._people = [], []
        for _ in range(count):
            people = int(random.integers(1, 6))
            scene, characters = np.zeros(k, np.float32), np.zeros((people, k), np.float32)
            scene[list(classes)] = random.random(len(classes)) < 0.4
            characters[:, list(classes)] = random.random((people, len(classes))) < 0.4
            self._targets.append(ClipTargets(scene, characters))
            self._people.append(people)

    def __len__(self) -> int:
        return len(self._targets)

    def targets(self, index: int) -> ClipTargets:
        return self._targets[index]

    def clip(self, index: int, draw: np.random.Generator | None = None) -> ClipFeatures:
        random = np.random.default_rng((self.seed, index))

        def stream(truth: np.ndarray) -> Stream:
            n = int(random.integers(2, 9))
            features = random.normal(0.0, 0.3, (n, WIDTH)).astype(np.float32)
            features[:, : len(self.labels)] += 2.0 * truth[:WIDTH] - 1.0
            made = Stream(features, np.sort(random.random(n)).astype(np.float32) * 5.0)
            return made if draw is None else made.take(np.sort(draw.permutation(n)[: max(1, n // 2)]))

        target = self._targets[index]
        people = {f"person {i}": stream(row) for i, row in enumerate(target.characters)}
        return ClipFeatures(stream(target.scene), people, stream(target.scene), f"clip {index}")


@pytest.fixture
def held_clips() -> type[HeldClips]:
    """Makes clips in memory, in label sets of up to sixteen classes."""
    return HeldClips


@pytest.fixture
def small_settings():
    """Makes settings of a network that trains in no time; keywords are settings."""
    return lambda **changes: Settings(**{**SMALL, **changes})
