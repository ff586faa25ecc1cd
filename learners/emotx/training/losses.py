"""The two published losses, and the weights of the first one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, multilabel_soft_margin_loss

from emotion_perception.engine.errors import UsageError
from emotion_perception.learners.emotx.settings import Settings

if TYPE_CHECKING:
    from emotion_perception.learners.emotx.datasets import ClipDataset

# Logits (rows, K) and targets of 0 and 1 -> the mean loss.
Loss = Callable[[Tensor, Tensor], Tensor]


def loss_of(settings: Settings, train: ClipDataset, device: torch.device) -> Loss:
    """Returns the loss of a training: binary cross entropy, weighted or not, or the multi-label soft margin.

    The soft margin (EmoTxMLSM's) is the cross entropy without weights, under another name: with x the logit, its terms
    -log(1 / (1 + exp(-x))) and -log(exp(-x) / (1 + exp(-x))) are those of the cross entropy of the sigmoid.

    Args:
        settings: Which one.
        train: What class weights may be counted on.
        device: Where logits are.
    """
    if settings.loss_name == "mlsm":
        return lambda logits, targets: multilabel_soft_margin_loss(logits.float(), targets)
    weights = positive_weights(settings, train)
    weights = None if weights is None else weights.to(device)
    return lambda logits, targets: binary_cross_entropy_with_logits(logits.float(), targets, pos_weight=weights)


def positive_weights(settings: Settings, train: ClipDataset) -> Tensor | None:
    """Returns what a label that is there weighs more than one that is not, ``(K,)`` float32; None: the same.

    ``class_weights`` says which: the published numbers for the label set (``pos_weight``), or rows without per row with the label among
    the training data. A class that no training row has weighs 1: it has nothing to weigh.
    """
    if settings.class_weights == "none":
        return None
    classes = len(settings.label_set)
    if settings.class_weights == "published":
        weights = settings.pos_weight.get(str(classes), [])
        if len(weights) != classes:
            raise UsageError(f"pos_weight.{classes} has {len(weights)} numbers, expected {classes}; or set class_weights=train")
        return torch.tensor(weights)
    targets = [train.targets(number) for number in range(len(train))]
    rows = [target.characters[: settings.num_chars] for target in targets] if "characters" in settings.judges else []
    rows += [target.scene[None] for target in targets] if "scene" in settings.judges else []
    positive, count = np.concatenate(rows).sum(axis=0, dtype=np.float64), sum(len(each) for each in rows)
    ratio = np.divide(count - positive, positive, out=np.ones(classes), where=positive > 0)
    return torch.from_numpy(ratio).float()
