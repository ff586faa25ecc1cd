"""Measures the ways to run a learner against each other: speed in turns, footprint in processes of their own, and the machine's limit."""

from __future__ import annotations

import datetime
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emotion_perception.engine.errors import DatasetError, UsageError
from emotion_perception.engine.evaluation.benchmark.footprint import footprint
from emotion_perception.engine.evaluation.benchmark.peaks import gemm_peaks, multiply_adds
from emotion_perception.engine.evaluation.benchmark.stages import video_stages
from emotion_perception.engine.evaluation.benchmark.variants import REFERENCE, Runner, Variant, judged
from emotion_perception.engine.machine import machine
from emotion_perception.engine.target import FloatArray

if TYPE_CHECKING:
    from emotion_perception.engine.datasets import EmotionDataset
    from emotion_perception.engine.learners import Learner

logger = logging.getLogger(__name__)

# What a robot may ask of the optimised model, of the time to its first answer and of its memory.
MOST_START_S = 1.5
MOST_MEMORY_MB = 350.0
_WARM_UP_ROUNDS = 3
_FEWEST_ROUNDS = 5
_MOST_PICTURES = 384
_SEED = 0


@dataclass(frozen=True, eq=False)
class Pictures:
    """What all variants judge.

    Attributes:
        source: Where they come from, for people.
        x: ``(n, 3, height, width)`` float32, as the network takes them.
        labelled: The same pictures as a data set, where their classes are known.
    """

    source: str
    x: FloatArray
    labelled: EmotionDataset | None = None


def pictures_for(learner: Learner, given: Any = None) -> Pictures:
    """Makes the pictures, real faces for a face model: how long an anytime ensemble takes depends on what it sees.

    Args:
        learner: Says what the network takes.
        given: An `EmotionDataset`, of which at most 384 are drawn, a folder of pictures, or None; see `calibration_set`.
    """
    from emotion_perception.engine.datasets import EmotionDataset
    from emotion_perception.engine.inference.calibration import calibration_set

    source, labelled = "", None
    if isinstance(given, EmotionDataset):
        source = f"{type(given).__name__}, drawn at random"
        order = np.random.default_rng(_SEED).permutation(len(given))[:_MOST_PICTURES]
        given = labelled = given.subset(np.sort(order))
    elif given is not None:
        source = f"folder {Path(given).name!r}"  # and not where it is: a report is for others
    made = calibration_set(learner, given)
    return Pictures(source or made.source, np.concatenate([*made.ranges, *made.check]), labelled)


def benchmark(
    variants: Sequence[Variant],
    scratch: Path,
    *,
    given: Any = None,
    batches: Sequence[int] = (1, 2, 4, 8, 16),
    seconds: float = 3.0,
    video: Path | None = None,
) -> dict[str, Any]:
    """Measures variants of one learner, and logs what it does meanwhile.

    Args:
        variants: What `prepare` returned; ratios are to the first.
        scratch: Folder for a temporary file.
        given: Pictures, see `pictures_for`.
        batches: Sizes of batches.
        seconds: How long each variant is run at each size; the processes and the machine's own limit take as long again.
        video: A video to run through the whole pipeline, or None.

    Returns:
        Plain numbers by name, for JSON and `benchmark_report`.

    Raises:
        UsageError: No batches, or one below 1; seconds not above 0.
        DatasetError: Fewer pictures than the largest batch.
    """
    sizes = sorted(set(batches))
    if not sizes or sizes[0] < 1 or not seconds > 0.0:
        raise UsageError(f"batches are {list(batches)}, seconds {seconds:g}; expected batches of at least 1, and more than 0 seconds")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    logger.info("loading")
    learners = {variant.name: variant.load(batch_size=sizes[-1]) for variant in variants}
    first = next(iter(learners.values()))
    pictures = pictures_for(first, given)
    if len(pictures.x) < sizes[-1]:
        raise DatasetError(f"{pictures.source} has {len(pictures.x)} pictures, expected at least a batch of {sizes[-1]}; give more")
    runners = {variant.name: variant.runner(learners[variant.name]) for variant in variants}
    use_torch = not all(variant.exported for variant in variants)
    work = _multiply_adds(first) if use_torch else None
    logger.info("measuring what the machine can do")
    peaks = gemm_peaks(use_torch)
    timed: dict[str, list[dict[str, Any]]] = {variant.name: [] for variant in variants}
    for size in sizes:
        logger.info("%d variants in turns, batches of %d", len(variants), size)
        times = in_turns(runners, pictures.x, size, seconds)
        for variant in variants:
            row = summary(times[variant.name], times[variants[0].name], size)
            if work is not None and variant.confidence is None:
                row["gflops"] = 2.0 * work * row["inputs_per_s"] / 1e9
            timed[variant.name].append(row)
    logger.info("comparing answers")
    answers = _answers(variants, learners, pictures)
    # The machine may have been busy before; a limit is never below what was seen once.
    peaks = {name: max(value, again) for (name, value), again in zip(peaks.items(), gemm_peaks(use_torch).values(), strict=True)}
    for variant in variants:
        limit = _limit(peaks, variant.precision) if "cpu" in learners[variant.name].backend_name.split() else None
        for row in timed[variant.name]:
            if limit is not None and "gflops" in row:
                row["share_of_peak"] = row["gflops"] / limit
    sample = scratch / "pictures.npy"
    np.save(sample, _pixels(first, pictures.x[: sizes[-1]]))
    rows = []
    for variant in variants:
        logger.info("%s in a process of its own", variant.name)
        rows.append(
            {
                "name": variant.name,
                "backend": variant.backend,
                "precision": variant.precision,
                "confidence": variant.confidence,
                "runs_on": learners[variant.name].backend_name,
                "bytes": variant.bytes,
                **answers[variant.name],
                **footprint(variant, sample, sizes),
                "batches": timed[variant.name],
            }
        )
    result: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "learner": first.name,
        "title": first.card.title,
        "input": [first.card.input.height, first.card.input.width],
        "machine": machine(),
        "load_before": load,
        "pictures": {"source": pictures.source, "count": len(pictures.x)},
        "seconds": seconds,
        "multiply_adds": work,
        "peaks_gflops": peaks,
        "variants": rows,
    }
    if video is not None:
        from emotion_perception.engine.pipeline import Pipeline

        result["video"] = {}
        for variant in variants:
            if variant.backend != REFERENCE:
                logger.info("%s on the video", variant.name)
                pipeline = Pipeline(learners[variant.name])
                result["video"][variant.name] = video_stages(video, pipeline)
    return result


