"""``emotion-perception echo``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from emotion_perception.commands._common import choice, note
from emotion_perception.commands._ros import RELIABILITIES, RosCommand, ros_arguments, session

COMMAND = RosCommand
EXAMPLES = (
    "emotion-perception echo /humans/faces/tracked",
    "emotion-perception echo /esr/result --count 1 --json",
)


def run(
    context: typer.Context,
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="Name of the topic.")],
    kind: Annotated[
        str | None, typer.Option("--type", metavar="PKG/msg/NAME", help="Type of its messages; without it, its publisher's.")
    ] = None,
    count: Annotated[int | None, typer.Option("--count", metavar="N", min=1, help="End after so many messages.")] = None,
    reliability: Annotated[
        str | None,
        typer.Option("--reliability", metavar="|".join(RELIABILITIES), help="QoS to ask for; without it, what all publishers offer."),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Show long arrays whole (JSON does anyway).")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print a line of JSON per message instead of YAML.")] = False,
) -> None:
    """Prints the messages of a topic as they come; stop with Ctrl-C."""
    if reliability is not None:
        choice("--reliability", reliability, RELIABILITIES)
    from emotion_perception.ros2_nodes.echo import MOST_VALUES, as_json, as_yaml, listen

    def show(message: Any) -> None:
        typer.echo(as_json(message) if json else as_yaml(message, None if full else MOST_VALUES))

    with session(ros_arguments(context)):
        listen(topic, kind, reliability, count, show, note)
