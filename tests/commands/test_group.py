from __future__ import annotations

import importlib
import os
import pkgutil
import signal
import subprocess
import sys

import pytest

from emotion_perception import __version__, commands
from emotion_perception.commands import COMMANDS
from emotion_perception.engine.errors import InputError


def test_every_command_is_one_module_and_one_line() -> None:
    modules = {module.name for module in pkgutil.iter_modules(commands.__path__) if not module.name.startswith("_")}
    assert modules == set(COMMANDS)


def test_help_lists_every_command_with_what_it_does(command) -> None:
    status, out, err = command("--help")
    assert (status, err) == (0, "")
    for name, does in COMMANDS.items():
        assert f"  {name} " in out
        assert does in out


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_shows_its_options_and_an_example_of_it(command, name: str) -> None:
    status, out, err = command(name, "--help")
    assert (status, err) == (0, "")
    assert f"Usage: emotion-perception {name}" in out
    for example in importlib.import_module(f"emotion_perception.commands.{name}").EXAMPLES:
        assert f"    {example}\n" in out
        assert name in example


@pytest.mark.parametrize(
    ("words", "not_imported"),
    [
        (["--help"], {"torch", "cv2", "scipy", "numpy", "rich", "pydantic"}),
        (["list"], {"torch", "cv2", "scipy", "rich", "pydantic"}),
        (["predict", "--help"], {"torch", "cv2", "scipy", "rich", "pydantic"}),
    ],
)
def test_what_must_be_fast_imports_nothing_slow(words: list[str], not_imported: set[str]) -> None:
    code = f"import sys; from emotion_perception.commands import main; main({words!r}); print(sorted({not_imported!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_version(command) -> None:
    assert command("--version") == (0, f"emotion-perception {__version__}\n", "")


def test_no_command_shows_the_help_and_counts_as_used_wrongly(command) -> None:
    status, out, _ = command()
    assert status == 2
    assert "Commands:" in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["predct", "a.png"], "unknown command 'predct'; did you mean 'predict'?"),
        (["--colour"], "--colour"),
        (["list", "--jsn"], "--jsn"),
        (["info"], "LEARNER"),
        (["info", "ers"], "unknown learner 'ers'; did you mean 'esr'?"),
        (["predict"], "PICTURES"),
        (["predict", "a.png", "--detector", "yunnet"], "did you mean 'yunet'?"),
        (["video", "a.mp4", "--max-faces", "0"], "--max-faces"),
        (["download", "ers"], "did you mean 'esr'?"),
        (["train", "ers", "--dataset", "ferplus", "--data", "d"], "did you mean 'esr'?"),
        (["train", "esr", "--dataset", "ferpls", "--data", "d"], "did you mean 'ferplus'?"),
        (["train", "esr", "--dataset", "ferplus", "--data", "d", "--data", "e"], "--data once per --dataset"),
        (["train", "esr", "--dataset", "ferplus", "--data", "d", "--set", "momentun=0.9"], "did you mean 'momentum'?"),
        (["eval", "esr", "--dataset", "ferplus", "--data", "d", "--split", "FER2013Vald"], "did you mean 'FER2013Valid'?"),
    ],
)
def test_wrong_use_is_one_line_with_a_way_out_and_status_2(command, words: list[str], says: str) -> None:
    status, out, err = command(*words)
    assert (status, out) == (2, "")
    assert err.startswith("emotion-perception: error: ")
    assert err.count("\n") == 1
    assert says in err


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (InputError("the file is odd; give another"), 1, "error: the file is odd; give another\n"),
        (RuntimeError("first line\nsecond line"), 1, "unexpected RuntimeError: first line second line; run it again with --debug"),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), 1, "this needs torch, which is not installed"),
    ],
)
def test_an_error_is_one_line_unless_debugging(command, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, says: str) -> None:
    def broken() -> None:
        raise error

    monkeypatch.setattr("emotion_perception.commands.list.run", broken)
    outcome = command("list")
    assert outcome.status == status
    assert says in outcome.err
    assert outcome.err.count("\n") == 1
    with pytest.raises(type(error)):
        command("list", "--debug")
    monkeypatch.setenv("EMOTION_PERCEPTION_DEBUG", "1")
    with pytest.raises(type(error)):
        command("list")


# Where a signal may come: in an exec, after which Python means to end by the signal itself, and in the import of a compiled module,
# which makes an ImportError of it.
SIGNALLED = """
import os, signal, sys
from emotion_perception.commands import list, main

def run():
    try:
        exec("os.kill(os.getpid(), int(sys.argv[1]))", globals())
    except BaseException as error:
        if sys.argv[2] == "import":
            raise ImportError("initialization failed") from error
        raise

signal.signal(signal.SIGINT, signal.default_int_handler)
list.run = run
sys.exit(main(["list"]))
"""


@pytest.mark.parametrize("where", ["exec", "import"])
@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_quietly_with_a_status_of_its_own(sent: signal.Signals, status: int, where: str) -> None:
    done = subprocess.run([sys.executable, "-c", SIGNALLED, str(int(sent)), where], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", "")


@pytest.mark.parametrize(
    ("code", "status", "says"),
    [(3, 3, ""), (None, 0, ""), ("no such thing", 1, "emotion-perception: error: no such thing\n")],
)
def test_a_library_that_exits_says_how(command, monkeypatch: pytest.MonkeyPatch, code: object, status: int, says: str) -> None:
    monkeypatch.setattr("emotion_perception.commands.list.run", lambda: sys.exit(code))  # type: ignore[arg-type]
    assert command("list") == (status, "", says)


def test_an_error_after_an_exit_is_told_as_one(command, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing() -> None:
        try:
            sys.exit(0)
        except SystemExit:
            raise InputError("no such picture") from None

    monkeypatch.setattr("emotion_perception.commands.list.run", failing)
    assert command("list") == (1, "", "emotion-perception: error: no such picture\n")


def test_a_file_that_ends_too_early_is_no_interruption(command, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing() -> None:
        raise EOFError("no data left")

    monkeypatch.setattr("emotion_perception.commands.list.run", failing)
    status, _, err = command("list")
    assert status == 1
    assert "no data left" in err


def test_handlers_are_put_back_and_what_is_ignored_stays_so(command, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr("emotion_perception.commands.list.run", lambda: seen.append(signal.getsignal(signal.SIGINT)))
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        command("list")
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        command("list")
    finally:
        signal.signal(signal.SIGINT, before[0])
    assert seen[0] is not signal.default_int_handler
    assert seen[1] == signal.SIG_IGN
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_reader_that_goes_away_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run([sys.executable, "-m", "emotion_perception", "--help"], stdout=writing, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(writing)
    assert done.stderr == ""
    assert done.returncode in (0, 1)
