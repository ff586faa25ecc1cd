from __future__ import annotations

import csv
import io
import logging
import pickle
import shutil
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

from emotion_perception.engine.data import Image
from emotion_perception.engine.datasets import (
    ConcatDataset,
    CsvDataset,
    ExternalDataset,
    FERPlus,
    ImageFolder,
    Targets,
    open_dataset,
)
from emotion_perception.engine.datasets.ferplus import majority_and_distribution
from emotion_perception.engine.errors import DatasetError, InputError, UsageError
from emotion_perception.engine.labels import AFFECTNET8, FERPLUS8

GREY, RED = 128, (255, 0, 0)


def png(value: int | tuple[int, int, int] = GREY, side: int = 48, kind: str = ".png") -> bytes:
    """A picture of one colour (RGB)."""
    pixels = np.full((side, side), value, np.uint8) if isinstance(value, int) else np.full((side, side, 3), value[::-1], np.uint8)
    return cv2.imencode(kind, pixels)[1].tobytes()


# Name, ten counts (neutral happiness surprise sadness anger disgust fear contempt unknown NF), class in affectnet8.
VOTES = [
    ("a.png", (0, 10, 0, 0, 0, 0, 0, 0, 0, 0), 1),  # all agree
    ("b.png", (0, 0, 6, 0, 0, 0, 4, 0, 0, 0), 3),  # surprise, with fear
    ("c.png", (5, 0, 0, 5, 0, 0, 0, 0, 0, 0), -1),  # exactly half is no majority
    ("d.png", (4, 0, 0, 1, 1, 1, 1, 1, 1, 0), 0),  # single votes do not count, so neutral has all
    ("e.png", (2, 0, 0, 0, 0, 0, 0, 0, 8, 0), -1),  # the winner is `unknown`, but a distribution remains
    ("f.png", (0, 0, 0, 0, 0, 0, 0, 0, 0, 10), -1),  # not a face: nothing remains
    ("g.png", (1, 1, 1, 1, 1, 1, 1, 1, 1, 1), -1),  # nothing remains
    ("h.png", (0, 0, 0, 0, 3, 0, 0, 0, 3, 0), -1),  # `unknown` counts among the votes
    ("i.png", (0, 0, 0, 7, 0, 0, 0, 3, 0, 0), 2),  # sadness, with contempt
]


@pytest.fixture
def ferplus(tmp_path: Path) -> Callable[..., Path]:
    """Makes a FER+ folder: unpacked, zipped, or as Kaggle's two tables."""

    def make(layout: str, split: str = "FER2013Valid") -> Path:
        root = tmp_path / layout
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        pictures = {name: np.full((48, 48), 10 * i, np.uint8) for i, (name, _, _) in enumerate(VOTES)}
        if layout == "kaggle":
            usage = {"FER2013Train": "Training", "FER2013Valid": "PublicTest"}[split]
            with (root / "fer2013.csv").open("w") as pixels, (root / "fer2013new.csv").open("w") as votes:
                pixels.write("emotion,pixels,Usage\n")
                votes.write("Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF\n")
                for name, counts, _ in [("other.png", VOTES[0][1], 1), *VOTES, ("", VOTES[5][1], -1)]:
                    part = "PrivateTest" if name == "other.png" else usage
                    picture = pictures.get(name, np.zeros((48, 48), np.uint8))
                    pixels.write(f"0,{' '.join(map(str, picture.ravel()))},{part}\n")
                    votes.write(",".join([part, name, *map(str, counts)]) + "\n")
            return root
        files = {name: cv2.imencode(".png", picture)[1].tobytes() for name, picture in pictures.items()}
        table = io.StringIO()
        csv.writer(table, lineterminator="\n").writerows([name, "(0, 0, 48, 48)", *counts] for name, counts, _ in VOTES)
        files["label.csv"] = table.getvalue().encode()
        if layout == "zip":
            with zipfile.ZipFile(root / f"{split}.zip", "w") as packed:
                for name, data in files.items():
                    packed.writestr(f"{split}/{name}", data)
        else:
            (root / split).mkdir()
            for name, data in files.items():
                (root / split / name).write_bytes(data)
        return root

    return make


