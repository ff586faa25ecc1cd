"""Weights folders: bit-exact, all or nothing, refused by name when they are not what they should be."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import emotion_perception
from emotion_perception.engine.cards import CARD_NAME, CropSpec, InputSpec, ModelCard
from emotion_perception.engine.errors import StorageError, WeightsError
from emotion_perception.engine.weights import EXPORTED_NAME, MODEL_NAME, load_folder, load_state, load_torch, save_folder

CARD = ModelCard(
    learner="tiny",
    title="A tiny model",
    perceives="face",
    input=InputSpec(8, 8, mean=(0.1, 0.2, 0.3)),
    labels="affectnet8",
    licence="Apache-2.0",
    paper="none",
    crop=CropSpec(scale=1.2),
    architecture={"width": 4},
)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def network(seed: int = 0, width: int = 4) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.Flatten(), nn.Linear(width * 36, 8))


def saved(folder: Path, seed: int = 0, card: ModelCard = CARD) -> dict[str, torch.Tensor]:
    state = network(seed).state_dict()
    save_folder(folder, card, state)
    return state


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) and a[k].dtype == b[k].dtype for k in a)


# ---- round trip ---------------------------------------------------------------------------------------------------------


def test_what_is_saved_is_loaded_bit_by_bit_wherever_the_folder_is_moved(tmp_path):
    state = saved(tmp_path / "there")
    assert names(tmp_path / "there") == [CARD_NAME, MODEL_NAME]
    assert (tmp_path / "there" / MODEL_NAME).stat().st_mode == (tmp_path / "there" / CARD_NAME).stat().st_mode
    (tmp_path / "there").rename(tmp_path / "here")
    card, tensors = load_folder(tmp_path / "here", "tiny")
    assert card == CARD
    assert same(tensors, state)
    assert json.loads((tmp_path / "here" / CARD_NAME).read_text())["crop"]["scale"] == 1.2


def test_views_and_other_memory_formats_are_stored_as_they_read(tmp_path):
    whole = torch.arange(24.0).reshape(2, 3, 2, 2)
    state = {
        "a": whole[:1],
        "b": whole[:1],
        "c": whole.to(memory_format=torch.channels_last),
        "d": whole.permute(3, 2, 1, 0),
        "e": torch.tensor(7),
    }
    save_folder(tmp_path / "f", CARD, state)
    assert same(load_folder(tmp_path / "f", "tiny")[1], state)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_floats_of_any_width_are_loaded_as_float32(tmp_path, kind):
    state = {key: value.to(kind) if value.is_floating_point() else value for key, value in network().state_dict().items()}
    save_folder(tmp_path, CARD, state)
    tensors = load_folder(tmp_path, "tiny")[1]
    assert {value.dtype for value in tensors.values()} == {torch.float32, torch.int64}
    assert torch.equal(tensors["0.weight"], state["0.weight"].float())
    load_state(network(1), tensors, "here")


def test_an_exported_model_goes_with_its_weights(tmp_path):
    (tmp_path / "export.onnx").write_bytes(b"graph")
    save_folder(tmp_path / "f", CARD, network().state_dict(), {EXPORTED_NAME: tmp_path / "export.onnx"})
    (tmp_path / "f" / "notes.txt").write_text("mine")
    assert (tmp_path / "f" / EXPORTED_NAME).read_bytes() == b"graph"
    # Saved again from itself, as a learner does whose back end is the file in the folder; then without it.
    save_folder(tmp_path / "f", CARD, network().state_dict(), {EXPORTED_NAME: tmp_path / "f" / EXPORTED_NAME})
    assert (tmp_path / "f" / EXPORTED_NAME).read_bytes() == b"graph"
    saved(tmp_path / "f", seed=1)
    assert names(tmp_path / "f") == [CARD_NAME, MODEL_NAME, "notes.txt"]


# ---- saving that fails --------------------------------------------------------------------------------------------------


def test_a_full_disk_keeps_the_old_weights(tmp_path):
    state = saved(tmp_path / "old")
    big = {"x": torch.zeros(100_000)}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        for folder in (tmp_path / "old", tmp_path / "new" / "folder"):
            with pytest.raises(StorageError, match="cannot write") as error:
                save_folder(folder, CARD, big)
            assert "free some space" in str(error.value)
            assert "\n" not in str(error.value)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert names(tmp_path) == ["old"]
    assert names(tmp_path / "old") == [CARD_NAME, MODEL_NAME]
    assert same(load_folder(tmp_path / "old", "tiny")[1], state)


def test_a_missing_further_file_and_a_file_in_the_way_are_storage_errors(tmp_path):
    with pytest.raises(StorageError, match="No such file"):
        save_folder(tmp_path / "f", CARD, {"x": torch.zeros(1)}, {EXPORTED_NAME: tmp_path / "absent.onnx"})
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="a file is there"):
        saved(tmp_path / "file")
    assert names(tmp_path) == ["file"]


KILLED = """
import os, signal, sys
import torch
from emotion_perception.engine.cards import ModelCard
from emotion_perception.engine.weights import save_folder

def step(event, arguments):
    if event == sys.argv[2] and str(arguments[0]).endswith(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)

