"""The branches of an ESR all at once: a GPU waits longer for the launches of many small layers than it computes them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, relu

if TYPE_CHECKING:
    from emotion_perception.learners.esr.model import Branch

logger = logging.getLogger(__name__)

# Of the largest number, what both ways may differ by: on a GPU, convolutions round to 11 bits (TF32), each kernel in its own order.
_TOLERANCE = 1e-2


class FusedBranches(nn.Module):
    """Branches without CBAM, their batch norm folded: what is one layer in each of them is one layer here.

    All first convolutions see the same features and become one with the channels of all; the later ones become one in groups, a group per
    branch; linear layers become a batched product.
    """

    def __init__(self, branches: Sequence[Branch]) -> None:
        """Copies the weights of branches, which stay as they are."""
        super().__init__()
        self.pooled = branches[0].pooled
        count = len(branches)
        layers = [[cast("nn.Conv2d", getattr(branch, f"conv{number}")) for branch in branches] for number in range(1, 5)]
        self.convolutions = nn.ModuleList(_side_by_side(layer, count if i else 1) for i, layer in enumerate(layers))
        self.fc = _Linears([branch.fc for branch in branches])
        self.fc_dimensional = _Linears([branch.fc_dimensional for branch in branches])

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Returns logits ``(n, branches, 8)`` and affect ``(n, branches, 2)``, from the shared features."""
        x = features
        for number, convolution in enumerate(self.convolutions, start=1):
            x = convolution(x)
            x = relu(max_pool2d(x, 2) if number in self.pooled else x)
        branches, _, width = self.fc.weight.shape
        logits = self.fc(x.mean((2, 3)).reshape(len(x), branches, width))
        return logits, self.fc_dimensional(relu(logits))


class _Linears(nn.Module):
    """Linear layers beside each other: ``(n, layers, in)`` -> ``(n, layers, out)``."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.stack([layer.weight.detach() for layer in layers]))
        self.bias = nn.Parameter(torch.stack([layer.bias.detach() for layer in layers]))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("nki,koi->nko", x, self.weight) + self.bias


def at_once(branches: Sequence[Branch]) -> FusedBranches | None:
    """Returns branches as one module, where that is how to run them: on a GPU, without CBAM. None: one after the other.

    Both ways are compared once, here; where a GPU does not give the same answers within 1 %, a warning says so, and it is None.
    """
    if not branches or branches[0].diversify or not _on_gpu(branches[0]):
        return None
    try:
        fused = FusedBranches(branches)
        problem = "" if _alike(fused, branches) else "all at once they answer differently"
    except RuntimeError as error:  # torch's, of the GPU or its libraries
        problem = str(error).partition("\n")[0]
    if problem:
        logger.warning("ESR's branches run one after the other on this GPU: %s", problem)
        return None
    return fused


def _on_gpu(branch: Branch) -> bool:
    return branch.fc.weight.is_cuda


def _side_by_side(convolutions: Sequence[nn.Conv2d], groups: int) -> nn.Conv2d:
    """Returns one convolution with the output channels of all; in one group they share the input, else each has its own part of it."""
    one = convolutions[0]
    channels = sum(convolution.out_channels for convolution in convolutions)
    made = nn.Conv2d(one.in_channels * groups, channels, one.kernel_size, padding=one.padding, groups=groups, device="meta")  # type: ignore[arg-type]  # as given
    for name in ("weight", "bias"):
        made.register_parameter(name, nn.Parameter(torch.cat([getattr(convolution, name).detach() for convolution in convolutions])))
    return made


def _alike(fused: FusedBranches, branches: Sequence[Branch]) -> bool:
    """Says whether the branches answer alike both ways, on random features of the size that faces of 64 pixels have."""
    with torch.no_grad():
        features = torch.rand(2, 128, 12, 12, generator=torch.Generator().manual_seed(0)).to(branches[0].fc.weight)
        alone = [branch(features) for branch in branches]
        for together, outputs in zip(fused(features), zip(*alone, strict=True), strict=True):
            expected = torch.stack(outputs, dim=1)
            limit = _TOLERANCE * max(1.0, float(expected.nan_to_num().abs().max()))
            if not torch.allclose(together, expected, rtol=0.0, atol=limit, equal_nan=True):
                return False
    return True
