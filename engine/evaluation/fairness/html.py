"""A fairness audit as one page that needs nothing beside itself: no script, no network, plots inside."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from html import escape
from pathlib import Path
from typing import Any

from emotion_perception.engine.cards import ModelCard
from emotion_perception.engine.evaluation.fairness.auditing import RATES, summary

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; color: #1c2733; background: #fff; }
body { max-width: 62rem; margin: 2rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.6rem; margin-bottom: 0.2rem; }
h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid #cfd6dd; }
table { border-collapse: collapse; margin: 0.6rem 0 1rem; font-size: 0.86rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: 0.3rem 0; }
th, td { border-bottom: 1px solid #dfe4e9; padding: 0.2rem 1rem 0.2rem 0; text-align: right; vertical-align: top; }
th:first-child, td:first-child, .text { text-align: left; }
thead th { border-bottom: 2px solid #9aa5b1; }
.scroll { overflow-x: auto; }
img { max-width: 100%; height: auto; }
dt { font-weight: 600; }
dd { margin: 0 0 0.5rem 1.2rem; overflow-wrap: anywhere; }
.verdict { border-left: 6px solid #9aa5b1; background: #f4f6f8; padding: 0.2rem 1rem; }
.pass { border-color: #2e7d32; }
.fail { border-color: #b3261e; }
.small { color: #54616e; font-size: 0.86rem; }
@media print {
  body { margin: 0; max-width: none; font-size: 10pt; }
  h2, caption { break-after: avoid; }
  table, img, tr { break-inside: avoid; }
  table { font-size: 7.5pt; }
  .scroll { overflow: visible; }
}
"""

_METHOD = (
    "The class judged is compared with the true one, per group. Accuracy is the share of right answers; macro F1 the mean F1 of the "
    "classes that the group has pictures of; calibration error the expected difference between confidence and accuracy in 15 bins of "
    "equal width (Guo et al. 2017). Of a class, recall is the share of its pictures that are judged to be it; false-positive rate the "
    "share of all other pictures that are judged to be it; selection rate the share of all pictures that are judged to be it.",
    "A gap is the largest minus the smallest value over the groups, a ratio the smallest divided by the largest. With several classes "
    "the criteria are taken one class against the rest, and the class where the groups are furthest apart counts: demographic parity "
    "compares selection rates, equal opportunity recalls (Hardt et al. 2016), equalized odds recalls and false-positive rates, "
    "whichever differ more (Agarwal et al. 2018). The ratio is the smallest of any class, which need not be the class of the largest "
    "gap. The groups are compared by fairlearn's MetricFrame.",
)

_LIMITS = (
    "Attributes such as gender, race or age may themselves be predictions of another model, or a rater's guess from a picture, and not "
    "what people say of themselves. Their errors blur true differences, and can make false ones.",
    "The true classes are what raters saw in a picture, not what a person felt. Raters may judge groups differently; a model that "
    "agrees with them then looks fair.",
    "Chance alone makes a gap larger than zero, the more so with many and with small groups. Its interval is that of the two groups "
    "furthest apart, which were chosen for being so: one that holds zero says that they may well be judged alike, one just above "
    "zero says little.",
    "Calibration error, measured on few pictures, is too high: groups of different size can differ in it for that alone.",
    "Intervals treat pictures as independent. Where several pictures show one person, or are altered copies of one picture, they are "
    "too narrow.",
    "Demographic parity expects groups to show each emotion equally often. In collected pictures that need not be so: a gap in it can "
    "come from the data alone. Ratios of rare classes are ratios of small numbers.",
    "Groups of few pictures are named and not compared: nothing is known about how well they are judged. Many comparisons are made "
    "here; some will stand out by chance.",
    "These numbers hold for these pictures. Another camera, place or age of the pictures can change them.",
)


def page(result: Mapping[str, Any], card: ModelCard, plots: Mapping[str, Sequence[Path]]) -> str:
    """Makes the page.

    Args:
        result: What `audit` returned, with the facts that identify the audit.
        card: The card of the weights in use.
        plots: PNG files by attribute; they are copied into the page.
    """
    title = f"Fairness of {card.title}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="small">{escape(result.get("program", "emotion_perception"))}, {datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC</p>',
        *_verdict(result),
        *_data(result),
        *_model(result, card),
    ]
    for attribute in result["attributes"]:
        parts += _attribute(result, attribute, plots.get(attribute, ()))
    parts += ["<h2>Method</h2>", *(f"<p>{escape(text)}</p>" for text in (*_METHOD, _intervals(result)))]
    parts += ["<h2>Limits</h2>", "<ul>", *(f"<li>{escape(text)}</li>" for text in _LIMITS), "</ul>"]
    # Without an icon of its own, a browser asks the network for one.
    metas = '<meta charset="utf-8">\n<meta name="viewport" content="width=device-width">\n<link rel="icon" href="data:,">'
    head = f"{metas}\n<title>{escape(title)}</title>"
    body = "\n".join(parts)
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n'


