from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from emotion_perception.engine.datasets import EmotionDataset, Targets
from emotion_perception.engine.errors import DatasetError, EmotionPerceptionError, UsageError
from emotion_perception.engine.evaluation.fairness.groups import in_order, read_groups
from emotion_perception.engine.labels import AFFECTNET8


class Named(EmotionDataset):
    """Pictures that have nothing but names."""

    labels = AFFECTNET8

    def __init__(self, *names: str) -> None:
        self.names = names
        self.targets = Targets(np.zeros(len(names), np.int64))

    def picture(self, index: int) -> np.ndarray:
        raise AssertionError("no picture is needed")

    def name(self, index: int) -> str:
        return self.names[index]


def table(folder: Path, text: str) -> Path:
    file = folder / "groups.csv"
    file.write_text(text, encoding="utf-8")
    return file


def test_every_column_but_the_first_is_an_attribute(tmp_path: Path) -> None:
    file = table(tmp_path, "\ufefffile, gender ,age\na.png,Female,3-9\nb.png, Male ,70+\nz.png,Other,0-2\nd.png,,10-19\n")
    groups = read_groups(file, Named("a.png", "b.png", "c.png", "d.png"))
    assert {name: values.tolist() for name, values in groups.values.items()} == {
        "gender": ["Female", "Male", "", ""],
        "age": ["3-9", "70+", "", "10-19"],
    }
    assert groups.absent == {"gender": ("Other",), "age": ("0-2",)}
    assert (len(groups), groups.without_row) == (4, 1)
    assert list(read_groups(file, Named("a.png"), ["age"]).values) == ["age"]


@pytest.mark.parametrize("key", ["a/b/1.png", "b/1.png", "x/a/b/1.png", "a\\b\\1.png", "./a/b/1.png"])
def test_names_may_have_folders_in_front_that_the_other_side_lacks(tmp_path: Path, key: str) -> None:
    file = table(tmp_path, f"img,gender\n{key},Female\nc/2.png,Male\n")
    assert read_groups(file, Named("a/b/1.png")).values["gender"].tolist() == ["Female"]


def test_a_name_that_fits_two_rows_is_refused(tmp_path: Path) -> None:
    file = table(tmp_path, "img,gender\nanger/1.png,Female\nfear/1.png,Male\n")
    assert read_groups(file, Named("fear/1.png")).values["gender"].tolist() == ["Male"]
    with pytest.raises(UsageError, match=r"'1.png' could be 'anger/1.png' and 'fear/1.png'"):
        read_groups(file, Named("1.png"))


def test_a_column_of_numbers_is_called_index(tmp_path: Path) -> None:
    file = table(tmp_path, "gender,index\nFemale,1\nMale,0\n")
    assert read_groups(file, Named("a", "b", "c"), key="index").values["gender"].tolist() == ["Male", "Female", ""]
    with pytest.raises(DatasetError, match=r"line 2 .*index is '1', expected 0 to 0"):
        read_groups(file, Named("a"), key="index")


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("file,gender\na,Female\n", {"by": ["gendr"]}, "unknown attribute in .* 'gendr'; did you mean 'gender'"),
        ("file,gender\na,Female\n", {"by": ["file"]}, "unknown attribute"),
        ("file,gender\na,Female\n", {"key": "flie"}, "unknown column of .* 'flie'; did you mean 'file'"),
        ("file,gender\nb,Female\n", {}, "none of the 1 pictures has a row in .*: the first picture is 'a', the first file 'b'"),
        ("file,gender\na,\nb,Female\n", {}, "column 'gender' of .* states the group of none of 1 pictures"),
        ("file\na\n", {}, "has only the column 'file'"),
        ("file,gender\n", {}, "has no rows"),
        ("", {}, "has no rows"),
        ("file,gender,gender\na,Male,Male\n", {}, "has the column 'gender' twice"),
    ],
)
def test_bad_tables_are_one_line(tmp_path: Path, text: str, options: dict, words: str) -> None:
    with pytest.raises(EmotionPerceptionError, match=words) as caught:
        read_groups(table(tmp_path, text), Named("a"), **options)
    assert "\n" not in str(caught.value)


