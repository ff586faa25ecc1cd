"""`EmoTorchLearner`: both networks of EmoTorch behind the contract of all learners."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from emotion_perception.engine.cards import ModelCard
from emotion_perception.engine.errors import UsageError, WeightsError, check_words
from emotion_perception.engine.learners import Learner
from emotion_perception.engine.target import Emotions, FloatArray
from emotion_perception.learners.emotorch.card import BASELINE_NAME, CARD, CARDS, ENHANCED_NAME

if TYPE_CHECKING:
    import torch

    from emotion_perception.learners.emotorch.model import Baseline, Enhanced

_NAMES = {"enhanced": (ENHANCED_NAME, "model.pth"), "baseline": (BASELINE_NAME, "model.pth")}
# What the published recipes say: learning rate, patience in epochs, share of the altered copies, balance.
_RECIPES = {"enhanced": (1e-3, 10, 1.0, "loss"), "baseline": (5e-4, 3, 0.03, "none")}


class EmoTorchLearner(Learner):
    """Judges anger, fear, calm or surprise in face crops (Autischer, Waxnegger and Kowald 2026)."""

    card = CARD
    output_names: ClassVar[tuple[str, ...]] = ("probabilities", "scores")

    def __init__(
        self,
        *,
        network: str = "enhanced",
        lr: float | None = None,
        max_training_epoch: int = 50,
        patience: int | None = None,
        copies: float | None = None,
        balance: str | None = None,
        dropout_rate: float = 0.4,
        seed: int = 42,
        **options: Any,
    ) -> None:
        """Stores the arguments.

        Args:
            network: ``enhanced`` or ``baseline``: of a new network, and which of the published files `load` takes from a folder with both.
            lr: Learning rate; None = as published, 0.001 and for the baseline 0.0005.
            max_training_epoch: Most passes over the data.
            patience: Epochs without a lower validation loss that end the training; None = as published, 10 and for the baseline 3.
            copies: Share of all possible altered copies of the training pictures to train on as well, made when they are needed: of ten
                for every picture, for the baseline of twenty-eight. None = as published, 1 and for the baseline 0.03; 0 for data that
                has copies.
            balance: How rare classes are made up for: ``none``, ``loss``, ``sampler`` or ``both``, as published, which does so twice.
                None = ``loss``, and for the baseline ``none``.
            dropout_rate: Of a new enhanced network.
            seed: Of everything random in training.
            options: Those of `Learner`.
        """
        super().__init__(**options)
        check_words("network", network, tuple(_NAMES))
        check_words("balance", balance, (None, "none", "loss", "sampler", "both"))
        numbers = {"lr": lr, "patience": patience, "copies": copies, "dropout_rate": dropout_rate}
        if (lr is not None and not lr > 0.0) or (patience is not None and patience < 1) or not 0 <= seed < 1 << 32:
            raise UsageError(f"{numbers}, seed {seed}; expected lr above 0, patience at least 1, seed from 0 to {(1 << 32) - 1}")
        if not 0.0 <= (copies or 0.0) <= 1.0 or not 0.0 <= dropout_rate < 1.0:
            raise UsageError(f"{numbers}; expected copies from 0 to 1, dropout_rate from 0 to below 1")
        self.network, self.lr, self.max_training_epoch, self.patience = network, lr, max_training_epoch, patience
        self.copies, self.balance, self.dropout_rate, self.seed = copies, balance, dropout_rate, seed

    # ---- the network --------------------------------------------------------------------------------------------------

    def build_model(self, card: ModelCard) -> Baseline | Enhanced:
        """Builds the network that a card describes, with fresh weights, in evaluation mode."""
        from emotion_perception.learners.emotorch.model import NETWORKS

        options = {name: value for name, value in card.architecture.items() if name != "network"}
        model: Baseline | Enhanced = NETWORKS[card.architecture["network"]](**options)
        return model.eval()

    def deployed(self, model: torch.nn.Module) -> torch.nn.Module:
        """Returns a copy without batch norm, that gives probabilities."""
        from emotion_perception.learners.emotorch.model import Deployed

        return Deployed(model)  # type: ignore[arg-type]  # this learner only ever builds these two

    def init_model(self) -> None:
        """Makes a network with fresh, seeded weights."""
        architecture: dict[str, Any] = {"network": self.network}
        if self.network == "enhanced":
            architecture["dropout_rate"] = self.dropout_rate
        title = f"EmoTorch, {self.network} network, trained here"
        card = CARD.trained_here(title=title, architecture=architecture)
        model = self._fresh(card, self.seed)
        self.card = card
        self._use(model)

    def emotions(self, outputs: Mapping[str, FloatArray]) -> Emotions:
        """Takes ``probabilities`` and ``scores``, ``(n, 4)`` each.

        Returns:
            Extras: ``scores``; ``entropy`` (n,) of the probabilities in nats, at most ln 4; for the baseline ``softmax`` (n, 4) of the
            scores, which the published script prints as its confidence.
        """
        from scipy.special import entr, softmax

        probabilities, scores = outputs["probabilities"], outputs["scores"]
        extras = {"scores": scores, "entropy": entr(probabilities).sum(axis=1)}
        if self.card.architecture["network"] == "baseline":
            extras["softmax"] = softmax(scores, axis=1)
        return Emotions(self.card.label_set, probabilities, None, extras=extras)

    # ---- training and evaluation --------------------------------------------------------------------------------------

    def fit(
        self, dataset: Any = None, val_dataset: Any = None, logging_path: str = "", silent: bool = True, verbose: bool = True
    ) -> dict[str, Any]:
        """Trains as published, from the weights in use or from fresh ones; altered copies are made of training pictures only.

        Args:
            dataset: Training data, an `EmotionDataset` in the label set emotorch4.
            val_dataset: Validation data; the state with the lowest loss on it is what the learner holds afterwards.
            logging_path: Folder for history, curves and checkpoints; a run in it that was interrupted is continued exactly.
            silent: Print no progress.
            verbose: Log progress (when not silent).

        Returns:
            ``history``: a row per epoch with loss, accuracy, ``val_loss`` and ``val_accuracy``.

        Raises:
            DatasetError: Pictures of one source, or of one person, are in both data sets.
        """
        from emotion_perception.engine.datasets.alterations import AlteredDataset
        from emotion_perception.engine.datasets.leaks import check_apart
        from emotion_perception.engine.training.pictures import Pictures
        from emotion_perception.engine.training.running import run_stages
        from emotion_perception.learners.emotorch.datasets import ALTERATIONS
        from emotion_perception.learners.emotorch.training import Recipe, stage

        if dataset is None:
            raise UsageError(f"fit of {self.name} got no data set; open one with open_dataset, or give --dataset and --data")
        if val_dataset is not None:
            check_apart(dataset, val_dataset)
        if not self.loaded:
            self.init_model()
        network, labels = str(self.card.architecture["network"]), self.card.label_set
        lr, patience, copies, balance = _RECIPES[network]
        recipe = Recipe(
            epochs=self.max_training_epoch,
            lr=self.lr or lr,
            patience=self.patience or patience,
            balance=self.balance or balance,
            seed=self.seed,
            size=self.card.input.height,
        )
        copies = copies if self.copies is None else self.copies
        crop = self.card.crop.scale if self.card.crop else 1.0
        altered = AlteredDataset(dataset, ALTERATIONS[network], copies, self.seed)
        train = Pictures(altered, self.batch_size, crop_scale=crop, labels=labels)
        val = None if val_dataset is None else Pictures(val_dataset, self.batch_size, crop_scale=crop, labels=labels)
        device, model = self.torch_device(), self.model.to(self.torch_device())
        history = run_stages(
            model,
            [stage(model, train, val, recipe, device)],  # type: ignore[arg-type]  # as in `deployed`
            batch_size=self.batch_size,
            seed=self.seed,
            device=device,
            logging_path=logging_path,
            progress=verbose and not silent,
            fingerprint={
                **vars(recipe),
                "network": repr(dict(self.card.architecture)),
                "copies": copies,
                "pictures": [len(altered), 0 if val_dataset is None else len(val_dataset)],
                **self.learns_from(dataset, val_dataset),
            },
        )
        self.card = self.card.with_(data=repr(dataset), seed=self.seed, scores={}, recipe="")
        self._use(model)
        return {"history": history}

    def eval(self, dataset: Any = None) -> dict[str, Any]:
        """Measures the classes on a labelled `EmotionDataset` in the label set emotorch4, and returns what `measure` returns."""
        from emotion_perception.engine.evaluation import measure, outputs_over

        return measure(self.emotions(outputs_over(self, dataset)), dataset.targets)

    # ---- files --------------------------------------------------------------------------------------------------------

    def load(self, path: str | Path | None = None) -> None:
        """Reads weights: a folder written by `save`, a published checkpoint, or a folder with one.

        Published checkpoints run in torch; saved by `save`, they can be exported as any others.

        Args:
            path: The folder or file.

        Raises:
            WeightsError: Missing, truncated or other files; the learner stays as it was.
        """
        from emotion_perception.engine.weights import load_torch, published_file

        file = published_file(path, [*_NAMES[self.network], *chain(*_NAMES.values())])
        if file is None:
            super().load(path)
            return
        tensors = load_torch(file, inside="model_state_dict")
        broken = next((name for name, value in tensors.items() if value.is_floating_point() and not value.isfinite().all()), None)
        if broken is not None:
            raise WeightsError(f"{str(file)!r} has values in {broken!r} that are not finite, as a training that diverged leaves them")
        card = CARDS["enhanced" if any(name.startswith("bn") for name in tensors) else "baseline"]
        model = self.build_model(card)
        self._load_state(model, tensors, file)
        self.card = card
        self._use(model, files=[file])

    def download(self, path: str | Path | None = None, mode: str = "pretrained", url: str | None = None) -> Path:
        """Fetches both published checkpoints (4 MB) and returns their folder, for `load`; see `fetch_published`."""
        from emotion_perception.engine.downloads import fetch_published

        return fetch_published(CARD, path or self.temp_path, mode, url)