@pytest.fixture
def class_folders(tmp_path: Path) -> Path:
    root = tmp_path / "faces"
    for folder, files in {"happiness": ["a.png", "b.jpg"], "Neutral": ["c.png"], "fear/deep": ["d.PNG"], ".hidden": ["e.png"]}.items():
        (root / folder).mkdir(parents=True)
        for file in files:
            (root / folder / file).write_bytes(png(RED, 20, Path(file).suffix.lower()))
    (root / "happiness" / "notes.txt").write_text("not a picture")
    return root


@pytest.fixture
def table(tmp_path: Path) -> Callable[[str], Path]:
    """Makes a table with the given text, beside the pictures a.png and images/b.png."""

    def make(text: str) -> Path:
        (tmp_path / "images").mkdir(exist_ok=True)
        (tmp_path / "a.png").write_bytes(png(RED))
        (tmp_path / "images" / "b.png").write_bytes(png(7))
        (tmp_path / "labels.csv").write_text(text)
        return tmp_path / "labels.csv"

    return make


# ---- FER+ -------------------------------------------------------------------------------------------------------------


def test_the_majority_and_distribution_of_votes() -> None:
    counts = np.array([row[1] for row in VOTES])
    index, distribution = majority_and_distribution(counts, AFFECTNET8)
    assert index.tolist() == [row[2] for row in VOTES]
    assert index.dtype == np.int64
    np.testing.assert_allclose(distribution[1], [0, 0, 0, 0.6, 0.4, 0, 0, 0], atol=1e-6)  # affectnet8: surprise 3, fear 4
    np.testing.assert_allclose(distribution[4], [1, 0, 0, 0, 0, 0, 0, 0])
    np.testing.assert_allclose(distribution[8], [0, 0, 0.7, 0, 0, 0, 0, 0.3], atol=1e-6)
    assert np.isnan(distribution[[5, 6]]).all()
    own_order, _ = majority_and_distribution(counts, FERPLUS8)
    assert own_order.tolist() == [1, 2, -1, 0, -1, -1, -1, -1, 3]


@pytest.mark.parametrize("layout", ["folder", "zip", "kaggle"])
def test_ferplus_reads_every_layout_alike(ferplus: Callable[..., Path], layout: str) -> None:
    data = FERPlus(ferplus(layout), "FER2013Valid")
    assert [data.name(i) for i in range(len(data))] == ["a.png", "b.png", "d.png", "i.png"]
    assert data.targets.index.tolist() == [1, 3, 0, 2]
    assert data.pictures.shape == (4, 48, 48)
    assert [int(data.picture(i)[0, 0]) for i in range(4)] == [0, 10, 30, 80]
    assert data.counts()["Happy"] == 1
    soft = FERPlus(ferplus(layout), "valid", mode="distribution")
    assert [soft.name(i) for i in range(len(soft))] == ["a.png", "b.png", "c.png", "d.png", "e.png", "h.png", "i.png"]
    assert soft.targets.index.tolist() == [1, 3, -1, 0, -1, -1, 2]
    np.testing.assert_allclose(soft.targets.distribution.sum(axis=1), 1.0, atol=1e-6)


def test_a_sample_is_an_image_and_its_category(ferplus: Callable[..., Path]) -> None:
    data = FERPlus(ferplus("zip"), "FER2013Valid", mode="distribution")
    image, category = data[1]
    assert isinstance(image, Image)
    assert (image.width, image.height) == (48, 48)
    assert (category.data, category.description) == (3, "Surprise")
    assert category.confidence == pytest.approx(0.6)
    assert data[2][1] is None
    assert len(list(data)) == 7
    with pytest.raises(IndexError):
        data[7]


def test_ferplus_leaves_out_broken_pictures_and_says_so_once(ferplus: Callable[..., Path], caplog: pytest.LogCaptureFixture) -> None:
    root = ferplus("folder")
    (root / "FER2013Valid" / "b.png").write_bytes(b"")
    (root / "FER2013Valid" / "d.png").unlink()
    with caplog.at_level(logging.WARNING):
        data = FERPlus(root, "FER2013Valid")
    assert [data.name(i) for i in range(len(data))] == ["a.png", "i.png"]
    assert data.skipped == 2
    assert len(caplog.records) == 1
    assert "'b.png'" in caplog.text