def _verdict(result: Mapping[str, Any]) -> list[str]:
    checks, failures = result["checks"], result["failures"]
    if result["passed"] is None:
        kind, words = "", "No limits were given, so nothing passes or fails."
    else:
        kept = sum(check["passed"] for check in checks)
        kind = "pass" if result["passed"] else "fail"
        words = f"{'Passed' if result['passed'] else 'Failed'}: {kept} of {len(checks)} limits are kept."
    if failures:
        words += f" The answers to {len(failures)} pictures were NaN and count nowhere."
    parts = ["<h2>Result</h2>", f'<div class="verdict {kind}"><p><strong>{escape(words)}</strong></p>' + "<ul>"]
    parts += [f"<li>{escape(summary(result, attribute))}</li>" for attribute in result["attributes"]]
    parts.append("</ul></div>")
    if checks:
        rows = [(c["attribute"], c["rule"], _number(c["value"]), "PASS" if c["passed"] else "FAIL", c["why"]) for c in checks]
        parts.append(_table("Limits", ("attribute", "limit", "measured", "result", "because"), rows, texts=(1, 3, 4)))
    return parts


def _data(result: Mapping[str, Any]) -> list[str]:
    overall, groups = result["overall"], result.get("groups", {})
    leaks = result.get("leaks")
    facts = {
        "data set": " ".join(filter(None, (result.get("dataset"), result.get("split")))),
        "pictures judged": f"{result['pictures']} ({result['unlabelled']} without a single true class are left out)",
        "groups": f"{groups.get('file', '')} {groups.get('digest', '')}; {result['without_row']} pictures have no row in it",
        "leak check": "not made: nothing was said about what the model was trained on" if leaks is None else _leaks(leaks),
        "answers that are NaN": ", ".join(result["failures"]) or "none",
    }
    rows = [(word, count) for word, count in overall["support"].items()]
    return ["<h2>Data</h2>", _facts(facts), _table("Pictures per class", ("class", "pictures"), rows)]


def _leaks(leaks: Mapping[str, Any]) -> str:
    near = (
        "" if leaks["near_copies"] is None else f", {leaks['near_copies']} have a near-copy (hashes at most {leaks['radius']} bits apart)"
    )
    dropped = "they were left out" if leaks["dropped"] else "they were judged like all others"
    found = f"{leaks['leaked']} of {leaks['validation']} pictures ({leaks['share']:.1%}) are among the {leaks['train']} trained on"
    return f"{found}: {leaks['same_source']} share a source{near}; {dropped}"


def _model(result: Mapping[str, Any], card: ModelCard) -> list[str]:
    size, crop = card.input, card.crop
    facts = {
        "learner": f"{card.learner}: {card.title}",
        "perceives": card.perceives,
        "input": f"{size.width}x{size.height} pixels, {size.color.upper()}",
        "crop": f"{crop.scale:g} x the longer side of {crop.detector}'s box, square" if crop else "",
        "classes": f"{', '.join(card.label_set.words)} ({card.labels})",
        "architecture": ", ".join(f"{name} {value}" for name, value in card.architecture.items()),
        "weights": "; ".join(f"{name} {digest}" for name, digest in result.get("weights", {}).items()),
        "licence": card.licence,
        "paper": card.paper,
        "trained on": card.data,
        "recipe": card.recipe,
        "scores": "; ".join(_scores(card.scores)),
        "known limits": " ".join(card.notes),
    }
    return ["<h2>Model card</h2>", _facts(facts)]


def _scores(scores: Mapping[str, Any], place: str = "") -> Iterator[str]:
    """Yields a phrase per number of a nested table of scores."""
    for name, value in scores.items():
        if isinstance(value, Mapping):
            yield from _scores(value, f"{place}{name}: ")
        else:
            yield f"{place}{name} {value}"


