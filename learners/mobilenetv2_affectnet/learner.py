"""`MobileNetV2Learner`: a classifier and a regressor of faces, or one network for both, behind the contract of all learners."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from emotion_perception.engine.cards import CARD_NAME, ModelCard
from emotion_perception.engine.errors import UsageError, WeightsError, check_words
from emotion_perception.engine.keras_weights import KERAS_SUFFIXES
from emotion_perception.engine.training.learner import TASKS, HeadLearner
from emotion_perception.learners.mobilenetv2_affectnet.card import CARD
from emotion_perception.learners.mobilenetv2_affectnet.checkpoints import read_backbone, read_tower

if TYPE_CHECKING:
    import torch

    from emotion_perception.engine.training.heads import Part
    from emotion_perception.learners.mobilenetv2_affectnet.model import MobileNetV2, Tower


class MobileNetV2Learner(HeadLearner):
    """Judges emotion, valence and arousal in face crops with MobileNetV2 (Sandler et al., CVPR 2018)."""

    card = CARD
    default_weights: ClassVar[Path] = Path(__file__).parent / "weights"

    def __init__(
        self,
        *,
        heads: str = "both",
        shared: bool = True,
        freeze: str = "none",
        backbone_lr: float = 1.0,
        backbone_weights: str | Path | None = None,
        stem_stride: int = 2,
        **options: Any,
    ) -> None:
        """Stores the arguments.

        Args:
            heads: Of a new network: ``categorical``, ``dimensional`` or ``both``. Given a ``task``, it has the heads that this trains.
            shared: One network for both heads, judged in one pass; else a network for each, as published.
            freeze: What `fit` leaves as it is: ``none``, the ``backbone``, or the ``trunk`` (all but the last layer).
            backbone_lr: Factor on the learning rate of the backbone.
            backbone_weights: File to take a new network's backbone from: ImageNet weights of torchvision or of Keras.
            stem_stride: Stride of a new network's first convolution; 1 keeps the detail of small pictures, at four times the work.
            options: Those of `HeadLearner` (training) and `Learner`.
        """
        super().__init__(**options)
        check_words("heads", heads, TASKS)
        check_words("freeze", freeze, ("none", "backbone", "trunk"))
        if stem_stride not in (1, 2) or backbone_lr < 0.0:
            raise UsageError(f"stem_stride is {stem_stride}, backbone_lr {backbone_lr}; expected 1 or 2, and 0 or more")
        self.heads, self.shared, self.freeze, self.stem_stride = heads, shared, freeze, stem_stride
        self.backbone_lr, self.backbone_weights = backbone_lr, backbone_weights

    # ---- the network --------------------------------------------------------------------------------------------------

    def build_model(self, card: ModelCard) -> MobileNetV2:
        """Builds the network that a card describes, with fresh weights, in evaluation mode."""
        from emotion_perception.learners.mobilenetv2_affectnet.model import MobileNetV2

        return MobileNetV2.of(card.architecture).eval()

    def deployed(self, model: torch.nn.Module) -> torch.nn.Module:
        """Returns a copy without batch norm, that gives probabilities."""
        from emotion_perception.learners.mobilenetv2_affectnet.model import Deployed, MobileNetV2

        assert isinstance(model, MobileNetV2)
        return Deployed(model)

    @property
    def has_classes(self) -> bool:
        """Whether the network tells classes; a regressor alone gives each the same probability."""
        return str(self.card.architecture["heads"]) != "dimensional"

    def init_model(self) -> None:
        """Makes a network with fresh, seeded weights, and the backbone of ``backbone_weights`` where there is one.

        Raises:
            WeightsError: ``backbone_weights`` are not of a MobileNetV2.
        """
        tensors, conventions = read_backbone(self.backbone_weights) if self.backbone_weights else ({}, "keras")
        heads = self.task or self.heads  # a head that is never trained would judge at random
        architecture = {"heads": heads, "shared": self.shared, "conventions": conventions, "stem_stride": self.stem_stride}
        affect = heads != "categorical"
        card = self.own_card(title="MobileNetV2, trained here", architecture=architecture, affect=affect)
        self._adopt(card, dict.fromkeys(TASKS, tensors), [Path(self.backbone_weights)] if self.backbone_weights else [])

    def add_affect(self, shared: bool | None = None) -> None:
        """Makes a regressor of the classifier in use: a fresh last layer, everything before it as it is.

        Args:
            shared: Put it on the classifier's own network, so that one pass judges both; else on a copy of it, as published. None = as
                the constructor was told.

        Raises:
            NotLoadedError: There is no classifier yet.
            UsageError: The network has a head for affect already.
        """
        model: MobileNetV2 = self.model  # type: ignore[assignment]  # this learner only ever builds MobileNetV2
        architecture = dict(self.card.architecture)
        if architecture["heads"] != "categorical":
            raise UsageError(f"the network's heads are {architecture['heads']!r}; only a classifier can be given one for affect")
        shared = self.shared if shared is None else shared
        model.add_affect(shared, self.seed)
        self.card = self.card.with_(architecture={**architecture, "heads": "both", "shared": shared}, affect=True)
        self._use(model)

    # ---- training -----------------------------------------------------------------------------------------------------

    def usual_lr(self, task: str) -> float:
        """Returns the published rates for the published schedule, which starts from ImageNet's weights; else 0.001."""
        return 1e-3 if self.schedule == "one_cycle" else 3e-5 if task == "dimensional" else 1e-5

    def prepare(self, task: str) -> None:
        """Makes a regressor of a classifier that is to learn affect."""
        if task != "categorical" and self.card.architecture["heads"] == "categorical":
            self.add_affect()
        if task != "dimensional" and not self.has_classes:
            raise UsageError(f"task is {task!r} and the network is a regressor; train a classifier, then make a regressor of it")

    def parts(self, model: torch.nn.Module, task: str) -> Sequence[Part]:
        """Returns a part for every tower that has a head of the task: its heads, and what lies before them unless it is frozen."""
        towers: Sequence[Tower] = model.parts()  # type: ignore[operator]  # as in add_affect
        return [part for part in (self._part(tower, task) for tower in towers) if part.heads]

    def _part(self, tower: Tower, task: str) -> Part:
        from emotion_perception.engine.training.heads import Part

        heads = [head for head in tower.heads if task in (head, "both")]
        layers: list[tuple[torch.nn.Module, float]] = [(tower.heads[head], 1.0) for head in heads]
        if self.freeze != "trunk":
            layers.append((tower.dense, 1.0))
        if self.freeze == "none":
            layers.append((tower.features, self.backbone_lr))
        return Part("+".join(heads), heads, layers, tower)

    # ---- files --------------------------------------------------------------------------------------------------------

    def load(self, path: str | Path | None = None) -> None:
        """Reads weights: a folder written by `save`, a Keras file (``.h5``), or a folder with a classifier's, a regressor's or both.

        Keras files run in torch; saved by `save`, they can be exported as any others.

        Args:
            path: The folder or file; the weights that come with the package if None.

        Raises:
            WeightsError: Missing, truncated or other files; the learner stays as it was.
        """
        files = _keras_files(path)
        if not files:
            super().load(path)
            return
        towers: dict[str, Mapping[str, torch.Tensor]] = {}
        for file in files:
            tensors, head = read_tower(file)
            if not head or head in towers:
                problem = f"a second {head} network" if head else "a backbone without a last layer, to be given as backbone_weights"
                raise WeightsError(f"{str(file)!r} is {problem}; give a file, or a folder with one classifier and one regressor")
            towers[head] = tensors
        heads = "both" if len(towers) == 2 else next(iter(towers))
        title, affect = f"MobileNetV2 from {', '.join(file.name for file in files)}", heads != "categorical"
        self._adopt(CARD.with_(title=title, architecture={**CARD.architecture, "heads": heads}, affect=affect, scores={}), towers, files)

    def _adopt(self, card: ModelCard, towers: Mapping[str, Mapping[str, torch.Tensor]], files: Sequence[Path] = ()) -> None:
        """Uses the network of a card, with the tensors from files given for each tower's first head; the rest is fresh."""
        model: MobileNetV2 = self._fresh(card, self.seed)  # type: ignore[assignment]  # as in add_affect
        for tower in model.parts():
            tower.load_state_dict({**tower.state_dict(), **towers[next(iter(tower.heads))]})
        self.card = card
        self._use(model, files=files)

    def download(self, path: str | Path | None = None, mode: str = "pretrained", url: str | None = None) -> Path:
        """Fetches the published Keras files and returns their folder.

        Args:
            path: Where to put them; `temp_path` if None.
            mode: ``pretrained``.
            url: Another folder (http, https or file) that they lie in.
        """
        from emotion_perception.engine.downloads import fetch_published

        return fetch_published(CARD, path or self.temp_path, mode, url)


def _keras_files(path: str | Path | None) -> list[Path]:
    """Returns the Keras files that a path stands for; none where it is anything else."""
    place = Path(path or "")
    if path is None or (place / CARD_NAME).is_file():
        return []
    files = sorted(place.iterdir()) if place.is_dir() else [place]
    return [file for file in files if file.suffix in KERAS_SUFFIXES]
