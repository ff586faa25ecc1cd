"""The published layout of ESR: what is written is read, and what does not belong is refused with file and tensor named."""

from __future__ import annotations

import hashlib
import json
import resource
from pathlib import Path

import pytest
import torch

from emotion_perception.engine.errors import StorageError, UsageError, WeightsError
from emotion_perception.engine.weights import digest_of, load_torch
from emotion_perception.learners.esr.card import CARD
from emotion_perception.learners.esr.checkpoints import BASE_NAME, BRANCH_NAME, PUBLISHED_FILES, read_published, write_published
from emotion_perception.learners.esr.model import ESR


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@pytest.fixture(scope="module")
def two():
    """The state of a network with two branches, every tensor of it different."""
    torch.manual_seed(1)
    state = ESR(2).state_dict()
    return {key: torch.rand_like(value) if value.is_floating_point() else value + 7 for key, value in state.items()}


@pytest.fixture
def folder(two, tmp_path):
    return write_published(tmp_path / "esr_2", two)


def refused(folder: Path, **arguments: object) -> str:
    with pytest.raises(WeightsError) as error:
        read_published(folder, **arguments)
    message = str(error.value)
    assert "\n" not in message
    assert str(folder) in message
    return message


# ---- round trip ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("diversify", [False, True])
def test_what_is_written_is_read_bit_by_bit(tmp_path, diversify):
    model = ESR(2, diversify)
    write_published(tmp_path, model.state_dict())
    tensors, without_affect = read_published(tmp_path)
    assert without_affect == ()
    state = model.state_dict()
    assert tensors.keys() == state.keys()
    assert all(torch.equal(tensors[key], state[key]) for key in state)
    ESR(2, diversify).load_state_dict(tensors)


def test_the_files_are_those_of_the_published_layout(folder):
    assert names(folder) == [BASE_NAME, "Net-Branch_1.pt", "Net-Branch_2.pt", "esr.json"]
    base, branch = load_torch(folder / BASE_NAME), load_torch(folder / "Net-Branch_2.pt")
    assert len(base) == 28
    assert sum(value.numel() for value in base.values()) == 375_684
    assert list(branch)[:2] == ["conv1.weight", "conv1.bias"]
    assert branch["fc.weight"].shape == (8, 512)
    assert branch["fc_dimensional.weight"].shape == (2, 8)


def test_a_slice_of_a_packed_tensor_does_not_take_the_whole_with_it(two, tmp_path):
    packed = torch.stack([two["convolutional_branches.0.conv3.weight"]] * 9)
    write_published(tmp_path, {**two, "convolutional_branches.0.conv3.weight": packed[0]})
    assert (tmp_path / "Net-Branch_1.pt").stat().st_size < 9_500_000


def test_fewer_branches_than_there_are_may_be_read(folder, two):
    for size in (0, 1, 2, None):
        tensors, _ = read_published(folder, size)
        branches = {key.split(".")[1] for key in tensors if not key.startswith("base.")}
        assert branches == {str(number) for number in range(2 if size is None else size)}
    assert torch.equal(tensors["convolutional_branches.1.fc.bias"], two["convolutional_branches.1.fc.bias"])


def test_other_file_names(two, tmp_path):
    write_published(tmp_path, two, name="mine", base_name="base.pt", branch_name="branch-{}-end.pt")
    assert names(tmp_path) == ["base.pt", "branch-1-end.pt", "branch-2-end.pt", "mine.json"]
    assert len(read_published(tmp_path, None, "base.pt", "branch-{}-end.pt")[0]) == len(two)
    with pytest.raises(UsageError, match=r"branch\.pt"):
        read_published(tmp_path, None, "base.pt", "branch.pt")
    with pytest.raises(UsageError, match="-1"):
        read_published(tmp_path, -1, "base.pt", "branch-{}-end.pt")


def test_branches_without_an_affect_head_are_read_and_told(folder):
    branch = load_torch(folder / "Net-Branch_2.pt")
    torch.save({key: value for key, value in branch.items() if "dimensional" not in key}, folder / "Net-Branch_2.pt")
    tensors, without_affect = read_published(folder)
    assert without_affect == (1,)
    assert "convolutional_branches.0.fc_dimensional.bias" in tensors
    assert "convolutional_branches.1.fc_dimensional.bias" not in tensors
    torch.save({key: value for key, value in branch.items() if key != "fc_dimensional.bias"}, folder / "Net-Branch_2.pt")
    assert "'fc_dimensional.bias'" in refused(folder)


def test_legacy_files_are_read(folder, two):
    part = load_torch(folder / "Net-Branch_1.pt")
    torch.save(part, folder / "Net-Branch_1.pt", _use_new_zipfile_serialization=False)
    assert (folder / "Net-Branch_1.pt").read_bytes()[:2] != b"PK"
    tensors, _ = read_published(folder)
    assert torch.equal(tensors["convolutional_branches.0.conv4.weight"], two["convolutional_branches.0.conv4.weight"])


# ---- the metadata file --------------------------------------------------------------------------------------------------


