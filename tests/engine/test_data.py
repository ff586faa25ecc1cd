from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from emotion_perception.engine.data import Image, describe, to_pixels
from emotion_perception.engine.errors import InputError, UsageError


def picture(height: int = 6, width: int = 9) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)


# ---- files ------------------------------------------------------------------------------------------------------------


def test_a_colour_picture_is_read_as_it_was_written(tmp_path: Path) -> None:
    PillowImage.fromarray(picture()).save(tmp_path / "a.png")
    for path in (tmp_path / "a.png", str(tmp_path / "a.png")):
        image = Image.open(path)
        assert np.array_equal(image.rgb, picture())
        assert (image.height, image.width, image.stamp_s, image.frame_id) == (6, 9, None, "")


def save_grey(path: Path) -> None:
    PillowImage.fromarray(picture()[:, :, 0]).save(path)


def save_grey_alpha(path: Path) -> None:
    PillowImage.merge("LA", [PillowImage.fromarray(picture()[:, :, 0]), PillowImage.new("L", (9, 6), 7)]).save(path)


def save_alpha(path: Path) -> None:
    PillowImage.fromarray(np.dstack([picture(), np.full((6, 9), 7, np.uint8)])).save(path)


def save_palette(path: Path) -> None:
    PillowImage.fromarray(picture() // 64 * 64).convert("P", palette=PillowImage.Palette.WEB).save(path)


def save_one_bit(path: Path) -> None:
    PillowImage.fromarray(picture()[:, :, 0] > 127).save(path)


def save_sixteen_bits(path: Path) -> None:
    PillowImage.fromarray(picture()[:, :, 0].astype(np.uint16) * 257).save(path)


@pytest.mark.parametrize(
    ("save", "expected"),
    [
        (save_grey, np.repeat(picture()[:, :, :1], 3, axis=2)),
        (save_grey_alpha, np.repeat(picture()[:, :, :1], 3, axis=2)),
        (save_alpha, picture()),
        (save_one_bit, np.repeat((picture()[:, :, :1] > 127) * np.uint8(255), 3, axis=2)),
        (save_sixteen_bits, np.repeat(picture()[:, :, :1], 3, axis=2)),
    ],
)
def test_every_kind_of_png_becomes_rgb(save: Callable[[Path], None], expected: np.ndarray, tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    assert np.array_equal(Image.open(tmp_path / "a.png").rgb, expected)


def test_a_palette_becomes_its_colours(tmp_path: Path) -> None:
    save_palette(tmp_path / "a.png")
    with PillowImage.open(tmp_path / "a.png") as same:
        assert same.mode == "P"
        assert np.array_equal(Image.open(tmp_path / "a.png").rgb, np.asarray(same.convert("RGB")))


def test_one_pixel_is_a_picture(tmp_path: Path) -> None:
    PillowImage.new("RGB", (1, 1), (1, 2, 3)).save(tmp_path / "a.bmp")
    assert Image.open(tmp_path / "a.bmp").rgb.tolist() == [[[1, 2, 3]]]


def test_of_an_animation_the_first_frame_is_read(tmp_path: Path) -> None:
    frames = [PillowImage.new("RGB", (4, 4), color) for color in ((255, 0, 0), (0, 0, 255))]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert Image.open(tmp_path / "a.gif").rgb[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(("orientation", "turned"), [(1, 0), (6, 3), (3, 2), (8, 1)])
def test_a_turned_camera_gives_an_upright_picture(orientation: int, turned: int, tmp_path: Path) -> None:
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    left_red = np.zeros((16, 32, 3), np.uint8)
    left_red[:, :16, 0] = 255
    PillowImage.fromarray(left_red).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(Image.open(tmp_path / "a.png").rgb, np.rot90(left_red, turned))


def tags(*entries: tuple[int, int, int, bytes]) -> bytes:
    """Returns an EXIF block of tags: number, type, count and four bytes of value."""
    return b"Exif\0\0MM\0*" + struct.pack(">IH", 8, len(entries)) + b"".join(struct.pack(">HHI4s", *each) for each in entries) + bytes(4)


@pytest.mark.parametrize(
    ("exif", "turned"),
    [
        (tags((0x0100, 2, 4, b"abc\0"), (0x0112, 3, 1, b"\0\6\0\0")), 3),  # a width that is a word: no error until it is written again
        (tags((0x0112, 12, 1, b"\xff\xff\xff\xff")), 0),
        (tags((0x0112, 2, 4, b"up!\0")), 0),
        (b"Exif\0\0no tags at all", 0),
        (b"Exif\0\0MM\0*" + b"\xff" * 8, 0),
    ],
    ids=["another-tag", "infinite", "a-word", "no-tags", "cut-off"],
)
def test_damaged_exif_does_not_cost_the_picture(exif: bytes, turned: int, tmp_path: Path) -> None:
    left_red = np.zeros((16, 32, 3), np.uint8)
    left_red[:, :16, 0] = 255
    PillowImage.fromarray(left_red).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(Image.open(tmp_path / "a.png").rgb, np.rot90(left_red, turned))


def test_whatever_a_decoder_raises_is_an_input_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    PillowImage.fromarray(picture()).save(tmp_path / "a.png")

    def fail(*_: object) -> None:
        raise struct.error("unpack requires\na buffer")

    monkeypatch.setattr(PillowImage.Image, "convert", fail)
    with pytest.raises(InputError, match=r"a.png': unpack requires a buffer; give a whole"):
        Image.open(tmp_path / "a.png")


def test_a_picture_of_a_hundred_megapixels_is_read(tmp_path: Path) -> None:
    large = PillowImage.new("1", (12000, 9000), 0)
    large.putpixel((11999, 8999), 1)
    large.save(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size < 100_000
    image = Image.open(tmp_path / "a.png")
    assert (image.width, image.height) == (12000, 9000)
    assert image.rgb[-1, -2:].tolist() == [[0, 0, 0], [255, 255, 255]]


def bomb(width: int, height: int) -> bytes:
    """Returns a tiny PNG whose header says that it is huge."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def encoded(suffix: str) -> bytes:
    from io import BytesIO

    stream = BytesIO()
    PillowImage.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3)).astype(np.uint8)).save(stream, suffix)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("empty.png", b"", "is empty (0 bytes); give a JPEG, PNG, BMP, TIFF or WebP file"),
        ("text.jpg", b"no picture at all", "is not a picture; give a JPEG, PNG, BMP, TIFF or WebP file"),
        ("zeros.png", bytes(1000), "is not a picture"),
        ("half.jpg", encoded("jpeg")[: len(encoded("jpeg")) // 2], "cannot read picture "),
        ("half.png", encoded("png")[: len(encoded("png")) // 2], "cannot read picture "),
        ("start.png", encoded("png")[:10], "picture"),
        ("bomb.png", bomb(20000, 20000), "has more than 178 million pixels; scale it down first"),
        ("nothing.png", bomb(4, 4), "cannot read picture "),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value[-5:] else "",
)
def test_a_file_that_is_no_whole_picture_is_refused_by_name(name: str, content: bytes, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        Image.open(tmp_path / name)
    assert text in str(caught.value)
    assert repr(str(tmp_path / name)) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("missing.png", "No such file or directory"), (".", "Is a directory"), ("a\0b.png", "null"), ("x" * 300, "too long")],
)
def test_a_path_that_leads_to_no_file_is_refused_with_the_reason(name: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        Image.open(tmp_path / name)
    assert str(caught.value).startswith("cannot read picture ")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


# ---- arrays -----------------------------------------------------------------------------------------------------------

RGB = picture()
FLOAT = RGB.astype(np.float32) / 255.0


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (RGB, RGB),
        (RGB.transpose(2, 0, 1), RGB),
        (np.dstack([RGB, RGB[:, :, 0]]), RGB),
        (np.dstack([RGB, RGB[:, :, 0]]).transpose(2, 0, 1), RGB),
        (RGB[:, :, 0], np.repeat(RGB[:, :, :1], 3, axis=2)),
        (RGB[:, :, :1], np.repeat(RGB[:, :, :1], 3, axis=2)),
        (RGB[None, :, :, 0], np.repeat(RGB[:, :, :1], 3, axis=2)),
        (RGB > 100, (RGB > 100) * np.uint8(255)),
        (FLOAT, RGB),
        (FLOAT.astype(np.float64), RGB),
        (np.ones((2, 2, 3), np.float16), np.full((2, 2, 3), 255, np.uint8)),
        (torch.from_numpy(RGB), RGB),
        (torch.from_numpy(FLOAT).permute(2, 0, 1).requires_grad_(), RGB),
        (RGB[::-1, ::2], RGB[::-1, ::2]),
        (np.zeros((3, 3, 3), np.uint8), np.zeros((3, 3, 3), np.uint8)),
    ],
    ids=[
        "hwc",
        "chw",
        "alpha",
        "alpha-chw",
        "grey",
        "grey-hw1",
        "grey-1hw",
        "bool",
        "float32",
        "float64",
        "float16",
        "tensor",
        "tensor-chw-gradient",
        "strided",
        "3x3",
    ],
)
def test_every_layout_becomes_rgb(array: Any, expected: np.ndarray) -> None:
    image = Image.from_array(array)
    assert image.rgb.dtype == np.uint8
    assert np.array_equal(image.rgb, expected)


def test_three_columns_are_taken_for_colours_before_three_rows() -> None:
    # (3, 8, 3) could be either; the last axis is the usual one for arrays.
    array = np.random.default_rng(2).integers(0, 256, (3, 8, 3)).astype(np.uint8)
    assert np.array_equal(Image.from_array(array).rgb, array)


def test_bgr_is_turned_round_where_it_is_said() -> None:
    assert np.array_equal(Image.from_array(RGB[:, :, ::-1], color="bgr").rgb, RGB)
    with_alpha = np.dstack([RGB[:, :, ::-1], RGB[:, :, 0]])
    assert np.array_equal(Image.from_array(with_alpha, color="bgr").rgb, RGB)
    assert np.array_equal(Image.from_array(RGB[:, :, 0], color="bgr").rgb, Image.from_array(RGB[:, :, 0]).rgb)


def test_floats_stay_floats_where_nothing_may_be_lost() -> None:
    fine = np.full((2, 2, 3), 0.12345, np.float32)
    assert to_pixels(fine).dtype == np.float32
    assert np.array_equal(to_pixels(fine), fine)
    assert to_pixels(fine.astype(np.float64)).dtype == np.float32
    assert to_pixels(RGB).dtype == np.uint8


def test_the_source_is_never_changed_and_may_be_read_only() -> None:
    for array in (RGB.copy(), FLOAT.copy(), RGB[:, :, 0].copy()):
        before = array.copy()
        array.flags.writeable = False
        Image.from_array(array, color="bgr")
        assert np.array_equal(array, before)


LAYOUTS = "a picture has shape (h, w), (h, w, 1|3|4) or (1|3|4, h, w), got "


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.zeros(5, np.uint8), LAYOUTS + "ndarray of shape (5,) and type uint8"),
        (np.zeros((5, 5, 2), np.uint8), LAYOUTS + "ndarray of shape (5, 5, 2) and type uint8"),
        (np.zeros((2, 5, 5, 3), np.uint8), LAYOUTS + "ndarray of shape (2, 5, 5, 3) and type uint8"),
        (np.zeros((0, 5, 3), np.uint8), LAYOUTS + "ndarray of shape (0, 5, 3) and type uint8"),
        (np.zeros((), np.uint8), LAYOUTS + "ndarray of shape () and type uint8"),
        (np.zeros((5, 5, 3), np.int32), "a picture is uint8 in 0..255 or float in [0, 1], got ndarray of shape (5, 5, 3) and type int32"),
        (np.zeros((5, 5, 3), np.uint16), "and type uint16; convert it first"),
        (np.zeros((5, 5), np.complex64), "and type complex64; convert it first"),
        (np.full((5, 5), "x"), "convert it first"),
        (np.array([[1, None]], dtype=object), "and type object; convert it first"),
        (np.full((2, 2, 3), 1.001), "has floats in [1, 1], expected [0, 1]; divide by 255 or pass uint8"),
        (FLOAT * 255.0, "has floats in [0, 255], expected [0, 1]; divide by 255 or pass uint8"),
        (FLOAT - 0.5, "expected [0, 1]; divide by 255 or pass uint8"),
        (np.where(FLOAT > 0.5, np.nan, FLOAT), "has NaN or infinite values; expected floats in [0, 1]"),
        (np.where(FLOAT > 0.5, np.inf, FLOAT), "has NaN or infinite values; expected floats in [0, 1]"),
        ([[1, 2], [3, 4]], "a picture is a path, an Image, an array or a tensor, got list"),
        (None, "a picture is a path, an Image, an array or a tensor, got NoneType"),
    ],
)
def test_what_cannot_be_a_picture_is_refused_with_given_and_expected(array: Any, text: str) -> None:
    for convert in (Image.from_array, to_pixels):
        with pytest.raises(InputError) as caught:
            convert(array)
        assert text in str(caught.value)
        assert "\n" not in str(caught.value)


def test_an_unknown_colour_order_is_refused() -> None:
    with pytest.raises(UsageError, match="color is 'brg', expected 'rgb' or 'bgr'"):
        Image.from_array(RGB, color="brg")  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize(
    "rgb",
    [FLOAT, RGB[:, :, 0], np.dstack([RGB, RGB]), RGB[:0], RGB[:, :0], None, [[1]]],
    ids=["float", "grey", "six", "no-rows", "no-columns", "none", "list"],
)
def test_an_image_holds_rgb_bytes_and_nothing_else(rgb: Any) -> None:
    with pytest.raises(InputError, match=r"Image takes a \(height, width, 3\) uint8 RGB array, got .*; use Image.from_array to convert"):
        Image(rgb)


def test_stamp_and_frame_are_kept() -> None:
    image = Image.from_array(RGB, stamp_s=12.5, frame_id="camera")
    assert (image.stamp_s, image.frame_id) == (12.5, "camera")
    assert repr(image) == "Image(9x6, stamp_s=12.5, frame_id='camera')"


def test_copies_are_copies() -> None:
    image = Image(RGB.copy())
    bgr, rgb = image.opencv(), image.numpy()
    assert np.array_equal(bgr, RGB[:, :, ::-1])
    assert bgr.flags.c_contiguous
    bgr[:], rgb[:] = 0, 0
    assert np.array_equal(image.rgb, RGB)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5, "int"),
        ("a", "str"),
        (RGB, "ndarray of shape (6, 9, 3) and type uint8"),
        (torch.zeros(2), "Tensor of shape (2,) and type torch.float32"),
    ],
)
def test_values_are_described_for_messages(value: Any, text: str) -> None:
    assert describe(value) == text
