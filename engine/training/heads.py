"""Training of networks that end in logits of classes, in valence and arousal, or in both: the stage that learners share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import log_softmax

from emotion_perception.engine.cards import InputSpec
from emotion_perception.engine.errors import DatasetError
from emotion_perception.engine.precision import autocast
from emotion_perception.engine.training.loop import Batch, Stage
from emotion_perception.engine.training.norms import settle_batch_norms, settling_batches
from emotion_perception.engine.training.pictures import Pictures
from emotion_perception.engine.training.schedules import constant, one_cycle

Numbers = NDArray[np.int64]
CATEGORICAL, DIMENSIONAL = "categorical", "dimensional"
# Changes hidden values in training.
Drop = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Recipe:
    """The numbers of a training.

    Attributes:
        epochs: Passes over the data.
        lr, weight_decay: Of AdamW.
        one_cycle: Let the rate rise and fall; else it stays.
        spec: What the network takes.
        small_size, small_epochs: The first ``small_epochs`` passes use pictures of this side.
        dropout: Share of the hidden values that are left out.
        balanced: Weigh every class by the inverse of its share of the labels.
        affect_weight: Of the error of valence and arousal beside the cross entropy.
        validate_every: Validate after every so many epochs.
        seed: Of everything random.
        precision: ``auto``, ``fp32`` or ``bf16``.
    """

    epochs: int
    lr: float
    weight_decay: float
    one_cycle: bool
    spec: InputSpec
    small_size: int = 64
    small_epochs: int = 0
    dropout: float = 0.0
    balanced: bool = False
    affect_weight: float = 1.0
    validate_every: int = 1
    seed: int = 0
    precision: str = "auto"

    def size(self, epoch: int) -> int:
        """Returns the side of the pictures of an epoch, in pixels."""
        return self.small_size if epoch < self.small_epochs else self.spec.height


@dataclass(frozen=True)
class Part:
    """The part of a network that a stage trains.

    Attributes:
        name: Of the stage.
        heads: Which outputs it learns: `CATEGORICAL`, `DIMENSIONAL` or both.
        layers: What is trained, each with the factor on the learning rate; everything else keeps weights and statistics.
        forward: (pictures, change of the hidden values) -> logits ``(n, classes)`` and affect ``(n, 2)`` by head.
    """

    name: str
    heads: Sequence[str]
    layers: Sequence[tuple[torch.nn.Module, float]]
    forward: Callable[[Tensor, Drop], Mapping[str, Tensor]]


def head_stage(model: torch.nn.Module, part: Part, train: Pictures, val: Pictures | None, recipe: Recipe, device: torch.device) -> Stage:
    """Makes the stage that trains a part of a network on soft labels, on affect, or on both at once.

    The best state is the one with the highest accuracy, or, where only affect is learnt, the lowest error.

    Args:
        model: The network, on the device.
        part: What of it is trained.
        train: Training pictures.
        val: Validation pictures; without any, the last state is the best.
        recipe: The numbers.
        device: Where the network is.

    Raises:
        DatasetError: No picture has a target that the part learns.
    """
    wanted = {CATEGORICAL: train.labelled, DIMENSIONAL: train.with_affect}
    numbers = np.unique(np.concatenate([wanted[head] for head in part.heads]))
    if not len(numbers):
        raise DatasetError(f"{train.dataset!r} has no targets for {' and '.join(part.heads)} training; give a data set that has some")
    weights = class_weights(train.soft[train.labelled]).to(device) if recipe.balanced and CATEGORICAL in part.heads else None
    groups = [{"params": list(layer.parameters()), "lr": recipe.lr * factor} for layer, factor in part.layers]

    def loss(batch: Batch, generator: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        images, soft, affect = batch
        with autocast(device, recipe.precision):
            outputs = part.forward(images, lambda hidden: dropped(hidden, recipe.dropout, generator))
        total = images.new_zeros(())
        measured: dict[str, float] = {}
        known = ~soft.isnan().any(1)
        if CATEGORICAL in part.heads and bool(known.any()):
            logits = outputs[CATEGORICAL][known]
            total = total + soft_cross_entropy(logits, soft[known], weights)
            measured["accuracy"] = float((logits.detach().argmax(1) == soft[known].argmax(1)).float().mean())
        known = ~affect.isnan().any(1)
        if DIMENSIONAL in part.heads and bool(known.any()):
            error = (outputs[DIMENSIONAL].float()[known] - affect[known]).square().mean()
            total = total + error * (recipe.affect_weight if CATEGORICAL in part.heads else 1.0)
            measured["rmse"] = float(error.detach().sqrt())
        return total, measured

    def prepare() -> None:
        model.eval().requires_grad_(False)
        for layer, _ in part.layers:
            layer.train().requires_grad_(True)

    def validate() -> dict[str, float]:
        settle(part, train, numbers, recipe, device)
        return {} if val is None else validation(part, val, recipe, device)

    accuracy = CATEGORICAL in part.heads
    return Stage(
        name=part.name,
        epochs=recipe.epochs,
        order=lambda epoch: np.random.default_rng((recipe.seed, 0, epoch)).permutation(numbers),
        load=lambda chosen, epoch: _batch(train, chosen, recipe, recipe.size(epoch), epoch),
        loss=loss,
        optimizer=torch.optim.AdamW(groups, recipe.lr, weight_decay=recipe.weight_decay),
        rate=one_cycle() if recipe.one_cycle else constant,
        prepare=prepare,
        validate=validate,
        monitor="loss" if val is None else "val_accuracy" if accuracy else "val_rmse",
        higher_is_better=val is not None and accuracy,
        validate_every=recipe.validate_every,
    )


def soft_cross_entropy(logits: Tensor, soft: Tensor, weights: Tensor | None = None) -> Tensor:
    """Returns the cross entropy of logits ``(n, classes)`` against soft labels whose rows sum to 1.

    Args:
        logits: Of any float type.
        soft: ``(n, classes)``.
        weights: ``(classes,)``, above 0; the mean is then weighted by them, as torch's own cross entropy does.
    """
    weighted = soft if weights is None else soft * weights
    return -(weighted * log_softmax(logits.float(), dim=1)).sum() / weighted.sum()


def class_weights(soft: NDArray[np.float32]) -> Tensor:
    """Returns n / (classes x count) of every class, ``(classes,)`` float32, from soft labels ``(n, classes)``.

    A class without labels has 1: it weighs in validation only, where the loss over pictures that all weigh nothing would be 0 / 0.
    """
    counts = soft.sum(axis=0, dtype=np.float64)
    return torch.from_numpy(np.divide(soft.sum(), len(counts) * counts, out=np.ones_like(counts), where=counts > 0)).float()


def dropped(hidden: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Leaves out a share of the values and scales up the rest; all randomness is the generator's, so that a resumed run repeats it."""
    if share == 0.0:
        return hidden
    kept = torch.rand(hidden.shape, generator=generator).ge(share).to(hidden.device)
    return hidden * kept / (1.0 - share)


