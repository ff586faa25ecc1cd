"""Which back end is the fastest for a model on this machine: measured once, remembered in the cache with the exported model."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from emotion_perception.engine.cards import ModelCard
from emotion_perception.engine.downloads import cache_dir
from emotion_perception.engine.errors import StorageError
from emotion_perception.engine.inference.backends import Backend, Inputs
from emotion_perception.engine.storage import atomic_write
from emotion_perception.engine.weights import weight_files

logger = logging.getLogger(__name__)

TUNE_VARIABLE = "EMOTION_PERCEPTION_TUNE"
_ROUNDS = 15
_WARM_UP_ROUNDS = 5
_FOLDER = "exported"


def is_known(learner: str) -> bool:
    """Says whether the cache knows anything about weights of a learner: a look-up by their content takes a tenth of a second."""
    try:
        return any((cache_dir() / _FOLDER).glob(f"{learner}-*"))
    except OSError:  # e.g. another user's folder
        return False


def may_measure() -> bool:
    """Says whether `tune` may take its seconds: ``EMOTION_PERCEPTION_TUNE=0`` forbids it."""
    return os.environ.get(TUNE_VARIABLE, "1") != "0"


@dataclass(frozen=True)
class Choice:
    """What the cache knows about one set of weights: their exported model, and the fastest back end on this machine.

    Attributes:
        file: Where the exported model is, or will be.
        machine: What the measurement holds for: processor, threads, device and versions.
    """

    file: Path
    machine: str

    @classmethod
    def of(cls, folder: Path, card: ModelCard, device: str) -> Choice:
        """Finds the place of a folder of weights in the cache, by what is in its files and its card.

        Args:
            folder: The weights.
            card: Their card.
            device: ``auto``, ``cpu`` or ``cuda``.
        """
        digest = hashlib.sha256(json.dumps(card.to_dict(), sort_keys=True).encode())
        for file in weight_files(folder):
            digest.update(file.name.encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
        place = cache_dir() / _FOLDER / f"{card.learner}-{digest.hexdigest()[:16]}"
        return cls(place / "model.onnx", _machine(device))

    @property
    def backend(self) -> str | None:
        """The fastest back end here, None if it was not measured or its exported model is gone; torch where nothing may be kept."""
        try:
            known = json.loads(self._notes.read_text(encoding="utf-8"))[self.machine]["backend"]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        except OSError:
            return "torch"
        return known if known == "torch" or (known == "onnxruntime" and self.file.is_file()) else None

    def remember(self, milliseconds: Mapping[str, float]) -> str:
        """Writes down what was measured, where the cache can be written, and returns the fastest.

        Args:
            milliseconds: Median time of one input by back end.
        """
        fastest = min(milliseconds, key=lambda name: milliseconds[name])
        try:
            notes = json.loads(self._notes.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            notes = {}
        notes[self.machine] = {"backend": fastest, "ms": {name: round(value, 3) for name, value in milliseconds.items()}}
        try:
            with atomic_write(self._notes) as file:
                file.write_text(json.dumps(notes, indent=2) + "\n", encoding="utf-8")
        except StorageError as error:
            logger.info("what is the fastest here is measured again next time: %s", error)
        return fastest

    @property
    def _notes(self) -> Path:
        return self.file.with_name("fastest.json")


def measure(backends: Mapping[str, Backend], inputs: Inputs) -> dict[str, float]:
    """Returns the median time of one input in milliseconds, by name; in turns, so that what else the machine does hits all alike."""
    times: dict[str, list[float]] = {name: [] for name in backends}
    for number in range(_WARM_UP_ROUNDS + _ROUNDS):
        for name, backend in backends.items():
            start = time.perf_counter()
            backend(*inputs)
            if number >= _WARM_UP_ROUNDS:
                times[name].append((time.perf_counter() - start) * 1e3)
    return {name: statistics.median(values) for name, values in times.items()}


def _machine(device: str) -> str:
    """Describes what a measurement depends on, in one line."""
    from emotion_perception.engine.machine import machine

    facts = machine()
    known = [f"{name} {facts.get(name, '-')}" for name in ("torch", "onnxruntime")]
    return ", ".join([str(facts["device"]), facts["instructions"], f"{facts['threads']} threads", device, *known])
