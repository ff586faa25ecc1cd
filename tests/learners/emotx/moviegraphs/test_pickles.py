"""Pickles are read without running anything from them."""

from __future__ import annotations

import os
import pickle
import pickletools
import warnings
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from emotion_perception.engine.errors import DatasetError
from emotion_perception.learners.emotx.moviegraphs.pickles import Inert, read_pickles


class Runs:
    """Pickled, it calls a function when it is read."""

    def __init__(self, function: Any, *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[object, ...]]:
        return self.function, self.arguments


def write(file: Path, *contents: object, protocol: int = 4) -> Path:
    file.write_bytes(b"".join(pickle.dumps(content, protocol) for content in contents))
    return file


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_values_arrays_and_numbers_are_read_in_every_protocol(tmp_path: Path, protocol: int) -> None:
    values = np.arange(12, dtype=np.float64).reshape(3, 4)
    contents = {"a": [1, 2.5, None, "é"], "b": (True, {3}), "c": OrderedDict(x=1), "d": defaultdict(list, y=[2]), 7: b"raw"}
    arrays = {0: values, 1: values.T, 2: values.astype(">i4"), 3: np.float32(0.5), 4: values[:0], 5: np.asfortranarray(values)}
    first, second = read_pickles(write(tmp_path / "x.pkl", contents, arrays, protocol=protocol), 2)
    assert first == contents
    assert type(second[3]) is np.float32
    for key, array in arrays.items():
        np.testing.assert_array_equal(second[key], array)
        # Some protocols turn the bytes to the order of the machine.
        assert np.asarray(second[key]).dtype.newbyteorder("=") == np.asarray(array).dtype.newbyteorder("=")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_tensors_are_read_as_arrays(tmp_path: Path, dtype: torch.dtype) -> None:
    whole = torch.arange(24, dtype=dtype).reshape(4, 6)
    tensors = [whole, whole[1:3, ::2], whole.T, whole[:0]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = write(tmp_path / "x.pkl", tensors)
    for found, tensor in zip(read_pickles(file, 1)[0], tensors, strict=True):
        np.testing.assert_array_equal(found, tensor.numpy())


def test_objects_of_the_published_classes_come_out_inert(tmp_path: Path) -> None:
    # As Python 2 wrote them, and as later protocols do.
    old = b"ccopy_reg\n_reconstructor\n(cGraphClasses\nClipGraph\nc__builtin__\nobject\nNtR(dS'situation'\nS'caf\\xe9'\nsb."
    new = pickle.PROTO + b"\x02cnetworkx.classes.digraph\nDiGraph\n)\x81}X\x04\x00\x00\x00nodeK\x01sb."
    (tmp_path / "x.pkl").write_bytes(old + new)
    clip, graph = read_pickles(tmp_path / "x.pkl", 2)
    assert type(clip) is type(graph) is Inert
    assert vars(clip) == {"situation": "café"}
    assert vars(graph) == {"node": 1}


HOSTILE = {
    "a command": Runs(os.system, "echo run > {mark}"),
    "an evaluation": Runs(eval, "open({mark!r}, 'w').close()"),
    "an import": Runs(__import__, "antigravity"),
    "a getattr": Runs(getattr, "x", "upper"),
    "a partial": Runs(__import__("functools").partial, print),
    "an array of objects": np.array([{}, []], dtype=object),
    "fields": np.zeros(2, [("a", "f8")]),
    "a class": Path,
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_pickles_are_refused_in_one_line_and_nothing_runs(tmp_path: Path, what: str) -> None:
    mark, content = tmp_path / "mark", HOSTILE[what]
    if isinstance(content, Runs):
        content = Runs(content.function, *(str(word).format(mark=str(mark)) for word in content.arguments))
    for protocol in (0, 2, 4):
        with pytest.raises(DatasetError, match=r"refused") as caught:
            read_pickles(write(tmp_path / "x.pkl", {"movie": [content]}, protocol=protocol), 1)
        assert "\n" not in str(caught.value)
        assert str(tmp_path / "x.pkl") in str(caught.value)
    assert not mark.exists()


def test_a_pickle_cannot_change_the_classes_that_read_it(tmp_path: Path) -> None:
    program = b"cGraphClasses\nClipGraph\n(N(dS'__setstate__'\nc__builtin__\ndict\nstb."
    assert any(opcode.name == "BUILD" for opcode, _, _ in pickletools.genops(program))
    (tmp_path / "x.pkl").write_bytes(program)
    with pytest.raises(DatasetError, match=r"wants to change Inert\.__setstate__, which is refused"):
        read_pickles(tmp_path / "x.pkl", 1)
    assert not hasattr(Inert, "__setstate__")


def test_a_tensor_cannot_reach_beyond_its_values(tmp_path: Path) -> None:
    class Wide:
        def __reduce__(self) -> tuple[Any, ...]:
            return torch._utils._rebuild_tensor_v2, (np.zeros(4), 0, (4,), (1000,), False, OrderedDict())

    with pytest.raises(DatasetError, match="beyond its values, which is refused"):
        read_pickles(write(tmp_path / "x.pkl", Wide()), 1)


@pytest.mark.parametrize("content", [b"", b"\x80", b"not a pickle", b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f."])
def test_damaged_pickles_are_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pkl").write_bytes(content)
    with pytest.raises(DatasetError, match="copy it again") as caught:
        read_pickles(tmp_path / "x.pkl", 1)
    assert "\n" not in str(caught.value)


def test_a_file_with_too_few_pickles_and_one_that_is_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="ends too early, expected 2 pickles"):
        read_pickles(write(tmp_path / "x.pkl", {}), 2)
    with pytest.raises(DatasetError, match="No such file"):
        read_pickles(tmp_path / "y.pkl", 1)
