"""The diversity loss of the diversified ESR: branches that attend to different things.

The published formula (minus the determinant of a similarity matrix with a zero diagonal) rewards collapse for an odd number of
branches and has no gradient for random maps. With a unit diagonal and a kernel scaled by the dimension, minus the log-determinant is the
negative log-volume that the branches span (a determinantal point process), and grows as they become alike, for every number of them.
"""

from __future__ import annotations

import torch
from torch import Tensor


def diversity_loss(maps: Tensor, gamma: float = 10.0, epsilon: float = 1e-3) -> Tensor:
    """Returns minus the log-determinant of the branches' similarities: 0 when they are all different, large when they are alike.

    Args:
        maps: ``(branches, n, d)`` float, attention of every branch on the same n pictures, in (0, 1).
        gamma: Sharpness of the kernel ``exp(-gamma * |a - b|^2 / d)``.
        epsilon: Added to the diagonal, so that equal maps have a finite loss and gradient.

    Returns:
        A scalar, differentiable.
    """
    per_picture = maps.transpose(0, 1)
    squared = (per_picture[:, :, None] - per_picture[:, None]).square().mean(-1)
    similarity = torch.exp(-gamma * squared).mean(0)
    identity = torch.eye(len(maps), dtype=maps.dtype, device=maps.device)
    volume: Tensor = torch.linalg.slogdet(similarity + epsilon * identity).logabsdet
    return -volume
