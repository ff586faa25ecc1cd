from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from emotion_perception.engine.cards import CropSpec, InputSpec, ModelCard
from emotion_perception.engine.inference import export_onnx
from emotion_perception.engine.learners import Learner

OUTPUTS = ("logits", "affect")


class TwoHeads(nn.Module):
    """A small network of the kind the learners have: convolutions with batch norm, then scores and affect, per branch."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
        )
        self.scores = nn.Linear(16, 8)
        self.affect = nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scores = self.scores(self.features(x).mean((2, 3)))
        return scores[:, None], self.affect(scores.relu())[:, None]


@pytest.fixture(scope="session")
def card() -> ModelCard:
    return ModelCard(
        learner="toy",
        title="Zwei Köpfe",  # not ASCII on purpose: the card travels through the file's metadata
        perceives="face",
        input=InputSpec(24, 32, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3)),
        labels="affectnet8",
        licence="Apache-2.0",
        paper="none",
        affect=True,
        crop=CropSpec(),
        architecture={"heads": 2},
    )


def two_heads() -> TwoHeads:
    """Makes a network whose batch norms hold statistics of their own, so that folding them wrongly or not in evaluation mode shows."""
    torch.manual_seed(3)
    network = TwoHeads()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return network.eval()


@pytest.fixture
def model() -> TwoHeads:
    return two_heads()


@pytest.fixture(scope="session")
def learner(card) -> Learner:
    """A learner of that card, without weights: enough to make what its network takes."""

    toy = card

    class Toy(Learner):
        card = toy
        output_names = OUTPUTS

        def build_model(self, card):
            return two_heads()

        def emotions(self, outputs): ...
        def fit(self, *given, **named): ...
        def eval(self, dataset=None): ...
        def download(self, *given, **named): ...

    return Toy()


@pytest.fixture(scope="session")
def output_names() -> tuple[str, ...]:
    return OUTPUTS


@pytest.fixture(scope="session")
def exported(card, output_names, tmp_path_factory) -> Path:
    """The file that `export_onnx` makes of `model`; exporting takes over a second, so once for all tests that only read it."""
    return export_onnx(two_heads(), tmp_path_factory.mktemp("exported") / "model.onnx", card, output_names)
