"""The pieces of an ESR network that the anytime ensemble runs one after the other, as torch modules."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from emotion_perception.learners.esr.model import ESR, Deployed, stacked


class SharedPart(nn.Module):
    """A copy of the shared layers, made to run."""

    def __init__(self, model: ESR) -> None:
        """Copies them from a network, which stays as it is."""
        super().__init__()
        self.base = _deployed(model, []).esr.base

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Returns the features of faces as `ESR.forward` takes them."""
        return (self.base(x),)


class BranchesPart(nn.Module):
    """A copy of some branches, made to run."""

    def __init__(self, model: ESR, members: Sequence[int]) -> None:
        """Copies branches from a network, which stays as it is.

        Args:
            model: The network.
            members: Numbers of the branches, from 0.
        """
        super().__init__()
        deployed = _deployed(model, members)
        self.branches, self.fused = deployed.esr.convolutional_branches, deployed.fused

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Returns logits ``(n, members, 8)`` and affect ``(n, members, 2)``, from what `SharedPart` returns."""
        return stacked([branch(features) for branch in self.branches]) if self.fused is None else self.fused(features)


def _deployed(model: ESR, members: Sequence[int]) -> Deployed:
    """Returns a copy of a network with some of its branches, batch norm folded."""
    with torch.device("meta"):  # its own base is not needed
        part = ESR(0, model.base.diversify)
    part.base = model.base
    part.convolutional_branches = nn.ModuleList(model.branches[i] for i in members)
    return Deployed(part)
