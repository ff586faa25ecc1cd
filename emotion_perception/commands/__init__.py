"""The command line: one module per command, imported only when that command runs, so that ``--help`` costs milliseconds.

A command is a module of this package with a function `run` (its docstring and annotations make the help) and a tuple `EXAMPLES`, plus
its line in `COMMANDS`. A module may name another class of command as `COMMAND`.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

PROGRAM = "emotion-perception"
DEBUG_VARIABLE = "EMOTION_PERCEPTION_DEBUG"
COMMANDS = {
    "list": "Lists the learners.",
    "info": "Shows a learner's card: what it takes, gives, weighs and scores.",
    "doctor": "Checks the installation and says what is missing.",
    "download": "Fetches a learner's published files, or the face detector.",
    "predict": "Perceives emotions in pictures.",
    "video": "Perceives emotions in a video file, frame by frame.",
    "webcam": "Perceives emotions in front of a camera.",
    "node": "Runs a learner's ROS 2 node, with or without a ROS installation.",
    "camera": "Publishes a video, a picture or a webcam as a ROS 2 topic.",
    "echo": "Prints the messages of a ROS 2 topic.",
    "bag": "Perceives emotions in a recorded ROS 2 bag.",
    "prepare": "Cuts the faces out of AffectNet's pictures.",
    "features": "Extracts what EmoTx sees of a video: scenes, faces, subtitles.",
    "train": "Trains a learner on a data set.",
    "eval": "Measures a learner on a labelled data set.",
    "compare": "Compares trainings at the same kind of epoch, over seeds.",
    "fairness": "Compares how well a learner judges groups of people.",
    "timeline": "Draws the emotions of a clip over time, and what they look at.",
    "explain": "Shows where in a face a learner sees an emotion.",
    "optimize": "Makes a learner fast to run: ONNX, fp16 or int8, checked.",
    "benchmark": "Measures how fast a learner runs, and what it takes.",
    "demo": "Shows the emotion in a bundled photo: a table and two pictures.",
}


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: The words after the program's name; those of the process if None.

    Returns:
        The exit status: 0, 1 (failed), 2 (used wrongly), 130 (interrupted) or 143 (terminated).
    """
    words = [*(sys.argv[1:] if arguments is None else arguments)]  # `list` is one of the modules here
    debug = os.environ.get(DEBUG_VARIABLE, "") not in ("", "0")
    if "--debug" in words[: words.index("--") if "--" in words else None]:
        words.remove("--debug")
        debug = True
    with _clean_end():
        try:
            status = _run(words, debug)
            sys.stdout.flush()
            return status
        except KeyboardInterrupt:
            return 130
        except BrokenPipeError:
            # Whoever read the output has enough. Without this, Python complains once more when it flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            return 1
        except SystemExit as error:
            return _status_of(error)
        except Exception as error:
            ended = _signal_behind(error)
            if ended is not None:
                return ended
            if debug:
                raise
            message, status = _explained(error)
            sys.stderr.write(f"{PROGRAM}: error: {' '.join(message.split())}\n")
            return status


def _run(words: list[str], debug: bool) -> int:
    try:
        import typer
    except ImportError as error:
        sys.stderr.write(f"{PROGRAM}: error: the command line needs typer ({error}); run: pip install typer rich\n")
        return 1
    from emotion_perception.commands._group import make_group

    if words and words[0] in COMMANDS:
        _set_up_logging(debug)
    try:
        status = make_group().main(words or ["--help"], prog_name=PROGRAM, standalone_mode=False)
    except typer.Abort as abort:
        if isinstance(abort.__cause__, EOFError):  # of a file that ends too early: no one is asked anything here
            raise abort.__cause__ from None
        return 130
    return 2 if not words else status if isinstance(status, int) else 0


def _set_up_logging(debug: bool) -> None:
    import logging

    # Progress that a learner logs is for people and needs no word before it; warnings and errors do.
    for level, word in ((logging.INFO, ""), (logging.WARNING, f"{PROGRAM}: warning: "), (logging.ERROR, f"{PROGRAM}: error: ")):
        logging.addLevelName(level, word)
    logging.basicConfig(format="%(levelname)s%(message)s", level=logging.INFO if debug else logging.WARNING)


class _Interrupted(KeyboardInterrupt):
    """Ctrl-C. Where Python's own KeyboardInterrupt crosses an ``exec``, the process ends by the signal even if it was caught."""


class _Terminated(SystemExit):
    """SIGTERM."""


@contextmanager
def _clean_end() -> Iterator[None]:
    """Lets SIGINT and SIGTERM end the block as exceptions do, so that what is half-written is removed."""

    def end(number: int, frame: FrameType | None) -> None:
        raise _Interrupted if number == signal.SIGINT else _Terminated(128 + number)

    if threading.current_thread() is not threading.main_thread():  # only that one may set handlers
        yield
        return
    # What is ignored stays so: a shell ignores SIGINT for what it runs in the background. ROS 2's runtimes, and nodes, hear it even then.
    heard = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, end) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _status_of(end: SystemExit) -> int:
    """Returns the exit status that Python gives it: text is a message, and a failure."""
    if isinstance(end.code, str):
        sys.stderr.write(f"{PROGRAM}: error: {' '.join(end.code.split())}\n")
    return end.code if isinstance(end.code, int) else 0 if end.code is None else 1


def _signal_behind(error: BaseException | None) -> int | None:
    """Returns the exit status of a signal that became another error on its way: compiled modules do that while they are imported."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:  # causes and contexts together may run in a circle
        seen.add(id(error))
        if isinstance(error, _Interrupted):
            return 130
        if isinstance(error, _Terminated):
            return _status_of(error)
        error = error.__cause__ or error.__context__
    return None


def _explained(error: Exception) -> tuple[str, int]:
    """Returns the message and the exit status of an error."""
    from emotion_perception.engine.errors import EmotionPerceptionError

    if isinstance(error, EmotionPerceptionError):
        return str(error), error.exit_status
    if hasattr(error, "format_message"):  # the command line's own usage errors; their class lies elsewhere in every other typer
        return f"{error.format_message().rstrip('.')}; see --help", int(getattr(error, "exit_code", 2))
    if isinstance(error, ModuleNotFoundError) and not str(error.name).startswith("emotion_perception"):
        return f"this needs {error.name}, which is not installed; emotion-perception doctor says how to get it", 1
    if isinstance(error, OSError) and error.strerror:
        place = f" {error.filename!r}" if error.filename is not None else ""
        return f"the system refused to use a file{place}: {error.strerror}; choose another place, or see where with --debug", 1
    way_out = "run it again with --debug to see where, or doctor to see whether a package is too old"
    return f"unexpected {type(error).__name__}: {error}; {way_out}", 1
