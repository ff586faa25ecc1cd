"""Keras's HDF5 layout: what is written is read, and what is none is refused in one line."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from emotion_perception.engine.errors import MissingDependencyError, WeightsError
from emotion_perception.engine.keras_weights import as_torch, read_keras


def written(file: Path, layers: dict[str, dict[str, np.ndarray]], group: str = "") -> Path:
    h5py = pytest.importorskip("h5py")
    with h5py.File(file, "w") as content:
        root = content.create_group(group) if group else content
        root.attrs["layer_names"] = [layer.encode() for layer in layers]
        for layer, weights in layers.items():
            made = root.create_group(layer)
            made.attrs["weight_names"] = [f"{layer}/{name}:0".encode() for name in weights]
            for name, value in weights.items():
                made.create_dataset(f"{layer}/{name}:0", data=value)
    return file


def refused(file: Path) -> str:
    with pytest.raises(WeightsError) as error:
        read_keras(file)
    assert "\n" not in str(error.value)
    assert str(file) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("group", ["", "model_weights"])
def test_layers_with_weights_are_read_in_the_files_order(tmp_path, group):
    layers = {"z": {"kernel": np.ones((2, 3), np.float64), "bias": np.zeros(3)}, "pool": {}, "a": {"gamma": np.full(4, 2.0)}}
    read = read_keras(written(tmp_path / "w.h5", layers, group))
    assert list(read) == ["z", "a"]
    assert list(read["z"]) == ["kernel", "bias"]
    assert read["z"]["kernel"].dtype == np.float32
    assert read["a"]["gamma"].tolist() == [2.0] * 4


def test_axes_are_put_in_torchs_order():
    random = np.random.default_rng(0)
    kernel, depthwise, dense = (random.random(shape, np.float32) for shape in ((3, 2, 4, 5), (3, 3, 6, 1), (7, 8)))
    assert as_torch({"kernel": kernel}, "c", "")["c.weight"].shape == (5, 4, 3, 2)
    assert as_torch({"kernel": kernel}, "c", "")["c.weight"][1, 2, 0, 1] == kernel[0, 1, 2, 1]
    assert as_torch({"depthwise_kernel": depthwise}, "d", "")["d.weight"].shape == (6, 1, 3, 3)
    assert as_torch({"kernel": dense, "bias": dense[0]}, "f", "")["f.weight"].shape == (8, 7)
    norm = as_torch(dict.fromkeys(("gamma", "beta", "moving_mean", "moving_variance"), dense[0]), "n", "")
    assert list(norm) == ["n.weight", "n.bias", "n.running_mean", "n.running_var"]
    with pytest.raises(WeightsError, match=r"here has a weight 'recurrent_kernel' of shape \(7, 8\)"):
        as_torch({"recurrent_kernel": dense}, "x", "here")


def test_what_is_no_keras_file_is_refused(tmp_path):
    assert "No such file" in refused(tmp_path / "absent.h5")
    (tmp_path / "text.h5").write_text("no weights")
    assert "not an HDF5 file" in refused(tmp_path / "text.h5")
    file = written(tmp_path / "w.h5", {"a": {"kernel": np.random.default_rng(0).random((200, 200))}})
    content = file.read_bytes()
    for size in (9, 100, len(content) // 2):
        (tmp_path / "part.h5").write_bytes(content[:size])
        assert "truncated, or not written by Keras" in refused(tmp_path / "part.h5")
    import h5py

    with h5py.File(tmp_path / "other.h5", "w") as other:
        other.create_dataset("x", data=np.zeros(3))
    assert "not written by Keras" in refused(tmp_path / "other.h5")


def test_a_missing_h5py_is_named_with_the_extra_that_brings_it(tmp_path, monkeypatch):
    (tmp_path / "w.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingDependencyError, match=r"emotion_perception\[keras\]"):
        read_keras(tmp_path / "w.h5")
