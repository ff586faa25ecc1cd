"""Small EmoNets, and files as they are published."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import max_pool2d, relu

from emotion_perception.learners.emonet import EmoNetLearner
from emotion_perception.learners.emonet.model import EmoNet

# A sixteenth of the channels.
SMALL = 0.0625


class FullLayers(nn.Module):
    """EmoNet as the port with full layers writes it: MATLAB's order of the maps, column by column."""

    def __init__(self, channels: list[int], hidden: int) -> None:
        super().__init__()
        one, two, three = channels
        self.conv1, self.conv2 = nn.Conv2d(3, one, 11, 4), nn.Conv2d(one, two, 5, padding=2, groups=2)
        self.conv3, self.conv4 = nn.Conv2d(two, three, 3, padding=1), nn.Conv2d(three, three, 3, padding=1, groups=2)
        self.conv5 = nn.Conv2d(three, two, 3, padding=1, groups=2)
        self.fc1, self.fc2, self.fc3 = nn.Linear(36 * two, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, 20)
        self.lrn = nn.LocalResponseNorm(5, 1e-4, 0.75, 1.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = max_pool2d(self.lrn(relu(self.conv1(x))), 3, 2)
        h = max_pool2d(self.lrn(relu(self.conv2(h))), 3, 2)
        h = max_pool2d(relu(self.conv5(relu(self.conv4(relu(self.conv3(h)))))), 3, 2)
        h = h.transpose(2, 3).flatten(1)
        return self.fc3(relu(self.fc2(relu(self.fc1(h)))))


@pytest.fixture
def full_layers() -> FullLayers:
    """A small network of the other port."""
    torch.manual_seed(3)
    return FullLayers([6, 16, 24], 256)


@pytest.fixture
def small_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets files of the small network pass for published ones: reading 228 MB in every test would take too long."""
    monkeypatch.setattr(EmoNet.__init__, "__defaults__", ("none", "none", SMALL))
    from emotion_perception.learners.emonet import card, learner

    small = card.CARD.with_(architecture={**card.CARD.architecture, "width": SMALL})
    monkeypatch.setattr(learner, "CARD", small)
    monkeypatch.setattr(EmoNetLearner, "card", small)


@pytest.fixture
def scenes() -> list[np.ndarray]:
    """Three pictures of the network's size."""
    return list(np.random.default_rng(0).integers(0, 256, (3, 227, 227, 3)).astype(np.uint8))
