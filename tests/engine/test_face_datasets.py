"""FER2013, CK+ and RAF-DB in the layouts that they are passed around in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from emotion_perception.engine.datasets import FER2013, RAFDB, CKPlus, open_dataset
from emotion_perception.engine.errors import DatasetError, UsageError
from emotion_perception.engine.labels import AFFECTNET8, EMOTORCH4, FERPLUS8


def save(file: Path, value: int, side: int = 48) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    PillowImage.fromarray(np.full((side, side, 3), value, np.uint8)).save(file)


@pytest.fixture
def fer2013(tmp_path: Path) -> Path:
    usages = ["Training"] * 5 + ["PublicTest"] * 2 + ["PrivateTest"]
    lines = [f"{code},{' '.join([str(10 * code)] * 2304)},{usage}" for code, usage in zip((0, 3, 6, 5, 2, 4, 6, 1), usages, strict=True)]
    lines.append("0,1 2 3,Training")
    (tmp_path / "fer2013.csv").write_text("\n".join(["emotion,pixels,Usage", *lines]) + "\n")
    return tmp_path / "fer2013.csv"


@pytest.fixture
def rafdb(tmp_path: Path) -> Path:
    root = tmp_path / "raf"
    (root / "EmoLabel").mkdir(parents=True)
    (root / "EmoLabel" / "list_patition_label.txt").write_text("train_00001.jpg 5\ntrain_00002.jpg 4\ntest_0001.jpg 1\ntest_0002.jpg 7\n")
    for number, stem in enumerate(("train_00001", "train_00002", "test_0001", "test_0002")):
        save(root / "Image" / "aligned" / f"{stem}_aligned.jpg", 40 * number, 100)
        (root / "Annotation" / "manual").mkdir(parents=True, exist_ok=True)
        (root / "Annotation" / "manual" / f"{stem}_manu_attri.txt").write_text("1.0\t2.0\n" * 5 + f"{number % 3}\n{number % 3}\n{number}\n")
    return root


def test_fer2013_is_read_from_its_table(fer2013: Path, caplog: pytest.LogCaptureFixture) -> None:
    dataset = FER2013(fer2013, labels=EMOTORCH4)
    assert dataset.names == ["angry/00000.png", "neutral/00002.png", "surprise/00003.png", "fear/00004.png", "neutral/00006.png"]
    assert [EMOTORCH4.words[i] for i in dataset.targets.index] == ["Anger", "Calm", "Surprise", "Fear", "Calm"]
    assert dataset.picture(3).shape == (48, 48)
    assert (dataset.picture(3) == 20).all()
    assert dataset.skipped == 1
    assert "left out 1 of 6" in caplog.text
    assert dataset.source(0) == "fer2013/angry/00000.png"
    assert len(FER2013(fer2013.parent, "valid", AFFECTNET8)) == 2
    assert open_dataset(fer2013, labels=FERPLUS8).counts()["Happiness"] == 1
    assert len(open_dataset("fer2013", "train", fer2013.parent, labels=EMOTORCH4)) == 4
    assert FER2013(fer2013, "test", EMOTORCH4, {"disgust": "anger"}).counts()["Anger"] == 1


def test_fer2013_that_cannot_be_used(fer2013: Path) -> None:
    with pytest.raises(UsageError, match="unknown FER2013 split 'training'"):
        FER2013(fer2013, "training")
    with pytest.raises(UsageError, match=r"no class|unknown class"):
        FER2013(fer2013, labels=EMOTORCH4, also={"disgust": "disgust"})
    fer2013.write_text("emotion,pixels,Usage\n9,1 2 3,Training\n")
    with pytest.raises(DatasetError, match=r"row 1 .* emotion is '9', expected 0 to 6"):
        FER2013(fer2013)
    fer2013.write_text("emotion,pixels\n1,1 2 3\n")
    with pytest.raises(DatasetError, match="lacks the column 'Usage'"):
        FER2013(fer2013)


def test_frames_of_a_subject_of_ckplus_are_one_source(tmp_path: Path) -> None:
    for folder in ("anger", "happy", "contempt"):
        for name in ("S010_004_00000017.png", "S010_004_00000018.png", "S011_001_00000010.png"):
            save(tmp_path / folder / name, 90)
    save(tmp_path / "anger" / "7.png", 90)
    dataset = CKPlus(tmp_path, EMOTORCH4, {"happy": "calm"})
    assert dataset.counts() == {"Anger": 4, "Fear": 0, "Calm": 3, "Surprise": 0}
    assert {dataset.source(n) for n in range(7)} == {"ckplus/S010", "ckplus/S011", f"{tmp_path.resolve().as_posix()}/anger/7"}
    assert len(open_dataset("ckplus", None, tmp_path, labels=EMOTORCH4)) == 4
    with pytest.raises(UsageError, match=r"CK. has no part 'train'"):
        open_dataset("ckplus", "train", tmp_path)


def test_rafdb_has_labels_parts_and_attributes(rafdb: Path) -> None:
    dataset = open_dataset(rafdb)
    assert [AFFECTNET8.words[i] for i in dataset.targets.index] == ["Sad", "Happy", "Surprise", "Neutral"]
    assert dataset.picture(3).shape == (100, 100, 3)
    calm = RAFDB(rafdb, None, EMOTORCH4, {"happy": "calm"})
    assert [EMOTORCH4.words[i] for i in calm.targets.index] == ["Calm", "Surprise", "Calm"]
    assert calm.attributes(0) == {"gender": "female", "race": "African-American", "age": "4-19"}
    assert calm.attributes(1) == {"gender": "unsure", "race": "Asian", "age": "20-39"}
    assert [len(RAFDB(rafdb, split)) for split in ("train", "test")] == [2, 2]


def test_rafdb_that_cannot_be_used(rafdb: Path, tmp_path: Path) -> None:
    (rafdb / "Annotation" / "manual" / "train_00001_manu_attri.txt").write_text("1\t2\n" * 5 + "9\n0\n0\n")
    (rafdb / "Annotation" / "manual" / "train_00002_manu_attri.txt").unlink()
    dataset = RAFDB(rafdb)
    for number in (0, 1):
        with pytest.raises(DatasetError, match="does not state gender, race and age"):
            dataset.attributes(number)
    with pytest.raises(UsageError, match="unknown RAF-DB split"):
        RAFDB(rafdb, "public")
    (rafdb / "EmoLabel" / "list_patition_label.txt").write_text("train_00001.jpg eight\n")
    with pytest.raises(DatasetError, match=r"line 1 .* a label from 1 to 7"):
        RAFDB(rafdb)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"has no EmoLabel/list_patition_label\.txt"):
        RAFDB(tmp_path / "empty")
