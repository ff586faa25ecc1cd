"""`EmoNetLearner`: what a scene makes people feel, behind the contract of all learners."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from emotion_perception.engine.cards import INTERPOLATIONS, ModelCard
from emotion_perception.engine.data import Color
from emotion_perception.engine.errors import InputError, UsageError, WeightsError, check_words
from emotion_perception.engine.target import Emotions, FloatArray
from emotion_perception.engine.training.learner import HeadLearner
from emotion_perception.learners.emonet.card import CARD, CHANNEL_MEAN, WEIGHTS_NAME
from emotion_perception.learners.emonet.checkpoints import MEAN_NAME, read_mean_image, read_weights

if TYPE_CHECKING:
    import torch

    from emotion_perception.engine.training.heads import Part
    from emotion_perception.learners.emonet.model import EmoNet

_NAMES = (WEIGHTS_NAME, "emonet.pth")
_SIDE = CARD.input.height


class EmoNetLearner(HeadLearner):
    """Judges which of twenty emotions a whole picture evokes (Kragel et al. 2019), and valence and arousal where it has learnt them."""

    card = CARD
    output_names: ClassVar[tuple[str, ...]] = ("probabilities", "affect", "logits")

    def __init__(
        self,
        *,
        mean: str | Path = "auto",
        affect: str = "none",
        freeze: str = "none",
        backbone_lr: float = 1.0,
        backbone_weights: str | Path | None = None,
        interpolation: str = "bicubic",
        width: float = 1.0,
        **options: Any,
    ) -> None:
        """Stores the arguments.

        Args:
            mean: What is subtracted from the pixels, for published files and new networks; it is then part of the weights. ``none``,
                ``channel`` (a value per channel), or the file of a mean image; ``auto``: what the published code of the layout does
                (nothing for the file of Kragel's lab, ``img_mean.txt`` beside a file of the other), and ``channel`` for a new network.
            affect: Head for valence and arousal of a new network: ``none``, or what it looks at, ``probabilities`` or ``fc7``.
            freeze: What `fit` leaves as it is: ``none``, the ``backbone`` (convolutions), or the ``trunk`` (all but the last layer, as
                published).
            backbone_lr: Factor on the learning rate of the convolutions.
            backbone_weights: File in either layout, as of ImageNet, that a new network takes all but its last layer from.
            interpolation: How pictures are scaled, for published files and new networks: ``bicubic``, as MATLAB, or ``area``.
            width: Factor on the hidden channels of a new network.
            options: Those of `HeadLearner` (training) and `Learner`.
        """
        super().__init__(**options)
        check_words("affect", affect, ("none", "probabilities", "fc7"))
        check_words("freeze", freeze, ("none", "backbone", "trunk"))
        check_words("interpolation", interpolation, INTERPOLATIONS)
        if self.input_size not in (None, _SIDE) or self.small_epochs:
            raise UsageError(f"input_size is {self.input_size}, small_epochs {self.small_epochs}; EmoNet takes {_SIDE} pixels only")
        if not width > 0.0 or backbone_lr < 0.0 or (backbone_weights is not None and width != 1.0):
            given = f"width is {width}, backbone_lr {backbone_lr}, backbone_weights {backbone_weights}"
            raise UsageError(f"{given}; expected above 0, 0 or more, and backbone_weights with width 1 only")
        self.mean, self.affect, self.freeze, self.backbone_lr = mean, affect, freeze, backbone_lr
        self.backbone_weights, self.interpolation, self.width = backbone_weights, interpolation, width

    # ---- the network --------------------------------------------------------------------------------------------------

    def build_model(self, card: ModelCard) -> EmoNet:
        """Builds the network that a card describes, with fresh weights, in evaluation mode."""
        from emotion_perception.learners.emonet.model import of

        return of(card.architecture).eval()

    def deployed(self, model: torch.nn.Module) -> torch.nn.Module:
        """Returns the network with probabilities beside the logits."""
        from emotion_perception.learners.emonet.model import Deployed, EmoNet

        assert isinstance(model, EmoNet)
        return Deployed(model)

    def init_model(self) -> None:
        """Makes a network with fresh, seeded weights, and those of ``backbone_weights`` where there are any.

        Raises:
            WeightsError: ``backbone_weights`` or the mean image are not what they should be.
        """
        tensors = read_weights(self.backbone_weights, last=False)[0] if self.backbone_weights else {}
        card = self.own_card(title="EmoNet, trained here", affect=self.affect != "none")
        files = [Path(self.backbone_weights)] if self.backbone_weights else []
        self._adopt(card, {"affect": self.affect, "width": self.width}, tensors, "channel" if self.mean == "auto" else self.mean, files)

    def _adopt(
        self,
        card: ModelCard,
        architecture: Mapping[str, Any],
        tensors: Mapping[str, torch.Tensor],
        mean: str | Path,
        files: Sequence[Path] = (),
    ) -> None:
        """Uses the network of a card with the tensors given, from files, and a mean; the rest is fresh."""
        import torch

        image: Any = None
        if str(mean) == "channel":
            image = torch.tensor(CHANNEL_MEAN).reshape(3, 1, 1)
        elif str(mean) != "none":
            image = torch.from_numpy(read_mean_image(mean))
        kind = str(mean) if str(mean) in ("none", "channel") else "image"
        spec = replace(card.input, interpolation=self.interpolation)
        card = card.with_(input=spec, architecture={**CARD.architecture, **architecture, "mean": kind})
        model = self._fresh(card, self.seed)
        model.load_state_dict({**model.state_dict(), **tensors, **({} if image is None else {"mean": image})})
        self.card = card
        self._use(model, files=files)

    def add_affect(self, affect_from: str | None = None) -> None:
        """Adds a head for valence and arousal to the network in use; what it had stays as it is.

        Args:
            affect_from: What the head looks at: ``probabilities`` or ``fc7``. None = as the constructor was told, ``fc7`` if nothing.

        Raises:
            NotLoadedError: There is no network yet.
            UsageError: It has such a head already.
        """
        import torch

        model: EmoNet = self.model  # type: ignore[assignment]  # this learner only ever builds EmoNet
        if self.card.affect:
            raise UsageError(f"the network has a head for affect already, on {self.card.architecture['affect']}")
        affect_from = affect_from or ("fc7" if self.affect == "none" else self.affect)
        check_words("affect_from", affect_from, ("probabilities", "fc7"))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model.add_affect(affect_from)
        self.card = self.card.with_(architecture={**self.card.architecture, "affect": affect_from}, affect=True)
        self._use(model)

    def emotions(self, outputs: Mapping[str, FloatArray]) -> Emotions:
        """Takes ``probabilities`` and ``logits``, ``(n, 20)`` each, and ``affect`` (n, 2); the logits are among the extras."""
        return replace(super().emotions(outputs), extras={"logits": outputs["logits"]})

    def features(self, batch: Any, layer: str = "fc7", color: Color = "rgb") -> FloatArray:
        """Returns what a layer of the network says of pictures.

        Args:
            batch: Pictures, as `infer` takes them.
            layer: As `model.EmoNet.features` takes it: ``conv5``, ``fc6``, ``fc7`` or ``fc8``.
            color: Channel order of arrays and tensors in ``batch``.

        Returns:
            ``(n, 4096)`` float32 of ``fc6`` and ``fc7``; ``(n, 20)`` of ``fc8``; ``(n, 256, 13, 13)`` of ``conv5``.

        Raises:
            NotLoadedError: There are no weights yet.
            InputError: No picture, or one that cannot be used.
        """
        import numpy as np
        import torch

        from emotion_perception.engine.vision.crops import network_input

        model: EmoNet = self.model.eval()  # type: ignore[assignment]  # as in add_affect
        x = network_input(batch, self.card.input, color)
        if not len(x):
            raise InputError("features got no picture; give at least one")
        device = next(model.parameters()).device
        with torch.inference_mode():
            parts = [model.features(part.to(device), layer) for part in torch.split(torch.from_numpy(x), self.batch_size)]
        return np.concatenate([part.cpu().numpy() for part in parts])

    # ---- training -----------------------------------------------------------------------------------------------------

    def usual_lr(self, task: str) -> float:
        """Returns 0.001 for the last layer alone, and a tenth of it where more is trained."""
        return 1e-3 if self.freeze == "trunk" else 1e-4

    def prepare(self, task: str) -> None:
        """Adds the head for affect, where the network is to learn affect and has none."""
        if task != "categorical" and not self.card.affect:
            self.add_affect()

    def parts(self, model: torch.nn.Module, task: str) -> Sequence[Part]:
        """Returns the one part: the heads of the task, and what lies before them unless it is frozen."""
        from emotion_perception.engine.training.heads import Part

        net: EmoNet = model  # type: ignore[assignment]  # as in add_affect
        heads = [head for head in ("categorical", "dimensional") if task in (head, "both")]
        layers: list[tuple[torch.nn.Module, float]] = []
        # A head on the probabilities teaches the classifier too, unless only last layers are trained.
        if "categorical" in heads or (net.affect_from == "probabilities" and self.freeze != "trunk"):
            layers.append((net.classifier, 1.0))
        if "dimensional" in heads and net.affect is not None:
            layers.append((net.affect, 1.0))
        if self.freeze != "trunk":
            layers += [(net.conv_5, 1.0), (net.conv_6, 1.0)]
        if self.freeze == "none":
            layers += [(layer, self.backbone_lr) for layer in (net.conv_0, net.conv_1, net.conv_2, net.conv_3, net.conv_4)]
        return [Part("+".join(heads), heads, layers, lambda x, drop: net.heads(net.last_conv(x), drop))]

    # ---- files --------------------------------------------------------------------------------------------------------

    def load(self, path: str | Path | None = None) -> None:
        """Reads weights: a folder written by `save`, a published file in either layout, or a folder with one.

        Published files run in torch; saved by `save`, they can be exported as any others.

        Args:
            path: The folder or file.

        Raises:
            WeightsError: Missing, truncated or other files; the learner stays as it was.
        """
        from emotion_perception.engine.weights import published_file

        file = published_file(path, _NAMES)
        if file is None:
            super().load(path)
            return
        tensors, layout = read_weights(file)
        mean = "none" if self.mean == "auto" else self.mean
        if self.mean == "auto" and layout == "full":
            mean = file.with_name(MEAN_NAME)
            if not mean.is_file():
                missing = f"{str(file)!r} is of the layout whose code subtracts {MEAN_NAME!r}, which is not beside it"
                raise WeightsError(f"{missing}; put it there, or choose mean: none, channel or a file")
        self._adopt(CARD.with_(title=f"{CARD.title}, from {file.name}"), {}, tensors, mean, [file])

    def download(self, path: str | Path | None = None, mode: str = "pretrained", url: str | None = None) -> Path:
        """Fetches the published weights (228 MB) and returns their folder, for `load`; see `fetch_published`.

        No digest of them is published, so the file is checked by its tensors instead, and its own digest is logged.
        """
        from emotion_perception.engine.downloads import fetch_published

        return fetch_published(CARD, path or self.temp_path, mode, url, check=read_weights)
