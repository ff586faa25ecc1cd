"""A base for learners whose network ends in logits of classes, in valence and arousal, or in both: training and evaluation are here."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

from emotion_perception.engine.cards import InputSpec, ModelCard
from emotion_perception.engine.errors import UsageError, check_words
from emotion_perception.engine.learners import Learner
from emotion_perception.engine.target import Emotions, FloatArray

if TYPE_CHECKING:
    import torch

    from emotion_perception.engine.training.heads import Part

TASKS = ("both", "categorical", "dimensional")


class HeadLearner(Learner):
    """Adds training to `Learner`.

    A learner brings `init_model` (with `own_card`) and `parts`. Its network tells classes, unless `has_classes` says
    otherwise, and valence and arousal where its card's ``affect`` is true.
    """

    # What `deployed` makes of the network gives these, zeros where there is no such head.
    output_names: ClassVar[tuple[str, ...]] = ("probabilities", "affect")
    least_size = 32

    def __init__(
        self,
        *,
        lr: float | None = None,
        max_training_epoch: int = 10,
        validation_interval: int = 1,
        task: str | None = None,
        schedule: str = "one_cycle",
        weight_decay: float = 0.0,
        dropout: float = 0.5,
        class_weights: str | None = None,
        affect_weight: float = 1.0,
        input_size: int | None = None,
        small_size: int = 64,
        small_epochs: int = 0,
        crop_scale: float = 1.0,
        augment: bool = True,
        augment_light: bool = True,
        precision: str = "auto",
        seed: int = 0,
        **options: Any,
    ) -> None:
        """Stores the arguments.

        Args:
            lr: Learning rate; None = what the learner finds usual.
            max_training_epoch: Passes over the data; networks that are trained one after the other each get as many.
            validation_interval: Validate after every so many epochs.
            task: What `fit` trains: ``categorical``, ``dimensional`` or ``both``; None = whatever the network has heads for.
            schedule: ``one_cycle``, or ``published``: a constant rate.
            weight_decay: Of AdamW.
            dropout: Share of the hidden layer that is left out in training.
            class_weights: ``balanced`` (every class weighs the same) or ``none``; None = ``balanced`` in the published schedule.
            affect_weight: Weight of the squared error of affect beside the cross entropy, where both are learnt at once.
            input_size: Side of the network's input in pixels; None = that of the published network for a new one, what the card says for a
                loaded one. Another value makes `fit` go on training a loaded network at that size.
            small_size: Side of the pictures in the first ``small_epochs`` epochs.
            small_epochs: How many epochs use small pictures.
            crop_scale: Crop of a new network, in units of the face detector's box.
            augment: Change training pictures at random.
            augment_light: Change their light, colour and sharpness, too, and cover parts; without, only scale, place, rotation and side.
            precision: Of training: ``auto`` (bf16 where there are units for it), ``fp32`` or ``bf16``.
            seed: Of everything random in training.
            options: Those of `Learner`.
        """
        super().__init__(**options)
        check_words("task", task, (None, *TASKS))
        check_words("schedule", schedule, ("one_cycle", "published"))
        check_words("class_weights", class_weights, (None, "none", "balanced"))
        sizes = [size for size in (input_size, small_size) if size is not None]
        if min(sizes) < self.least_size or not 0.0 <= dropout < 1.0:
            given = f"input_size is {input_size}, small_size {small_size}, dropout {dropout}"
            raise UsageError(f"{given}; expected sizes of at least {self.least_size} pixels, a dropout from 0 to below 1")
        if (lr is not None and not lr > 0.0) or validation_interval < 1 or not 0 <= seed < 1 << 32:
            given = f"lr is {lr}, validation_interval {validation_interval}, seed {seed}"
            raise UsageError(f"{given}; expected lr above 0, validation_interval at least 1, seed from 0 to {(1 << 32) - 1}")
        self.lr, self.weight_decay, self.dropout, self.affect_weight = lr, weight_decay, dropout, affect_weight
        self.max_training_epoch, self.validation_interval = max_training_epoch, validation_interval
        self.task, self.schedule, self.class_weights = task, schedule, class_weights
        self.input_size, self.small_size, self.small_epochs, self.crop_scale = input_size, small_size, small_epochs, crop_scale
        self.augment, self.augment_light, self.precision, self.seed = augment, augment_light, precision, seed

    # ---- what each learner brings -------------------------------------------------------------------------------------

    @abstractmethod
    def init_model(self) -> None:
        """Makes a network with fresh, seeded weights, and uses it."""

    @abstractmethod
    def parts(self, model: torch.nn.Module, task: str) -> Sequence[Part]:
        """Returns what a task trains, one stage each."""

    @property
    def has_classes(self) -> bool:
        """Whether the network tells classes."""
        return True

    def usual_lr(self, task: str) -> float:
        """Returns the learning rate of a task where none was given."""
        return 1e-3

    def prepare(self, task: str) -> None:
        """Gets the network ready for a task, as by adding a head; raises `UsageError` where it cannot learn it."""
        return

    # ---- shared -------------------------------------------------------------------------------------------------------

    def own_card(self, **changes: Any) -> ModelCard:
        """Returns the card of a network of this learner's own: that of the class, without what is true of the published weights only."""
        published = type(self).card
        spec = resized_spec(published.input, self.input_size or published.input.height)
        crop = published.crop and type(published.crop)(scale=self.crop_scale)
        return published.trained_here(**{"input": spec, "crop": crop, **changes})

    def emotions(self, outputs: Mapping[str, FloatArray]) -> Emotions:
        """Takes ``probabilities`` (n, classes) and ``affect`` (n, 2)."""
        affect = np.clip(outputs["affect"], -1.0, 1.0) if self.card.affect else None
        return Emotions(self.card.label_set, outputs["probabilities"], affect)

    def fit(
        self, dataset: Any = None, val_dataset: Any = None, logging_path: str = "", silent: bool = True, verbose: bool = True
    ) -> dict[str, Any]:
        """Trains what ``task`` names, from the weights in use or from fresh ones.

        Args:
            dataset: Training data, an `EmotionDataset`.
            val_dataset: Validation data; the best state on it is what the learner holds afterwards.
            logging_path: Folder for history, curves and checkpoints; a run in it that was interrupted is continued exactly.
            silent: Print no progress.
            verbose: Log progress (when not silent).

        Returns:
            ``history``: a row per epoch with stage, loss, accuracy, root of the squared error of affect, and validation numbers.
        """
        import torch

        from emotion_perception.engine.training.heads import Recipe, head_stage
        from emotion_perception.engine.training.pictures import Pictures
        from emotion_perception.engine.training.running import run_stages
        from emotion_perception.engine.vision.augment import Augmentation

        if dataset is None:
            raise UsageError(f"fit of {self.name} got no data set; open one with open_dataset, or give --dataset and --data")
        fresh = not self.loaded
        if fresh:
            self.init_model()
        crop = self.card.crop.scale if self.card.crop else 1.0
        seen: dict[str, Any] = {"crop_scale": crop, "labels": self.card.label_set, "interpolation": self.card.input.interpolation}
        change = Augmentation.of(self.augment, self.augment_light)
        train = Pictures(dataset, self.batch_size, augmentation=change, seed=self.seed, **seen)
        val = None if val_dataset is None else Pictures(val_dataset, self.batch_size, **seen)
        if not fresh and self.input_size:
            self.card = self.card.with_(input=resized_spec(self.card.input, self.input_size))
        task = self.task or ("both" if self.card.affect and self.has_classes else "categorical" if self.has_classes else "dimensional")
        self.prepare(task)
        device, model = self.torch_device(), self.model
        model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # documented, but missing in torch's overloads
        published = self.schedule == "published"
        recipe = Recipe(
            epochs=self.max_training_epoch,
            lr=self.usual_lr(task) if self.lr is None else self.lr,
            weight_decay=self.weight_decay,
            one_cycle=not published,
            spec=self.card.input,
            small_size=self.small_size,
            small_epochs=self.small_epochs,
            dropout=self.dropout,
            balanced=(self.class_weights or ("balanced" if published else "none")) == "balanced",
            affect_weight=self.affect_weight,
            validate_every=self.validation_interval,
            seed=self.seed,
            precision=self.precision,
        )
        parts = self.parts(model, task)
        history = run_stages(
            model,
            [head_stage(model, part, train, val, recipe, device) for part in parts],
            batch_size=self.batch_size,
            seed=self.seed,
            device=device,
            logging_path=logging_path,
            progress=verbose and not silent,
            fingerprint={
                "recipe": repr(recipe),
                "network": repr(dict(self.card.architecture)),
                "rates": repr([[factor for _, factor in part.layers] for part in parts]),
                "augment": Augmentation.kind(self.augment, self.augment_light),
                "crop_scale": crop,
                "pictures": [len(dataset), 0 if val_dataset is None else len(val_dataset)],
                **self.learns_from(dataset, val_dataset),
            },
        )
        self.card = self.card.with_(data=repr(dataset), seed=self.seed, scores={}, recipe="")
        self._use(model)
        return {"history": history}

    def eval(self, dataset: Any = None) -> dict[str, Any]:
        """Measures what the network has heads for, over all pictures of a labelled `EmotionDataset`.

        Returns:
            What `measure` returns, and for frames of videos what `measure_videos` does.
        """
        from emotion_perception.engine.datasets import Targets
        from emotion_perception.engine.evaluation import measure, measure_videos, outputs_over

        emotions = self.emotions(outputs_over(self, dataset))
        targets = cast("Targets", dataset.targets)
        if not self.has_classes:
            targets = Targets(np.full_like(targets.index, -1), affect=targets.affect)
        return measure(emotions, targets) | (measure_videos(emotions, dataset) if self.has_classes else {})


def resized_spec(spec: InputSpec, side: int) -> InputSpec:
    """Returns an input of another size, with the colours and scaling it had."""
    return replace(spec, height=side, width=side)
