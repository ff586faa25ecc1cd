"""The two published recipes, as a stage of the shared loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cosine_similarity

from emotion_perception.engine.errors import DatasetError, UsageError
from emotion_perception.engine.training.heads import class_weights, soft_cross_entropy
from emotion_perception.engine.training.loop import Batch, Stage
from emotion_perception.engine.training.pictures import Pictures
from emotion_perception.engine.training.schedules import constant, warm_restarts
from emotion_perception.learners.emotorch.model import Baseline, Enhanced

_LEAST_LR = 1e-6
_FIRST_FALL = 10  # epochs


@dataclass(frozen=True)
class Recipe:
    """The numbers of a training.

    Attributes:
        epochs: Most passes over the data.
        lr: Learning rate.
        patience: Epochs without a lower validation loss that end it.
        balance: How rare classes are made up for: ``none``, ``loss`` (weights), ``sampler`` (drawn as often as others) or ``both``.
        seed: Of everything random.
        size: Side of the pictures in pixels.
    """

    epochs: int
    lr: float
    patience: int
    balance: str
    seed: int
    size: int


def stage(model: Baseline | Enhanced, train: Pictures, val: Pictures | None, recipe: Recipe, device: torch.device) -> Stage:
    """Makes the only stage: RMSprop on the cosine for the baseline, AdamW on the cross entropy, with warm restarts, for the other.

    The published baseline also halved its rate after five epochs without progress, which three of them always ended before.

    Args:
        model: The network, on the device.
        train: Training pictures.
        val: Validation pictures; the state with the lowest loss on them is the best. Without any, the last state is.
        recipe: The numbers.
        device: Where the network is.

    Raises:
        DatasetError: No picture has a class or a distribution.
        UsageError: The enhanced network would learn from single pictures.
    """
    numbers = train.labelled
    if not len(numbers):
        raise DatasetError(f"{train.dataset!r} has no picture with a class or a distribution; give a data set that has some")
    baseline = isinstance(model, Baseline)
    if not baseline and min(len(numbers), train.batch_size) < 2:
        given = f"got {len(numbers)} with a class, batch_size {train.batch_size}"
        raise UsageError(f"{given}; batch norm learns from two pictures at a time or more: give more, or a larger batch_size")
    weights = class_weights(train.soft[numbers])
    in_loss = weights.to(device) if recipe.balance in ("loss", "both") else None

    def measured(scores: Tensor, soft: Tensor) -> Tensor:
        return -cosine_similarity(scores, soft, dim=1).mean() if baseline else soft_cross_entropy(scores, soft, in_loss)

    def loss(batch: Batch, generator: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        images, soft, _ = batch
        # Dropout draws from torch's own generator; seeded by the step, a resumed run repeats it.
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(generator.initial_seed())
            scores = model(images)
        return measured(scores, soft), {"accuracy": float((scores.detach().argmax(1) == soft.argmax(1)).float().mean())}

    def order(epoch: int) -> NDArray[np.int64]:
        random = np.random.default_rng((recipe.seed, 0, epoch))
        if recipe.balance not in ("sampler", "both"):
            return random.permutation(numbers)
        wanted = (train.soft[numbers] @ weights.numpy()).astype(np.float64)
        return random.choice(numbers, len(numbers), p=wanted / wanted.sum())

    def validate() -> dict[str, float]:
        if val is None or not len(val.labelled):
            return {}
        model.eval()
        judged = val.labelled
        with torch.inference_mode():
            parts = [val.batch(judged[i : i + 256], recipe.size)[0].to(device) for i in range(0, len(judged), 256)]
            scores, soft = torch.cat([model(images) for images in parts]), torch.from_numpy(val.soft[judged]).to(device)
            accuracy = (scores.argmax(1) == soft.argmax(1)).double().mean()
            return {"val_loss": float(measured(scores, soft)), "val_accuracy": float(accuracy)}

    optimizer: torch.optim.Optimizer
    if baseline:
        optimizer = torch.optim.RMSprop(model.parameters(), recipe.lr, alpha=0.99)
    else:
        optimizer = torch.optim.AdamW(model.parameters(), recipe.lr, weight_decay=0.01)
    return Stage(
        name="baseline" if baseline else "enhanced",
        epochs=recipe.epochs,
        order=order,
        load=lambda chosen, epoch: train.batch(chosen, recipe.size, epoch),
        loss=loss,
        optimizer=optimizer,
        rate=constant if baseline else warm_restarts(recipe.epochs, _FIRST_FALL, least=min(1.0, _LEAST_LR / recipe.lr)),
        prepare=lambda: (model.train(), None)[1],
        validate=validate,
        monitor="val_loss",
        patience=recipe.patience,
        most_gradient=None if baseline else 1.0,
    )
