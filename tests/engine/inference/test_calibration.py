from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as PillowImage

from emotion_perception.engine.datasets import open_dataset
from emotion_perception.engine.errors import DatasetError, InputError, UsageError
from emotion_perception.engine.inference.calibration import calibration_set


def test_the_bundled_face_is_varied_the_same_way_each_time(learner):
    first, second = calibration_set(learner), calibration_set(learner, needed=True)
    (ranges,), (check,) = first.ranges, first.check
    assert ranges.shape == check.shape == (64, 3, 24, 32)
    assert ranges.dtype == np.float32
    np.testing.assert_array_equal(first.ranges, second.ranges)
    np.testing.assert_array_equal(first.check, second.check)
    everything = np.concatenate([ranges, check]).reshape(128, -1)
    assert len(np.unique(everything, axis=0)) == 128
    assert "portrait" in first.source


def test_a_list_is_divided_and_no_picture_is_in_both_parts(learner):
    pictures = [np.full((24, 32, 3), value, np.uint8) for value in range(12)]
    made = calibration_set(learner, pictures)
    (ranges,), (check,) = made.ranges, made.check
    assert (len(ranges), len(check)) == (8, 4)
    seen = np.round((np.concatenate([ranges, check])[:, 0, 0, 0] * 0.2 + 0.5) * 255).astype(int)
    assert sorted(seen) == list(range(12))
    assert made.source == "the list given"
    np.testing.assert_array_equal(calibration_set(learner, np.stack(pictures)).check, made.check)


def test_folders_and_data_sets_give_pictures_and_many_are_too_many(learner, tmp_path):
    for number in range(400):
        folder = tmp_path / "faces" / ("Happy", "Sad")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        PillowImage.new("RGB", (4, 4), (number % 256, 0, 0)).save(folder / f"{number}.png")
    for given in (tmp_path / "faces", str(tmp_path / "faces"), open_dataset("folder", None, tmp_path / "faces")):
        made = calibration_set(learner, given)
        assert (len(made.ranges[0]), len(made.check[0])) == (256, 128)
    (tmp_path / "faces" / "Sad" / "1.png").write_bytes(b"nothing")
    (tmp_path / "few").mkdir()
    for number in range(8):
        (tmp_path / "few" / f"{number}.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="few"):
        calibration_set(learner, tmp_path / "few")


def test_a_data_set_is_shown_as_the_card_crops(learner, tmp_path):
    folder = tmp_path / "Happy"
    folder.mkdir()
    pixels = np.zeros((60, 60, 3), np.uint8)
    pixels[20:40, 20:40] = 255
    for number in range(8):
        PillowImage.fromarray(pixels).save(folder / f"{number}.png")
    tight = calibration_set(learner, open_dataset("folder", None, tmp_path, scale=3.0))
    (check,) = tight.check
    assert check.min() == pytest.approx(check.max(), abs=4.0)
    white = (1.0 - np.array(learner.card.input.mean)) / np.array(learner.card.input.std)
    np.testing.assert_allclose(check[0].mean((1, 2)), white, rtol=1e-5)


def test_what_cannot_calibrate_is_refused_in_one_line(learner, tmp_path):
    scene = copy.copy(learner)
    scene.card = replace(learner.card, perceives="scene", crop=None)
    assert calibration_set(scene).source == "random pictures"
    for given, error, match in (
        (None, UsageError, r"int8 needs calibration pictures, and none are bundled for 'toy'.*give calibration"),
        ([], DatasetError, "the list given has 0 pictures, expected at least 8"),
        (tmp_path, DatasetError, "has 0 pictures, expected at least 8"),
        (tmp_path / "nowhere", UsageError, "no folder .*nowhere"),
        (7, UsageError, "calibration is a int, expected an EmotionDataset, a folder or a list"),
    ):
        with pytest.raises(error, match=match) as caught:
            calibration_set(scene, given, needed=True)
        assert "\n" not in str(caught.value)
