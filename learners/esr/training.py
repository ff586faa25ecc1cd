"""How ESR is trained, as stages for `engine.training.loop.Trainer`.

Two schedules lead to the same network. ``published`` (the paper's algorithm 1): branch after branch, each with a fresh subset balanced over
the classes; new layers learn fast, older ones slowly. ``joint``: all branches in one pass over the shared base, each on its own random
share of every batch; the base is computed once per picture for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emotion_perception.engine.errors import DatasetError
from emotion_perception.engine.precision import autocast
from emotion_perception.engine.training.heads import affect_errors, soft_cross_entropy
from emotion_perception.engine.training.loop import Batch, Stage
from emotion_perception.engine.training.norms import settle_batch_norms, settling_batches
from emotion_perception.engine.training.pictures import Pictures
from emotion_perception.engine.training.schedules import constant, one_cycle, step_decay
from emotion_perception.engine.training.subsets import balanced_subset
from emotion_perception.learners.esr.diversity import diversity_loss
from emotion_perception.learners.esr.model import ESR

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Recipe:
    """The numbers of a training.

    Attributes:
        epochs: Passes over the data; in the published schedule those of the first branch.
        later_epochs: Published schedule: passes of every later branch.
        per_class: Published schedule: most pictures per class in a branch's subset.
        lr, weight_decay: Of the optimizer.
        optimizer: Joint schedule: ``sgd`` (Nesterov) or ``adamw``, which gets further in few epochs.
        momentum: Of SGD.
        later_lr: Published schedule: factor on ``lr`` of the layers that exist already.
        branch_share: Joint schedule: share of every batch that each branch learns from.
        size: Side of the pictures in pixels.
        small_size, small_epochs: The first ``small_epochs`` passes of the joint schedule use pictures of this side.
        diversity_weight, diversity_gamma: Of the diversity loss (ESR*).
        validate_every: Validate after every so many epochs.
        affect_epochs: Passes of the affect head by gradient descent; 0 = solved in closed form.
        seed: Of everything random.
        precision: ``auto``, ``fp32`` or ``bf16``.
    """

    epochs: int
    later_epochs: int = 1
    per_class: int = 5000
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 0.0
    optimizer: str = "sgd"
    later_lr: float = 0.1
    branch_share: float = 1.0 / 3.0
    size: int = 96
    small_size: int = 54
    small_epochs: int = 0
    diversity_weight: float = 0.1
    diversity_gamma: float = 10.0
    validate_every: int = 1
    affect_epochs: int = 0
    seed: int = 0
    precision: str = "auto"


def outputs_of(
    model: ESR, pictures: Pictures, numbers: Numbers, size: int, branches: int, device: torch.device, precision: str
) -> tuple[Tensor, Tensor]:
    """Returns logits ``(n, branches, 8)`` and affect ``(n, branches, 2)`` of pictures as inference sees them, float32 on the CPU."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    parts = []
    with torch.inference_mode(), autocast(device, precision):
        for start in range(0, len(numbers), pictures.batch_size):
            features = model.base(pictures.batch(numbers[start : start + pictures.batch_size], size)[0].to(device))
            heads = [branch(features) for branch in model.branches[:branches]]
            parts.append([torch.stack([head[i] for head in heads], 1).float().cpu() for i in (0, 1)])
    for module, training in modes.items():
        module.training = training
    return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])


