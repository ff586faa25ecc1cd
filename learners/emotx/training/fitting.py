"""Training as published, and a better one, as a stage of the shared loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emotion_perception.engine.errors import DatasetError
from emotion_perception.engine.precision import autocast
from emotion_perception.engine.settings import SETTINGS_NAME
from emotion_perception.engine.target import FloatArray
from emotion_perception.engine.training.distributed import Processes
from emotion_perception.engine.training.loop import CHECKPOINT, Batch, Stage
from emotion_perception.engine.training.running import run_stages
from emotion_perception.engine.training.schedules import one_cycle, plateau
from emotion_perception.learners.emotx.clips import ClipFeatures, Layout, Tokens, collate
from emotion_perception.learners.emotx.evaluation import LEVELS, Judged, judged, scores
from emotion_perception.learners.emotx.settings import Settings
from emotion_perception.learners.emotx.training.best import BestWeights
from emotion_perception.learners.emotx.training.logs import published_log
from emotion_perception.learners.emotx.training.losses import Loss, loss_of

if TYPE_CHECKING:
    from emotion_perception.engine.cards import ModelCard
    from emotion_perception.learners.emotx.datasets import ClipDataset, ClipTargets

# Settings that a run may be resumed with other values of, as they change nothing in its weights.
_FREE = {"data_path", "resource_path", "clip_srts_path", "emotic_mapping_path", "pkl_path", "save_path", "saved_model_path", "dumps_path"}
_FREE |= {"hugging_face_cache_path", "num_cpus", "gpu_id", "wandb", "model_name", "model_name_suffix", "char_detection", "mg_videos_dir"}
_MOST_GRADIENT = 1.0
_EVALUATION_BATCH = 16
# How the published schedule cuts the rate: by what, after how many epochs, and what counts as progress.
_PLATEAU: dict[str, Any] = {"factor": 0.1, "patience": 5, "threshold": 1e-3}


def train(
    model: torch.nn.Module,
    settings: Settings,
    train: ClipDataset,
    val: ClipDataset | None,
    device: torch.device,
    logging_path: str | Path = "",
    progress: bool = False,
    card: ModelCard | None = None,
    start: str = "",
) -> list[dict[str, Any]]:
    """Trains a network; it holds the state that ``keep`` names afterwards.

    Args:
        model: As `build_network` makes it from the settings, on the device.
        settings: The recipe.
        train: Training clips.
        val: Validation clips; without any, the last state is kept.
        device: Where the network is.
        logging_path: Folder for settings, logs, checkpoints and, below ``best``, the weights of the best epoch by each rule; a run in it
            that was interrupted is continued exactly. Empty: nothing is written.
        progress: Log the progress.
        card: Of the network, for the weights of the best epochs; None writes none.
        start: What tells apart the weights that the network comes with; empty where they follow from the seed.

    Returns:
        A row per epoch: ``loss`` and ``val_loss``, ``lr``, and ``map_<level>``, ``f1_<level>``, ``precision_<level>`` and
        ``recall_<level>`` of the training clips as they were judged while it went on, and with ``val_`` before it of the validation
        clips; levels are ``scene``, ``character``, and for ``map`` also ``mean`` and ``gm``.

    Raises:
        DatasetError: Data in another label set, or without clips.
    """
    for dataset in (train, val):
        if dataset is not None and dataset.labels != settings.label_set:
            raise DatasetError(f"{dataset!r} counts in {dataset.labels.name}, expected {settings.label_set.name}; open it by the settings")
        if dataset is not None and not len(dataset):
            raise DatasetError(f"{dataset!r} has no clip; give data with at least one")
    folder = Path(logging_path) if logging_path else None
    processes = Processes.join(device)
    # A folder that holds a run keeps that run's settings: it may refuse these.
    if folder is not None and processes.rank == 0 and not (folder / CHECKPOINT).is_file():
        settings.write(folder / SETTINGS_NAME)
    measuring = Measuring(model, settings, val, device, loss_of(settings, train, device), processes)
    best = BestWeights(folder, card, settings) if card is not None and folder is not None and processes.rank == 0 else None
    history = run_stages(
        model,
        [_stage(model, settings, train, measuring, device, best)],
        batch_size=settings.batch_size,
        seed=settings.seed,
        device=device,
        logging_path=logging_path,
        progress=progress,
        fingerprint=fingerprint(settings, train, val) | {"start": start},
        also=published_log(settings, folder, measuring.first_loss) if settings.wandb.logging else (),
    )
    if best is not None:
        best.publish()
    return history


def fingerprint(settings: Settings, train: ClipDataset, val: ClipDataset | None) -> dict[str, Any]:
    """Returns what decides the weights that a run ends in."""
    decisive = {name: value for name, value in asdict(settings).items() if name not in _FREE}
    decisive |= {"lr": settings.learning_rate, "loss": settings.loss_name, "feat_info": repr(decisive["feat_info"])}
    decisive["pos_weight"] = repr(settings.pos_weight.get(str(len(settings.label_set))))
    return decisive | {"clips": [len(train), 0 if val is None else len(val)]}


class Measuring:
    """What is measured at the end of an epoch, on training clips as they came and on all validation clips."""

    def __init__(
        self,
        model: torch.nn.Module,
        settings: Settings,
        val: ClipDataset | None,
        device: torch.device,
        loss: Loss,
        processes: Processes,
    ) -> None:
        """Stores what to measure with; arguments as of `train`."""
        self.model, self.settings, self.val, self.device, self.loss, self.processes = model, settings, val, device, loss, processes
        self._said: dict[str, list[FloatArray]] = {}
        self._true: dict[str, list[FloatArray]] = {}
        self._clips = 0

    def begin(self) -> None:
        """Forgets the epoch before."""
        self._said, self._true, self._clips = {}, {}, 0

    def add(self, rows: Mapping[str, tuple[Tensor, Tensor]], clips: int) -> None:
        """Takes the logits and targets of a step, by level."""
        self._clips += clips
        for level, (logits, targets) in rows.items():
            self._said.setdefault(level, []).append(torch.sigmoid(logits.detach().float()).cpu().numpy())
            self._true.setdefault(level, []).append(targets.cpu().numpy())

    def train_row(self, clips: int) -> dict[str, float]:
        """Returns the numbers of the training clips; none for an epoch that was resumed midway, the start of which is not known."""
        seen = int(self.processes.gather(np.array([self._clips])).sum())
        said, true = ({k: self.processes.gather(np.concatenate(v)) for k, v in each.items()} for each in (self._said, self._true))
        return _row(scores(Judged(said, true, clips), self.settings.label_set, self.threshold)) if seen == clips else {}

    def val_row(self) -> dict[str, float]:
        """Returns the numbers of the validation clips; none without them."""
        if self.val is None:
            return {}
        from scipy.special import expit

        layout = self.settings.layout()
        found = judged(self._logits, self.val, layout, max(_EVALUATION_BATCH, self.settings.batch_size), self.settings.judges)
        logits, targets = (torch.from_numpy(np.concatenate([*each.values()])) for each in (found.said, found.true))
        loss = float(self.loss(logits.to(self.device), targets.to(self.device)))
        probabilities = {level: expit(rows.astype(np.float64)) for level, rows in found.said.items()}
        result = scores(Judged(probabilities, found.true, found.clips), self.settings.label_set, self.threshold)
        return {"val_loss": loss} | {f"val_{name}": value for name, value in _row(result).items()}

    def first_loss(self) -> float | None:
        """Returns the loss on the validation clips before any training."""
        return self.val_row().get("val_loss")

    @property
    def threshold(self) -> float:
        """From which probability on a label counts as judged."""
        return self.settings.target_prediction_threshold

    def _logits(self, tokens: Tokens) -> tuple[FloatArray, FloatArray]:
        self.model.eval()
        inputs = [torch.from_numpy(each).to(self.device) for each in tokens.inputs()]
        with torch.inference_mode(), autocast(self.device, self.settings.precision):
            scene, characters = self.model(*inputs)
        return scene.float().cpu().numpy(), characters.float().cpu().numpy()


def _stage(
    model: torch.nn.Module, settings: Settings, train: ClipDataset, measuring: Measuring, device: torch.device, best: BestWeights | None
) -> Stage:
    """Makes the only stage."""
    published, layout = settings.optimizer == "adam", settings.layout()
    losses: list[float] = []  # of the epochs so far, for the plateau

    def observe(history: Sequence[Mapping[str, Any]]) -> None:
        losses[:] = [float(row.get("val_loss", row["loss"])) for row in history]

    def rate(progress: float) -> float:
        return plateau(losses, **_PLATEAU) if published else cycle(progress)

    def prepare() -> None:
        model.train()
        measuring.begin()

    def loss(batch: Batch, generator: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        *inputs, present, scene_true, characters_true = batch
        # Dropout draws from torch's own generator; seeded by the step, a resumed run repeats it.
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(generator.initial_seed())
            with autocast(device, settings.precision):
                scene, characters = model(*inputs)
        rows = {"character": (characters[present], characters_true[present]), "scene": (scene, scene_true)}
        rows = {LEVELS[name]: rows[LEVELS[name]] for name in ("characters", "scene") if name in settings.judges}
        measuring.add(rows, len(scene))
        logits, targets = (torch.cat([pair[i] for pair in rows.values()]) for i in range(2))
        # A process's share of a batch may have no character at all: nothing to learn, and no gradient.
        return (measuring.loss(logits, targets) if len(logits) else logits.sum() * 0.0), {}

    def validate() -> dict[str, float]:
        row = {"lr": float(optimizer.param_groups[0]["lr"])} | measuring.train_row(len(train)) | measuring.val_row()
        if best is not None:
            best.offer(model, row, epoch=len(losses) + 1)
        return row

    cycle = one_cycle()
    optimizer = _optimizer(model, settings)
    return Stage(
        name="emotx",
        epochs=settings.epochs,
        order=lambda epoch: np.random.default_rng((settings.seed, 0, epoch)).permutation(len(train)),
        load=lambda numbers, epoch: _batch(train, numbers, settings, layout, epoch),
        loss=loss,
        optimizer=optimizer,
        rate=rate,
        prepare=prepare,
        validate=validate,
        monitor="epoch" if settings.keep == "last" else f"val_map_{settings.keep}",  # no number has that name: the last state stays
        higher_is_better=True,
        most_gradient=None if published else _MOST_GRADIENT,
        observe=observe,
    )


def _optimizer(model: torch.nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """Makes Adam as published, or AdamW that leaves biases and norms without decay."""
    learnt = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if settings.optimizer == "adam":
        return torch.optim.Adam(learnt, settings.learning_rate)
    groups = [
        {"params": [p for p in learnt if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in learnt if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, settings.learning_rate)


def _batch(train: ClipDataset, numbers: NDArray[np.int64], settings: Settings, layout: Layout, epoch: int) -> Batch:
    """Returns the inputs of the network, which characters there are, and the targets of scenes (B, K) and characters (B, N, K)."""
    clips, targets = zip(*(_item(train, number, settings, epoch) for number in numbers.tolist()), strict=True)
    tokens = collate(clips, layout)
    characters = np.zeros((*tokens.present.shape, len(train.labels)), np.float32)
    for row, target in zip(characters, targets, strict=True):
        kept = target.characters[: layout.characters]
        row[: len(kept)] = kept
    arrays = (*tokens.inputs(), tokens.present, np.stack([target.scene for target in targets]), characters)
    return tuple(torch.from_numpy(np.ascontiguousarray(array)) for array in arrays)


def _item(train: ClipDataset, number: int, settings: Settings, epoch: int) -> tuple[ClipFeatures, ClipTargets]:
    """Returns a training clip, some of its features drawn at random; all randomness is of (seed, epoch, number)."""
    random = np.random.Generator(np.random.Philox(key=[(settings.seed << 32) + epoch, number]))
    clip = train.clip(number, random if settings.random_feat_selection else None)
    targets = train.targets(number)
    if not settings.shuffle_characters:
        return clip, targets
    order = random.permutation(len(clip.characters))
    streams = list(clip.characters.items())
    return replace(clip, characters=dict(streams[i] for i in order)), replace(targets, characters=targets.characters[order])


def _row(result: Mapping[str, Any]) -> dict[str, float]:
    """Returns the numbers of a result that a history keeps."""
    row = {name: float(value) for name, value in result.items() if name.startswith("map_")}
    for level in LEVELS.values():
        for number in ("f1", "precision", "recall"):
            value = result.get(level, {}).get(f"macro_{number}")
            if value is not None:
                row[f"{number}_{level}"] = float(value)
    return row
