"""`EmoTxLearner`: EmoTx, its variants and its baselines behind the contract of all learners."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from emotion_perception.engine.cards import ModelCard
from emotion_perception.engine.data import Color, describe
from emotion_perception.engine.errors import InputError, UsageError, WeightsError
from emotion_perception.engine.labels import label_set
from emotion_perception.engine.learners import Learner
from emotion_perception.engine.target import Emotions, FloatArray
from emotion_perception.learners.emotx.card import CARD, CHECKPOINTS, FRAMES, architecture_of, published_scores
from emotion_perception.learners.emotx.clips import INPUT_NAMES, ClipFeatures, Layout, Tokens, collate, random_inputs
from emotion_perception.learners.emotx.settings import Settings
from emotion_perception.learners.emotx.settings.of_card import settings_of_card

if TYPE_CHECKING:
    import torch

    from emotion_perception.engine.clips import Window
    from emotion_perception.engine.inference.backends import Inputs
    from emotion_perception.learners.emotx.datasets import ClipDataset


class EmoTxLearner(Learner):
    """Judges which of 10, 25 or 26 emotions and mental states hold for a clip and for each of its characters.

    Attributes:
        settings: The published configuration, with what was given. After `load`, what the weights decide (labels, features, sizes) is as
            they are.
    """

    card = CARD
    input_names: ClassVar[tuple[str, ...]] = INPUT_NAMES
    output_names: ClassVar[tuple[str, ...]] = ("scene_logits", "character_logits")
    settings_class = Settings

    def __init__(self, *, settings: Settings | None = None, **options: Any) -> None:
        """Stores the arguments.

        Args:
            settings: Everything that can be set, by the published names; their usual values if None.
            options: Single settings, as ``top_k=25``, which win over ``settings``, and those of `Learner`.

        Raises:
            UsageError: Settings that do not go together, or out of range.
        """
        known = {field.name for field in fields(Settings)}
        self.settings = (settings or Settings()).with_(**{name: value for name, value in options.items() if name in known})
        usual: dict[str, Any] = {"batch_size": self.settings.batch_size, "device_ind": (self.settings.gpu_id,)}
        super().__init__(**usual | {name: value for name, value in options.items() if name not in known})

    # ---- the network --------------------------------------------------------------------------------------------------

    def build_model(self, card: ModelCard) -> torch.nn.Module:
        """Builds the network that a card describes, with fresh weights, in evaluation mode."""
        from emotion_perception.learners.emotx.model import build_network

        return build_network({name: value for name, value in card.architecture.items() if name != "features"}).eval()

    def init_model(self) -> None:
        """Makes a network with fresh, seeded weights."""
        settings = self.settings
        card = CARD.trained_here(
            title=f"EmoTx, {len(settings.label_set)} labels, trained here",
            input=FRAMES[settings.scene_feat_type],
            labels=settings.label_set.name,
            architecture=architecture_of(settings),
        )
        model = self._fresh(card, settings.seed)
        self.card = card
        self._use(model)

    @property
    def layout(self) -> Layout:
        """Widths and lengths that clips are padded to for the network in use."""
        return Layout.of(self.card.architecture, self.settings.full_length)

    # ---- judging ------------------------------------------------------------------------------------------------------

    def infer(self, batch: Any, color: Color = "rgb") -> Emotions:
        """Judges one clip or several.

        Args:
            batch: A `ClipFeatures`, the path of a file of features (``.npz``) or of a video, or a list of them. Of a video the features
                are extracted first, for which the weights of the backbones are needed; what is said is read from the file beside it
                that ends in ``.srt``, if there is one.
            color: Not used; features have no colours.

        Returns:
            `Emotions` with a row per clip: ``probabilities`` are the scene's, NaN where the network judges characters only. Extras, of the
            N characters that the network knows: ``characters`` (n, N, classes) float32, NaN where a clip has none or the network judges
            scenes only; ``names`` (n, N), empty where there is none.

        Raises:
            NotLoadedError: There are no weights yet.
            InputError: Features of another width, or something that is no clip; none is judged then.
        """
        self._running()
        clips = self._clips(batch)
        layout, size = self.layout, self.batch_size
        parts = [(part, collate(part, layout)) for part in (clips[i : i + size] for i in range(0, len(clips), size))]
        if not parts:
            return self._no_emotions()
        outputs = [self.outputs(tokens.inputs()) for _, tokens in parts]
        judged = self.emotions({name: np.concatenate([each[name] for each in outputs]) for name in self.output_names})
        present = np.concatenate([tokens.present for _, tokens in parts])
        characters = np.where(present[..., None], judged.extras["characters"], np.float32(np.nan))
        names = np.array([[*list(clip.characters)[: layout.characters], *[""] * layout.characters][: layout.characters] for clip in clips])
        return replace(judged, extras={"characters": characters, "names": names})

    def inputs(self, batch: Any, color: Color = "rgb") -> Inputs:
        """Pads clips to the arrays that the network takes; arguments and errors are those of `infer`."""
        clips = self._clips(batch)
        return collate(clips, self.layout).inputs() if clips else tuple(x[:0] for x in self.example(1))

    def example(self, count: int) -> Inputs:
        """Makes random clips of different lengths, as arrays, the same ones at each call."""
        return random_inputs(self.layout, count)

    def emotions(self, outputs: Mapping[str, FloatArray]) -> Emotions:
        """Takes ``scene_logits`` (n, K) and ``character_logits`` (n, N, K); who is in a clip is not known here, see `infer`."""
        from scipy.special import expit

        said = {"scene": expit(outputs["scene_logits"]), "characters": expit(outputs["character_logits"])}
        judges = self.card.architecture["judges"]
        scene, characters = (values if name in judges else np.full_like(values, np.nan) for name, values in said.items())
        return Emotions(self.card.label_set, scene, extras={"characters": characters})

    def watch(self, *, window_s: float, num_chars: int = 0, dialogue: bool = True, backbones: str | Path | None = None) -> Window:
        """Returns a window on a stream, see `engine.clips.WatchesClips`."""
        from emotion_perception.learners.emotx.watching import watch

        return watch(self, window_s=window_s, num_chars=num_chars, dialogue=dialogue, backbones=backbones)

    # ---- training and evaluation --------------------------------------------------------------------------------------

    def fit(
        self, dataset: Any = None, val_dataset: Any = None, logging_path: str = "", silent: bool = True, verbose: bool = True
    ) -> dict[str, Any]:
        """Trains as ``settings`` say, from the weights in use or from fresh ones.

        Args:
            dataset: Training data, a `ClipDataset`; with None, the training and validation parts of MovieGraphs in ``data_path``.
            val_dataset: Validation data; the epoch that is the best on it by ``keep`` is what the learner holds afterwards.
            logging_path: Folder for settings, logs, checkpoints and the best weights; a run in it that was interrupted is continued
                exactly.
            silent: Print no progress.
            verbose: Log progress (when not silent).

        Returns:
            ``history``: a row per epoch, see `training.fitting.train`.
        """
        from emotion_perception.learners.emotx.training.fitting import train

        settings = self.settings.with_(batch_size=self.batch_size)
        if dataset is None:
            dataset, val_dataset = settings.open("train"), val_dataset or settings.open("val")
        for given in (dataset, *([] if val_dataset is None else [val_dataset])):
            self._check(given, "fit")
        if not self.loaded:
            self.init_model()
        model, device = self.model, self.torch_device()
        progress, start = verbose and not silent, self.learns_from()["start"]
        history = train(model.to(device), settings, dataset, val_dataset, device, logging_path, progress, self.card, start)
        self.card = self.card.with_(data=repr(dataset), seed=settings.seed, scores={}, recipe="")
        self._use(model)
        return {"history": history}

    def eval(self, dataset: Any = None) -> dict[str, Any]:
        """Measures scenes and characters on a `ClipDataset`, MovieGraphs' validation part in ``data_path`` if None; see `evaluate`."""
        from emotion_perception.learners.emotx.evaluation import evaluate

        self._running()
        settings = self.settings
        dataset = settings.open("val") if dataset is None else self._check(dataset, "eval")
        labels = self.card.label_set
        if dataset.labels != labels:
            raise UsageError(f"the data set counts in {dataset.labels.name}, {self.name} in {labels.name}; open it with those labels")
        return evaluate(
            self._judge,
            dataset,
            self.layout,
            self.batch_size,
            self.card.architecture["judges"],
            settings.target_prediction_threshold,
        )

    # ---- files --------------------------------------------------------------------------------------------------------

    def load(self, path: str | Path | None = None) -> None:
        """Reads weights: a folder written by `save`, a published checkpoint, or a folder with one.

        A published checkpoint does not say what streams its network reads, nor what kind of features: it is taken to be as ``settings``
        say. Of several in a folder, that for the label set of ``settings`` is read. They run in torch; saved by `save`, they can be
        exported as any others.

        Args:
            path: The folder or file.

        Raises:
            WeightsError: Missing, truncated or other files; the learner stays as it was.
        """
        from emotion_perception.engine.weights import published_file

        file = published_file(path, [CHECKPOINTS[self.settings.label_set.name], *CHECKPOINTS.values()])
        if file is None:
            super().load(path)
        else:
            self._load_published(file)
        self.settings = settings_of_card(self.card, self.settings)

    def _load_published(self, file: Path) -> None:
        from emotion_perception.learners.emotx.checkpoints import read_published

        sizes, tensors = read_published(file)
        labels = next((name for name in CHECKPOINTS if len(label_set(name)) == sizes["num_labels"]), None)
        if labels is None:
            raise WeightsError(f"checkpoint {str(file)!r} is for {sizes['num_labels']} labels, expected 10, 25 or 26; give another one")
        settings = self.settings
        architecture = {**architecture_of(settings), **sizes}
        known = file.name in CHECKPOINTS.values()
        card = (CARD if known else CARD.trained_here()).with_(
            title=f"EmoTx, {sizes['num_labels']} labels, from {file.name}",
            input=FRAMES[settings.scene_feat_type],
            labels=labels,
            architecture=architecture,
            scores=published_scores(labels) if known else {},
        )
        model = self.build_model(card)
        self._load_state(model, tensors, file)
        self.card = card
        self._use(model, files=[file])

    def download(self, path: str | Path | None = None, mode: str = "pretrained", url: str | None = None) -> Path:
        """Fetches published files and returns the folder they are in; see `downloads.fetch` for the modes.

        Of the checkpoints no digest was published: one is only kept if all of it can be read as a checkpoint of this network.
        """
        from emotion_perception.engine.downloads import fetch_published
        from emotion_perception.learners.emotx.checkpoints import read_published
        from emotion_perception.learners.emotx.downloads import fetch

        if mode != "pretrained":
            return fetch(mode, path or self.temp_path, url)
        return fetch_published(CARD, path or self.temp_path, mode, url, check=read_published)

    # ---- inside -------------------------------------------------------------------------------------------------------

    def _clips(self, batch: Any) -> list[ClipFeatures]:
        """Returns a batch as a list of clips."""
        return [self._clip(each) for each in (batch if isinstance(batch, (list, tuple)) else [batch])]

    def _clip(self, given: Any) -> ClipFeatures:
        if isinstance(given, ClipFeatures):
            return given
        if isinstance(given, (str, Path)) and Path(given).suffix.lower() == ".npz":
            from emotion_perception.learners.emotx.features.files import read_clip

            return read_clip(given)
        if isinstance(given, (str, Path)):
            from emotion_perception.learners.emotx.watching import extractors_of

            subtitles = Path(given).with_suffix(".srt")
            return extractors_of(self).clip_features(given, subtitles if subtitles.is_file() else None)
        raise InputError(f"{self.name} takes ClipFeatures, the path of a video or .npz file, or a list of them, got {describe(given)}")

    def _judge(self, tokens: Tokens) -> tuple[FloatArray, FloatArray]:
        judged = self.emotions(self.outputs(tokens.inputs()))
        return judged.probabilities, judged.extras["characters"]

    def _check(self, dataset: Any, verb: str) -> ClipDataset:
        from emotion_perception.learners.emotx.datasets import ClipDataset

        if not isinstance(dataset, ClipDataset):
            raise UsageError(f"{verb} of {self.name} takes a ClipDataset, got {type(dataset).__name__}; open MovieGraphs or write a reader")
        return dataset

    def _no_emotions(self) -> Emotions:
        labels, places = self.card.label_set, self.layout.characters
        extras: dict[str, Any] = {"characters": np.zeros((0, places, len(labels)), np.float32), "names": np.zeros((0, places), np.str_)}
        return Emotions(labels, np.zeros((0, len(labels)), np.float32), extras=extras)
