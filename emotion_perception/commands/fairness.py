"""``emotion-perception fairness``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emotion_perception.commands._common import (
    BackendOption,
    DeviceOption,
    JsonOption,
    WeightsOption,
    default_weights,
    fail,
    note,
    open_learner,
    print_json,
    print_table,
    refuse_clips,
    waiting,
)
from emotion_perception.commands._datasets import KINDS, open_part, part_of

if TYPE_CHECKING:
    from emotion_perception.engine.datasets import EmotionDataset
    from emotion_perception.engine.datasets.leaks import Leaks
    from emotion_perception.engine.labels import LabelSet

EXAMPLES = (
    "emotion-perception fairness esr --dataset ferplus --data FERPlus --groups groups.csv --by gender,race",
    "emotion-perception fairness esr --dataset folder --data faces --groups groups.csv --max-gap accuracy=0.05 --min-ratio accuracy=0.8",
    "emotion-perception fairness esr --dataset ferplus --data FERPlus --groups groups.csv --train-split train --report report",
)
_LIMIT = "[ATTRIBUTE:]MEASURE=VALUE"


def run(
    learner: Annotated[str, typer.Argument(metavar="LEARNER", help="Registered name of the learner.")],
    dataset: Annotated[str, typer.Option("--dataset", metavar="KIND", help=f"{KINDS}.")],
    data: Annotated[Path, typer.Option("--data", metavar="PATH", help="Where the data set lies: folder, zip file or table.")],
    groups: Annotated[
        Path, typer.Option("--groups", metavar="CSV", help="A row per picture: a column that names it, and a column per attribute.")
    ],
    split: Annotated[str | None, typer.Option("--split", metavar="PART", help="Part to measure on; valid where a set has parts.")] = None,
    by: Annotated[str, typer.Option("--by", metavar="A,B", help="Attributes to compare by; every column of the table if empty.")] = "",
    key: Annotated[
        str | None,
        typer.Option("--key", metavar="COLUMN", help="Column that names the pictures; else the first one. index: their numbers."),
    ] = None,
    crossed: Annotated[bool, typer.Option("--crossed/--no-crossed", help="Compare the groups of every pair of attributes too.")] = True,
    min_count: Annotated[int, typer.Option("--min-count", metavar="N", min=1, help="Smaller groups are named, not compared.")] = 30,
    max_gap: Annotated[
        list[str] | None,
        typer.Option("--max-gap", metavar=_LIMIT, help="Fail where groups are further apart. Give it once per limit, as the next two."),
    ] = None,
    min_ratio: Annotated[
        list[str] | None, typer.Option("--min-ratio", metavar=_LIMIT, help="Fail where the smallest divided by the largest is less.")
    ] = None,
    min_worst: Annotated[list[str] | None, typer.Option("--min-worst", metavar=_LIMIT, help="Fail where the worst group has less.")] = None,
    train_split: Annotated[
        str | None, typer.Option("--train-split", metavar="PART", help="What was trained on: its pictures should not be among the judged.")
    ] = None,
    train_data: Annotated[
        Path | None, typer.Option("--train-data", metavar="PATH", help="Where that lies, if not in --data (of the same kind).")
    ] = None,
    max_leak: Annotated[
        float | None, typer.Option("--max-leak", metavar="SHARE", min=0.0, max=1.0, help="Fail where a larger share was trained on.")
    ] = None,
    drop_leaks: Annotated[bool, typer.Option("--drop-leaks", help="Leave out the pictures that were trained on.")] = False,
    replicates: Annotated[int, typer.Option("--replicates", metavar="N", min=1, help="Samples that intervals are taken from.")] = 1000,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Of these samples.")] = 0,
    weights: WeightsOption = None,
    device: DeviceOption = "auto",
    backend: BackendOption = "auto",
    batch_size: Annotated[int, typer.Option("--batch-size", metavar="N", min=1, help="Pictures per step.")] = 32,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="DIR", help="Write a report (HTML), the numbers (JSON) and plots into this folder.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Compares how well a learner judges groups of people; exit status 1 where a limit is not kept."""
    import numpy as np

    from emotion_perception.engine.errors import UsageError
    from emotion_perception.engine.evaluation import outputs_over
    from emotion_perception.engine.evaluation.fairness.auditing import audit
    from emotion_perception.engine.evaluation.fairness.groups import read_groups
    from emotion_perception.engine.evaluation.fairness.limits import Limit, require_attributes
    from emotion_perception.engine.registry import learner_class

    refuse_clips(learner)
    given = (("max-gap", max_gap), ("min-ratio", min_ratio), ("min-worst", min_worst))
    limits = [Limit.parse(kind, text) for kind, texts in given for text in texts or ()]
    if not (train_split or train_data) and (drop_leaks or max_leak is not None):
        raise UsageError("--drop-leaks and --max-leak need what was trained on; give --train-split, --train-data or both")
    labels = learner_class(learner).card.label_set
    split = part_of(dataset, split, "valid")
    pictures = open_part(dataset, data, split, labels)
    leaks = _leaks(pictures, dataset, train_data or data, train_split, labels) if train_split or train_data else None
    if leaks is not None and drop_leaks:
        pictures = pictures.subset(np.setdiff1d(np.arange(len(pictures)), leaks.leaked))
    table = read_groups(groups, pictures, [name.strip() for name in by.split(",") if name.strip()], key)
    require_attributes(limits, (table.crossed() if crossed else table).values)
    model = open_learner(learner, weights, device, backend, batch_size=batch_size)
    with waiting(f"measuring {learner} on {len(pictures)} pictures"):
        emotions = model.emotions(outputs_over(model, pictures))
        names = [pictures.name(n) for n in range(len(pictures))]
        numbers: dict[str, Any] = {"names": names, "min_count": min_count, "replicates": replicates, "seed": seed}
        result = audit(emotions, pictures.targets, table, limits=limits, crossed=crossed, **numbers)
    if max_leak is not None and leaks is not None:
        result["checks"].append(_leak_check(leaks, max_leak))
        result["passed"] = not result["failures"] and all(check["passed"] for check in result["checks"])
    facts = _facts(learner, weights or default_weights(type(model)), dataset, split, groups)
    facts |= {"leaks": None if leaks is None else leaks.to_dict() | {"dropped": drop_leaks}}
    if report is not None:
        from emotion_perception.engine.evaluation.fairness.report import write_report

        for file in write_report(facts | result, model.card, report):
            note(f"wrote {file}")
    if json:
        print_json(facts | result)
    else:
        _print(result, None if leaks is None else str(leaks))
    for name in result["failures"]:
        note(f"failed: the answer to {name!r} is NaN")
    _end(result)


