"""``emotion-perception demo``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emotion_perception.commands._common import (
    DetectorOption,
    DeviceOption,
    LearnerOption,
    WeightsOption,
    open_learner,
    print_table,
    waiting,
)
from emotion_perception.commands.predict import make_judge, save_annotated, table_rows

if TYPE_CHECKING:
    from emotion_perception.engine.target import FrameResult

EXAMPLES = ("emotion-perception demo", "emotion-perception demo --output somewhere")
# What people call a state of this valence and arousal (Russell 1980), and where in the circle its word stands.
_QUADRANTS = {"excited, joyful": (0.5, 0.6), "tense, afraid": (-0.5, 0.6), "sad, tired": (-0.5, -0.6), "calm, content": (0.5, -0.6)}


def run(
    output: Annotated[Path, typer.Option("--output", metavar="DIR", help="Folder for the two pictures.")] = Path("out"),
    learner: LearnerOption = "esr",
    weights: WeightsOption = None,
    device: DeviceOption = "auto",
    detector: DetectorOption = "auto",
) -> None:
    """Finds the face in a bundled photo (Eileen Collins, by NASA, public domain), reads its emotion, prints it and draws it."""
    import emotion_perception.engine
    from emotion_perception.engine.data import Image

    photo = Path(emotion_perception.engine.__file__).parent / "assets" / "astronaut.png"
    image = Image.open(photo)
    model = open_learner(learner, weights, device)
    judge = make_judge(model, detector)
    with waiting("looking at the photo"):
        result = judge(image)
        save_annotated(image, result, output / "demo.png")
        if model.card.affect:
            save_circumplex(result, output / "valence_arousal.png")
    print_table(("file", "face", "box", "emotion", "confidence", "valence", "arousal"), list(table_rows(photo.name, result)))
    typer.echo("\nvalence: -1 unpleasant to 1 pleasant; arousal: -1 calm to 1 excited")
    typer.echo(f"pictures: {output / 'demo.png'}" + (f", {output / 'valence_arousal.png'}" if model.card.affect else ""))


def save_circumplex(result: FrameResult, target: Path) -> None:
    """Plots the affect of every face in the circle of valence and arousal, with the spread over an ensemble where there is one."""
    from emotion_perception.engine.errors import MissingDependencyError
    from emotion_perception.engine.storage import atomic_write

    try:
        from matplotlib.figure import Figure
        from matplotlib.patches import Circle
    except ImportError:
        raise MissingDependencyError("matplotlib", "the plot of valence and arousal", "train") from None

    figure = Figure(figsize=(6.0, 6.0), dpi=120, layout="constrained")
    axes: Any = figure.add_subplot(aspect="equal", xlim=(-1.05, 1.05), ylim=(-1.05, 1.05))
    axes.set(xlabel="valence (unpleasant to pleasant)", ylabel="arousal (calm to excited)")
    axes.add_patch(Circle((0.0, 0.0), 1.0, fill=False, color="0.6"))
    axes.axhline(0.0, color="0.8", linewidth=1, zorder=0)
    axes.axvline(0.0, color="0.8", linewidth=1, zorder=0)
    for words, (x, y) in _QUADRANTS.items():
        axes.text(x, y, words, ha="center", va="center", color="0.55", fontsize=11)
    for n, face in enumerate(result.faces, 1):
        if face.valence is None or face.arousal is None:
            continue
        spread = face.extras.get("affect_spread")
        bars = {} if spread is None else {"xerr": float(spread[0]), "yerr": float(spread[1])}
        axes.errorbar(face.valence, face.arousal, **bars, marker="o", markersize=9, capsize=3)
        axes.annotate(
            f"face {n}: {face.category}",
            (face.valence, face.arousal),
            xytext=(0, 14),
            textcoords="offset points",
            ha="right" if face.valence > 0.4 else "left" if face.valence < -0.4 else "center",
            bbox={"boxstyle": "round", "facecolor": "white", "edgecolor": "0.8"},
        )
    spread_shown = any("affect_spread" in face.extras for face in result.faces)
    axes.set_title("Valence and arousal" + ("\n(bars: standard deviation over the ensemble)" if spread_shown else ""))
    with atomic_write(target) as part:
        figure.savefig(part)
