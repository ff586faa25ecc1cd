"""``emotion-perception info``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emotion_perception.commands._common import DIGITS, JsonOption, default_weights, open_learner, print_fields, print_json
from emotion_perception.commands._settings import settings_of
from emotion_perception.engine.plain import plain

if TYPE_CHECKING:
    from emotion_perception.engine.cards import WeightFile

EXAMPLES = ("emotion-perception info esr", "emotion-perception info esr --weights runs/esr/weights --json")


def run(
    learner: Annotated[str, typer.Argument(metavar="LEARNER", help="Registered name of the learner.")],
    weights: Annotated[Path | None, typer.Option("--weights", metavar="DIR", help="Show the card of this folder of weights.")] = None,
    json: JsonOption = False,
) -> None:
    """Shows a learner's card: what it takes and gives, its size, files, licence and measured scores, and what can be set."""
    from emotion_perception.engine.cards import ModelCard
    from emotion_perception.engine.registry import learner_class

    cls = learner_class(learner)
    folder = weights or default_weights(cls)
    # Given weights are read for real: published ones have no card to show.
    of_folder = open_learner(learner, weights, "cpu").card if weights else None if folder is None else ModelCard.read(folder)
    card = of_folder or cls.card
    files = {file.name: file.stat().st_size for file in sorted(folder.iterdir()) if file.is_file()} if folder else {}
    facts: dict[str, Any] = {**card.to_dict(), "classes": list(card.label_set.words), "parameters": _parameters(cls, card)}
    facts |= {"weights": None if folder is None else str(folder), "weights_bytes": files, "settings": settings_of(cls)}
    if json:
        print_json(facts)
        return
    size, crop = card.input, card.crop
    typer.secho(f"{card.learner}: {card.title}\n", bold=True)
    print_fields(
        {
            "perceives": card.perceives,
            "input": f"{size.width}x{size.height} pixels, {size.color.upper()}",
            "crop": crop
            and f"{crop.scale:g} x the longer side of {crop.detector}'s box, square, {crop.shift_y:g} lower, border {crop.border}",
            "gives": f"{', '.join(card.label_set.words)} ({card.labels})" + ("; valence and arousal in [-1, 1]" if card.affect else ""),
            "network": "; ".join([f"{facts['parameters']:,} parameters", *(f"{k} {v}" for k, v in card.architecture.items())]),
            "weights": [f"{folder}", *(f"{name}, {size_ / 1e6:.1f} MB" for name, size_ in files.items())] if folder else "none here",
            "published": _published(card.files),
            "licence": card.licence,
            "paper": card.paper,
            "data": card.data,
            "recipe": card.recipe,
            "scores": list(_lines(card.scores)),
            "notes": list(card.notes),
            "settings": [f"{name}={plain(value, DIGITS)}" for name, value in facts["settings"].items()],
        }
    )


def _parameters(cls: Any, card: Any) -> int:
    """Counts the parameters of the network that a card describes, without giving them memory."""
    import torch

    with torch.device("meta"):
        return sum(parameter.numel() for parameter in cls().build_model(card).parameters())


def _published(files: Sequence[WeightFile]) -> str:
    """Says how many files were published and where they have their address in common."""
    if not files:
        return ""
    folders = {file.url.rpartition("/")[0] for file in files}
    return files[0].url if len(files) == 1 else f"{len(files)} files in {', '.join(sorted(folders))}"


def _lines(scores: Any, path: str = "") -> Any:
    """Yields a line per number of a nested table of scores."""
    for name, value in scores.items():
        if isinstance(value, dict):
            yield from _lines(value, f"{path}{name} ")
        else:
            yield f"{path}{name}: {value}"
