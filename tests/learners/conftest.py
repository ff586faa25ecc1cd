"""Weights and pictures from a formula, so that stored reference outputs need no weight file; see tests/data/golden/*.json."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn


class Golden:
    """The reference outputs of one original model, and the formulas for the weights and pictures that they belong to.

    Attributes:
        page: The whole page.
        cases: Its cases by name.
    """

    def __init__(self, text: str) -> None:
        self.page: dict[str, Any] = json.loads(text)
        self.cases: dict[str, dict[str, Any]] = {case["name"]: case for case in self.page["cases"]}

    def fill(self, model: nn.Module, weights: Mapping[str, Any]) -> None:
        """Fills all floating tensors of a network but fixed tables by the formula, and checks the page's sums and samples of them."""
        filled = {
            key: formula_weight(key, tuple(value.shape), weights["seed"], weights["gains"])
            for key, value in model.state_dict().items()
            if value.is_floating_point() and key != "positional_encoder.pe"
        }
        check = weights["check"]
        assert sum(value.size for value in filled.values()) == check["n_filled_values"]
        assert sum(value.sum(dtype=np.float64) for value in filled.values()) == pytest.approx(check["sum"], rel=2e-6)
        assert sum(np.abs(value).sum(dtype=np.float64) for value in filled.values()) == pytest.approx(check["sum_abs"], rel=2e-6)
        for key, first in check["first4"].items():
            np.testing.assert_allclose(filled[key].reshape(-1)[:4], first, rtol=1e-6)
        state = model.state_dict()
        model.load_state_dict({**state, **{key: torch.from_numpy(value) for key, value in filled.items()}}, strict=True)

    def keras_arrays(self, weights: Mapping[str, Any], names: Sequence[tuple[str, Sequence[int], str]], kind: str) -> dict[str, np.ndarray]:
        """Makes the arrays of a Keras file by the formula, checked against the page: path in the file -> array.

        Args:
            weights: Of a case.
            names: Path in the file, shape and key of the formula of every array.
            kind: Which of the page's sums to check.
        """
        made = {path: formula_keras_weight(key, tuple(shape), weights["seed"], weights["gains"]) for path, shape, key in names}
        check = weights["check"][kind]
        assert sum(value.size for value in made.values()) == check["n_filled_values"]
        assert sum(value.sum(dtype=np.float64) for value in made.values()) == pytest.approx(check["sum"], rel=2e-6)
        assert sum(np.abs(value).sum(dtype=np.float64) for value in made.values()) == pytest.approx(check["sum_abs"], rel=2e-6)
        for path, _, key in names:
            if key in weights["check"]["first4"]:
                first = weights["check"]["first4"][key]
                np.testing.assert_allclose(made[path].reshape(-1)[: len(first)], first, rtol=1e-6)
        return made

    def pictures(self, inputs: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """Makes a case's pictures, checked against the page, as ``(n, 3, h, w)`` float32 RGB in [0, 1]."""
        pictures = []
        for given in inputs:
            arguments = {key: value for key, value in given.items() if key != "check"}
            picture, check = formula_picture(**arguments), given["check"]
            assert int(picture.sum(dtype=np.int64)) == check["sum_uint8"]
            assert picture[0, 0, :8].tolist() == check["first8_channel0_row0"]
            assert picture[:, 5, 7].tolist() == check["pixel_y5_x7"]
            pictures.append(picture)
        return torch.from_numpy(np.stack(pictures)).float() / 255.0

    def tensor(self, key: str, shape: Sequence[int], seed: int) -> torch.Tensor:
        """Makes values in [-1, 1) by the formula, float32."""
        return torch.from_numpy(formula_values(key, math.prod(shape), seed).reshape(shape)).float()


def formula_values(key: str, count: int, seed: int) -> np.ndarray:
    """Returns float64 values in [-1, 1) from an integer hash, identical on every platform."""
    x = np.arange(count, dtype=np.uint64) + np.uint64(zlib.crc32(f"{seed}:{key}".encode()) << 32)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((x ^ (x >> np.uint64(31))) >> np.uint64(11)) / 2.0**52 - 1.0


def formula_weight(key: str, shape: tuple[int, ...], seed: int, gains: Sequence[tuple[str, float]]) -> np.ndarray:
    """Returns a torch tensor's float32 values by its name in the state dict of the original code."""
    values = formula_values(key, math.prod(shape), seed)
    leaf = key.rsplit(".", 1)[-1]
    if leaf == "running_mean":
        values = 0.1 * values
    elif leaf == "running_var":
        values = 1.0 + 0.5 * values
    elif "emb" in key.split(".")[0]:
        values = 0.5 * values
    elif leaf.endswith("bias"):
        values = 0.1 * values
    elif len(shape) == 1:
        values = 1.0 + 0.25 * values
    else:
        rows = values.reshape(shape[0], -1)
        values = ((rows - rows.mean(1, keepdims=True)) * 3.0 / rows.shape[1] ** 0.5).reshape(-1)
    for pattern, factor in gains:
        if fnmatchcase(key, pattern):
            values = factor * values
    return values.reshape(shape).astype(np.float32)


def formula_keras_weight(key: str, shape: tuple[int, ...], seed: int, gains: Sequence[tuple[str, float]]) -> np.ndarray:
    """Returns a Keras array's float32 values by its name in Keras, without ``:0``."""
    values = formula_values(key, math.prod(shape), seed)
    leaf = key.rsplit("/", 1)[-1]
    if leaf == "moving_mean":
        values = 0.1 * values
    elif leaf == "moving_variance":
        values = 1.0 + 0.5 * values
    elif leaf == "gamma":
        values = 1.0 + 0.25 * values
    elif leaf in ("beta", "bias"):
        values = 0.1 * values
    else:
        columns = values.reshape(-1, shape[2] * shape[3] if leaf == "depthwise_kernel" else shape[-1])
        values = ((columns - columns.mean(0, keepdims=True)) * 3.0 / columns.shape[0] ** 0.5).reshape(-1)
    for pattern, factor in gains:
        if fnmatchcase(key, pattern):
            values = factor * values
    return values.reshape(shape).astype(np.float32)


def formula_picture(height: int, width: int, channels: int, i: int, ax: float, ay: float) -> np.ndarray:
    """Returns picture ``i`` as ``(channels, height, width)`` uint8, red first."""
    c, y, x = np.meshgrid(np.arange(channels), np.arange(height), np.arange(width), indexing="ij")
    wave = 0.5 + 0.5 * np.sin(ax * x * (c + 1) + ay * y * (i + 1) + i)
    return np.rint(255 * wave ** (1 + (c + i) % 3)).astype(np.uint8)


@pytest.fixture(scope="session")
def golden(root):
    """Opens a page of reference outputs by its name in tests/data/golden."""
    return lambda name: Golden((root / "tests" / "data" / "golden" / f"{name}.json").read_text(encoding="utf-8"))
