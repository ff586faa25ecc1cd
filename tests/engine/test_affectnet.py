from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest

from emotion_perception.engine.datasets import (
    AffectNetCategorical,
    AffectNetDimensional,
    PreparationReport,
    open_dataset,
    pre_process_affect_net,
)
from emotion_perception.engine.errors import DatasetError, StorageError, UsageError

HEADER = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal\n"
# Class, 1000 valence, 1000 arousal.
PICTURES = [
    (0, 0, 0),
    (1, 800, 100),
    (1, 700, -100),
    (1, 600, 50),
    (2, -600, -300),
    (3, 100, 700),
    (7, -653, 653),
    (4, -2000, -2000),
    (9, 500, 500),
]


def jpeg(path: Path, pixels: np.ndarray) -> None:
    """Writes RGB pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".jpg", pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 98])[1].tobytes())


@pytest.fixture
def affectnet(tmp_path: Path) -> Path:
    """A folder as `pre_process_affect_net` leaves it, five pictures to a folder."""
    root = tmp_path / "AffectNet"
    for folder in ("Training_Labeled", "Validation"):
        for i, (expression, valence, arousal) in enumerate(PICTURES):
            name = f"{i:07d}s{expression}s{valence}s{arousal}.jpg"
            jpeg(root / folder / str(i // 5) / name, np.full((96, 96, 3), (250, 10 * i, 0), np.uint8))
    (root / "Validation" / "0" / "notes.txt").write_text("")
    (root / "Validation" / "0" / "0000000_7_-653_653.jpg").write_bytes(b"")
    return root


# ---- reading ------------------------------------------------------------------------------------------------------------


def test_samples_have_the_published_form_and_collate(affectnet: Path) -> None:
    torch = pytest.importorskip("torch")
    data = AffectNetCategorical(
        idx_set=2, max_loaded_images_per_label=100, transforms=None, is_norm_by_mean_std=False, base_path_to_affectnet=str(affectnet)
    )
    assert len(data) == 8  # the ninth is none of the eight classes
    x, label = data[6]
    assert (x.shape, x.dtype, label) == ((3, 96, 96), torch.float32, 7)
    assert type(label) is int
    np.testing.assert_allclose(x[:, 48, 48], [250 / 255, 60 / 255, 0], atol=0.02)  # red first
    batch, labels = next(iter(torch.utils.data.DataLoader(data, batch_size=8)))
    assert batch.shape == (8, 3, 96, 96)
    assert labels.tolist() == [0, 1, 1, 1, 2, 3, 7, 4]
    assert data.picture(6).shape == (96, 96, 3)
    assert data.category(6).description == "Contempt"
    np.testing.assert_allclose(data.targets.affect[6], [-0.653, 0.653])
    assert np.isnan(data.targets.affect[7]).all()


def test_the_dimensional_view_has_affect_and_leaves_out_what_was_not_annotated(affectnet: Path) -> None:
    torch = pytest.importorskip("torch")
    data = AffectNetDimensional(2, 100, None, False, affectnet)
    assert len(data) == 7
    x, affect = data[6]
    assert x.shape == (3, 96, 96)
    assert affect.dtype == np.float32
    np.testing.assert_allclose(affect, [-0.653, 0.653])
    _, batch = next(iter(torch.utils.data.DataLoader(data, batch_size=7)))
    assert (batch.shape, batch.dtype) == ((7, 2), torch.float32)


def test_samples_are_capped_per_class_and_quadrant_and_repeat_with_their_seed(affectnet: Path) -> None:
    one_each = AffectNetCategorical(0, 1, None, False, affectnet, seed=3)
    assert list(one_each.counts().values()) == [1, 1, 1, 1, 1, 0, 0, 1]
    assert one_each.names == AffectNetCategorical(0, 1, None, False, affectnet, seed=3).names
    drawn = {AffectNetCategorical(0, 1, None, False, affectnet, seed=seed).names[1] for seed in range(20)}
    assert len(drawn) == 3  # every picture of the class is drawn now and then
    quadrants = AffectNetDimensional(0, 1, None, False, affectnet)
    signs = (np.sign(quadrants.targets.affect) >= 0).tolist()
    assert sorted(signs) == [[False, False], [False, True], [True, False], [True, True]]


def test_transforms_and_normalisation_are_applied(affectnet: Path) -> None:
    pytest.importorskip("torch")
    from PIL import ImageOps

    flipped = AffectNetCategorical(0, 100, ImageOps.invert, False, affectnet)
    np.testing.assert_allclose(flipped[0][0][:, 0, 0], [5 / 255, 1, 1], atol=0.02)
    normal = AffectNetCategorical(0, 100, None, True, affectnet)
    np.testing.assert_allclose(normal[0][0][0, 0, 0], (250 - 149.35457) / 69.18084, atol=0.05)


def test_affectnet_refuses_what_it_cannot_use(affectnet: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="make it from AffectNet with pre_process_affect_net"):
        AffectNetCategorical(1, base_path_to_affectnet=affectnet)
    with pytest.raises(UsageError, match="idx_set is 3"):
        AffectNetCategorical(3, base_path_to_affectnet=affectnet)
    with pytest.raises(UsageError, match="at least 1"):
        AffectNetCategorical(0, 0, base_path_to_affectnet=affectnet)
    (tmp_path / "Validation" / "0").mkdir(parents=True)
    with pytest.raises(DatasetError, match="no usable picture"):
        AffectNetDimensional(2, base_path_to_affectnet=tmp_path)


def test_affectnet_opens_by_its_words(affectnet: Path) -> None:
    assert isinstance(open_dataset(affectnet, "valid"), AffectNetCategorical)
    assert len(open_dataset("affectnet", "train", affectnet)) == 8
    assert len(open_dataset("affectnet-dimensional", "Validation", affectnet)) == 7


# ---- preparing ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def originals(tmp_path: Path) -> Path:
    """AffectNet's manual validation list with one good wide picture, and bad rows of every kind."""
    # 300 wide, 100 high; the face is blue, in columns 200 to 259 and rows 10 to 69.
    scene = np.zeros((100, 300, 3), np.uint8)
    scene[10:70, 200:260] = (0, 0, 255)
    jpeg(tmp_path / "images" / "Manually_Annotated_Images" / "12" / "good.jpg", scene)
    jpeg(tmp_path / "images" / "flat.jpg", scene)
    (tmp_path / "images" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    rows = [
        '12/good.jpg,200,10,60,60,"1;2",7,-0.653,0.6529',
        "34/flat.jpg,200,10,60,60,,1,-0.0005,-0.0006",
        "12/good.jpg,240,40,500,500,,0,0,0",
        "12/good.jpg,200,10,60,60,,8,-2,-2",
        "12/missing.jpg,200,10,60,60,,1,0.5,0.5",
        "broken.jpg,200,10,60,60,,1,0.5,0.5",
        "12/good.jpg,900,10,60,60,,1,0.5,0.5",
        "12/good.jpg,,10,60,60,,1,0.5,0.5",
        "12/good.jpg,200,10,60,60,,1,NaN,0.5",
        "12/good.jpg,200,10",
    ]
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "validation.csv").write_text(HEADER + "\n".join(rows) + "\n")
    return tmp_path


