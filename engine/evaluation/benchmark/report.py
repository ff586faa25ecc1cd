"""Shows what `benchmark` measured: tables, a page in Markdown and a plot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from emotion_perception.engine.evaluation.benchmark.stages import STAGES
from emotion_perception.engine.evaluation.benchmark.timing import MOST_MEMORY_MB, MOST_START_S
from emotion_perception.engine.evaluation.benchmark.variants import REFERENCE
from emotion_perception.engine.evaluation.report import new_figure, store_figure, write_json
from emotion_perception.engine.storage import atomic_write

_MOST_LOAD = 0.7
# A header and rows of cells.
Table = tuple[tuple[str, ...], list[tuple[str, ...]]]

_EXPLAINED = (
    "All variants ran in one process, in turns, on the same pictures; a turn is one call that counts after one that does not. "
    "*times as fast*: the first variant's time by the variant's, median over the rounds, with its quartiles; *in total*: that of the sums "
    "over all rounds, which is what an anytime ensemble gains over many faces. ms per face and faces/s are of the mean, from the network's "
    "input to the final answer. *of peak*: share of the machine's fastest matrix product in that precision."
)


def speed_table(result: Mapping[str, Any]) -> Table:
    """Makes a row per variant and size of batch."""
    times = ("p50 ms", "p95 ms", "ms per face", "faces/s")
    header = ("variant", "batch", *times, "times as fast", "quartiles", "in total", "GFLOP/s", "of peak")
    rows = []
    for size in range(len(result["variants"][0]["batches"])):
        for variant in result["variants"]:
            row = variant["batches"][size]
            share = row.get("share_of_peak")
            rows.append(
                (
                    variant["name"],
                    str(row["batch"]),
                    *(f"{row[key]:.2f}" for key in ("p50_ms", "p95_ms", "ms_per_input")),
                    f"{row['inputs_per_s']:.1f}",
                    f"{row['ratio']:.2f}",
                    f"{row['ratio_q25']:.2f}-{row['ratio_q75']:.2f}",
                    f"{row['ratio_of_totals']:.2f}",
                    f"{row['gflops']:.0f}" if "gflops" in row else "-",
                    "-" if share is None else f"{100.0 * share:.0f} %",
                )
            )
    return header, rows


def footprint_table(result: Mapping[str, Any]) -> Table:
    """Makes a row per variant: what it takes, and how far its answers are off."""
    more = [name for name in ("accuracy", "branches_used") if any(name in variant for variant in result["variants"])]
    header = ("variant", "file MB", "first answer s", "imports torch", "loaded MB", "one face MB", "most MB", "same class", "differ by")
    rows = []
    for variant in result["variants"]:
        agreement = variant.get("agreement")
        rows.append(
            (
                variant["name"],
                f"{variant['bytes'] / 1e6:.1f}",
                f"{variant['first_answer_s']:.2f}",
                "yes" if variant["torch"] else "no",
                *(_number(variant[key], 0) for key in ("loaded_mb", "one_mb", "most_mb")),
                "-" if agreement is None else f"{100.0 * agreement:.1f} %",
                "-" if agreement is None else f"{variant['probabilities_differ']:.2g}",
                *(_number(variant.get(name), 4 if name == "accuracy" else 2) for name in more),
            )
        )
    return (*header, *(name.replace("_", " ") for name in more)), rows


def video_table(result: Mapping[str, Any]) -> Table:
    """Makes a row per variant: frames a second and the mean time of each stage."""
    header = ("variant", "frames/s", "faces", *(f"{stage} ms" for stage in STAGES))
    rows = [
        (name, f"{row['frames_per_s']:.1f}", f"{row['faces']:.1f}", *(_number(row["ms"][stage], 2) for stage in STAGES))
        for name, row in result["video"].items()
    ]
    return header, rows


def cost_rise(variant: Mapping[str, Any]) -> tuple[float, int, int] | None:
    """Finds where the cost of a face grows the most from one size of batch to the next.

    Returns:
        By which share (below 0 where it always falls), from which size, to which; None for a single size.
    """
    rows = variant["batches"]
    rises = [(b["ms_per_input"] / a["ms_per_input"] - 1.0, a["batch"], b["batch"]) for a, b in pairwise(rows)]
    return max(rises, default=None)


def write_benchmark(result: Mapping[str, Any], stem: Path) -> list[Path]:
    """Writes ``<stem>.json``, ``.md`` and ``.png``, and returns the files.

    Raises:
        StorageError: A file cannot be written.
    """
    # Not with_suffix: a name may have dots of its own.
    json_file, page, plot = (stem.with_name(stem.name + suffix) for suffix in (".json", ".md", ".png"))
    write_json(result, json_file)
    plot_benchmark(result, plot)
    with atomic_write(page) as file:
        file.write_text(_page(result, plot.name, json_file.name), encoding="utf-8")
    return [json_file, page, plot]


def plot_benchmark(result: Mapping[str, Any], path: Path) -> Path:
    """Draws the cost of a face by the size of the batch, and how many times as fast as the reference, which names the colours."""
    variants = result["variants"]
    figure = new_figure(11.0, 4.6)  # says in one line if matplotlib is missing
    from matplotlib.ticker import LogLocator

    cost, ratio = figure.subplots(1, 2, width_ratios=(3, 2))
    sizes = [row["batch"] for row in variants[0]["batches"]]
    for number, variant in enumerate(variants):
        line = "--" if variant["confidence"] is not None else "-"
        colour = "black" if variant["backend"] == REFERENCE else f"C{number}"
        cost.plot(sizes, [row["ms_per_input"] for row in variant["batches"]], line, marker="o", color=colour)
        row = variant["batches"][0]
        spread = [[row["ratio"] - row["ratio_q25"]], [row["ratio_q75"] - row["ratio"]]]
        ratio.barh(number, row["ratio"], xerr=spread, color=colour, alpha=0.8)
        ratio.text(row["ratio_q75"], number, f" {row['ratio']:.2f}", va="center")
    cost.set_xscale("log", base=2)
    cost.set_yscale("log")
    cost.set_xticks(sizes, [str(size) for size in sizes])
    cost.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    cost.yaxis.set_major_formatter("{x:g}")
    cost.yaxis.set_minor_formatter("")
    cost.set_xlabel("faces in a batch (colours: see the right)")
    cost.set_ylabel("ms per face")
    cost.grid(alpha=0.3, which="both")
    ratio.set_yticks(range(len(variants)), [variant["name"] for variant in variants])
    ratio.invert_yaxis()
    ratio.margins(x=0.15)
    ratio.set_xlabel(f"times as fast, batch of {sizes[0]}, with quartiles")
    ratio.grid(alpha=0.3, axis="x")
    figure.suptitle(f"{result['title']}, {result['input'][0]}x{result['input'][1]}, {result['machine']['device']}", fontsize=10)
    return store_figure(figure, path)


def markdown(table: Table) -> list[str]:
    """Returns a table as lines of Markdown, words to the left and the rest to the right."""
    header, rows = table
    return [_line(header), _line(["---", *["--:"] * (len(header) - 1)]), *(_line(row) for row in rows)]


def notes(result: Mapping[str, Any]) -> list[str]:
    """Returns what the tables do not say, a line each: the machine's limits, targets, and whether the cost of a face ever rises."""
    peaks = ", ".join(f"{name} {value:.0f}" for name, value in result["peaks_gflops"].items())
    lines = []
    if (result["load_before"] or 0.0) > _MOST_LOAD:
        lines.append(
            f"**other programs were running** (load average {result['load_before']:.1f} before the start): torch, whose threads wait for "
            "each other, suffers from that the most, so that these ratios are not to be trusted; measure again on a quiet machine"
        )
    lines.append(f"matrix products of this machine, billions of operations a second: {peaks}")
    if result["multiply_adds"] is not None:
        lines.append(f"multiply-adds for one input: {result['multiply_adds'] / 1e9:.3f} billion")
    for variant in result["variants"]:
        rise = cost_rise(variant)
        if rise is not None:
            share, before, after = rise
            words = f"at most {100.0 * share:+.1f} % from one size of batch to the next ({before} to {after})"
            lines.append(f"{variant['name']}: the cost of a face changes by {words}")
    for variant in result["variants"]:
        if variant["backend"] == "onnxruntime":
            lines.append(f"{variant['name']}: {_targets(variant)}")
    return lines


