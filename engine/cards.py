"""The model card: what a learner's weights expect, give, weigh and were measured at. Code reads it, so it cannot drift."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from emotion_perception.engine.errors import WeightsError
from emotion_perception.engine.labels import LabelSet, label_set

FORMAT_VERSION = 1
CARD_NAME = "card.json"
Perceives = Literal["face", "scene", "clip"]
INTERPOLATIONS = ("area", "bicubic")


@dataclass(frozen=True)
class InputSpec:
    """What the network takes.

    Attributes:
        height, width: Size in pixels that a picture is scaled to.
        color: Order of the three channels the weights were trained on.
        mean, std: Per channel, in the [0, 1] scale: ``x = (pixel / 255 - mean) / std``.
        interpolation: How pictures are scaled: ``area`` (means of areas where they shrink, linear where they grow), or ``bicubic`` with
            antialiasing, as MATLAB does it.
    """

    height: int
    width: int
    color: str = "rgb"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    interpolation: str = "area"


@dataclass(frozen=True)
class CropSpec:
    """How a face is cut out of a frame before it is scaled to the network's input.

    Attributes:
        detector: The detector whose boxes ``scale`` was chosen for.
        scale: Side of the square crop, in units of the longer side of the detector's box.
        shift_y: Downward shift of the crop's centre, in units of the longer side of the detector's box.
        border: What fills the part of a crop outside the frame: ``replicate`` or ``constant`` (black).
    """

    detector: str = "yunet"
    scale: float = 1.0
    shift_y: float = 0.0
    border: str = "replicate"


@dataclass(frozen=True)
class WeightFile:
    """A published file: where it is and how it is recognised.

    Attributes:
        name: File name in a weights folder.
        url: Its public address.
        digest: ``sha256:<64 hex>`` or ``git-blob:<40 hex>`` (SHA-1 of ``blob <size>`` + NUL + content); None where none was published.
    """

    name: str
    url: str
    digest: str | None

    def __post_init__(self) -> None:
        """Refuses a digest that could never match."""
        if self.digest is not None and not re.fullmatch(r"sha256:[0-9a-f]{64}|git-blob:[0-9a-f]{40}", self.digest):
            raise WeightsError(f"card: digest of {self.name!r} is {self.digest!r}, expected sha256:<64 hex> or git-blob:<40 hex>")


@dataclass(frozen=True)
class ModelCard:
    """Everything that is true of one set of weights.

    Attributes:
        learner: Registered name of the learner that reads them.
        title: One line for people.
        perceives: What one input shows: a face crop, a whole picture (scene) or a clip.
        input: What the network takes.
        labels: Name of the label set, in output order.
        licence: Licence of the weights, with restrictions of use.
        paper: Source of the method.
        affect: Whether valence and arousal are given.
        crop: How faces are cut out; None for scenes and clips.
        architecture: Constructor facts needed to build the network (for ESR: ensemble_size, diversify).
        files: Published files of ``pretrained``.
        data: What the weights were trained on.
        recipe: The command that trained them.
        seed: The seed of that training.
        scores: Measured numbers by data set and metric.
        notes: What a user must know: known limits, where the affect comes from.
    """

    learner: str
    title: str
    perceives: Perceives
    input: InputSpec
    labels: str
    licence: str
    paper: str
    affect: bool = False
    crop: CropSpec | None = None
    architecture: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[WeightFile, ...] = ()
    data: str = ""
    recipe: str = ""
    seed: int | None = None
    scores: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuses a card that could not be true."""
        if self.perceives not in get_args(Perceives):
            known = ", ".join(get_args(Perceives))
            raise WeightsError(f"card of {self.learner!r}: perceives is {self.perceives!r}, expected one of {known}")
        if self.perceives == "face" and self.crop is None:
            raise WeightsError(f"card of {self.learner!r}: a face model needs a crop")
        if not self.licence:
            raise WeightsError(f"card of {self.learner!r}: licence is empty; say what the weights may be used for")
        if self.input.color not in ("rgb", "bgr") or min(self.input.std) <= 0 or min(self.input.height, self.input.width) < 1:
            raise WeightsError(f"card of {self.learner!r}: input {self.input} has a wrong colour order, size or std")
        if self.input.interpolation not in INTERPOLATIONS:
            known = ", ".join(INTERPOLATIONS)
            raise WeightsError(f"card of {self.learner!r}: interpolation is {self.input.interpolation!r}, expected one of {known}")

    @property
    def label_set(self) -> LabelSet:
        """The label set of the outputs."""
        return label_set(self.labels)

    def with_(self, **changes: Any) -> ModelCard:
        """Returns a copy with some fields changed."""
        return replace(self, **changes)

    def trained_here(self, **changes: Any) -> ModelCard:
        """Returns a copy for weights of one's own, without what is true of the published ones only.

        Args:
            changes: What is true of them.
        """
        fresh: dict[str, Any] = {"licence": "as its training data allow", "files": (), "data": "", "scores": {}, "notes": ()}
        return replace(self, **{**fresh, **changes})

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values, ready for JSON, with the version of the format."""
        return {"format_version": FORMAT_VERSION, **asdict(self)}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> ModelCard:
        """Reads what `to_dict` wrote.

        Raises:
            WeightsError: Another version, a missing field or an unknown one.
        """
        values = dict(plain)
        version = values.pop("format_version", None)
        if version != FORMAT_VERSION:
            reads = f"this program reads {FORMAT_VERSION}; update emotion_perception or save again"
            raise WeightsError(f"card has format version {version!r}, {reads}")
        unknown = sorted(set(values) - {f.name for f in fields(cls)})
        if unknown:
            raise WeightsError(f"card has unknown fields {', '.join(unknown)}; it was written by a newer or another program")
        try:
            numbers: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values["input"].items()}
            values["input"] = InputSpec(**numbers)
            values["crop"] = None if values.get("crop") is None else CropSpec(**values["crop"])
            values["files"] = tuple(WeightFile(**entry) for entry in values.get("files", ()))
            values["notes"] = tuple(values.get("notes", ()))
            return cls(**values)
        except (KeyError, TypeError, AttributeError) as error:
            raise WeightsError(f"card is incomplete or malformed: {error}; save the weights again") from None

    @classmethod
    def read(cls, folder: Path) -> ModelCard:
        """Reads ``card.json`` of a weights folder; a missing or malformed one raises `WeightsError`."""
        file = folder / CARD_NAME
        try:
            plain = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise WeightsError(f"{str(folder)!r} has no {CARD_NAME}; give a folder written by save() or download()") from None
        except (OSError, ValueError) as error:
            raise WeightsError(f"cannot read {str(file)!r}: {error}") from None
        if not isinstance(plain, dict):
            raise WeightsError(f"{str(file)!r} is not a model card; give a folder written by save() or download()")
        return cls.from_dict(plain)
