from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emotion_perception.engine.cards import CropSpec, InputSpec
from emotion_perception.engine.data import Image
from emotion_perception.engine.errors import InputError, UsageError
from emotion_perception.engine.target import BoundingBox
from emotion_perception.engine.vision.crops import face_crop, network_input, resized

SPEC = InputSpec(24, 32)


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (24, 32, 3), dtype=np.uint8)


def test_every_way_to_give_a_picture_gives_the_same(picture: np.ndarray, tmp_path: Path) -> None:
    import torch
    from PIL import Image as PillowImage

    file = tmp_path / "picture.png"
    PillowImage.fromarray(picture).save(file)
    expected = (picture.transpose(2, 0, 1)[None] / np.float32(255)).astype(np.float32)
    chw = np.ascontiguousarray(picture.transpose(2, 0, 1))
    alpha = np.dstack([picture, np.full(picture.shape[:2], 9, np.uint8)])
    ways: list[Any] = [picture, file, str(file), Image(picture), chw, torch.from_numpy(picture), torch.from_numpy(chw), alpha]
    for way in ways:
        for batch in (way, [way], (way,)):
            assert np.array_equal(network_input(batch, SPEC), expected)
    mixed = network_input(ways, SPEC)
    assert mixed.shape == (len(ways), 3, 24, 32)
    assert mixed.dtype == np.float32
    assert np.array_equal(mixed, np.repeat(expected, len(ways), axis=0))
    assert np.array_equal(network_input(picture[:, :, ::-1], SPEC, color="bgr"), expected)


def test_batches_with_an_axis_equal_their_singles(picture: np.ndarray) -> None:
    import torch

    singles = [picture, picture[::-1], 255 - picture]
    expected = network_input(singles, SPEC)
    last = np.stack(singles)
    first = np.ascontiguousarray(last.transpose(0, 3, 1, 2))
    for batch in (last, first, torch.from_numpy(last), torch.from_numpy(first)):
        assert np.array_equal(network_input(batch, SPEC), expected)


def test_floats_at_the_networks_size_arrive_bit_for_bit() -> None:
    import torch

    x = np.random.default_rng(0).random((4, 3, 24, 32), dtype=np.float32)
    assert np.array_equal(network_input(x, SPEC), x)
    tensor = torch.from_numpy(x).requires_grad_()
    assert np.array_equal(network_input(tensor, SPEC), x)
    assert np.array_equal(network_input(list(tensor), SPEC), x)
    assert np.allclose(network_input(tensor.to(torch.bfloat16), SPEC), x, atol=4e-3)
    assert np.array_equal(network_input(x.astype(np.float64), SPEC), x)


@pytest.mark.parametrize("color", ["rgb", "bgr"])
@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_a_batch_of_crops_equals_the_crops_one_by_one(color: Any, order: Any) -> None:
    crops = np.random.default_rng(3).integers(0, 256, (5, 24, 32, 3), np.uint8)
    before = crops.copy()
    for spec in (InputSpec(24, 32, color=order), InputSpec(24, 32, color=order, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))):
        together = network_input(crops, spec, color)
        assert np.array_equal(together, network_input(list(crops), spec, color))
        assert (together.shape, together.dtype, together.flags.c_contiguous) == ((5, 3, 24, 32), np.float32, True)
        assert np.array_equal(network_input(crops[::2], spec, color), together[::2])  # not contiguous
    assert np.array_equal(crops, before)


def test_halving_in_steps_is_the_same_mean_up_to_rounding() -> None:
    import cv2

    picture = np.random.default_rng(4).integers(0, 256, (192, 256, 3), np.uint8)
    at_once = cv2.resize(picture, (32, 24), interpolation=cv2.INTER_AREA)
    assert np.abs(resized(picture, 24, 32).astype(int) - at_once).max() <= 1
    floats = picture.astype(np.float32)
    assert np.allclose(resized(floats, 24, 32), cv2.resize(floats, (32, 24), interpolation=cv2.INTER_AREA), atol=1e-3)


@pytest.mark.parametrize("empty", [[], (), np.zeros((0, 3, 5, 5), np.float32), np.zeros((0, 5, 5, 3), np.uint8)])
def test_an_empty_batch_gives_no_rows(empty: Any) -> None:
    assert network_input(empty, SPEC).shape == (0, 3, 24, 32)


def test_colour_order_and_scaling_follow_the_card(picture: np.ndarray) -> None:
    spec = InputSpec(24, 32, "bgr", mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0))
    bgr = picture[:, :, ::-1].astype(np.float64) / 255
    expected = ((bgr - [0.1, 0.2, 0.3]) / [0.5, 0.25, 2.0]).transpose(2, 0, 1)
    assert np.allclose(network_input(picture, spec)[0], expected, atol=1e-5)


