"""The weights of the best epochs: by scenes, by characters, by the mean and by the geometric mean of both."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from emotion_perception.engine.cards import ModelCard
from emotion_perception.engine.evaluation.report import write_json
from emotion_perception.engine.settings import SETTINGS_NAME
from emotion_perception.engine.weights import load_folder, save_folder
from emotion_perception.learners.emotx.settings import Settings

# Rule -> the word for it in the names of the published checkpoint files.
RULES = {"scene": "scene", "character": "char", "mean": "avg", "gm": "gm"}
FOLDER = "best"
_STATE = "best.json"


class BestWeights:
    """Keeps a folder of weights per rule, below ``best`` in the folder of a run, and ``best.json`` that says from which epochs."""

    def __init__(self, folder: Path, card: ModelCard, settings: Settings) -> None:
        """Stores where to write.

        Args:
            folder: Of the run.
            card: Of the network.
            settings: Of the run; they go into every folder of weights.
        """
        self.folder, self.card, self.settings = folder / FOLDER, card, settings

    def offer(self, model: torch.nn.Module, row: Mapping[str, Any], epoch: int) -> None:
        """Stores a network by every rule by which it is at least as good as any before.

        Args:
            model: After the epoch.
            row: The epoch's numbers.
            epoch: Its number, from 1; the first one begins afresh.
        """
        best = self._read() if epoch > 1 else {}
        better = {rule: row[f"val_map_{rule}"] for rule in RULES if f"val_map_{rule}" in row}
        better = {rule: value for rule, value in better.items() if rule not in best or value >= best[rule]["map"]}
        for rule, value in better.items():
            maps = {name.removeprefix("val_"): number for name, number in row.items() if name.startswith("val_map_")}
            card = self.card.with_(scores={"val": maps}, seed=self.settings.seed, recipe=f"epoch {epoch}, the best by {rule}")
            place = save_folder(self.folder / rule, card, model.state_dict())
            self.settings.write(place / SETTINGS_NAME)
            best[rule] = {"epoch": epoch, "map": value}
        if better:
            write_json(best, self.folder / _STATE)

    def publish(self) -> list[Path]:
        """Writes the published checkpoint files, where ``save_path`` says to, and returns them; of the baselines there are none."""
        from emotion_perception.learners.emotx.checkpoints import write_published

        if not self.settings.save_path or self.card.architecture["network"] not in ("emotx", "emotx_1cls"):
            return []
        files = []
        for rule in self._read():
            card, tensors = load_folder(self.folder / rule, self.card.learner)
            file = Path(self.settings.save_path).expanduser() / f"{self.settings.name}_{RULES[rule]}.pt"
            sizes = {name: value for name, value in card.architecture.items() if name != "features"}
            files.append(write_published(file, sizes, tensors))
        return files

    def _read(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.folder / _STATE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return found