def test_ferplus_refuses_what_it_cannot_use(ferplus: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="there is no folder"):
        FERPlus(tmp_path / "nowhere", "FER2013Valid")
    with pytest.raises(DatasetError, match=r"neither FER2013Test/ nor FER2013Test\.zip"):
        FERPlus(ferplus("zip"), "FER2013Test")
    with pytest.raises(UsageError, match="did you mean 'FER2013Valid'"):
        FERPlus(tmp_path, "FER2013Vald")
    with pytest.raises(UsageError, match="mode is 'soft'"):
        FERPlus(tmp_path, "valid", mode="soft")  # type: ignore[arg-type]
    folder = ferplus("folder") / "FER2013Valid"
    (folder / "label.csv").write_text('a.png,"(0, 0, 48, 48)",1,2\n')
    with pytest.raises(DatasetError, match=r"row 1 of .* has too few columns"):
        FERPlus(folder.parent, "valid")
    (folder / "label.csv").write_text('a.png,"(0, 0, 48, 48)",1,2,x,4,5,6,7,8,9,10\n')
    with pytest.raises(DatasetError, match="not a whole number"):
        FERPlus(folder.parent, "valid")
    (folder / "label.csv").unlink()
    with pytest.raises(DatasetError, match=r"no label\.csv"):
        FERPlus(folder.parent, "valid")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "FER2013Valid.zip").write_bytes(b"PK\x03\x04 truncated")
    with pytest.raises(DatasetError, match="whole zip file"):
        FERPlus(broken, "valid")


def test_kaggle_tables_that_do_not_match_are_refused(ferplus: Callable[..., Path]) -> None:
    root = ferplus("kaggle")
    votes = (root / "fer2013new.csv").read_text().splitlines(keepends=True)
    (root / "fer2013new.csv").write_text("".join(votes[:-1]))
    with pytest.raises(DatasetError, match="do not match"):
        FERPlus(root, "valid")
    (root / "fer2013new.csv").write_text("".join([*votes, votes[-1]]))
    with pytest.raises(DatasetError, match=r"11 rows and fer2013new\.csv 12"):
        FERPlus(root, "valid")


def test_the_real_validation_part_has_3191_majorities(test_data: Path) -> None:
    data = FERPlus(test_data / "data" / "ferplus", "FER2013Valid")
    assert len(data) == 3191
    assert data.skipped == 0
    assert list(data.counts().values()) == [1180, 862, 348, 411, 60, 25, 289, 16]


# ---- targets, subsets, joins ----------------------------------------------------------------------------------------------


