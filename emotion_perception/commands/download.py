"""``emotion-perception download``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = (
    "emotion-perception download yunet",
    "emotion-perception download esr --mode pretrained --output weights/esr9",
    "emotion-perception download esr --url file:///media/usb/esr_9",
)


def run(
    what: Annotated[str, typer.Argument(metavar="WHAT", help="A learner's name, or yunet (the face detector).")],
    output: Annotated[
        Path | None, typer.Option("--output", "--path", metavar="DIR", help="Where to put the files; without it, the cache.")
    ] = None,
    mode: Annotated[
        str | None,
        typer.Option("--mode", metavar="MODE", help="What to fetch of a learner, e.g. pretrained, data, demo_image, demo_video."),
    ] = None,
    url: Annotated[
        str | None, typer.Option("--url", metavar="ADDRESS", help="Another address than the published one: http, https or file.")
    ] = None,
) -> None:
    """Fetches files, verified and resumable, and prints where they are; what is already there is not fetched again."""
    from emotion_perception.engine.errors import UsageError, unknown_name
    from emotion_perception.engine.registry import create_learner, learner_names

    if what == "yunet":
        if mode is not None:
            raise UsageError(f"--mode {mode!r} is for learners; yunet is one file")
        from emotion_perception.engine.vision.faces import YUNET
        from emotion_perception.engine.weights import fetch

        typer.echo(str(fetch(YUNET, folder=output, url=url)))
        return
    if what not in learner_names():
        raise unknown_name("thing to download", what, [*learner_names(), "yunet"])
    from emotion_perception.engine.weights import cache_dir

    learner = create_learner(what, device="cpu")
    typer.echo(str(learner.download(output or cache_dir() / what, mode=mode or "pretrained", url=url)))
