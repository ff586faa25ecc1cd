from __future__ import annotations

from pathlib import Path

import pytest


def test_yunet_comes_from_a_local_folder_and_is_not_fetched_twice(command, test_data: Path, tmp_path: Path) -> None:
    status, out, err = command("download", "yunet", "--url", test_data / "weights" / "yunet")
    assert (status, out, err) == (0, f"{tmp_path / 'cache' / 'yunet_n_320_320.onnx'}\n", "")
    # Offline now; what is cached is enough.
    assert command("download", "yunet").status == 0


@pytest.mark.parametrize("content", [None, b"not the model"])
def test_a_wrong_or_missing_file_is_one_line_and_leaves_nothing(command, tmp_path: Path, content: bytes | None) -> None:
    source = tmp_path / "there" / "yunet_n_320_320.onnx"
    source.parent.mkdir()
    if content is not None:
        source.write_bytes(content)
    status, out, err = command("download", "yunet", "--url", source, "--output", tmp_path / "here")
    assert (status, out) == (1, "")
    assert err.startswith("emotion-perception: error: ")
    assert err.count("\n") == 1
    assert not (tmp_path / "here").exists()


def test_the_network_is_not_used_where_that_is_forbidden(command) -> None:
    status, _, err = command("download", "yunet")
    assert status == 1
    assert "EMOTION_PERCEPTION_OFFLINE" in err


def test_an_unknown_mode_is_refused(command, tmp_path: Path) -> None:
    status, _, err = command("download", "esr", "--mode", "demo_imag", "--path", tmp_path)
    assert status == 2
    assert "did you mean 'demo_image'?" in err
    assert command("download", "yunet", "--mode", "data").status == 2