def settle(part: Part, pictures: Pictures, numbers: Numbers, recipe: Recipe, device: torch.device) -> None:
    """Measures the statistics of the batch norms that are trained on training pictures as inference sees them; see `norms.py`."""
    drawn = settling_batches(numbers, pictures.batch_size, recipe.seed)
    images = (_batch(pictures, each, recipe, recipe.spec.height)[0].to(device) for each in drawn)

    def forward(x: Tensor) -> None:
        with autocast(device, recipe.precision):
            part.forward(x, _unchanged)

    settle_batch_norms([layer for layer, _ in part.layers], forward, images)


def validation(part: Part, pictures: Pictures, recipe: Recipe, device: torch.device) -> dict[str, float]:
    """Returns ``val_accuracy`` over the pictures with a single class, and ``val_rmse`` of valence, of arousal and their mean."""
    modes = [(module, module.training) for layer, _ in part.layers for module in layer.modules()]
    for module, _ in modes:
        module.training = False
    index = pictures.dataset.targets.index
    result: dict[str, float] = {}
    for head, judged in ((CATEGORICAL, np.flatnonzero(index >= 0)), (DIMENSIONAL, pictures.with_affect)):
        if head in part.heads and len(judged):
            rows = [judged[i : i + pictures.batch_size] for i in range(0, len(judged), pictures.batch_size)]
            with torch.inference_mode(), autocast(device, recipe.precision):
                images = (_batch(pictures, each, recipe, recipe.spec.height)[0].to(device) for each in rows)
                output = torch.cat([part.forward(x, _unchanged)[head].float().cpu() for x in images]).numpy()
            if head == CATEGORICAL:
                result["val_accuracy"] = float((output.argmax(1) == index[judged]).mean())
            else:
                result |= affect_errors(output, pictures.affect[judged])
    for module, training in modes:
        module.training = training
    return result


def affect_errors(predicted: NDArray[np.float32], given: NDArray[np.float32]) -> dict[str, float]:
    """Returns ``val_rmse_valence``, ``val_rmse_arousal`` and their mean ``val_rmse``, of arrays ``(n, 2)``."""
    rmse = np.sqrt(np.square(predicted - given).mean(0))
    return {"val_rmse_valence": float(rmse[0]), "val_rmse_arousal": float(rmse[1]), "val_rmse": float(rmse.mean())}


def _batch(pictures: Pictures, numbers: Numbers, recipe: Recipe, size: int, epoch: int | None = None) -> Batch:
    """Returns a batch with the pictures as the network takes them."""
    images, *targets = pictures.batch(numbers, size, epoch)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (recipe.spec.mean, recipe.spec.std))
    return (images.sub_(mean).div_(std), *targets)


def _unchanged(hidden: Tensor) -> Tensor:
    return hidden
