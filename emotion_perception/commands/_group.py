"""The typer group that knows names and one-line helps up front and imports a command when it is used."""

from __future__ import annotations

import importlib
from typing import Annotated, Any

import typer
import typer.core
import typer.main

from emotion_perception import __version__
from emotion_perception.commands import COMMANDS, DEBUG_VARIABLE, PROGRAM

# Without rich's markup, help is plain text and costs no import.
_PLAIN: dict[str, Any] = {"rich_markup_mode": None, "add_completion": False}


class _QuickHelp:
    """Gives the option ``--help`` a default that is a bool: typer loads pydantic, 0.1 s, to find out what None means there."""

    def get_help_option(self, ctx: Any) -> Any:
        """Returns the option, as typer makes it otherwise."""
        option = super().get_help_option(ctx)  # type: ignore[misc]  # the other base class has it
        if option is not None:
            option.default = False
        return option


class Command(_QuickHelp, typer.core.TyperCommand):
    """One command."""


class Commands(_QuickHelp, typer.core.TyperGroup):
    """The commands of `COMMANDS`, imported one by one."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Returns the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Imports a command; an unknown name raises `UsageError` with the nearest right one."""
        if cmd_name not in COMMANDS:
            from emotion_perception.engine.errors import unknown_name

            raise unknown_name("command", cmd_name, COMMANDS)
        module = importlib.import_module(f"emotion_perception.commands.{cmd_name}")
        one = typer.Typer(**_PLAIN)
        one.command(cmd_name, cls=getattr(module, "COMMAND", Command), epilog=_examples(module.EXAMPLES))(module.run)
        return typer.main.get_command(one)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Writes the section of the help that lists the commands, without importing one."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def make_group() -> Any:
    """Makes the command ``emotion-perception`` with all its sub-commands."""
    app = typer.Typer(cls=Commands, **_PLAIN)
    app.callback(epilog=_examples(("emotion-perception demo", "emotion-perception predict photo.jpg --save out")))(_root)
    return typer.main.get_command(app)


def _examples(lines: tuple[str, ...]) -> str:
    # The lone \b keeps the formatter from joining the lines.
    return "\b\n" + "\n  ".join(("Example:" if len(lines) == 1 else "Examples:", *lines))


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"{PROGRAM} {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help=f"Show the traceback of an error (also: {DEBUG_VARIABLE}=1).")] = False,
) -> None:
    """Perceives emotions, valence and arousal in pictures, videos and in front of cameras."""