def in_turns(runners: Mapping[str, Runner], x: FloatArray, size: int, seconds: float) -> dict[str, list[float]]:
    """Runs everything in turns, so that what else the machine does hits all alike.

    In each round all get the same pictures, the next ones of ``x``, in an order drawn anew. A call that does not count goes before each
    that does: after another variant's, the weights are out of the processor's caches, and that one's threads may still be waiting for work.

    Args:
        runners: What to run, by name.
        x: The pictures.
        size: How many of them go into one call.
        seconds: Mean time for each runner.

    Returns:
        Milliseconds of each round, by name.
    """
    times: dict[str, list[float]] = {name: [] for name in runners}
    draw = np.random.default_rng(_SEED)
    order = draw.permutation(len(x))
    end, number = float("inf"), 0
    while number < _WARM_UP_ROUNDS + _FEWEST_ROUNDS or time.perf_counter() < end:
        if number == _WARM_UP_ROUNDS:
            end = time.perf_counter() + seconds * len(runners)
        batch = np.ascontiguousarray(x[order.take(range(number * size, (number + 1) * size), mode="wrap")])
        for name in draw.permutation(list(runners)).tolist():
            runners[name](batch)
            start = time.perf_counter()
            runners[name](batch)
            if number >= _WARM_UP_ROUNDS:
                times[name].append((time.perf_counter() - start) * 1e3)
        number += 1
    return times


def summary(times_ms: Sequence[float], reference_ms: Sequence[float], size: int) -> dict[str, Any]:
    """Makes the figures of one variant at one size out of the rounds.

    Args:
        times_ms: Of the variant, by round.
        reference_ms: Of the reference in the same rounds.
        size: Inputs in a call.

    Returns:
        ``batch``, ``rounds``; of a call ``p50_ms``, ``p95_ms`` and ``mean_ms``; ``ms_per_input`` (mean) and ``inputs_per_s``; ``ratio``,
        how many times as fast as the reference: the median over rounds, with quartiles ``ratio_q25`` and ``ratio_q75``; and
        ``ratio_of_totals``, that of the sums over all rounds, in which slow calls weigh as much as they last.
    """
    mine, theirs = np.asarray(times_ms), np.asarray(reference_ms)
    q25, ratio, q75 = np.percentile(theirs / mine, [25, 50, 75])
    return {
        "batch": size,
        "rounds": len(mine),
        "p50_ms": float(np.percentile(mine, 50)),
        "p95_ms": float(np.percentile(mine, 95)),
        "mean_ms": float(mine.mean()),
        "ms_per_input": float(mine.mean()) / size,
        "inputs_per_s": size * 1e3 / float(mine.mean()),
        "ratio": float(ratio),
        "ratio_q25": float(q25),
        "ratio_q75": float(q75),
        "ratio_of_totals": float(theirs.sum() / mine.sum()),
    }


def _answers(variants: Sequence[Variant], learners: Mapping[str, Learner], pictures: Pictures) -> dict[str, dict[str, Any]]:
    """Compares what the variants answer with what the first one's network does; the reference itself only counts votes."""
    answers: dict[str, dict[str, Any]] = {}
    expected = judged(learners[variants[0].name], pictures.x)
    for variant in variants:
        if variant.backend == REFERENCE:
            answers[variant.name] = {}
            continue
        learner = learners[variant.name]
        emotions = judged(learner, pictures.x)
        answers[variant.name] = {
            "agreement": float((emotions.index == expected.index).mean()),
            "probabilities_differ": float(np.abs(emotions.probabilities - expected.probabilities).max()),
        }
        if "branches_used" in emotions.extras:
            answers[variant.name]["branches_used"] = float(emotions.extras["branches_used"].mean())
        if pictures.labelled is not None:
            answers[variant.name]["accuracy"] = float(learner.eval(pictures.labelled)["accuracy"])
    return answers


def _multiply_adds(learner: Learner) -> int:
    import torch

    spec = learner.card.input
    device = next(learner.model.parameters()).device
    return multiply_adds(learner.model, torch.zeros(1, 3, spec.height, spec.width, device=device))


def _limit(peaks: Mapping[str, float], precision: str) -> float | None:
    """Returns the best product of a precision, where it was measured."""
    return max((value for name, value in peaks.items() if name.split()[0] == precision), default=None)


def _pixels(learner: Learner, x: FloatArray) -> np.ndarray:
    """Turns what a network takes back into pictures, ``(n, height, width, 3)`` uint8, RGB."""
    spec = learner.card.input
    pixels = x.transpose(0, 2, 3, 1) * np.asarray(spec.std, np.float32) + np.asarray(spec.mean, np.float32)
    pixels = (pixels * 255.0).round().clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(pixels if spec.color == "rgb" else pixels[..., ::-1])