def joint_stage(model: ESR, train: Pictures, val: Pictures | None, recipe: Recipe, device: torch.device) -> Stage:
    """Makes the stage that trains the base and all branches in one pass."""
    if not len(train.labelled):
        raise DatasetError(f"{train.dataset!r} has no picture with a class or a distribution; give a data set that has some")
    branches = len(model.branches)

    def loss(batch: Batch, generator: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        images, soft, _ = batch
        # Where a small picture ends as a single value per channel, batch norm cannot learn from one alone.
        taken = min(len(images), max(2, round(recipe.branch_share * len(images))))
        with autocast(device, recipe.precision):
            features = model.base(images)
        if model.base.diversify and branches > 1:
            # The diversity of the branches is judged on pictures that all of them see.
            return _branch_losses(model, features[:taken], soft[:taken], branches, recipe, device)

        def share() -> Tensor:
            return torch.randperm(len(images), generator=generator)[:taken].to(device)

        return _branch_losses(model, features, soft, branches, recipe, device, share)

    base = list(model.base.parameters())
    members = [p for name, p in model.convolutional_branches.named_parameters() if "fc_dimensional" not in name]
    optimizer: torch.optim.Optimizer
    if recipe.optimizer == "adamw":
        optimizer = torch.optim.AdamW([*base, *members], recipe.lr, weight_decay=recipe.weight_decay)
    else:
        # The base gets the summed gradients of all branches; the square root keeps its updates in step with theirs.
        groups = [{"params": base, "lr": recipe.lr / branches**0.5}, {"params": members}]
        optimizer = torch.optim.SGD(groups, recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay, nesterov=recipe.momentum > 0)
    current = {"size": recipe.size}

    def order(epoch: int) -> Numbers:
        current["size"] = recipe.small_size if epoch < recipe.small_epochs else recipe.size
        return _shuffled(train.labelled, recipe.seed, 0, epoch)

    def prepare() -> None:
        model.train()
        _require_grad(model, lambda name: "fc_dimensional" not in name)

    return Stage(
        name="joint",
        epochs=recipe.epochs,
        order=order,
        load=lambda numbers, epoch: train.batch(numbers, current["size"], epoch),
        loss=loss,
        optimizer=optimizer,
        rate=one_cycle(),
        prepare=prepare,
        validate=lambda: _settle_and_validate(model, train, val, recipe, recipe.size, branches, device),
        monitor="val_accuracy" if val else "loss",
        higher_is_better=val is not None,
        validate_every=recipe.validate_every,
        passes_per_picture=branches * recipe.branch_share,
    )


def published_stages(model: ESR, train: Pictures, val: Pictures | None, recipe: Recipe, device: torch.device) -> list[Stage]:
    """Makes one stage per branch: the new branch learns at the full rate, the base and the older branches at ``later_lr`` of it."""
    return [_branch_stage(model, train, val, recipe, device, k) for k in range(len(model.branches))]


def _branch_stage(model: ESR, train: Pictures, val: Pictures | None, recipe: Recipe, device: torch.device, newest: int) -> Stage:
    epochs = recipe.epochs if newest == 0 else recipe.later_epochs
    slow = recipe.lr if newest == 0 else recipe.lr * recipe.later_lr
    groups = [{"params": list(model.base.parameters()), "lr": slow}]
    for i, branch in enumerate(model.branches[: newest + 1]):
        trained = [p for name, p in branch.named_parameters() if not name.startswith("fc_dimensional")]
        groups.append({"params": trained, "lr": recipe.lr if i == newest else slow})

    def loss(batch: Batch, generator: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        images, soft, _ = batch
        with autocast(device, recipe.precision):
            features = model.base(images)
        return _branch_losses(model, features, soft, newest + 1, recipe, device)

    def prepare() -> None:
        model.train()
        model.convolutional_branches[newest + 1 :].eval()
        active = tuple(f"convolutional_branches.{i}." for i in range(newest + 1))
        _require_grad(model, lambda name: "fc_dimensional" not in name and name.startswith(("base.", *active)))

    subset = balanced_subset(train.dataset.targets.index, recipe.per_class, recipe.seed, newest)
    return Stage(
        name=f"branch {newest + 1}",
        epochs=epochs,
        order=lambda epoch: _shuffled(subset, recipe.seed, newest, epoch),
        load=lambda numbers, epoch: train.batch(numbers, recipe.size, (newest << 16) + epoch),
        loss=loss,
        optimizer=torch.optim.SGD(groups, recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay),
        rate=step_decay(epochs, every=10, factor=0.5),
        prepare=prepare,
        validate=lambda: _settle_and_validate(model, train, val, recipe, recipe.size, newest + 1, device),
        monitor="val_accuracy" if val else "loss",
        higher_is_better=val is not None,
        validate_every=recipe.validate_every,
        passes_per_picture=newest + 1.0,
    )


def affect_stage(model: ESR, train: Pictures, val: Pictures | None, recipe: Recipe, device: torch.device) -> Stage:
    """Makes the stage that trains the affect heads alone by gradient descent; everything else stays as it is, to the last statistic."""
    branches = len(model.branches)
    heads = [parameter for name, parameter in model.named_parameters() if "fc_dimensional" in name]

    def loss(batch: Batch, generator: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        images, _, affect = batch
        with autocast(device, recipe.precision):
            predicted = model(images)[1]
        # The root of the squared error per dimension, as published; the constant keeps its gradient finite at an exact fit.
        error = (predicted.float() - affect[:, None, :]).square().mean(0).add(1e-8).sqrt()
        return error.sum(), {"rmse": float(error.detach().mean())}

    def prepare() -> None:
        model.eval()  # frozen layers must not even update their running statistics
        _require_grad(model, lambda name: "fc_dimensional" in name)

    return Stage(
        name="affect",
        epochs=recipe.affect_epochs,
        order=lambda epoch: _shuffled(train.with_affect, recipe.seed, 1 << 16, epoch),
        load=lambda numbers, epoch: train.batch(numbers, recipe.size, epoch),
        loss=loss,
        optimizer=torch.optim.SGD(heads, recipe.lr * 0.1, recipe.momentum),
        rate=constant,
        prepare=prepare,
        validate=lambda: _validate_affect(model, val, recipe.size, branches, device, recipe.precision),
        monitor="val_rmse" if val else "loss",
        validate_every=recipe.validate_every,
        passes_per_picture=float(branches),
    )


def solve_affect(model: ESR, train: Pictures, recipe: Recipe, device: torch.device, most: int = 8000) -> None:
    """Fits every branch's affect head in closed form: eight rectified logits and a constant -> valence and arousal, by least squares.

    With everything else frozen that is nine small linear regressions, so no gradient descent is needed.

    Args:
        model: Its heads are set in place.
        train: Pictures and affect.
        recipe: Size and seed.
        device: Where the model is.
        most: Most pictures to fit on, drawn at random.
    """
    numbers = _shuffled(train.with_affect, recipe.seed, 1 << 17, 0)[:most]
    # In full precision, as inference runs: weights solved for rounded logits are those of another problem.
    logits, _ = outputs_of(model, train, numbers, recipe.size, len(model.branches), device, "fp32")
    target = train.affect[numbers].astype(np.float64)
    for i, branch in enumerate(model.branches):
        features = np.hstack([logits[:, i].clamp_min(0).double().numpy(), np.ones((len(numbers), 1))])
        # A touch of ridge: a class that never wins leaves its column at zero, and its weight must then be zero too; and on few
        # pictures weights must not grow until they amplify the rounding of the logits.
        solution = np.linalg.solve(features.T @ features + 1e-4 * len(numbers) * np.eye(9), features.T @ target)
        with torch.no_grad():
            branch.fc_dimensional.weight.copy_(torch.from_numpy(solution[:8].T))
            branch.fc_dimensional.bias.copy_(torch.from_numpy(solution[8]))


def _branch_losses(
    model: ESR,
    features: Tensor,
    soft: Tensor,
    branches: int,
    recipe: Recipe,
    device: torch.device,
    share: Callable[[], Tensor] | None = None,
) -> tuple[Tensor, Mapping[str, float]]:
    """Returns the summed loss of the first branches, with the diversity loss for ESR*.

    All branches see all pictures, or each those whose numbers ``share`` draws for it; attention is compared on the same ones only.
    """
    total = features.new_zeros((), dtype=torch.float32)
    correct = 0.0
    attention: list[tuple[Tensor, Tensor]] = []
    for branch in model.branches[:branches]:
        rows = slice(None) if share is None else share()
        with autocast(device, recipe.precision):
            if branch.diversify and share is None:
                gated, spatial, channel = branch.cbam4.gates(branch.convolve(features))
                attention.append((spatial.float().flatten(1), channel.float()))
                logits = branch.fc(gated.mean((2, 3)))
            else:
                logits, _ = branch(features[rows])
        total = total + soft_cross_entropy(logits, soft[rows])
        correct += _accuracy(logits, soft[rows])
    numbers = {"branch_accuracy": correct / branches}
    if len(attention) > 1:
        spatial_loss, channel_loss = (diversity_loss(torch.stack(maps), recipe.diversity_gamma) for maps in zip(*attention, strict=True))
        total = total + recipe.diversity_weight * (spatial_loss + channel_loss)
        numbers["diversity_loss"] = float((spatial_loss + channel_loss).detach())
    return total, numbers


def _settle(model: ESR, train: Pictures, recipe: Recipe, size: int, branches: int, device: torch.device) -> None:
    """Measures the statistics of batch norm on training pictures as inference sees them: those of training can cost two points."""
    parts = [model.base, *model.branches[:branches]]

    def forward(images: Tensor) -> None:
        with autocast(device, recipe.precision):
            features = model.base(images)
            for branch in model.branches[:branches]:
                branch(features)

    drawn = settling_batches(train.labelled, train.batch_size, recipe.seed)
    settle_batch_norms(parts, forward, (train.batch(numbers, size)[0].to(device) for numbers in drawn))


def average(model: ESR, start: Mapping[str, Tensor], share: float, train: Pictures, recipe: Recipe, device: torch.device) -> None:
    """Moves a network's weights by a share towards those it started from, and settles batch norm anew.

    Source: Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022.
    """
    now = model.state_dict()
    model.load_state_dict({k: v.lerp(start[k], share) if v.is_floating_point() else v for k, v in now.items()})
    _settle(model, train, recipe, recipe.size, len(model.branches), device)


def _settle_and_validate(
    model: ESR, train: Pictures, val: Pictures | None, recipe: Recipe, size: int, branches: int, device: torch.device
) -> dict[str, float]:
    _settle(model, train, recipe, size, branches, device)
    if val is None or not (val.dataset.targets.index >= 0).any():
        return {}
    judged = np.flatnonzero(val.dataset.targets.index >= 0)
    truth = torch.from_numpy(val.dataset.targets.index[judged])
    probabilities = outputs_of(model, val, judged, size, branches, device, recipe.precision)[0].softmax(-1)
    single = (probabilities.argmax(-1) == truth[:, None]).double().mean(0)
    ensemble = (probabilities.mean(1).argmax(-1) == truth).double().mean()
    return {"val_accuracy": float(ensemble), "val_best_branch_accuracy": float(single.max())}


def _validate_affect(model: ESR, val: Pictures | None, size: int, branches: int, device: torch.device, precision: str) -> dict[str, float]:
    if val is None or not len(val.with_affect):
        return {}
    predicted = outputs_of(model, val, val.with_affect, size, branches, device, precision)[1].mean(1).numpy()
    return affect_errors(predicted, val.affect[val.with_affect])


def _accuracy(logits: Tensor, soft: Tensor) -> float:
    return float((logits.detach().argmax(1) == soft.argmax(1)).float().mean())


def _require_grad(model: ESR, wanted: Callable[[str], bool]) -> None:
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(wanted(name))


def _shuffled(numbers: Numbers, seed: int, stage: int, epoch: int) -> Numbers:
    return np.random.default_rng((seed, stage, epoch)).permutation(numbers)
