"""Altered copies: by name, by seed, lazily."""

from __future__ import annotations

import numpy as np
import pytest

from emotion_perception.engine.datasets import ALTERATIONS, AlteredDataset, alter
from emotion_perception.engine.errors import UsageError
from emotion_perception.engine.labels import EMOTORCH4
from emotion_perception.engine.testing.case import DrawnFaces

FACE = DrawnFaces(EMOTORCH4).picture(1)
# Of 48 pixels, CLAHE's tiles are too small for its limit to matter.
DETERMINED = {"clahe", "flip", "posterize", "equalize", "invert", "top_left_diagonal", "top_right_diagonal"}


@pytest.mark.parametrize("name", ALTERATIONS)
def test_every_alteration_changes_a_picture_as_its_seed_says(name: str) -> None:
    before = FACE.copy()
    for picture in (FACE, FACE[:, :, 1], np.ascontiguousarray(FACE[:40, :30])):
        copy = alter(picture, name, 0)
        assert (copy.shape, copy.dtype) == (picture.shape, np.uint8)
        assert (copy != picture).any()
        np.testing.assert_array_equal(copy, alter(picture, name, 0))
        others = [alter(picture, name, 1), *(alter(picture, name, 0, number) for number in range(1, 6))]
        assert any((other != copy).any() for other in others) != (name in DETERMINED)
    np.testing.assert_array_equal(FACE, before)
    for size in ((1, 1), (1, 90), (3, 3, 3), (200, 50)):
        assert alter(np.full(size, 100, np.uint8), name, 0).shape == size


@pytest.mark.parametrize(
    ("name", "factor"),
    [("dark", (0.2, 0.4)), ("top_rectangle", (0.2, 0.2)), ("top_left_diagonal", (0.25, 0.25)), ("forehead_bar", (0.15, 0.15))],
)
def test_light_and_coverings_are_as_strong_as_published(name: str, factor: tuple[float, float]) -> None:
    ratio = alter(np.full((48, 48), 200, np.uint8), name, 7) / 200.0
    changed = ratio[ratio < 1.0]
    assert changed.min() >= factor[0] - 0.005
    assert changed.max() <= factor[1] + 0.005


def test_coverings_cover_the_upper_half() -> None:
    light = np.full((48, 48), 200, np.uint8)
    for name in ("top_rectangle", "top_left_diagonal", "top_right_diagonal", "forehead_bar", "heavy_hair"):
        rows = np.flatnonzero((alter(light, name, 1) < 200).any(axis=1))
        assert rows.max() < 24, name
    bar = np.flatnonzero((alter(light, "forehead_bar", 1) < 200).all(axis=1))
    assert 3 <= len(bar) <= 6
    assert 8 <= bar[0] <= 16


def test_a_data_set_with_copies_makes_them_when_asked() -> None:
    faces = DrawnFaces(EMOTORCH4, 6)
    altered = AlteredDataset(faces, ("flip", "dark"), 1.0, seed=3)
    assert len(altered) == 18
    assert [altered.alteration(n) for n in range(6)] == ["original"] * 6
    np.testing.assert_array_equal(altered.picture(2), faces.picture(2))
    seen = set()
    for number in range(6, 18):
        name, original = altered.alteration(number), altered.original(number)
        seen.add((name, original))
        np.testing.assert_array_equal(altered.picture(number), alter(faces.picture(original), name, 3, original))
        assert altered.targets.index[number] == faces.targets.index[original]
        assert altered.source(number) == faces.source(original)
        assert altered.name(number) == f"{original}_{name}"
    assert len(seen) == 12
    some = AlteredDataset(faces, ("flip", "dark"), 0.25, seed=3)
    assert len(some) == 9
    assert len(AlteredDataset(faces, (), 1.0)) == 6


def test_unknown_names_and_shares_are_refused() -> None:
    with pytest.raises(UsageError, match="did you mean 'rotation'"):
        alter(FACE, "rotatoin", 0)
    with pytest.raises(UsageError, match="unknown alteration 'grey'"):
        AlteredDataset(DrawnFaces(EMOTORCH4), ("grey",))
    with pytest.raises(UsageError, match=r"1\.5, expected 0 to 1"):
        AlteredDataset(DrawnFaces(EMOTORCH4), ("flip",), 1.5)