def prepare(root: Path, **options: object) -> PreparationReport:
    return pre_process_affect_net(root / "images", root / "lists", root / "out", 2, **options)  # type: ignore[arg-type]


def test_the_face_is_cut_out_by_rows_and_columns_the_right_way_round(originals: Path) -> None:
    prepare(originals)
    made = cv2.imread(str(originals / "out" / "Validation" / "0" / "0000000s7s-653s653.jpg"))
    assert made.shape == (96, 96, 3)
    corners = made[2:-2:91, 2:-2:91].reshape(-1, 3)  # BGR; the outermost pixels mix with their neighbours in the original's JPEG
    assert len(corners) == 4
    np.testing.assert_allclose(corners, [(255, 0, 0)] * 4, atol=40)  # blue up to its corners: the face and nothing else


def test_every_row_is_accounted_for(originals: Path, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[int] = []
    with caplog.at_level(logging.WARNING):
        report = prepare(originals, workers=2, on_progress=lambda so_far: seen.append(so_far.rows))
    assert (report.rows, report.written, report.kept, report.without_expression) == (10, 3, 0, 1)
    assert [(row, reason) for row, _, reason in report.failures] == [
        (4, "there is no such picture"),
        (5, "the picture cannot be read"),
        (6, "the face box (900, 10, 60, 60) lies outside the picture of 300x100"),
        (7, "the face box is not four numbers"),
        (8, "expression, valence or arousal is not a number"),
        (9, "expression, valence or arousal is not a number"),
    ]
    assert seen == [10]
    assert len(caplog.records) == 1
    assert "6 bad rows, the first is row 4 (12/missing.jpg: there is no such picture)" in caplog.text
    assert sorted(file.name for file in report.folder.rglob("*") if file.is_file()) == [
        "0000000s7s-653s653.jpg",
        "0000001s1s0s-1.jpg",  # rounded, not cut off
        "0000002s0s0s0.jpg",
    ]


def test_a_second_run_keeps_what_is_there_and_reads_back(originals: Path) -> None:
    first = prepare(originals)
    stamps = {file: file.stat().st_mtime_ns for file in first.folder.rglob("*.jpg")}
    victim = sorted(stamps)[1]
    victim.unlink()
    victim.with_suffix(".part").write_bytes(b"left by a kill")
    again = prepare(originals)
    assert (again.written, again.kept) == (1, 2)
    assert not list(first.folder.rglob("*.part"))
    assert all(file.stat().st_mtime_ns == stamp for file, stamp in stamps.items() if file != victim)
    data = AffectNetCategorical(2, None, base_path_to_affectnet=originals / "out")
    assert data.targets.index.tolist() == [7, 1, 0]
    np.testing.assert_allclose(data.targets.affect, [[-0.653, 0.653], [0, -0.001], [0, 0]], atol=1e-6)


def test_five_hundred_rows_share_a_folder(tmp_path: Path) -> None:
    jpeg(tmp_path / "images" / "a.jpg", np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "training.csv").write_text(HEADER + "a.jpg,0,0,8,8,,0,0,0\n" * 501)
    report = pre_process_affect_net(tmp_path / "images", tmp_path / "training.csv", tmp_path / "out", 1)
    assert report.folder == tmp_path / "out" / "Training_Labeled"
    assert {folder.name: len(list(folder.iterdir())) for folder in report.folder.iterdir()} == {"0": 500, "1": 1}


def test_preparation_refuses_what_it_cannot_use(originals: Path) -> None:
    images, lists, out = originals / "images", originals / "lists", originals / "out"
    with pytest.raises(UsageError, match="set_index is 3"):
        pre_process_affect_net(images, lists, out, 3)
    with pytest.raises(DatasetError, match="there is no folder"):
        pre_process_affect_net(originals / "nowhere", lists, out, 2)
    with pytest.raises(DatasetError, match=r"holds training\.csv or Manually_training\.csv"):
        pre_process_affect_net(images, lists, out, 1)
    (lists / "validation.csv").write_text("file,label\n")
    with pytest.raises(DatasetError, match="lacks the column 'subDirectory_filePath'"):
        prepare(originals)
    (lists / "validation.csv").write_text(HEADER + "12/missing.jpg,200,10,60,60,,1,0.5,0.5\n")
    with pytest.raises(DatasetError, match=r"no row of .* gave a picture; 1 rows"):
        prepare(originals)
    assert not out.exists()


def test_a_destination_that_cannot_be_written_ends_in_one_line(originals: Path) -> None:
    (originals / "out").write_text("a file where the folder should be")
    with pytest.raises(StorageError, match="cannot write"):
        prepare(originals)
