"""Batches from data sets: soft labels, affect that stands in, crops, and randomness that depends on nothing but its seed."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from emotion_perception.engine.datasets import EmotionDataset, Targets
from emotion_perception.engine.errors import DatasetError
from emotion_perception.engine.labels import AFFECTNET8, FERPLUS8
from emotion_perception.engine.training.pictures import CLASS_AFFECT, Pictures
from emotion_perception.engine.training.subsets import balanced_subset
from emotion_perception.engine.vision.augment import Augmentation
from emotion_perception.engine.vision.crops import central_crop


class Made(EmotionDataset):
    """Pictures of one colour each, the number of the picture as its brightness."""

    labels = AFFECTNET8

    def __init__(self, targets: Targets, side: int = 20, channels: int = 3, scale: float = 1.0) -> None:
        self.targets, self.side, self.channels, self.scale = targets, side, channels, scale

    def picture(self, index: int) -> np.ndarray:
        gradient = np.tile(np.linspace(0, 200, self.side), (self.side, 1)) + index
        return (gradient if self.channels == 1 else np.stack([gradient, gradient.T, gradient // 2], 2)).astype(np.uint8)

    def crop_scale(self, index: int) -> float:
        return self.scale


def made(n: int = 6, **options) -> Made:
    return Made(Targets(np.arange(n, dtype=np.int64) % 8), **options)


def test_a_batch_has_pictures_soft_labels_and_affect():
    images, soft, affect = Pictures(made(), 4).batch(np.array([3, 1]), 32)
    assert images.shape == (2, 3, 32, 32)
    assert images.dtype == torch.float32
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert 0.0 <= float(images.min()) < float(images.max()) <= 1.0
    np.testing.assert_array_equal(soft.numpy(), np.eye(8, dtype=np.float32)[[3, 1]])
    np.testing.assert_array_equal(affect.numpy(), CLASS_AFFECT[[3, 1]])


def test_raters_distributions_are_the_soft_labels_and_weigh_the_class_means_of_affect():
    distribution = np.full((2, 8), np.nan, np.float32)
    distribution[0] = [0.5, 0.5, 0, 0, 0, 0, 0, 0]
    pictures = Pictures(Made(Targets(np.array([-1, 2]), distribution)), 4)
    np.testing.assert_array_equal(pictures.soft[0], distribution[0])
    np.testing.assert_array_equal(pictures.soft[1], np.eye(8)[2])
    np.testing.assert_allclose(pictures.affect[0], (CLASS_AFFECT[0] + CLASS_AFFECT[1]) / 2, rtol=1e-6)


def test_affect_of_the_data_set_comes_before_the_class_means():
    affect = np.array([[0.5, -0.5], [np.nan, np.nan], [np.nan, np.nan]], np.float32)
    pictures = Pictures(Made(Targets(np.array([1, 1, -1]), None, affect)), 4)
    np.testing.assert_array_equal(pictures.affect[:2], [affect[0], CLASS_AFFECT[1]])
    assert pictures.labelled.tolist() == [0, 1]
    assert pictures.with_affect.tolist() == [0, 1]


def test_the_class_means_are_those_of_affectnets_validation_list(test_data):
    rows = np.load(test_data / "data" / "affectnet" / "validation_labels.npy")
    for label in range(8):
        of_class = rows[rows[:, 0] == label]
        np.testing.assert_allclose(of_class[:, 1:].mean(0), CLASS_AFFECT[label], atol=6e-4)


def test_a_data_set_in_other_labels_or_without_pictures_is_refused():
    other = made()
    other.labels = FERPLUS8
    with pytest.raises(DatasetError, match="ferplus8, expected affectnet8"):
        Pictures(other, 4)
    with pytest.raises(DatasetError, match="is empty"):
        Pictures(made(0), 4)


def test_augmentation_depends_on_seed_epoch_and_picture_alone():
    pictures = Pictures(made(), 4, augmentation=Augmentation(), seed=1)
    together = pictures.batch(np.array([0, 1, 2, 3]), 24, epoch=2)[0]
    alone = torch.cat([pictures.batch(np.array([n]), 24, epoch=2)[0] for n in (2, 0)])
    assert torch.equal(alone, together[[2, 0]])
    assert not torch.equal(pictures.batch(np.array([0]), 24, epoch=3)[0], together[:1])
    assert not torch.equal(Pictures(made(), 4, augmentation=Augmentation(), seed=2).batch(np.array([0]), 24, epoch=2)[0], together[:1])


def test_without_an_epoch_or_without_augmentation_pictures_are_as_inference_sees_them():
    dataset = made()
    expected = central_crop(dataset.picture(2), 24)
    for pictures, epoch in ((Pictures(dataset, 4, augmentation=Augmentation()), None), (Pictures(dataset, 4), 5)):
        image = pictures.batch(np.array([2]), 24, epoch)[0][0]
        np.testing.assert_array_equal((image.permute(1, 2, 0) * 255).round().numpy(), expected)


def test_pictures_that_show_more_than_the_box_are_cropped_to_the_networks_crop():
    dataset = made(1, side=60, scale=1.5)
    cropped = Pictures(dataset, 1, crop_scale=1.0).batch(np.array([0]), 40)[0][0]
    np.testing.assert_array_equal((cropped.permute(1, 2, 0) * 255).round().numpy(), dataset.picture(0)[10:50, 10:50])


# ---- augmentation -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(48, 48), (112, 112, 3), (30, 70, 3), (1, 1)])
def test_any_picture_becomes_one_of_the_networks_size(shape):
    picture = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    before = picture.copy()
    for index in range(20):
        changed = Augmentation()(picture, 54, (0, 0, index))
        assert changed.shape == (54, 54, 3)
        assert changed.dtype == np.uint8
    np.testing.assert_array_equal(picture, before)


STILL = Augmentation(scale=(1.0, 1.0), shift=0.0, rotation_deg=0.0, flip=0.0, light=0.0, cast=0.0, grey=0.0, blur=0.0, erase=0.0)


def test_without_any_change_the_picture_is_only_scaled():
    picture = made().picture(0)
    np.testing.assert_array_equal(STILL(picture, 20, (0, 0, 0)), picture)
    larger = STILL(picture, 40, (0, 0, 0)).astype(int) - cv2.resize(picture, (40, 40), interpolation=cv2.INTER_LINEAR)
    assert np.abs(larger[1:-1, 1:-1]).max() <= 1  # the outermost pixels lie half beyond the picture


@pytest.mark.parametrize("zoom", [1.0, 0.6])
def test_a_picture_much_larger_than_the_result_is_as_smooth_as_at_inference(zoom):
    noise = np.random.default_rng(0).integers(0, 256, (400, 400), np.uint8)
    assert float(STILL(noise, 48, (0, 0, 0), zoom).std()) < 1.5 * float(central_crop(noise, 48, zoom).std())


def still(**changes) -> Augmentation:
    return Augmentation(**{**vars(STILL), **changes})


def test_a_mirrored_picture_is_the_mirror_image():
    picture = made().picture(0)
    np.testing.assert_array_equal(still(flip=1.0)(picture, 20, (0, 0, 0)), picture[:, ::-1])


def test_a_large_scale_shows_the_face_smaller():
    picture = np.zeros((60, 60), np.uint8)
    picture[20:40, 20:40] = 255
    areas = [(still(scale=(s, s))(picture, 60, (0, 0, 0))[..., 0] > 127).sum() for s in (0.8, 1.0, 1.3)]
    np.testing.assert_allclose(areas, [625, 400, 400 / 1.69], rtol=0.1)


def test_a_colour_cast_changes_grey_pictures_too_and_grey_takes_colour_away():
    grey = made(channels=1).picture(0)
    assert np.ptp(still(cast=0.3)(grey, 20, (0, 0, 1)).astype(int), axis=2).max() > 5
    assert np.ptp(still(grey=1.0)(made().picture(0), 20, (0, 0, 0)), axis=2).max() == 0


def test_erasing_fills_one_box_with_one_grey():
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    changed = still(erase=1.0)(picture, 64, (0, 0, 3))
    rows, columns = np.nonzero((changed != picture).any(axis=2))
    box = changed[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].reshape(-1, 3)
    assert 8 * 8 <= len(box) <= 32 * 32
    assert len(np.unique(box)) == 1


# ---- subsets ------------------------------------------------------------------------------------------------------------


def test_a_balanced_subset_caps_large_classes_keeps_small_ones_and_is_drawn_afresh():
    index = np.repeat([0, 1, 2, -1], [500, 300, 20, 50]).astype(np.int64)
    first, same, second = balanced_subset(index, 100, 3, 0), balanced_subset(index, 100, 3, 0), balanced_subset(index, 100, 3, 1)
    np.testing.assert_array_equal(first, same)
    assert np.bincount(index[first]).tolist() == [100, 100, 20]
    assert len(np.unique(first)) == 220
    shared = {label: len(np.intersect1d(first[index[first] == label], second[index[second] == label])) for label in (0, 1, 2)}
    # Two independent draws of 100 of 500 share 20 +- 3.6 pictures, of 300 share 33 +- 3.8: five deviations.
    assert abs(shared[0] - 20) < 18
    assert abs(shared[1] - 33.3) < 19
    assert shared[2] == 20


def test_a_subset_of_nothing_is_refused():
    with pytest.raises(DatasetError, match="none of 3 pictures has a class"):
        balanced_subset(np.full(3, -1), 5)


def test_two_options_choose_what_is_changed() -> None:
    even = np.full((48, 48), 100, np.uint8)
    assert Augmentation.of(False, True) is Augmentation.of(False, False) is None
    moved, changed = Augmentation.of(True, False), Augmentation.of(True, True)
    assert moved is not None
    assert changed == Augmentation()
    assert (moved.scale, moved.shift, moved.rotation_deg, moved.flip) == (changed.scale, changed.shift, changed.rotation_deg, changed.flip)
    seen = np.stack([moved(even, 54, (0, 0, i)) for i in range(20)])
    assert set(np.unique(seen[:, 20:34, 20:34])) == {100}  # the rim may show what lies beyond the picture
    assert not np.array_equal(seen, np.stack([changed(even, 54, (0, 0, i)) for i in range(20)]))
