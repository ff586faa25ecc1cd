from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from emotion_perception.engine.data import Image
from emotion_perception.engine.errors import InputError
from emotion_perception.engine.target import BoundingBox
from emotion_perception.engine.vision.faces import Face
from emotion_perception.learners.emotx.clips import FPS
from emotion_perception.learners.emotx.features.characters import DetectedTracks, GivenTracks, name_tracks

BLANK = Image(np.zeros((90, 120, 3), np.uint8))


def people(*kinds: int) -> dict[int, np.ndarray]:
    """Makes features of tracks 1, 2, ...: three faces each around the direction of one of four persons."""
    random = np.random.default_rng(0)
    return {track: np.eye(4)[kind] + 0.05 * random.standard_normal((3, 4)) for track, kind in enumerate(kinds, 1)}


def spans(*lengths: tuple[int, int]) -> dict[int, np.ndarray]:
    return {track: np.arange(first, last) for track, (first, last) in enumerate(lengths, 1)}


def test_tracks_that_look_alike_are_one_person_and_the_longest_comes_first() -> None:
    seen = spans((0, 10), (0, 30), (20, 25), (40, 60))
    assert name_tracks(people(0, 1, 0, 1), seen) == {"person 1": [2, 4], "person 2": [1, 3]}
    assert name_tracks(people(0), spans((0, 1))) == {"person 1": [1]}
    assert name_tracks({}, {}) == {}
    # How alike is a setting.
    assert len(name_tracks(people(0, 1, 0, 1), seen, same_person=1.9)) < len(name_tracks(people(0, 1, 0, 1), seen, same_person=1e-6))


def test_two_faces_in_one_frame_are_never_one_person() -> None:
    found = name_tracks(people(0, 0, 0), spans((0, 10), (9, 20), (30, 40)), same_person=1.9)
    assert sorted(map(tuple, found.values())) in ([(1, 3), (2,)], [(1,), (2, 3)])


@pytest.mark.parametrize("form", ["mapping", "csv", "json"])
def test_names_given_go_before_likeness(tmp_path: Path, form: str) -> None:
    given = {"1": "Anna", "4": "Anna", "person 1": "Ben"}
    names: object = given
    if form == "csv":
        names = tmp_path / "names.csv"
        names.write_text("track, name\n" + "".join(f"{track}, {name}\n" for track, name in given.items()))
    elif form == "json":
        names = tmp_path / "names.json"
        names.write_text('{"1": "Anna", "4": "Anna", "person 1": "Ben"}')
    found = name_tracks(people(0, 1, 0, 1), spans((0, 10), (0, 30), (20, 25), (40, 60)), names)
    assert list(found.items()) == [("Anna", [1, 4]), ("Ben", [2]), ("person 2", [3])]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "track,name\n7,Anna\n", "names are given for '7', but there are tracks 1 to 2 and 2 unnamed persons"),
        ("a.csv", "who,name\n7,Anna\n", "have the columns who, name; expected track and name"),
        ("a.csv", "", "has no rows"),
        ("a.json", "{", "are not JSON"),
        ("a.json", "[1]", "are not a JSON object of texts"),
    ],
)
def test_names_that_fit_nothing_are_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        name_tracks(people(0, 1), spans((0, 5), (0, 5)), tmp_path / name)
    with pytest.raises(InputError, match="cannot read"):
        name_tracks(people(0), spans((0, 5)), tmp_path / "none.csv")


def test_tracks_are_read_by_frame_and_by_time(tmp_path: Path) -> None:
    file = tmp_path / "tracks.csv"
    file.write_text("frame,track,left,top,right,bottom\n3,1,0,0,10,12\n3,2,50,5,60.5,20\n4,1,1,1,11,13\n")
    tracks = GivenTracks(file)
    assert tracks(9, 3, BLANK) == [(1, BoundingBox(0, 0, 10, 12)), (2, BoundingBox(50, 5, 60.5, 20))]
    assert tracks(3, 9, BLANK) == []
    file.write_text(f"time_s,track,left,top,right,bottom\n{5 / FPS + 0.01},1,0,0,10,12\n")
    assert GivenTracks(file)(5, 9, BLANK) == [(1, BoundingBox(0, 0, 10, 12))]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("track,left,top,right,bottom\n1,0,0,1,1\n", "expected track, left, top, right, bottom and frame or time_s"),
        ("frame,track,left,top,right,bottom\n1,one,0,0,1,1\n", "line 2: .* is not a row of numbers"),
        ("frame,track,left,top,right,bottom\n1,1,0,0,1\n", "line 2: .* is not a row of numbers"),
        ("frame,track,left,top,right,bottom\n1,1,5,0,1,1\n", "line 2: expected a track from 1 and left < right"),
        ("frame,track,left,top,right,bottom\n1,1,0,0,nan,1\n", "line 2: expected a track from 1"),
    ],
)
def test_tracks_that_are_none_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "tracks.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        GivenTracks(tmp_path / "tracks.csv")


class OneFace:
    name = "one"

    def __call__(self, image: Image) -> list[Face]:
        return [Face(BoundingBox(30, 20, 70, 70, 0.9))]


def test_a_face_starts_a_new_track_behind_a_cut() -> None:
    random = np.random.default_rng(0)
    dark, bright = (Image(random.integers(low, low + 60, (90, 120, 3), dtype=np.uint8)) for low in (0, 180))
    tracks = DetectedTracks(OneFace())
    shots = [dark, dark, dark, bright, bright, dark]
    assert [tracks(number, number, image)[0][0] for number, image in enumerate(shots)] == [1, 1, 1, 2, 2, 3]
