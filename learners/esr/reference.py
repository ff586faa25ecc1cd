"""ESR as the published code runs it: what the benchmark's ratios compare with."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import max_pool2d, relu

from emotion_perception.engine.target import FloatArray
from emotion_perception.learners.esr.model import EMOTIONS, ESR, Block


class Published:
    """Runs branch after branch, layer by layer: eager, in float32 and the contiguous layout, batch norm by itself, votes counted in Python.

    That is the structure of the published code, written anew. It is spared the graph for gradients, which that code keeps for the affect
    heads.
    """

    def __init__(self, model: ESR, device: torch.device) -> None:
        """Copies a network, which stays as it is."""
        self._device = device
        self._model = copy.deepcopy(model).to(device).to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]  # as in `TorchBackend`

    def __call__(self, x: FloatArray) -> tuple[list[tuple[int, float]], FloatArray]:
        """Judges faces.

        Args:
            x: ``(n, 3, height, width)`` float32.

        Returns:
            Of each face the class with the most votes and its share by softmax over the votes; the affect ``(n, 2)``, mean over branches.
        """
        with torch.inference_mode():
            features = _run(self._model.base, torch.tensor(x, device=self._device))
            emotions, affects = [], []
            for branch in self._model.branches:
                logits = branch.fc(_run(branch, features).mean((2, 3)))
                emotions.append(logits)
                affects.append(branch.fc_dimensional(relu(logits)))
            categories = []
            for face in range(len(x)):
                votes = torch.zeros(EMOTIONS)
                for logits in emotions:
                    votes[int(logits[face].argmax())] += 1.0
                shares = votes.softmax(0)
                category = int(votes.argmax())
                categories.append((category, float(shares[category])))
            return categories, np.asarray(torch.stack(affects).mean(0).cpu().numpy())


def _run(block: Block, x: Tensor) -> Tensor:
    """Applies four convolutions, each with batch norm, ReLU, pooling and attention where there are any, in the published order."""
    for number in range(1, 5):
        x = relu(getattr(block, f"bn{number}")(getattr(block, f"conv{number}")(x)))
        x = block.attend(max_pool2d(x, 2) if number in block.pooled else x, number)
    return x