def test_soft_labels_are_the_distribution_else_the_class_else_nan() -> None:
    distribution = np.array([[0.5, 0.5, 0], [np.nan] * 3, [np.nan] * 3], np.float32)
    soft = Targets(np.array([0, 2, -1]), distribution).soft(3)
    np.testing.assert_array_equal(soft, np.array([[0.5, 0.5, 0], [0, 0, 1], [np.nan] * 3], np.float32))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros(3),), "int64"),
        ((np.zeros(2, np.int64), np.full((2, 3), 0.5, np.float32)), "sum to 1"),
        ((np.zeros(2, np.int64), np.zeros((3, 8), np.float32)), "distribution has shape"),
        ((np.zeros(2, np.int64), None, np.zeros((2, 3), np.float32)), "affect has shape"),
    ],
)
def test_targets_that_do_not_fit_are_refused(arguments: tuple[np.ndarray, ...], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        Targets(*arguments)


def test_a_subset_shows_the_chosen_pictures_in_order(ferplus: Callable[..., Path]) -> None:
    data = FERPlus(ferplus("zip"), "FER2013Valid")
    chosen = data.subset([3, 0])
    assert [chosen.name(i) for i in range(2)] == ["i.png", "a.png"]
    assert chosen.targets.index.tolist() == [2, 1]
    assert chosen[0][1].description == "Sad"
    np.testing.assert_array_equal(chosen.picture(1), data.picture(0))
    masked = data.subset(data.targets.index == 3)
    assert [masked.name(i) for i in range(len(masked))] == ["b.png"]
    assert len(data.subset([])) == 0
    with pytest.raises(DatasetError, match=r"indices in 0\.\.3"):
        data.subset([4])


def test_a_join_keeps_order_and_fills_in_what_one_part_lacks(ferplus: Callable[..., Path], table: Callable[[str], Path]) -> None:
    votes = FERPlus(ferplus("zip"), "FER2013Valid", mode="distribution")
    colour = CsvDataset(table("file,label,valence,arousal\na.png,anger,-0.5,0.5\n"), scale=1.5)
    both = ConcatDataset([votes, colour])
    assert len(both) == 8
    assert both.name(0) == "a.png"
    assert both.picture(7).shape == (48, 48, 3)
    assert both[7][1].description == "Anger"
    assert [both.crop_scale(0), both.crop_scale(7), both.subset([7]).crop_scale(0)] == [1.0, 1.5, 1.5]
    np.testing.assert_array_equal(both.targets.distribution[7], np.eye(8)[6])
    np.testing.assert_allclose(both.targets.affect[7], [-0.5, 0.5])
    assert np.isnan(both.targets.affect[:7]).all()
    with pytest.raises(DatasetError, match="cannot join data sets in affectnet8 and ferplus8"):
        ConcatDataset([votes, FERPlus(ferplus("zip"), "valid", labels=FERPLUS8)])
    with pytest.raises(DatasetError, match="at least one"):
        ConcatDataset([])


# ---- folders ------------------------------------------------------------------------------------------------------------


def test_a_folder_per_class_takes_synonyms_and_deeper_folders(class_folders: Path) -> None:
    data = ImageFolder(class_folders)
    assert [data.name(i) for i in range(len(data))] == ["Neutral/c.png", "fear/deep/d.PNG", "happiness/a.png", "happiness/b.jpg"]
    assert data.targets.index.tolist() == [0, 4, 1, 1]
    np.testing.assert_array_equal(data.picture(0)[0, 0], RED)


def test_a_zipped_folder_reads_the_same_in_place_from_threads_and_other_processes(class_folders: Path, tmp_path: Path) -> None:
    packed = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", class_folders.parent, "faces"))
    data, plain = ImageFolder(packed), ImageFolder(class_folders)
    assert data.targets.index.tolist() == plain.targets.index.tolist()
    with ThreadPoolExecutor(4) as pool:
        for i, picture in enumerate(pool.map(data.picture, list(range(4)) * 8)):
            np.testing.assert_array_equal(picture, plain.picture(i % 4))
    again = pickle.loads(pickle.dumps(data))
    np.testing.assert_array_equal(again.picture(2), plain.picture(2))


def test_a_part_of_a_folder(class_folders: Path, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    class_folders.rename(tmp_path / "set" / "train")
    assert len(ImageFolder(tmp_path / "set", "train")) == 4
    with pytest.raises(DatasetError, match="say which with split='train'"):
        ImageFolder(tmp_path / "set")
    with pytest.raises(UsageError, match="did you mean 'train'"):
        ImageFolder(tmp_path / "set", "tran")


def test_folders_that_cannot_be_used(class_folders: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="there is no folder or zip file"):
        ImageFolder(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="no pictures in class folders"):
        ImageFolder(tmp_path / "empty")
    (class_folders / "hapy").mkdir()
    (class_folders / "hapy" / "a.png").write_bytes(png())
    with pytest.raises(DatasetError, match=r"folder 'hapy' .* did you mean 'Happy'"):
        ImageFolder(class_folders)


def test_broken_pictures_are_left_out_with_one_warning(class_folders: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = png((10, 200, 30), 64, ".jpg")
    (class_folders / "Neutral" / "trailing.jpg").write_bytes(whole + b"\0" * 100)  # some cameras append data; the picture is whole
    (class_folders / "Neutral" / "empty.jpg").write_bytes(b"")
    (class_folders / "Neutral" / "text.jpg").write_text("no picture")
    (class_folders / "Neutral" / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    with caplog.at_level(logging.WARNING):
        data = ImageFolder(class_folders)
    assert (len(data), data.skipped) == (5, 3)
    assert len(caplog.records) == 1
    assert "left out 3 of 8" in caplog.text
    assert "Neutral/empty.jpg" in caplog.text
    for file in class_folders.rglob("*/*.*"):
        file.write_bytes(b"")
    with pytest.raises(DatasetError, match="no usable picture"):
        ImageFolder(class_folders)


@pytest.mark.parametrize("kind", [".png", ".jpg", ".bmp", ".webp", ".tiff"])
@pytest.mark.parametrize("packed", [False, True])
def test_what_was_not_left_out_can_be_read(tmp_path: Path, kind: str, packed: bool) -> None:
    random = np.random.default_rng(0)
    whole = cv2.imencode(kind, random.integers(0, 256, (24, 24, 3), np.uint8))[1].tobytes()
    folder = tmp_path / "faces" / "fear"
    folder.mkdir(parents=True)
    for number in range(60):
        damaged = bytearray(whole)
        damaged[int(random.integers(len(whole) if number % 2 else 200))] ^= int(random.integers(1, 256))
        (folder / f"{number}{kind}").write_bytes(damaged)
    (folder / f"whole{kind}").write_bytes(whole)
    (folder / f"tiny{kind}").write_bytes(png(RED, 3, kind))
    data = ImageFolder(shutil.make_archive(str(tmp_path / "packed"), "zip", folder.parent) if packed else folder.parent)
    assert all(data.picture(i).ndim == 3 for i in range(len(data)))
    assert {f"whole{kind}", f"tiny{kind}"} <= {Path(name).name for name in data.names}
    assert data.skipped > 0


def test_formats_that_only_pillow_reads_are_left_out(class_folders: Path) -> None:
    values = PillowImage.fromarray(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8))
    values.save(class_folders / "fear" / "float.tiff")
    PillowImage.new("RGB", (8, 8)).save(class_folders / "fear" / "other.png", "TGA")
    assert ImageFolder(class_folders).skipped == 2


def test_a_picture_that_breaks_later_is_named(class_folders: Path) -> None:
    data = ImageFolder(class_folders)
    (class_folders / "Neutral" / "c.png").unlink()
    with pytest.raises(InputError, match=r"Neutral/c\.png"):
        data.picture(0)


# ---- tables -------------------------------------------------------------------------------------------------------------


def test_a_table_with_affect_and_parts(table: Callable[[str], Path]) -> None:
    text = "file,label,valence,arousal,split,person\na.png,joy,0.5,-0.25,train,x\nb.png,,-2,0.1,train,y\nb.png,Sadness,,,valid,y\n"
    data = CsvDataset(table(text))
    assert data.targets.index.tolist() == [1, -1, 2]
    np.testing.assert_allclose(data.targets.affect, [[0.5, -0.25], [np.nan, 0.1], [np.nan, np.nan]])
    np.testing.assert_array_equal(data.picture(0)[0, 0], RED)
    np.testing.assert_array_equal(data.picture(1)[0, 0], (7, 7, 7))
    valid = CsvDataset(table(text), split="valid")
    assert valid.targets.index.tolist() == [2]
    assert valid.targets.affect is None


@pytest.mark.parametrize(
    ("text", "split", "message"),
    [
        ("name,label\na.png,joy\n", None, "lacks the column 'file'; it has name, label"),
        ("", None, "lacks the column 'file'; it has none"),
        ("file,label\n", None, "has no rows"),
        ("file,label\na.png,joy\n", "train", "lacks the column 'split'"),
        ("file,label\na.png,joy\nb.png,hapy\n", None, r"line 3 of .*did you mean 'Happy'"),
        ("file,label,valence,arousal\na.png,joy,1.5,0\n", None, "line 2 of .*: valence is 1.5, expected -1 to 1"),
        ("file,label,valence,arousal\na.png,joy,high,0\n", None, "valence is 'high', expected a number"),
        ("file,label\nnone.png,joy\n", None, r"no usable picture; the first of 1 that cannot be read is 'none\.png'"),
    ],
)
def test_tables_that_cannot_be_used(table: Callable[[str], Path], text: str, split: str | None, message: str) -> None:
    with pytest.raises(DatasetError, match=message) as caught:
        CsvDataset(table(text), split=split)
    assert "\n" not in str(caught.value)


def test_a_table_is_missed_or_not_text(tmp_path: Path, table: Callable[[str], Path]) -> None:
    with pytest.raises(DatasetError, match="there is no file"):
        CsvDataset(tmp_path / "none.csv")
    with pytest.raises(UsageError, match="did you mean 'train'"):
        CsvDataset(table("file,label,split\na.png,joy,train\n"), split="tran")
    (tmp_path / "labels.csv").write_bytes(b"\xff\xfe\x00file")
    with pytest.raises(DatasetError, match="not UTF-8"):
        CsvDataset(tmp_path / "labels.csv")
    (tmp_path / "labels.csv").unlink()
    for name in ("one.csv", "two.csv"):
        (tmp_path / name).write_text("file,label\n")
    with pytest.raises(DatasetError, match="name the CSV file itself"):
        CsvDataset(tmp_path)


def test_a_table_elsewhere_than_its_pictures(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(png())
    (tmp_path / "list.csv").write_text("label,file\nfear,a.png\n")
    assert len(CsvDataset(tmp_path / "list.csv", root=tmp_path / "pictures")) == 1


def test_the_real_colour_photos_read_from_their_zip_file(test_data: Path) -> None:
    data = open_dataset("muxspace", "valid", test_data / "data" / "muxspace")
    assert len(data) == 2788
    assert data.skipped == 0
    assert data.picture(0).shape == (112, 112, 3)
    assert data.crop_scale(0) == 1.5
    assert data.counts()["Contempt"] == 0


# ---- opening ------------------------------------------------------------------------------------------------------------


def test_a_path_alone_tells_the_kind(
    ferplus: Callable[..., Path], class_folders: Path, table: Callable[[str], Path], tmp_path: Path
) -> None:
    assert isinstance(open_dataset(ferplus("zip"), "valid"), FERPlus)
    assert isinstance(open_dataset(str(class_folders)), ImageFolder)
    assert isinstance(open_dataset(table("file,label\na.png,joy\n")), CsvDataset)
    packed = tmp_path / "packed" / "muxspace.zip"
    packed.parent.mkdir()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("labels.csv", "file,label\na.jpg,joy\n")
        file.writestr("images/a.jpg", png(RED, kind=".jpg"))
    opened = [open_dataset(packed), open_dataset(packed.parent), open_dataset(ExternalDataset(str(packed.parent), "muxspace"))]
    assert [(type(data), len(data), data.crop_scale(0)) for data in opened] == [(CsvDataset, 1, 1.5)] * 3
    assert isinstance(open_dataset(Path(shutil.make_archive(str(tmp_path / "faces"), "zip", class_folders))), ImageFolder)


@pytest.mark.parametrize(
    ("spec", "split", "path", "message"),
    [
        ("ferplsu", None, None, "did you mean 'ferplus'"),
        ("ferplsu", None, ".", "did you mean 'ferplus'"),
        ("ferplus", "valid", None, "needs the path"),
        ("ferplus", None, ".", "needs a split: FER2013Train"),
        ("affectnet", "vald", ".", "did you mean 'valid'"),
    ],
)
def test_words_that_open_nothing(spec: str, split: str | None, path: str | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_dataset(spec, split, path)


def test_a_zip_file_that_cannot_be_opened_and_a_table_that_is_none_are_said_in_one_line(tmp_path: Path) -> None:
    packed = tmp_path / "locked.zip"
    with zipfile.ZipFile(packed, "w") as target:
        target.writestr("labels.csv", "file,label\na.png,Happy\n")
    content = bytearray(packed.read_bytes())
    content[6] |= 1  # says that it has a password, in both of its headers
    content[content.index(b"PK\x01\x02") + 8] |= 1
    packed.write_bytes(content)
    with pytest.raises(DatasetError, match=r"cannot read 'labels.csv'.*password"):
        CsvDataset(packed)
    table = tmp_path / "labels.csv"
    table.write_bytes(b"file,label\ra.png,Happy\r")
    with pytest.raises(DatasetError, match="is not CSV"):
        CsvDataset(table)
