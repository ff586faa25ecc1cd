"""A small training without any learner: a network with batch norm on vectors that a formula makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from emotion_perception.engine.training.distributed import Processes
from emotion_perception.engine.training.logs import RunLog
from emotion_perception.engine.training.loop import Stage, Trainer


class Small:
    """One run: network, data, stages and what they saw.

    Attributes:
        model: The network.
        steps: (stage, numbers of the pictures) of every step made here.
        scores: What validation answers, epoch by epoch; when used up, the loss on all data.
    """

    def __init__(self, pictures: int = 30, width: int = 8, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.model = nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, 2))
        random = np.random.default_rng(5)
        self.x = torch.from_numpy(random.normal(size=(pictures, 4)).astype(np.float32))
        self.y = (self.x[:, 0] * self.x[:, 1] > 0).long()
        self.pictures = pictures
        self.steps: list[tuple[str, list[int]]] = []
        self.scores: list[float] = []

    def stage(self, name: str = "first", epochs: int = 3, lr: float = 0.1, **options: Any) -> Stage:
        def loss(batch: tuple[torch.Tensor, ...], generator: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
            x, y, numbers = batch
            self.steps.append((name, numbers.tolist()))
            noise = 0.01 * torch.randn(x.shape, generator=generator)
            return nn.functional.cross_entropy(self.model(x + noise), y), {"noise": float(noise.mean())}

        given = {
            "order": lambda epoch: np.random.default_rng((1, epoch)).permutation(self.pictures),
            "load": lambda numbers, epoch: (self.x[numbers], self.y[numbers], torch.from_numpy(numbers)),
            "loss": loss,
            "optimizer": torch.optim.SGD(self.model.parameters(), lr, momentum=0.9),
            "rate": lambda progress: 1.0 - progress,
            "prepare": self.model.train,
            "validate": self.validate,
            "monitor": "val_loss",
        }
        return Stage(name=name, epochs=epochs, **{**given, **options})

    def validate(self) -> dict[str, float]:
        if self.scores:
            return {"val_loss": self.scores.pop(0)}
        self.model.eval()
        with torch.inference_mode():
            return {"val_loss": float(nn.functional.cross_entropy(self.model(self.x), self.y))}

    def trainer(self, stages: list[Stage], folder: Path | None = None, **options: Any) -> Trainer:
        given = {"batch_size": 8, "seed": 0, "device": torch.device("cpu"), "processes": Processes(), "log": RunLog(folder)}
        return Trainer(self.model, stages, folder=folder, **{**given, **options})

    def state(self) -> dict[str, torch.Tensor]:
        return {name: value.clone() for name, value in self.model.state_dict().items()}


@pytest.fixture
def small():
    """Makes a run."""
    return Small
