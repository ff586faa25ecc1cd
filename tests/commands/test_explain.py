from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image as PillowImage

pytest.importorskip("captum", reason="captum is not installed; it comes with the extra 'explain'")


def test_a_picture_and_json_per_face(command, portrait: Path, tiny_weights: Path, tmp_path: Path) -> None:
    words = ("explain", portrait, "--weights", tiny_weights, "--detector", "haar", "--output", tmp_path / "why")
    status, out, err = command(*words, "--class", "happiness", "--json")
    assert status == 0, err
    (face,) = json.loads(out)
    assert list(face["classes"]) == ["Happy"]
    assert len(face["branches"]) == 2
    assert len(face["box_xyxy"]) == 4
    assert sorted(file.name for file in (tmp_path / "why").iterdir()) == ["astronaut_1.json", "astronaut_1.png"]
    assert json.loads((tmp_path / "why" / "astronaut_1.json").read_text())["class"] == face["class"]

    status, out, _ = command(*words)
    assert status == 0
    assert out.splitlines()[0].split()[:3] == ["face", "emotion", "confidence"]
    assert " of 2" in out.splitlines()[1]


def test_a_picture_without_a_face_and_an_unknown_class(command, tiny_weights: Path, tmp_path: Path) -> None:
    PillowImage.new("RGB", (64, 48), "grey").save(tmp_path / "wall.png")
    words = ("explain", tmp_path / "wall.png", "--weights", tiny_weights, "--detector", "haar", "--out", tmp_path / "why")
    status, _, err = command(*words)
    assert status == 1
    assert "there is no face in" in err
    assert not (tmp_path / "why").exists()
    status, _, err = command(*words, "--class", "Hapy")
    assert status == 2
    assert "did you mean 'Happy'" in err
    assert command("explain", tmp_path / "none.png").status == 1
