from __future__ import annotations

import json
from pathlib import Path

import pytest

from emotion_perception.commands import main
from emotion_perception.learners.emotx.features.files import read_clip


@pytest.fixture
def tracks(tmp_path: Path) -> Path:
    file = tmp_path / "tracks.csv"
    file.write_text("\n".join(["frame,track,left,top,right,bottom", *(f"{frame},1,20,10,60,70" for frame in range(20))]) + "\n")
    return file


def test_features_are_written_and_shown(small_backbones: Path, film: Path, tracks: Path, tmp_path: Path, capsys) -> None:
    words = ["features", film, "--backbones", small_backbones, "--tracks", tracks, "--device", "cpu"]
    words += ["--npz", tmp_path / "a.npz", "--output", tmp_path / "data", "--movie", "tt1"]
    assert main([str(word) for word in words]) == 0
    out, err = capsys.readouterr()
    assert [line.split()[:2] for line in out.splitlines()] == [["stream", "features"], ["scene", "20"], ["person", "1"]]
    assert f"wrote {tmp_path / 'a.npz'}" in err
    assert (tmp_path / "data" / "mvit_v1_scene_features" / "tt1" / "scene-001.npy").is_file()
    assert len(read_clip(tmp_path / "a.npz").characters["person 1"]) == 3
    words = [
        "features",
        film,
        "--backbones",
        small_backbones,
        "--streams",
        "scene",
        "--device",
        "cpu",
        "--json",
        "--npz",
        tmp_path / "b.npz",
    ]
    assert main([str(word) for word in words]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["frames"], [row["stream"] for row in shown["streams"]]) == (40, ["scene"])


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ([], 2, "nothing says where the features go"),
        (["--npz", "x.npz", "--streams", "scenes"], 2, "did you mean 'scene'"),
        (["--npz", "x.npz", "--scene-feat-type", "mvit"], 2, "did you mean 'mvit_v1'"),
        (["--npz", "x.npz"], 1, "MViT-B 32x3 (Kinetics-400) needs 'MVIT_B_32x3_f294077834.pyth', which is not in"),
    ],
)
def test_what_cannot_be_done_is_one_line(film: Path, tmp_path: Path, capsys, words: list[str], status: int, message: str) -> None:
    assert main(["features", str(film), "--backbones", str(tmp_path), *words]) == status
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