def _attribute(result: Mapping[str, Any], attribute: str, plots: Sequence[Path]) -> list[str]:
    from emotion_perception.engine.evaluation.fairness.report import GROUP_COLUMNS, bounds, group_rows

    found, words = result["attributes"][attribute], result["classes"]
    parts = [f"<h2>{escape(attribute)}</h2>", f"<p>{escape(summary(result, attribute))}.</p>"]
    if found["not_stated"]:
        parts.append(
            f'<p class="small">{found["not_stated"]} pictures have no {escape(attribute)} stated; they are in none of its groups.</p>'
        )
    parts.append(_table("Groups", (attribute, *GROUP_COLUMNS), list(group_rows(result, attribute))))
    titles = ("accuracy, macro F1 and calibration error of each group", "recall and false-positive rate of each class in each group")
    parts += [_picture(file, f"{attribute}: {title}") for file, title in zip(plots, titles, strict=False)]
    if found["gaps"]:
        apart = [(name, gap, "") for name, gap in found["gaps"].items()]
        apart += [(name, c, f", {c['class']}") for name, c in found["criteria"].items() if c["class"] is not None]
        rows = [
            (
                name.replace("_", " "),
                gap["difference"],
                bounds(gap["interval"]),
                gap["ratio"],
                bounds(gap["ratio_interval"]),
                f"{gap['lowest']} to {gap['highest']}{of_class}",
            )
            for name, gap, of_class in apart
        ]
        parts.append(_table("How far the groups are apart", ("", "gap", "interval", "ratio", "interval", "between"), rows, texts=(5,)))
        header = ("class", *(f"{name.replace('_', ' ')}" for name in found["criteria"]))
        rows = [(word, *(_gap(c["per_class"][word]) for c in found["criteria"].values())) for word in words]
        parts.append(_table("Gap per class, with interval", header, rows))
    for rate in RATES:
        rows = [(name, *(g[rate][word] for word in words)) for name, g in found["groups"].items()]
        parts.append(_table(rate.replace("_", " ").capitalize(), (attribute, *words), rows))
    rows = [(name, *(g["support"][word] for word in words)) for name, g in found["groups"].items()]
    parts.append(_table("Pictures", (attribute, *words), rows))
    if found["not_compared"]:
        least = result["method"]["min_count"]
        few = "; ".join(
            f"{word}: {', '.join(f'{name} ({counts[0]} of it, {counts[1]} others)' for name, counts in groups.items())}"
            for word, groups in found["not_compared"].items()
        )
        parts.append(f'<p class="small">Left out of recall or false-positive rate, for fewer than {least} pictures: {escape(few)}.</p>')
    return parts


def _intervals(result: Mapping[str, Any]) -> str:
    method = result["method"]
    return (
        f"Intervals hold the middle {method['level']:.0%} of {method['replicates']} samples, drawn with replacement within each group "
        f"(percentile bootstrap, Efron 1979, seed {method['seed']}). Groups with fewer than {method['min_count']} pictures are shown and "
        "not compared; the recall of a class in a group is compared where the group has as many pictures of it, its false-positive "
        "rate where it has as many of all others. A limit that cannot be judged is not kept."
    )


def _gap(value: Mapping[str, Any] | None) -> str:
    from emotion_perception.engine.evaluation.fairness.report import bounds

    return "-" if value is None else f"{value['difference']:.3f} ({bounds(value['interval'])})"


def _facts(facts: Mapping[str, str]) -> str:
    rows = "\n".join(f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in facts.items() if value)
    return f"<dl>\n{rows}\n</dl>"


def _table(caption: str, header: Sequence[str], rows: Iterable[Sequence[Any]], texts: Sequence[int] = ()) -> str:
    """Makes a table; columns whose number is in ``texts`` hold words, the first one always."""
    kinds = [' class="text"' if n in texts else "" for n in range(len(header))]
    head = "".join(f'<th scope="col"{kind}>{escape(name)}</th>' for name, kind in zip(header, kinds, strict=True))
    cells = (zip(kinds, row, strict=True) for row in rows)
    body = "\n".join("<tr>" + "".join(f"<td{kind}>{escape(_number(value))}</td>" for kind, value in row) + "</tr>" for row in cells)
    table = f"<table><caption>{escape(caption)}</caption>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"
    return f'<div class="scroll">{table}</div>'


def _number(value: Any) -> str:
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


def _picture(file: Path, title: str) -> str:
    data = base64.b64encode(file.read_bytes()).decode("ascii")
    return f'<p><img src="data:image/png;base64,{data}" alt="{escape(title, quote=True)}"></p>'
