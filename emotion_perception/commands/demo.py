"""``emotion-perception demo``."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emotion_perception.commands._common import (
    DeviceOption,
    LearnerOption,
    StreamDetectorOption,
    WeightsOption,
    note,
    open_learner,
    print_table,
    refuse_clips,
    waiting,
)
from emotion_perception.commands.predict import make_judge, save_annotated, table_rows

if TYPE_CHECKING:
    from emotion_perception.engine.target import FrameResult

EXAMPLES = ("emotion-perception demo", "emotion-perception demo --output somewhere", "emotion-perception demo --no-ros")
# Loading a network on a slow machine takes its time; a message that has not come after that will not come.
_MESSAGE_TIMEOUT_S = 120.0
# What people call a state of this valence and arousal (Russell 1980), and where in the circle its word stands.
_QUADRANTS = {"excited, joyful": (0.5, 0.6), "tense, afraid": (-0.5, 0.6), "sad, tired": (-0.5, -0.6), "calm, content": (0.5, -0.6)}


def run(
    output: Annotated[Path, typer.Option("--output", metavar="DIR", help="Folder for the two pictures.")] = Path("out"),
    learner: LearnerOption = "esr",
    weights: WeightsOption = None,
    device: DeviceOption = "auto",
    detector: StreamDetectorOption = "auto",
    ros: Annotated[bool, typer.Option("--ros/--no-ros", help="Show the way over ROS 2 as well: camera, node, messages.")] = True,
) -> None:
    """Finds the face in a bundled photo (Eileen Collins, by NASA, public domain), reads its emotion, prints it and draws it.

    Then the same over ROS 2, with three programs: a camera that shows the photo, the learner's node, and one that prints messages.
    """
    import emotion_perception.engine
    from emotion_perception.engine.data import Image

    refuse_clips(learner)
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
    if ros and model.card.perceives == "face":
        settings = {"weights": "" if weights is None else str(weights.resolve()), "device": device, "detector": detector}
        show_messages(photo, learner, settings, output / "ros2_node.log")


def show_messages(photo: Path, learner: str, settings: dict[str, str], log: Path) -> None:
    """Runs camera and node as programs of their own, and prints one message of each topic of the face.

    Args:
        photo: What the camera shows.
        learner: Whose node.
        settings: Parameters of the node; empty ones are left out.
        log: Where camera and node write what they say.

    Raises:
        EmotionPerceptionError: No message came.
    """
    from emotion_perception.engine.errors import EmotionPerceptionError

    try:
        from emotion_perception.ros2_nodes.runtime import RUNTIME
    except ImportError as error:
        note(f"the way over ROS 2 is left out: {error}")
        return
    # A domain of its own, on this machine only: a robot nearby must not get the demo's messages.
    environment = os.environ | {"ROS_DOMAIN_ID": str(60 + os.getpid() % 40), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    parameters = [word for name, value in settings.items() if value for word in ("-p", f"{name}:={value}")]
    typer.echo(f"\nthe same over ROS 2 ({'rclpy' if RUNTIME == 'rclpy' else 'over DDS, without a ROS installation'}):\n")
    with ExitStack() as stack:
        file = stack.enter_context(log.open("w", encoding="utf-8"))
        for words in (["camera", str(photo), "--rate", "5"], ["node", learner, "--ros-args", *parameters]):
            typer.secho(f"$ emotion-perception {' '.join(words)} &", bold=True)
            process = subprocess.Popen(_program(*words), env=environment, stdout=file, stderr=file)
            stack.callback(process.wait)
            stack.callback(process.terminate)
        for topic in ("/humans/faces/tracked", "/humans/faces/f00001/expression"):
            words = ["echo", topic, "--count", "1"]
            typer.secho(f"$ emotion-perception {' '.join(words)}", bold=True)
            try:
                done = subprocess.run(_program(*words), env=environment, capture_output=True, text=True, timeout=_MESSAGE_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                raise EmotionPerceptionError(f"no message on {topic} in {_MESSAGE_TIMEOUT_S:.0f} s; {str(log)!r} says why") from None
            if done.returncode:
                raise EmotionPerceptionError(f"{topic} cannot be printed: {done.stderr.strip()}; see also {str(log)!r}")
            typer.echo(done.stdout)


def _program(*words: str) -> list[str]:
    return [sys.executable, "-m", "emotion_perception", *words]


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
