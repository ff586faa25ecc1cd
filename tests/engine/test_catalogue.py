"""The catalogue of a data set, and tables of attributes."""

from __future__ import annotations

from pathlib import Path

import pytest

from emotion_perception.engine.datasets import AlteredDataset, Attributes, CsvDataset, catalogue_rows, write_catalogue
from emotion_perception.engine.datasets.tables import read_table
from emotion_perception.engine.errors import DatasetError
from emotion_perception.engine.labels import EMOTORCH4
from emotion_perception.engine.testing.case import DrawnFaces


def test_the_published_attributes_come_out_as_stated(test_data: Path) -> None:
    counts = Attributes(test_data / "data" / "emotorch" / "faces_gender_race.csv").counts()
    assert counts["race"] == {
        "White": 13669,
        "Black": 1710,
        "East Asian": 1311,
        "Middle Eastern": 1152,
        "Latino_Hispanic": 796,
        "Southeast Asian": 426,
        "Indian": 245,
    }
    assert counts["race4"] == {"White": 14198, "Asian": 2505, "Black": 1781, "Indian": 825}
    assert counts["gender"] == {"Male": 10509, "Female": 8800}
    ages = {"0-2": 1201, "3-9": 1681, "10-19": 981, "20-29": 8877, "30-39": 3507, "40-49": 1457, "50-59": 829, "60-69": 476, "70+": 300}
    assert counts["age"] == ages
    assert {column: sum(values.values()) for column, values in counts.items()} == dict.fromkeys(("race", "race4", "gender", "age"), 19_309)


def test_copies_have_the_attributes_of_their_source(test_data: Path) -> None:
    folder = test_data / "data" / "emotorch"
    table = Attributes(folder / "faces_gender_race.csv")
    woman = {"race": "Southeast Asian", "race4": "Asian", "gender": "Female", "age": "30-39"}
    for name in (
        "FER-Original-Dataset/FER/fear/4531.png",
        "FER-Original-Dataset-Augmented/FER/fear/4531_thin_bars.png",
        "/somewhere/else/FER-Original-Dataset/FER/fear/4531.png",
        "FER/fear/4531_dark.png",
    ):
        assert table.of(name) == woman, name
    unknown = dict.fromkeys(table.columns, "unclassified")
    assert table.of("RAF/fear/4531.png") == unknown
    assert table.of("fear/99999.png") == unknown
    known = sum(table.of(row["image_path"])["gender"] != "unclassified" for row in read_table(folder / "image_usage.csv"))
    assert known > 0.9 * 38_968


def test_a_catalogue_is_written_and_read_as_a_data_set(tmp_path: Path) -> None:
    from PIL import Image as PillowImage

    altered = AlteredDataset(DrawnFaces(EMOTORCH4, 4), ("flip",))
    rows = catalogue_rows(altered, "train", lambda number: {"gender": "female"} if number % 2 else {})
    rows = [row | {"file": f"{row['file']}.png", "source": f"person {altered.original(n)}"} for n, row in enumerate(rows)]
    for number, row in enumerate(rows):
        PillowImage.fromarray(altered.picture(number)).save(tmp_path / row["file"])
    write_catalogue(tmp_path / "labels.csv", rows)
    read = read_table(tmp_path / "labels.csv", ("file", "label", "split", "source", "alteration", "gender"))
    assert [row["alteration"] for row in read] == ["original"] * 4 + ["flip"] * 4
    assert {row["gender"] for row in read} == {"female", "unclassified"}
    dataset = CsvDataset(tmp_path / "labels.csv", split="train", labels=EMOTORCH4)
    assert dataset.targets.index.tolist() == altered.targets.index.tolist()
    assert [dataset.source(n) for n in range(8)] == [row["source"] for row in rows]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("picture\na.png\n", "only the column 'picture'"),
        ("picture,gender\n", "no rows"),
    ],
)
def test_tables_of_attributes_that_cannot_be_used(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(DatasetError, match=words):
        Attributes(tmp_path / "table.csv")


def test_of_a_picture_with_two_persons_only_what_they_share_is_known(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("picture,gender,age\na1.png,female,3-9\na1.png,male,3-9\nb2.png,male,\n")
    table = Attributes(tmp_path / "table.csv")
    assert table.ambiguous == ("a1.png",)
    assert table.of("a1_blur.png") == {"gender": "unclassified", "age": "3-9"}
    assert table.of("b2.png") == {"gender": "male", "age": "unclassified"}
    assert table.counts()["gender"] == {"male": 2, "female": 1}


def test_tables_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="No such file"):
        read_table(tmp_path / "none.csv")
    (tmp_path / "table.csv").write_bytes(b"a,b\n\xff\xfe,1\n")
    with pytest.raises(DatasetError, match="not CSV in UTF-8"):
        read_table(tmp_path / "table.csv")
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DatasetError, match="lacks the column 'c'; it has a, b"):
        read_table(tmp_path / "table.csv", ("a", "c"))
