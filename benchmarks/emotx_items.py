"""Measures how long EmoTx' data set takes to load one clip, on a made-up MovieGraphs whose features are as large as the published ones.

From the project's root::

    python -m benchmarks.emotx_items                      # prints a table; fails when the target is missed
    python -m benchmarks.emotx_items --out benchmarks     # and writes <date>-emotx-items.json and .md there

The published features are float64; a scene of MovieGraphs lasts 44 s and has about a thousand faces (the sizes of the published archives
divided by their scenes). Every clip is loaded as in training and as in evaluation, in random order; files are in the page cache of the
system after the first round, which is reported apart. The same clips are also read as the published code reads them: whole arrays, and
the pickles, anew for every item.
"""

from __future__ import annotations

import argparse
import datetime
import json
import logging
import os
import pickle
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from emotion_perception.engine.machine import machine
from emotion_perception.engine.storage import atomic_write
from emotion_perception.learners.emotx.clips import FPS
from emotion_perception.learners.emotx.moviegraphs import MovieGraphs, write_synthetic
from emotion_perception.learners.emotx.moviegraphs.pickles import read_pickles

logger = logging.getLogger(__name__)

TARGET_MS = 2.0  # at the median
_SECONDS, _FACES, _UTTERANCES = 44, 1000, 15


def main() -> None:
    """Measures, prints, and writes the report where asked to; exits with 1 when the target is missed."""
    options = _options()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["EMOTION_PERCEPTION_CACHE"] = f"{scratch}/cache"
        root = write_synthetic(Path(scratch) / "movies", movies=3, scenes=options.scenes)
        logger.info("writing features of published size for %d scenes", 3 * options.scenes)
        _enlarge(root)
        result = {"date": datetime.date.today().isoformat(), "machine": machine(), **_measured(root, options.rounds)}
    logger.info("%s", _page(result))
    if options.out:
        target = options.out / f"{result['date']}-emotx-items"
        for suffix, text in ((".json", json.dumps(result, indent=1) + "\n"), (".md", _page(result))):
            with atomic_write(target.with_suffix(suffix)) as file:
                file.write_text(text, encoding="utf-8")
    slowest = max(row["median_ms"] for row in result["rows"] if row["counts"])
    if slowest >= TARGET_MS:
        sys.exit(f"an item takes {slowest:.2f} ms at the median, the target is {TARGET_MS:g} ms")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measures how long loading one clip takes.")
    parser.add_argument("--scenes", type=int, default=40, help="scenes of the movie that is measured")
    parser.add_argument("--rounds", type=int, default=5, help="how often every clip is loaded")
    parser.add_argument("--out", type=Path, help="folder for the report")
    return parser.parse_args()


def _enlarge(root: Path) -> None:
    """Gives every clip of the training movie as many features as MovieGraphs has, float64 as published."""
    random = np.random.default_rng(0)
    movie = MovieGraphs(root, "train").name(0).partition("/")[0]
    frames = int(_SECONDS * FPS)
    for file in sorted((root / "character_tracks" / movie).glob("*.pkl")):
        _, faces = read_pickles(file, 2)
        tracks = sorted({int(row[7]) for rows in faces.values() for row in rows})
        rows = [(0, 0, 9, 9, 0.9, frame, 0, tracks[int(random.integers(len(tracks)))]) for frame in np.arange(_FACES) * frames // _FACES]
        by_frame = {int(row[5]): np.array([other for other in rows if other[5] == row[5]], np.float64) for row in rows}
        _rewrite(file, {}, by_frame)
        _save(root / "resnet50_fer_face_features" / movie / f"{file.stem}.npy", random.normal(size=(_FACES, 2048)))
        _save(root / "mvit_v1_scene_features" / movie / f"{file.stem}.npy", random.normal(size=(frames // 16 + 1, 768)))
        times = list(np.linspace(1.0, _SECONDS - 1.0, _UTTERANCES))
        texts = root / "srt_feats" / "independent" / "finetuned_t10" / movie / file.name
        _rewrite(texts, times, random.normal(size=(_UTTERANCES, 768)).astype(np.float32))


def _rewrite(file: Path, *contents: object) -> None:
    file.write_bytes(b"".join(pickle.dumps(content) for content in contents))


def _save(file: Path, values: Any) -> None:
    np.save(file, np.asarray(values, np.float64))


def _measured(root: Path, rounds: int) -> dict[str, Any]:
    start = time.perf_counter()
    dataset = MovieGraphs(root, "train")
    indexed_s = time.perf_counter() - start
    start = time.perf_counter()
    dataset = MovieGraphs(root, "train")
    opened_s = time.perf_counter() - start
    random = np.random.default_rng(0)
    ways: dict[str, tuple[Callable[[int], object], bool]] = {
        "training: a random eighth": (lambda index: dataset.clip(index, random), True),
        "evaluation: every eighth": (dataset.clip, True),
        "as published: everything, anew": (lambda index: _published(root, dataset.name(index)), False),
    }
    rows = []
    for name, (load, counts) in ways.items():
        first = _times(load, len(dataset), random)
        warm = np.concatenate([_times(load, len(dataset), random) for _ in range(rounds)])
        rows.append(
            {
                "way": name,
                "counts": counts,
                "median_ms": float(np.median(warm)),
                "p95_ms": float(np.percentile(warm, 95)),
                "first_round_median_ms": float(np.median(first)),
            }
        )
    return {"clips": len(dataset), "indexing_ms_per_clip": 1000 * indexed_s / len(dataset), "opening_ms": 1000 * opened_s, "rows": rows}


def _times(load: Callable[[int], object], count: int, random: np.random.Generator) -> np.ndarray:
    times = []
    for index in random.permutation(count):
        start = time.perf_counter()
        load(int(index))
        times.append(1000 * (time.perf_counter() - start))
    return np.array(times)


def _published(root: Path, name: str) -> object:
    """Reads all files of a clip as the published code does for every item."""
    tracks = read_pickles(root / "character_tracks" / f"{name}.pkl", 2)
    dialogue = read_pickles(root / "srt_feats" / "independent" / "finetuned_t10" / f"{name}.pkl", 2)
    kinds = "mvit_v1_scene_features", "resnet50_fer_face_features"
    features = [np.load(root / kind / f"{name}.npy").astype(np.float32) for kind in kinds]
    return tracks, dialogue, features


def _page(result: dict[str, Any]) -> str:
    lines = [
        f"# Loading one clip of MovieGraphs, {result['date']}",
        "",
        f"{result['clips']} clips of {_SECONDS} s with {_FACES} faces and {_UTTERANCES} utterances each, float64 as published. "
        f"Making the index took {result['indexing_ms_per_clip']:.1f} ms per clip, opening it later {result['opening_ms']:.0f} ms in all. "
        f"Target: below {TARGET_MS:g} ms at the median.",
        "",
        "| way | median, ms | 95 %, ms | median of the first round, ms |",
        "|---|---|---|---|",
        *(f"| {r['way']} | {r['median_ms']:.2f} | {r['p95_ms']:.2f} | {r['first_round_median_ms']:.2f} |" for r in result["rows"]),
        "",
        f"Machine: {', '.join(f'{key} {value}' for key, value in result['machine'].items())}",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
