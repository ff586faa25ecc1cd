"""Building EmoTorch's data set of the three that it is made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from emotion_perception.engine.datasets import CsvDataset, find_leaks
from emotion_perception.engine.datasets.tables import read_table
from emotion_perception.engine.errors import UsageError
from emotion_perception.engine.labels import EMOTORCH4
from emotion_perception.learners.emotorch import EmoTorchLearner
from emotion_perception.learners.emotorch.datasets import ALTERATIONS, build_dataset


def face(seed: int, side: int = 48) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8))
    return np.asarray(PillowImage.fromarray(coarse.astype(np.uint8)).resize((side, side), PillowImage.Resampling.BICUBIC))


def save(file: Path, pixels: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    PillowImage.fromarray(pixels).save(file, quality=95)


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, Path]:
    """Small ones in the three layouts; the first picture of RAF-DB is a near-copy of one of FER2013's."""
    fer, ckplus, raf = tmp_path / "FER-Original-Dataset" / "FER", tmp_path / "CK+", tmp_path / "RAF"
    for number in range(40):
        save(fer / ("angry", "fear", "neutral", "surprise", "happy")[number % 5] / f"{number}.png", face(number))
    for number in range(16):
        word = ("anger", "fear", "happy", "surprise")[number % 4]
        save(ckplus / word / f"S{10 + number // 4:03d}_001_{number:08d}.png", face(100 + number))
    lines = []
    for number in range(12):
        stem = f"{'train' if number < 8 else 'test'}_{number:05d}"
        lines.append(f"{stem}.jpg {(1, 2, 6, 4, 7, 3)[number % 6]}")
        save(raf / "Image" / "aligned" / f"{stem}_aligned.jpg", np.repeat(face(200 + number if number else 0, 100)[:, :, None], 3, 2))
        attributes = raf / "Annotation" / "manual" / f"{stem}_manu_attri.txt"
        attributes.parent.mkdir(parents=True, exist_ok=True)
        attributes.write_text("1\t2\n" * 5 + "1\n2\n3\n")
    (raf / "EmoLabel").mkdir()
    (raf / "EmoLabel" / "list_patition_label.txt").write_text("\n".join(lines))
    (tmp_path / "faces.csv").write_text(
        "img_path,race,race4,gender,age\n"
        "FER-Original-Dataset/FER/angry/0.png,Indian,Indian,Female,3-9\n"
        "FER-Original-Dataset/FER/fear/1.png,White,White,Male,70+\n"
    )
    return {"fer2013": fer, "ckplus": ckplus, "rafdb": raf, "attributes": tmp_path / "faces.csv"}


def test_the_data_set_is_built_apart_and_catalogued(sources: dict[str, Path], tmp_path: Path) -> None:
    table = build_dataset(tmp_path / "built", **sources, calm_share=1.0, valid_share=0.3, copies=ALTERATIONS["enhanced"])
    rows = read_table(table)
    assert list(rows[0]) == ["file", "label", "split", "source", "alteration", "gender", "race", "age"]
    originals = {row["file"]: row for row in rows if row["alteration"] == "original"}
    assert len(originals) == 32 + 16 + 10
    assert len(rows) == 11 * len(originals)
    assert originals["fer2013/anger/0.png"] | {"split": ""} == {
        "file": "fer2013/anger/0.png",
        "label": "Anger",
        "split": "",
        "source": "fer2013/anger/0",
        "alteration": "original",
        "gender": "female",
        "race": "Asian",
        "age": "4-19",
    }
    assert originals["fer2013/fear/1.png"]["age"] == "70+"
    assert originals["fer2013/fear/6.png"]["race"] == "unclassified"
    assert originals["ckplus/calm/S010_001_00000002.png"]["source"] == "ckplus/S010"
    raf = originals["rafdb/calm/train_00003.png"]
    assert (raf["gender"], raf["race"], raf["age"]) == ("female", "Asian", "40-69")
    # A near-copy in another data set has the other's source, and so its split.
    assert originals["rafdb/surprise/train_00000.png"]["source"] == "fer2013/anger/0"
    parts = [CsvDataset(table, split=split, labels=EMOTORCH4) for split in ("train", "valid")]
    assert find_leaks(*parts).share == 0.0
    assert len(parts[1]) == pytest.approx(0.3 * len(rows), rel=0.2)
    copy = next(row for row in rows if row["alteration"] == "top_rectangle" and row["file"].startswith("fer2013/anger/0_"))
    assert copy["gender"] == "female"
    assert copy["source"] == "fer2013/anger/0"
    with PillowImage.open(tmp_path / "built" / copy["file"]) as picture:
        assert (picture.mode, picture.size) == ("L", (48, 48))
    assert str(tmp_path) not in table.read_text(encoding="utf-8")


def test_a_build_is_repeated_by_its_seed_and_trained_on(sources: dict[str, Path], tmp_path: Path) -> None:
    tables = [build_dataset(tmp_path / name, **sources, seed=seed) for name, seed in (("one", 1), ("two", 1), ("three", 2))]
    texts = [table.read_text(encoding="utf-8") for table in tables]
    assert texts[0] == texts[1] != texts[2]
    calm = sum(row["label"] == "Calm" for row in read_table(tables[0]))
    assert calm == 4 + 2 + 2  # half of each
    train, valid = (CsvDataset(tables[0], split=split, labels=EMOTORCH4) for split in ("train", "valid"))
    learner = EmoTorchLearner(device="cpu", max_training_epoch=1, copies=0.1)
    assert len(learner.fit(train, valid)["history"]) == 1


def test_a_data_set_that_was_built_before_is_read_again(sources: dict[str, Path], tmp_path: Path) -> None:
    build_dataset(tmp_path / "built", fer2013=sources["fer2013"], ckplus=sources["ckplus"], calm_share=1.0)
    again = build_dataset(tmp_path / "again", fer2013=tmp_path / "built" / "fer2013", ckplus=tmp_path / "built" / "ckplus", calm_share=1.0)
    assert len(read_table(again)) == 32 + 16


def test_builds_that_make_no_sense_are_refused(sources: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="got no data set"):
        build_dataset(tmp_path / "built")
    with pytest.raises(UsageError, match="calm_share is 0"):
        build_dataset(tmp_path / "built", **sources, calm_share=0)
    with pytest.raises(UsageError, match="unknown alteration 'snow'"):
        build_dataset(tmp_path / "built", **sources, copies=("snow",))
    assert not (tmp_path / "built").exists()
