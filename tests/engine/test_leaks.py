"""Leaks between two parts of a data set: by source, by near-copies, and the one in the published split."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from emotion_perception.engine.datasets import EmotionDataset, Targets, alter, find_leaks, open_dataset, split_by_source
from emotion_perception.engine.datasets.alterations import ALTERATIONS
from emotion_perception.engine.datasets.leaks import copies_within, hashes, nearest_copies, perceptual_hash
from emotion_perception.engine.datasets.sources import source_of
from emotion_perception.engine.datasets.splitting import source_groups
from emotion_perception.engine.errors import DatasetError, UsageError
from emotion_perception.engine.labels import EMOTORCH4


class Drawn(EmotionDataset):
    """Given pictures, some of one source, of classes that take turns."""

    labels = EMOTORCH4

    def __init__(self, pictures: list[np.ndarray], sources: list[str]) -> None:
        self.pictures, self.sources = pictures, sources
        self.targets = Targets(np.arange(len(pictures), dtype=np.int64) % 4)

    def picture(self, index: int) -> np.ndarray:
        return self.pictures[index]

    def source(self, index: int) -> str:
        return self.sources[index]


def blobs(seed: int, side: int = 48) -> np.ndarray:
    """A picture of smooth noise."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8))
    return np.kron(coarse, np.ones((side // 8, side // 8))).astype(np.uint8)


def drawn(seeds: list[int], sources: list[str] | None = None) -> Drawn:
    return Drawn([blobs(seed) for seed in seeds], sources or [f"picture {seed}" for seed in seeds])


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("FER-Original-Dataset/FER/anger/1604.png", "FER-Original-Dataset/FER/anger/1604"),
        ("FER-Original-Dataset-Augmented/FER/anger/1604_posterize_effect.png", "FER-Original-Dataset/FER/anger/1604"),
        (r"Pictures_augmented\anger\1604_blur.png", "Pictures/anger/1604"),
        ("train_00001_aligned_dark.jpg", "train_00001"),
        ("S010_004_00000017.png", "S010_004_00000017"),
        ("S010_004_00000017_heavy_hair.png", "S010_004_00000017"),
        ("anna_smith_0001.jpg", "anna_smith_0001"),
        ("portrait.png", "portrait"),
        ("cam1_frame0001.png", "cam1_frame0001"),
        ("cam1_frame0001_dark.png", "cam1_frame0001"),
        ("batch1_img5.png", "batch1_img5"),
    ],
)
def test_a_copy_is_known_by_its_name(name: str, source: str) -> None:
    assert source_of(name) == source


@pytest.mark.parametrize("alteration", ALTERATIONS)
def test_every_alteration_is_known_by_its_name(alteration: str) -> None:
    assert source_of(f"faces/train_00001_{alteration}.png") == "faces/train_00001"


def test_the_published_split_leaks_seventy_percent(test_data: Path) -> None:
    with (test_data / "data" / "emotorch" / "image_usage.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    train, validation = ([row["image_path"] for row in rows if row["usage"] == usage] for usage in ("training", "fer_validation"))
    leaks = find_leaks(train, validation)
    assert (leaks.train, leaks.validation, len(leaks.by_source)) == (31_364, 5_535, 3_877)
    assert leaks.share == pytest.approx(0.70, abs=0.001)
    assert leaks.radius is None
    assert "3877 of 5535 validation pictures (70.0%)" in str(leaks)
    assert "pictures were not compared" in str(leaks)
    example = leaks.examples[0]
    assert source_of(example.train) == source_of(example.validation) == example.source
    originals = [name for name in validation if "Augmented" not in name]
    assert (len(originals), len(find_leaks(train, originals).by_source)) == (3_002, 1_539)
    # The posed faces came from elsewhere and were never trained on.
    assert find_leaks(train, [row["image_path"] for row in rows if row["usage"] == "ckp_validation"]).share == 0.0


def test_near_copies_in_ferplus_are_found(test_data: Path) -> None:
    parts = [open_dataset("ferplus", split, test_data / "data" / "ferplus").subset(np.arange(600)) for split in ("valid", "valid")]
    leaks = find_leaks(parts[0].subset(np.arange(300)), parts[1].subset(np.arange(300, 600)))
    assert len(leaks.by_source) == 0
    everything = find_leaks(*parts)
    assert everything.share == 1.0
    assert len(everything.by_hash) == len(everything.by_source) == 600


def test_copies_are_found_whatever_they_are_called() -> None:
    train = drawn([0, 1, 2, 3])
    bright = np.clip(blobs(1) * 0.7 + 30.0, 0, 255).astype(np.uint8)
    larger = np.repeat(np.repeat(blobs(2), 2, 0), 2, 1)
    in_colour = np.repeat(blobs(3)[:, ::-1, None], 3, 2)  # mirrored
    validation = Drawn([blobs(9), bright, larger, in_colour], ["a", "b", "picture 2", "c"])
    leaks = find_leaks(train, validation)
    assert leaks.by_source.tolist() == [2]
    assert leaks.by_hash.tolist() == [1, 2, 3]
    assert leaks.leaked.tolist() == [1, 2, 3]
    assert leaks.share == 0.75
    named = {(example.validation, example.train, example.distance) for example in leaks.examples if example.distance is not None}
    assert {pair[:2] for pair in named} == {("1", "1"), ("2", "2"), ("3", "3")}
    plain = json.loads(json.dumps(leaks.to_dict()))
    assert (plain["leaked"], plain["same_source"], plain["near_copies"], plain["radius"]) == (3, 1, 3, 4)
    clean = find_leaks(train, validation.subset(np.setdiff1d(np.arange(4), leaks.leaked)))
    assert (clean.share, clean.examples) == (0.0, ())


def test_a_hash_survives_light_and_noise_and_tells_pictures_apart() -> None:
    own = hashes(blobs(seed) for seed in range(30))
    for name, most in (("dark", 4), ("low_contrast", 4), ("light_noise", 12)):
        nearest, distance = nearest_copies(own, hashes(alter(blobs(seed), name, 0, seed) for seed in range(30)))
        assert nearest.tolist() == list(range(30))
        assert distance.max() <= most
    assert nearest_copies(own[:15], own[15:])[1].min() > 12
    assert not perceptual_hash(np.full((48, 48), 90, np.uint8)).any()
    assert nearest_copies(hashes([np.full((48, 48), 90, np.uint8)]), hashes([np.full((9, 9), 90, np.uint8)]))[1].tolist() == [32]


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(DatasetError, match="validation part has no pictures"):
        find_leaks(["a.png"], [])
    with pytest.raises(UsageError, match="65, expected 0 to 64"):
        find_leaks(["a.png"], ["b.png"], radius=65)


def test_a_split_divides_no_source_and_is_balanced_over_the_classes() -> None:
    dataset = drawn(list(range(400)), [f"person {n // 8}" for n in range(400)])
    dataset.targets = Targets(np.arange(400, dtype=np.int64) // 8 % 2)
    train, valid = split_by_source(dataset, 0.2, seed=3)
    assert (len(train), len(valid)) == (320, 80)
    assert np.bincount(valid.targets.index).tolist() == [40, 40]
    assert find_leaks([train.source(n) for n in range(len(train))], [valid.source(n) for n in range(len(valid))]).share == 0.0
    names = lambda part: [part.name(n) for n in range(len(part))]  # noqa: E731
    assert sorted(names(train) + names(valid), key=int) == [str(n) for n in range(400)]
    assert names(split_by_source(dataset, 0.2, seed=3)[1]) == names(valid)
    assert names(split_by_source(dataset, 0.2, seed=4)[1]) != names(valid)


def test_a_split_keeps_near_copies_together() -> None:
    dataset = drawn([0, 1, 2, 3, 0, 4, 1], ["a", "b", "c", "d", "e", "e", "f"])
    assert copies_within(dataset).tolist() == [[0, 4], [1, 6]]
    assert len(set(source_groups(dataset).tolist())) == 6
    groups = source_groups(dataset, radius=4).tolist()
    assert len(set(groups)) == 4
    assert groups[0] == groups[4] == groups[5]
    assert groups[1] == groups[6]
    for seed in range(5):
        train, valid = split_by_source(dataset, 0.3, seed, radius=4)
        assert find_leaks(train, valid).share == 0.0


def test_a_split_leaves_something_on_both_sides_or_says_why_not() -> None:
    for share in (0.01, 0.99):
        assert [len(part) > 0 for part in split_by_source(drawn([0, 1]), share)] == [True, True]
    with pytest.raises(DatasetError, match="has 1 source"):
        split_by_source(drawn([0, 1], ["one", "one"]), 0.5)
    with pytest.raises(UsageError, match="between 0 and 1"):
        split_by_source(drawn([0, 1]), 1.0)
