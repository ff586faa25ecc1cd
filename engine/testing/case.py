"""What the checks are run on: a learner with small arguments, made-up pictures or clips, and one shared training."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from emotion_perception.engine.cards import ModelCard
from emotion_perception.engine.datasets.base import EmotionDataset, Pixels, Targets
from emotion_perception.engine.labels import LabelSet
from emotion_perception.engine.learners import Learner
from emotion_perception.engine.registry import learner_class

if TYPE_CHECKING:
    from emotion_perception.engine.testing.suite import Check

State = Mapping[str, NDArray[Any]]


class DrawnFaces(EmotionDataset):
    """Coloured faces drawn from ellipses, whose mouth, brows and colours follow the class; the same ones at every call."""

    def __init__(self, labels: LabelSet, count: int = 8, side: int = 48, crop_scale: float = 1.0) -> None:
        """Chooses the targets; pictures are drawn when asked for.

        Args:
            labels: The label set; the classes take turns.
            count: How many pictures.
            side: Their height and width in pixels.
            crop_scale: What `crop_scale` says of every picture.
        """
        self.labels, self._side, self._crop_scale = labels, side, crop_scale
        turn = np.arange(count, dtype=np.int64)
        angle = 2.0 * np.pi * turn / 8.0
        affect = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32) * np.float32(0.8)
        self.targets = Targets(turn % len(labels), affect=affect)

    def crop_scale(self, index: int) -> float:
        """Returns the scale given to the constructor."""
        return self._crop_scale

    def picture(self, index: int) -> Pixels:
        """Draws one face, ``(side, side, 3)`` uint8 RGB."""
        random = np.random.default_rng(index)
        share = float(self.targets.index[index]) / max(len(self.labels) - 1, 1)
        y, x = (np.mgrid[0 : self._side, 0 : self._side] + 0.5) / self._side * 2.0 - 1.0
        drawn = np.empty((self._side, self._side, 3))
        drawn[:] = (40.0 + 160.0 * share, 120.0, 200.0 - 160.0 * share)
        skin = np.array([random.uniform(120.0, 230.0), random.uniform(90.0, 160.0), random.uniform(60.0, 120.0)])
        drawn[(x / 0.7) ** 2 + (y / 0.9) ** 2 < 1.0] = skin
        for eye in (-0.3, 0.3):
            drawn[((x - eye) / 0.12) ** 2 + ((y + 0.25) / (0.05 + 0.1 * share)) ** 2 < 1.0] = (20.0, 20.0, 30.0)
            drawn[(np.abs(x - eye) < 0.18) & (np.abs(y + 0.5 - 0.6 * (share - 0.5) * (x - eye)) < 0.04)] = (60.0, 30.0, 20.0)
        bend = (share - 0.5) * 1.6 * x**2
        drawn[(np.abs(x) < 0.35) & (np.abs(y - 0.45 + bend) < 0.06)] = (170.0, 20.0, 40.0)
        return np.clip(drawn + random.normal(0.0, 4.0, drawn.shape), 0.0, 255.0).astype(np.uint8)


class Watched:
    """Counts how often samples of a data set are read, and does something at one of them.

    Attributes:
        dataset: The data set, watched: what reads it (``picture``, of clips ``clip``) counts now.
        reads: How many samples were read so far.
    """

    def __init__(self, dataset: Any, at: int = 0, action: Callable[[], None] | None = None) -> None:
        """Begins to watch.

        Args:
            dataset: The data set; it goes on being watched.
            at: Number of the read, from 1, that ``action`` goes before.
            action: What to do then.
        """
        self.dataset, self.reads = dataset, 0
        reader = "picture" if isinstance(dataset, EmotionDataset) else "clip"
        read, lock = getattr(dataset, reader), threading.Lock()

        def watched(*given: Any, **named: Any) -> Any:
            with lock:
                self.reads += 1
                now = self.reads == at
            if now and action is not None:
                action()
            return read(*given, **named)

        setattr(dataset, reader, watched)


@dataclass(frozen=True, eq=False)
class Training:
    """What the training that all checks share ended in.

    Attributes:
        history: As `fit` returned it.
        state: The network's state afterwards.
        weights: A folder written by `save`.
        reads: How many pictures or clips were read.
    """

    history: list[dict[str, Any]]
    state: State
    weights: Path
    reads: int


@dataclass(eq=False)
class Case:
    """A learner to check, and how.

    Attributes:
        learner: Registered name, or class.
        arguments: Constructor arguments; `temp_path` is added. Training with them must be deterministic, and lower the loss.
        name: Shown in the ids of the checks; the learner's registered name if empty.
        epochs: How many rows the history of a training with these arguments has, where that is to be checked.
        pictures: (label set, count, side, crop scale) -> data set to train and evaluate on; a class or function that can be pickled.
        clips: Of a learner for clips, instead: count -> data set, in the label set that a training with these arguments has, always the
            same for a count; a class or function that can be pickled. Such a data set has a length, ``clip(index, ...)``, which returns
            what `infer` takes, ``targets(index).scene``, ``(classes,)`` of 0 and 1, ``dataset[index]``, both of them, and
            ``subset(indices)``. Checks that are about pictures are left out then.
        checks: Only these; all if None.
        expected_failures: Name of a check -> why this learner cannot keep the promise.
    """

    learner: str | type[Learner]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    epochs: int | None = None
    pictures: Callable[[LabelSet, int, int, float], EmotionDataset] = DrawnFaces
    clips: Callable[[int], Any] | None = None
    checks: Sequence[Check] | None = None
    expected_failures: Mapping[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """What the ids of the checks begin with."""
        return self.name or (self.learner if isinstance(self.learner, str) else self.cls.card.learner)

    @property
    def cls(self) -> type[Learner]:
        """The learner's class."""
        return learner_class(self.learner) if isinstance(self.learner, str) else self.learner

    def make(self, folder: Path) -> Learner:
        """Makes a learner without weights, that keeps its files in a folder."""
        return self.cls(**{**self.arguments, "temp_path": folder / "temp"})

    def loaded(self, folder: Path) -> Learner:
        """Makes a learner with the weights of the shared training."""
        learner = self.make(folder)
        learner.load(self.training.weights)
        return learner

    def data(self, count: int = 8, card: ModelCard | None = None) -> Any:
        """Makes a data set, of pictures as a card asks for it; the card of the learner's class if None."""
        if self.clips is not None:
            return self.clips(count)
        card = card or self.cls.card
        return self.pictures(card.label_set, count, min(card.input.height, 48), card.crop.scale if card.crop else 1.0)

    def batch(self, count: int = 8) -> list[Any]:
        """Makes pictures, at the size that the trained network takes, or clips."""
        if self.clips is not None:
            clips = self.clips(count)
            return [clips.clip(i) for i in range(count)]
        card = ModelCard.read(self.training.weights)
        faces = self.pictures(card.label_set, count, card.input.height, 1.0)
        return [faces.picture(i) for i in range(count)]

    @cached_property
    def training(self) -> Training:
        """The training that all checks share: on eight pictures or clips, with the case's arguments."""
        folder = Path(self._folder.name)
        learner, data = self.make(folder), Watched(self.data())
        result = learner.fit(data.dataset, logging_path=str(folder / "run"))
        learner.save(folder / "weights")
        return Training(result["history"], state_of(learner), folder / "weights", data.reads)

    @cached_property
    def _folder(self) -> tempfile.TemporaryDirectory[str]:
        return tempfile.TemporaryDirectory(prefix="contract-")


def state_of(learner: Learner) -> State:
    """Copies the state of a learner's network, by name."""
    return {name: np.array(value.detach().cpu().numpy()) for name, value in learner.model.state_dict().items()}


def check_same_state(actual: State, expected: State, what: str) -> None:
    """Asserts that two states are equal to the last bit."""
    assert list(actual) == list(expected), f"{what}: the network has other parameters"
    changed = [name for name, value in expected.items() if actual[name].tobytes() != value.tobytes()]
    assert not changed, f"{what}: {len(changed)} of {len(expected)} tensors differ, first {changed[0]}"