def test_what_a_catalogue_does_not_know_is_no_group(tmp_path: Path) -> None:
    file = table(tmp_path, "file,gender,race\na,unclassified,Asian\nb,Male,White\nc,Male,unclassified\nd,Other,unclassified\n")
    groups = read_groups(file, Named("a", "b", "c"))
    assert {name: values.tolist() for name, values in groups.crossed().values.items()} == {
        "gender": ["", "Male", "Male"],
        "race": ["Asian", "White", ""],
        "gender x race": ["", "Male x White", ""],
    }
    assert groups.absent == {"gender": ("Other",), "race": ()}
    assert read_groups(table(tmp_path, "file,gender\nunclassified,Male\n"), Named("unclassified")).without_row == 0


def test_rows_that_disagree_about_a_picture_state_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = table(tmp_path, "file,gender,age\na,Male,3-9\nb,Female,70+\na,Female,3-9\nb,Female,70+\na,Male,3-9\n")
    values = read_groups(file, Named("a", "b")).values
    assert {name: groups.tolist() for name, groups in values.items()} == {"gender": ["", "Female"], "age": ["3-9", "70+"]}
    assert "rows about 1 pictures disagree, which counts as not stated; the first is 'a' in lines 2 and 4" in caplog.text


def test_a_missing_table_and_one_that_is_not_text(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="No such file"):
        read_groups(tmp_path / "none.csv", Named("a"))
    (tmp_path / "bytes.csv").write_bytes(b"file,gender\n\xff\xfe,1\n")
    with pytest.raises(DatasetError, match="not UTF-8"):
        read_groups(tmp_path / "bytes.csv", Named("a"))


def test_groups_are_in_the_order_a_person_expects() -> None:
    assert in_order({"10-19", "3-9", "70+", "0-2"}) == ["0-2", "3-9", "10-19", "70+"]
    assert in_order({"White", "Asian", "7"}) == ["7", "Asian", "White"]


def test_pairs_of_attributes_and_fewer_pictures(tmp_path: Path) -> None:
    file = table(tmp_path, "file,gender,race,age\na,Female,Asian,1\nb,Male,,2\nc,Male,White,3\n")
    groups = read_groups(file, Named("a", "b", "c"))
    crossed = groups.crossed()
    assert list(crossed.values) == ["gender", "race", "age", "gender x race", "gender x age", "race x age"]
    assert crossed.values["gender x race"].tolist() == ["Female x Asian", "", "Male x White"]
    fewer = groups.take(np.array([1, 2]))
    assert fewer.values["gender"].tolist() == ["Male", "Male"]
    assert fewer.absent["gender"] == ("Female",)


def test_the_attributes_of_fairface_have_the_published_counts(test_data: Path) -> None:
    import csv

    file = test_data / "data" / "emotorch" / "faces_gender_race.csv"
    with file.open(newline="", encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    groups = read_groups(file, Named(*(row["img_path"] for row in rows)))

    def counts(attribute: str) -> dict[str, int]:
        # Six pictures have two rows, and five of them are said to be in two groups of some attribute.
        disputed = [row[attribute] for row, value in zip(rows, groups.values[attribute], strict=True) if value == ""]
        words, numbers = np.unique([*groups.values[attribute], *disputed], return_counts=True)
        assert len(disputed) <= 10
        return {word: int(number) for word, number in zip(words, numbers, strict=True) if word}

    assert counts("gender") == {"Female": 8800, "Male": 10509}
    assert counts("race4") == {"White": 14198, "Asian": 2505, "Black": 1781, "Indian": 825}
    race = {"White": 13669, "Black": 1710, "East Asian": 1311, "Middle Eastern": 1152, "Latino_Hispanic": 796}
    assert counts("race") == race | {"Southeast Asian": 426, "Indian": 245}
    assert [counts("age")[name] for name in in_order(counts("age"))] == [1201, 1681, 981, 8877, 3507, 1457, 829, 476, 300]
