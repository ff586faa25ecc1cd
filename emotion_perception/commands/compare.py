"""``emotion-perception compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from emotion_perception.commands._common import JsonOption, print_json, print_table

EXAMPLES = (
    "emotion-perception compare runs/bce_0 runs/bce_1 runs/bce_2 runs/mlsm_0 runs/mlsm_1 runs/mlsm_2",
    "emotion-perception compare runs/bce_* runs/mlsm_* --at last",
    "emotion-perception compare runs/bce_* runs/mlsm_* --results test",
)


def run(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs, the --output of train.")],
    at: Annotated[str, typer.Option("--at", metavar="best|last|EPOCH", help="At which epoch every run is judged.")] = "best",
    by: Annotated[
        str | None, typer.Option("--by", metavar="NUMBER", help="What the best epoch is chosen by; else what the runs were watched by.")
    ] = None,
    metric: Annotated[list[str] | None, typer.Option("--metric", metavar="NUMBER", help="Number of the history to compare.")] = None,
    results: Annotated[
        str | None, typer.Option("--results", metavar="NAME", help="Compare what eval --report RUN/NAME wrote, not the history.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Compares runs at the same kind of epoch, with their spread over seeds, and says which differences are within the noise."""
    from emotion_perception.engine.errors import UsageError
    from emotion_perception.engine.training.comparison import compare

    if at not in ("best", "last") and not at.isdecimal():
        raise UsageError(f"--at is {at!r}, expected best, last or the number of an epoch")
    found = compare(runs, at=int(at) if at.isdecimal() else at, by=by, metrics=metric or (), results=results)
    if json:
        print_json(found)
        return
    names = found["metrics"]
    typer.echo(f"judged by {found['rule']}\n" if results else f"judged at {found['rule']}\n")
    rows: list[list[Any]] = []
    for kind in found["kinds"]:
        rows += [[one["run"], one["seed"], one["epoch"], *(f"{one[name]:.4f}" for name in names)] for one in kind["runs"]]
        if len(kind["runs"]) > 1:
            count = f"mean and spread of {len(kind['runs'])}"
            rows.append([f"  {count}: {kind['name']}", None, None, *(f"{kind['mean'][n]:.4f}±{kind['sd'][n]:.4f}" for n in names)])
    print_table(["run", "seed", "epoch", *names], rows)
    if not found["differences"]:
        return
    typer.echo(f"\nagainst {found['kinds'][0]['name']}\n")
    table = [
        [one["name"], one["metric"], f"{one['difference']:+.4f}", one["noise"] and f"{one['noise']:.4f}", one["verdict"]]
        for one in found["differences"]
    ]
    print_table(["runs with", "number", "difference", "noise", "verdict"], table)