card = ModelCard.read(__import__("pathlib").Path(sys.argv[1]))
sys.addaudithook(step)
save_folder(sys.argv[1], card.with_(title="new"), {"x": torch.ones(3)})
"""


@pytest.mark.parametrize(
    ("event", "name", "title"),
    [("open", MODEL_NAME, "A tiny model"), ("os.rename", f".saved/{MODEL_NAME}", "new")],
    ids=["before it counts", "after it counts"],
)
def test_a_killed_save_leaves_old_or_new_weights_and_the_next_save_clears_up(tmp_path, event, name, title):
    saved(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(Path(emotion_perception.__file__).parents[1])}
    child = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), event, name], env=environment, check=False)
    assert child.returncode == -signal.SIGKILL
    card, tensors = load_folder(tmp_path, "tiny")
    assert card.title == title
    assert ("x" in tensors) == (title == "new")
    state = saved(tmp_path, seed=2)
    assert names(tmp_path) == [CARD_NAME, MODEL_NAME]
    assert same(load_folder(tmp_path, "tiny")[1], state)


# ---- folders that are refused -------------------------------------------------------------------------------------------


def refused(folder: Path, learner: str = "tiny") -> str:
    with pytest.raises(WeightsError) as error:
        load_folder(folder, learner)
    message = str(error.value)
    assert "\n" not in message
    assert str(folder) in message
    return message


def test_a_missing_folder_and_an_empty_one(tmp_path):
    assert "not there" in refused(tmp_path / "absent")
    (tmp_path / "file").touch()
    assert "a file, not a folder" in refused(tmp_path / "file")
    assert CARD_NAME in refused(tmp_path)


def test_another_learner_is_refused_by_name(tmp_path):
    saved(tmp_path / "f")
    message = refused(tmp_path / "f", "esr")
    assert "'tiny'" in message
    assert "'esr'" in message
    saved(tmp_path / "other", card=CARD.with_(learner="other"))
    (tmp_path / "other" / MODEL_NAME).replace(tmp_path / "f" / MODEL_NAME)
    assert "'other'" in refused(tmp_path / "f")


@pytest.mark.parametrize("size", [0, 4, 100, -1])
def test_truncated_tensors(tmp_path, size):
    saved(tmp_path)
    content = (tmp_path / MODEL_NAME).read_bytes()
    (tmp_path / MODEL_NAME).write_bytes(content[:size])
    assert "truncated" in refused(tmp_path)


def test_missing_tensors_and_bytes_that_are_none(tmp_path):
    saved(tmp_path)
    (tmp_path / MODEL_NAME).write_bytes(b"\x80\x04pickle" * 50)
    assert MODEL_NAME in refused(tmp_path)
    (tmp_path / MODEL_NAME).unlink()
    assert "not there" in refused(tmp_path)


def test_another_format_version_and_a_broken_card(tmp_path):
    saved(tmp_path)
    plain = json.loads((tmp_path / CARD_NAME).read_text())
    (tmp_path / CARD_NAME).write_text(json.dumps({**plain, "format_version": 99}))
    assert "version 99" in refused(tmp_path)
    (tmp_path / CARD_NAME).write_text(json.dumps(plain)[:-20])
    assert CARD_NAME in refused(tmp_path)


def test_state_that_does_not_fit_is_refused_with_the_first_misfit_and_changes_nothing():
    model = network()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    good = network(1).state_dict()
    cases = {
        "'3.bias'": {key: value for key, value in good.items() if key != "3.bias"},
        "'0.weight' has shape (5, 3, 3, 3), expected (4, 3, 3, 3)": network(1, width=5).state_dict(),
        "'extra'": {**good, "extra": torch.zeros(1)},
    }
    for misfit, tensors in cases.items():
        with pytest.raises(WeightsError) as error:
            load_state(model, tensors, "'folder' (tiny)")
        assert misfit in str(error.value)
        assert str(error.value).startswith("'folder' (tiny)")
        assert same(dict(model.state_dict()), before)
    load_state(model, good, "'folder' (tiny)")
    assert same(dict(model.state_dict()), dict(good))


# ---- published torch files ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False])
def test_torch_files_of_both_formats(tmp_path, zipped):
    state = network().state_dict()
    torch.save(state, tmp_path / "net.pt", _use_new_zipfile_serialization=zipped)
    assert same(load_torch(tmp_path / "net.pt"), dict(state))
    content = (tmp_path / "net.pt").read_bytes()
    for size in (0, 1, 50, len(content) // 2, len(content) - 1):
        (tmp_path / "net.pt").write_bytes(content[:size])
        with pytest.raises(WeightsError, match=r"net\.pt") as error:
            load_torch(tmp_path / "net.pt")
        assert "\n" not in str(error.value)


class Trap:
    """Runs code when it is unpickled without care."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch " + os.environ["TRAP"],)


def test_code_in_a_torch_file_is_never_run(tmp_path, monkeypatch):
    monkeypatch.setenv("TRAP", str(tmp_path / "sprung"))
    torch.save({"weight": Trap()}, tmp_path / "net.pt")
    with pytest.raises(WeightsError, match="cannot read"):
        load_torch(tmp_path / "net.pt")
    assert not (tmp_path / "sprung").exists()


def test_torch_files_that_hold_something_else(tmp_path):
    for content in ([torch.zeros(1)], {"epoch": 3}, {}, torch.zeros(2)):
        torch.save(content, tmp_path / "net.pt")
        with pytest.raises(WeightsError, match="not a state dict"):
            load_torch(tmp_path / "net.pt")
    with pytest.raises(WeightsError, match="not there"):
        load_torch(tmp_path / "absent.pt")
    with pytest.raises(WeightsError, match="cannot read"):
        load_torch(tmp_path)
