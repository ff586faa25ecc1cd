from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

HEADER = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal\n"


def make_affectnet(root: Path) -> None:
    (root / "images" / "1").mkdir(parents=True)
    picture = np.zeros((200, 300, 3), np.uint8)
    picture[40:120, 150:230] = (200, 100, 50)  # the face: 80 x 80 at x 150, y 40
    PillowImage.fromarray(picture).save(root / "images" / "1" / "a.png")
    rows = ("1/a.png,150,40,80,80,,1,0.5,-0.25", "1/missing.png,0,0,10,10,,2,0,0", "1/a.png,150,40,80,80,,9,-2,-2")
    (root / "validation.csv").write_text(HEADER + "\n".join(rows) + "\n")


def test_crops_the_face_and_reports_bad_rows(tmp_path: Path, command) -> None:  # type: ignore[no-untyped-def]
    make_affectnet(tmp_path)
    words = ("prepare", tmp_path / "images", tmp_path / "validation.csv", "--part", "valid", "--output", tmp_path / "out")
    done = command(*words)
    assert done.status == 0
    assert "3 rows: 1 pictures written" in done.out
    assert "1/missing.png" in done.err
    (crop,) = (tmp_path / "out" / "Validation" / "0").iterdir()
    assert crop.name == "0000000s1s500s-250.jpg"
    # Rows and columns the right way round: the whole crop shows the face's colour, not the black beside it.
    assert np.abs(np.asarray(PillowImage.open(crop)).astype(int) - (200, 100, 50)).max() < 12

    again = json.loads(command(*words, "--json").out)
    assert (again["written"], again["kept"], len(again["failures"])) == (0, 1, 1)


def test_says_what_is_missing_in_one_line(tmp_path: Path, command) -> None:  # type: ignore[no-untyped-def]
    done = command("prepare", tmp_path / "nowhere", tmp_path, "--output", tmp_path / "out")
    assert done.status == 1
    assert done.err.count("\n") == 1
    assert "nowhere" in done.err
    wrong = command("prepare", tmp_path, tmp_path, "--part", "vald", "--output", tmp_path / "out")
    assert wrong.status == 2
    assert "valid" in wrong.err
