"""The published classifier and regressor as the formula fills them, as Keras arrays and as Keras files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from emotion_perception.engine.keras_weights import as_torch
from emotion_perception.learners.mobilenetv2_affectnet.checkpoints import keras_layers

CASE = "mobilenet"


@pytest.fixture(scope="session")
def reference(golden):
    """The page of reference outputs."""
    return golden("mobilenet_affectnet")


@pytest.fixture(scope="session")
def listing(root):
    """What the Keras files hold: layers in order, and arrays."""
    return json.loads((root / "tests" / "data" / "golden" / "mobilenet_h5_listing.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def arrays(reference, listing):
    """Path in a Keras file -> array, of the classifier and of the regressor."""
    classifier = [tuple(row) for row in listing["weights_only_file"]["datasets"][1:]]
    head = {"dense_2/kernel": ([1024, 2], "regressor_head/kernel"), "dense_2/bias": ([2], "regressor_head/bias")}
    regressor = [(path, *head.get(key, (shape, key))) for path, shape, key in classifier]
    weights = reference.cases[CASE]["weights"]
    return {
        "categorical": reference.keras_arrays(weights, classifier, "classifier"),
        "dimensional": reference.keras_arrays(weights, regressor, "regressor"),
    }


@pytest.fixture(scope="session")
def tensors(arrays):
    """The tensors of a classifier's and a regressor's tower, converted without a file."""

    def tower(head: str) -> dict:
        layers: dict[str, dict[str, np.ndarray]] = {}
        for path, value in arrays[head].items():
            layer, _, leaf = path.split("/")
            layers.setdefault(layer, {})[leaf.removesuffix(":0")] = value
        modules = {**dict(keras_layers()), "dense_1": "dense", "dense_2": f"heads.{head}"}
        return {name: value for layer, w in layers.items() for name, value in as_torch(w, modules[layer], layer).items()}

    return {head: tower(head) for head in arrays}


@pytest.fixture(scope="session")
def write_keras(listing):
    """Writes arrays as Keras does: a group per layer, names as attributes."""
    h5py = pytest.importorskip("h5py")

    def write(file: Path, arrays: dict[str, np.ndarray], *, whole: bool = False, as_bytes: bool = False, layers: list[str] | None = None):
        def text(names: list[str]) -> list:
            return [name.encode() for name in names] if as_bytes else names

        with h5py.File(file, "w") as content:
            root = content.create_group("model_weights") if whole else content
            order = layers or listing["weights_only_file"]["layer_names"]
            root.attrs["layer_names"] = text(order)
            for layer in order:
                own = [path for path in arrays if path.split("/")[0] == layer]
                root.create_group(layer).attrs["weight_names"] = text([path.split("/", 1)[1] for path in own])
            for path, value in arrays.items():
                root.create_dataset(path, data=value)
        return file

    return write