def _targets(variant: Mapping[str, Any]) -> str:
    """Says whether a variant starts as fast and needs as little as a robot may ask."""
    checks = (("first answer", variant["first_answer_s"], MOST_START_S, "s", 2), ("one face", variant["one_mb"], MOST_MEMORY_MB, "MB", 0))
    return "; ".join(
        f"{what} {_number(found, digits)} {unit}, target below {most:g} {unit}: {'met' if found < most else 'MISSED'}"
        for what, found, most, unit, digits in checks
        if found is not None
    )


def _page(result: Mapping[str, Any], plot: str, data: str) -> str:
    pictures, (height, width) = result["pictures"], result["input"]
    lines = [
        f"# {result['title']}: how fast it runs ({result['date']})",
        "",
        f"{result['learner']} at {height}x{width}. Pictures: {pictures['source']}, {pictures['count']}. {_EXPLAINED}",
        "",
        f"![cost of a face by batch, and speed against the reference]({plot})",
        "",
        *markdown(speed_table(result)),
        "",
        "Each in processes of its own, median of three: the time from the start of the process to the first answer, and resident memory "
        "with the weights loaded, at its highest until single faces were judged, loading included, and until all batches were. *same "
        "class*, *differ by* (largest difference of a probability): on all pictures, from what the first variant's network answers.",
        "",
        *markdown(footprint_table(result)),
        "",
        *(f"- {line}" for line in notes(result)),
        "",
    ]
    if "video" in result:
        lines += ["The whole pipeline on a video, without encoding, mean of each stage; frames are decoded ahead in a thread:", ""]
        lines += [*markdown(video_table(result)), ""]
    lines += ["Machine: " + ", ".join(f"{key} {value}" for key, value in result["machine"].items() if value not in (None, "")), ""]
    return "\n".join([*lines, f"`{result['command']}`; every number is in `{data}`.", ""])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