def test_the_metadata_has_the_toolkits_keys_and_holds_after_a_move(two, tmp_path):
    write_published(tmp_path / "a", two, CARD, name="esr_2")
    (tmp_path / "a").rename(tmp_path / "b")
    plain = json.loads((tmp_path / "b" / "esr_2.json").read_text())
    assert list(plain) == ["model_paths", "framework", "format", "has_data", "inference_params", "optimized", "optimizer_info"]
    assert plain["model_paths"] == [BASE_NAME, "Net-Branch_1.pt", "Net-Branch_2.pt"]
    assert (plain["framework"], plain["format"], plain["has_data"], plain["optimized"]) == ("pytorch", "pt", False, False)
    facts = plain["inference_params"]
    assert (facts["ensemble_size"], facts["diversify"], facts["channel_order"], facts["input_size"]) == (2, False, "RGB", [96, 96])
    assert facts["classes"][:2] == ["Neutral", "Happy"]
    for name in plain["model_paths"]:
        assert facts["sha256"][name] == hashlib.sha256((tmp_path / "b" / name).read_bytes()).hexdigest()


# ---- writing ------------------------------------------------------------------------------------------------------------


def test_branches_of_a_larger_ensemble_are_removed_and_other_files_stay(folder, two):
    for name in ("Net-Branch_3.pt", "Net-Branch_12.pt", "Net-Branch_x.pt", "notes.txt"):
        (folder / name).touch()
    one = {key: value for key, value in two.items() if not key.startswith("convolutional_branches.1.")}
    write_published(folder, one)
    assert names(folder) == [BASE_NAME, "Net-Branch_1.pt", "Net-Branch_x.pt", "esr.json", "notes.txt"]


def test_a_full_disk_keeps_the_old_files(folder, two, tmp_path):
    before = {name: digest_of(folder / name) for name in names(folder)}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, limits[1]))
    try:
        for place in (folder, tmp_path / "new"):
            with pytest.raises(StorageError, match="free some space"):
                write_published(place, {key: value + 1 for key, value in two.items()})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {name: digest_of(folder / name) for name in names(folder)} == before
    assert names(tmp_path) == ["esr_2"]


def test_what_is_no_esr_state_is_not_written(two, tmp_path):
    gap = {key.replace("branches.1.", "branches.2."): value for key, value in two.items()}
    for tensors in ({**two, "classifier.weight": torch.zeros(1)}, gap, {}):
        with pytest.raises(WeightsError, match="published ESR files"):
            write_published(tmp_path / "new", tensors)
    assert names(tmp_path) == []


# ---- reading what does not belong ---------------------------------------------------------------------------------------


def test_missing_files_are_named(folder):
    assert "not there" in refused(folder / "absent")
    assert "Net-Branch_3.pt" in refused(folder, ensemble_size=3)
    (folder / "Net-Branch_1.pt").rename(folder / "Net-Branch_4.pt")
    assert "no Net-Branch_1.pt" in refused(folder)
    for file in folder.glob("Net-Branch_*"):
        file.unlink()
    assert "Net-Branch_1.pt" in refused(folder)
    (folder / BASE_NAME).unlink()
    assert BASE_NAME in refused(folder)


@pytest.mark.parametrize("name", [BASE_NAME, "Net-Branch_2.pt"])
def test_a_truncated_file_is_named(folder, name):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    message = refused(folder)
    assert name in message
    assert "truncated" in message


def test_files_of_other_parts_and_variants_are_named_with_the_first_misfit(folder, tmp_path):
    branch = (folder / "Net-Branch_2.pt").read_bytes()
    (folder / "Net-Branch_2.pt").write_bytes((folder / BASE_NAME).read_bytes())
    message = refused(folder)
    assert "Net-Branch_2.pt" in message
    assert "'conv1.weight' has shape (64, 3, 5, 5), expected (128, 128, 3, 3)" in message
    (folder / "Net-Branch_2.pt").write_bytes(branch)
    write_published(tmp_path / "diversified", ESR(1, diversify=True).state_dict())
    (folder / "Net-Branch_1.pt").write_bytes((tmp_path / "diversified" / "Net-Branch_1.pt").read_bytes())
    message = refused(folder)
    assert "Net-Branch_1.pt" in message
    assert "'cbam1." in message
    torch.save({"conv1.weight": torch.zeros(1)}, folder / BASE_NAME)
    assert "'conv1.weight'" in refused(folder)


# ---- the real files -----------------------------------------------------------------------------------------------------


def test_the_published_files_are_ten_with_their_digests():
    assert [file.name for file in PUBLISHED_FILES] == [BASE_NAME, *(BRANCH_NAME.format(number) for number in range(1, 10))]
    assert all(file.url.startswith("https://raw.githubusercontent.com/siqueira-hc/") for file in PUBLISHED_FILES)
    assert all(file.url.endswith(f"/model/ml/trained_models/esr_9/{file.name}") for file in PUBLISHED_FILES)
    assert len({file.digest for file in PUBLISHED_FILES}) == 10


def test_the_real_base_is_read_and_written_back(test_data, two, tmp_path):
    real = test_data / "weights" / "esr" / BASE_NAME
    assert digest_of(real) == PUBLISHED_FILES[0].digest
    assert real.read_bytes()[:2] != b"PK"  # the legacy format, with CUDA storages
    tensors, _ = read_published(real.parent, ensemble_size=0)
    assert len(tensors) == 28
    assert all(value.device.type == "cpu" for value in tensors.values())
    assert int(tensors["base.bn1.num_batches_tracked"]) == 276_570
    branches = {key: value for key, value in two.items() if not key.startswith("base.")}
    write_published(tmp_path, {**tensors, **branches})
    again, _ = read_published(tmp_path)
    assert all(torch.equal(again[key], value) for key, value in tensors.items())
    assert "Net-Branch_1.pt" in refused(real.parent)