def test_shrinking_averages_and_growing_interpolates() -> None:
    checkers = np.kron(np.indices((120, 160)).sum(0) % 2, np.ones((1, 1)))
    board = np.repeat((checkers * 255).astype(np.uint8)[:, :, None], 3, axis=2)
    assert np.allclose(network_input(board, SPEC), 0.5, atol=0.03)  # sampling single pixels would give a pattern
    ramp = np.repeat(np.linspace(0, 1, 8, dtype=np.float32)[None, :, None], 6, axis=0)
    assert (np.diff(network_input(ramp, SPEC)[0, 0], axis=1) >= 0).all()
    stripes = np.zeros((6, 640, 3), np.uint8)  # shrinks along one axis, grows along the other
    stripes[:, ::2] = 255
    assert np.allclose(network_input(stripes, SPEC), 0.5, atol=0.03)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (23, 33)])
@pytest.mark.parametrize("channels", [None, 1, 3, 4])
def test_any_size_and_number_of_channels_is_taken(size: tuple[int, int], channels: int | None) -> None:
    shape = size if channels is None else (*size, channels)
    for value in (np.full(shape, 51, np.uint8), np.full(shape, 0.2, np.float32)):
        assert np.allclose(network_input(value, SPEC), 0.2, atol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (np.zeros((2, 5, 5, 5), np.uint8), r"\(2, 5, 5, 5\)"),
        (np.zeros((1, 1, 3, 5, 5), np.uint8), r"\(1, 1, 3, 5, 5\)"),
        ([np.zeros((2, 3, 5, 5), np.uint8)], r"\(2, 3, 5, 5\)"),
        (np.zeros(5, np.uint8), r"\(5,\)"),
        (np.zeros((5, 5, 3), np.int32), "int32"),
        (np.full((5, 5, 3), np.nan, np.float32), "NaN"),
        (np.full((5, 5, 3), 200.0, np.float32), r"expected \[0, 1\]"),
        (7, "int"),
        (None, "NoneType"),
        ("nowhere.png", "nowhere.png"),
    ],
)
def test_what_is_no_picture_is_refused(wrong: Any, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        network_input(wrong, SPEC)
    assert "\n" not in str(caught.value)


def test_the_batch_is_not_changed_and_not_shared(picture: np.ndarray) -> None:
    spec = InputSpec(24, 32, "bgr", mean=(0.5, 0.5, 0.5))
    x = np.random.default_rng(1).random((2, 3, 24, 32), dtype=np.float32)
    before = x.copy()
    network_input(x, spec)
    assert not np.shares_memory(network_input(x, SPEC), x)
    assert np.array_equal(x, before)


# ---- face crops -----------------------------------------------------------------------------------------------------------


def ramp(width: int, height: int) -> Image:
    """A picture whose colour says where one is: red is x, green is y, in units that fill the range."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, :, 0] = np.round((np.arange(width) + 0.5) / width * 255)
    pixels[:, :, 1] = np.round((np.arange(height) + 0.5) / height * 255)[:, None]
    return Image(pixels)


@settings(max_examples=60, deadline=None)
@given(
    center=st.tuples(st.floats(30, 70), st.floats(27, 53)),
    side=st.floats(12, 50),
    narrow=st.floats(0.3, 1.0),
    scale=st.floats(0.8, 1.0),
    shift_y=st.floats(-0.05, 0.05),
)
def test_a_crop_shows_the_square_the_card_describes(
    center: tuple[float, float], side: float, narrow: float, scale: float, shift_y: float
) -> None:
    image = ramp(100, 80)
    box = BoundingBox(center[0] - side * narrow / 2, center[1] - side / 2, center[0] + side * narrow / 2, center[1] + side / 2)
    crop = face_crop(image, box, CropSpec(scale=scale, shift_y=shift_y), (40, 40))
    at = (np.arange(40) + 0.5) / 40 - 0.5
    inside_x, inside_y = center[0] + at * side * scale, center[1] + shift_y * side + at * side * scale
    # In pixels of the frame; away from the border, where the ramp ends.
    seen_x = (inside_x > 1) & (inside_x < 99)
    seen_y = (inside_y > 1) & (inside_y < 79)
    error_x = crop[:, :, 0].mean(0)[seen_x] / 255 * 100 - inside_x[seen_x]
    error_y = crop[:, :, 1].mean(1)[seen_y] / 255 * 80 - inside_y[seen_y]
    for error in (error_x, error_y):
        assert np.abs(error).max() < 0.6
        # Levels are rounded in the picture and in the crop, each by up to a fifth of a pixel; a crop half a pixel off would show.
        assert abs(error.mean()) < 0.4


def test_a_crop_on_whole_pixels_at_its_own_size_is_exact(picture: np.ndarray) -> None:
    crop = face_crop(Image(picture), BoundingBox(4, 2, 20, 18), CropSpec(), (16, 16))
    assert np.array_equal(crop, picture[2:18, 4:20])


def test_a_large_face_shrinks_without_aliasing() -> None:
    checkers = np.repeat(((np.indices((400, 400)).sum(0) % 2) * 255).astype(np.uint8)[:, :, None], 3, axis=2)
    crop = face_crop(Image(checkers), BoundingBox(7.3, 11.8, 367.3, 371.8), CropSpec(), (96, 96))
    assert np.abs(crop.astype(float) - 127.5).max() < 45
    assert crop.std() < 12


def test_the_outside_repeats_the_border_or_is_black() -> None:
    image = Image(np.full((40, 60, 3), (200, 100, 50), np.uint8))
    box = BoundingBox(-20, -20, 20, 20)
    assert (face_crop(image, box, CropSpec(border="replicate"), (32, 32)) == (200, 100, 50)).all()
    black = face_crop(image, box, CropSpec(border="constant"), (32, 32))
    assert (black[:15] == 0).all()
    assert (black[:, :15] == 0).all()
    assert (black[18:, 18:] == (200, 100, 50)).all()


@settings(max_examples=150, deadline=None)
@given(
    size=st.sampled_from([(1, 1), (1, 40), (40, 1), (33, 47)]),
    corners=st.tuples(*[st.one_of(st.floats(-100, 100), st.floats(-1e12, 1e12), st.integers(-50, 50).map(float))] * 4),
    scale=st.floats(0.1, 4),
    border=st.sampled_from(["replicate", "constant"]),
)
def test_any_finite_box_gives_a_crop(size: tuple[int, int], corners: tuple[float, float, float, float], scale: float, border: str) -> None:
    image = Image(np.full((*size, 3), 77, np.uint8))
    crop = face_crop(image, BoundingBox(*corners), CropSpec(scale=scale, border=border), (12, 10))
    assert crop.shape == (12, 10, 3)
    assert crop.dtype == np.uint8
    assert (image.rgb == 77).all()
    assert (crop == 77).all() if border == "replicate" else (crop <= 77).all()


def test_a_crop_copies_little_of_a_large_frame() -> None:
    pixels = np.zeros((3000, 4000, 3), np.uint8)
    pixels.flags.writeable = False
    image = Image(pixels[:, :, ::-1])  # a view, as a BGR camera gives it
    face_crop(image, BoundingBox(0, 0, 9, 9), CropSpec(), (96, 96))
    tracemalloc.start()
    try:
        face_crop(image, BoundingBox(1000, 1000, 1200, 1200), CropSpec(), (96, 96))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2e6  # the frame has 36 MB


def keys_matrix(before: int, after: int) -> np.ndarray:
    """The weights of MATLAB's bicubic imresize along one axis: Keys's kernel, stretched where the picture shrinks, mirrored borders cut."""
    stretch = max(before / after, 1.0)
    centre = (np.arange(after) + 0.5) * before / after - 0.5
    x = np.abs(np.arange(before)[None] - centre[:, None]) / stretch
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1.0, -0.5 * x**3 + 2.5 * x**2 - 4.0 * x + 2.0
    weights = np.where(x <= 1.0, near, np.where(x <= 2.0, far, 0.0))
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("size", [(90, 130), (20, 31), (45, 200)])
def test_bicubic_is_keys_filter_with_antialiasing(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(1).random((*size, 3), dtype=np.float32) * np.float32(0.5) + np.float32(0.25)
    expected = np.einsum("yi,xj,ijc->yxc", keys_matrix(size[0], 40), keys_matrix(size[1], 50), pixels)
    np.testing.assert_allclose(resized(pixels, 40, 50, "bicubic"), expected, atol=1e-5)
    np.testing.assert_allclose(resized(pixels[:, :, 0], 40, 50, "bicubic"), expected[:, :, 0], atol=1e-5)
    whole = np.rint(255 * pixels).astype(np.uint8)
    assert np.abs(resized(whole, 40, 50, "bicubic") - 255 * expected).max() < 2.0
    assert resized(whole, *size, "bicubic") is whole


def test_the_card_says_how_a_network_s_pictures_are_scaled() -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (64, 80, 3)).astype(np.uint8)
    area, bicubic = (network_input([pixels], InputSpec(24, 24, interpolation=word))[0] for word in ("area", "bicubic"))
    np.testing.assert_array_equal(bicubic, resized(pixels, 24, 24, "bicubic").transpose(2, 0, 1) / np.float32(255.0))
    assert np.abs(area - bicubic).max() > 0.01


def test_a_wrong_box_or_border_is_refused() -> None:
    image = Image(np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(InputError, match="NaN or infinite"):
        face_crop(image, BoundingBox(0, 0, float("nan"), 5), CropSpec(), (8, 8))
    with pytest.raises(UsageError, match="'replicate' or 'constant'"):
        face_crop(image, BoundingBox(0, 0, 5, 5), CropSpec(border="mirror"), (8, 8))