def _leaks(pictures: EmotionDataset, kind: str, place: Path, split: str | None, labels: LabelSet) -> Leaks:
    """Looks for the pictures that were trained on, those without a single class among them."""
    from emotion_perception.engine.datasets.leaks import find_leaks

    train = open_part(kind, place, split, labels, mode="distribution")
    with waiting(f"looking for {len(pictures)} pictures among {len(train)} that were trained on"):
        return find_leaks(train, pictures)


def _leak_check(leaks: Leaks, limit: float) -> dict[str, Any]:
    """Returns a check as `audit` makes them; pictures that are left out afterwards count as well."""
    rule = f"share of pictures trained on at most {limit:g}"
    why = f"{len(leaks.leaked)} of {leaks.validation} pictures"
    values = {"kind": "max-leak", "measure": "leak", "limit": limit, "value": leaks.share, "passed": leaks.share <= limit}
    return {"attribute": "data", "rule": rule, **values, "why": why}


def _facts(learner: str, weights: Path | None, dataset: str, split: str | None, groups: Path) -> dict[str, Any]:
    """Returns what identifies this audit: the program, the weights, the data and the table of groups."""
    from emotion_perception import __version__
    from emotion_perception.engine.downloads import digest_of

    files = sorted(weights.iterdir()) if weights is not None and weights.is_dir() else [weights] if weights is not None else []
    return {
        "program": f"emotion_perception {__version__}",
        "learner": learner,
        "weights": {file.name: digest_of(file) for file in files if file.is_file()},
        "dataset": dataset,
        "split": split,
        "groups": {"file": groups.name, "digest": digest_of(groups)},
    }


def _print(result: dict[str, Any], leaks: str | None) -> None:
    """Prints a table of groups per attribute, how far they are apart, and what passes."""
    from emotion_perception.engine.evaluation.fairness.auditing import summary
    from emotion_perception.engine.evaluation.fairness.report import GROUP_COLUMNS, group_rows

    typer.echo(f"leaks: {leaks or 'not looked for; --train-split or --train-data says what was trained on'}")
    typer.echo(f"{result['pictures']} pictures, {result['without_row']} without a row in the table of groups")
    for attribute in result["attributes"]:
        typer.echo("")
        print_table((attribute, *GROUP_COLUMNS), group_rows(result, attribute))
        typer.echo(summary(result, attribute))
        for criterion, found in result["attributes"][attribute]["criteria"].items():
            if found["class"] is not None:
                bounds = "{:.3f} to {:.3f}".format(*found["interval"])
                typer.echo(f"{criterion.replace('_', ' ')}: differs by {found['difference']:.3f} ({bounds}), class {found['class']}")
        few = result["attributes"][attribute]["not_compared"]
        if few:
            typer.echo(f"classes with groups of too few pictures, which are left out there: {', '.join(few)}")
    typer.echo("")
    if not result["checks"]:
        typer.echo("no limits were given, so nothing passes or fails; see --max-gap, --min-ratio, --min-worst")
    for check in result["checks"]:
        value = "not known" if check["value"] is None else f"{check['value']:.3f}"
        typer.echo(f"{'PASS' if check['passed'] else 'FAIL'}  {check['attribute']}: {check['rule']}: {value} ({check['why']})")


def _end(result: dict[str, Any]) -> None:
    """Ends the command with status 1 where something failed."""
    failed = sum(not check["passed"] for check in result["checks"])
    if failed:
        raise fail(f"{failed} of {len(result['checks'])} limits are not kept; they are listed above")
    if result["failures"]:
        raise fail(f"the answers to {len(result['failures'])} pictures are NaN; they are listed above and count nowhere")
