"""The published checkpoint: read to the last bit, or refused in one line."""

from __future__ import annotations

import pickle

import pytest
import torch

from emotion_perception.engine.errors import StorageError, UsageError, WeightsError
from emotion_perception.learners.emotx.checkpoints import read_published, write_published
from emotion_perception.learners.emotx.model import build_network

SIZES = {
    "num_labels": 5,
    "num_pos_embeddings": 50,
    "scene_feat_dim": 24,
    "char_feat_dim": 32,
    "srt_feat_dim": 40,
    "num_chars": 3,
    "num_enc_layers": 3,
    "max_individual_tokens": 12,
    "hidden_dim": 16,
}


def refused(file) -> str:
    with pytest.raises(WeightsError) as error:
        read_published(file)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture(params=["emotx", "emotx_1cls"])
def network(request):
    torch.manual_seed(0)
    return request.param, build_network({"network": request.param, **SIZES}).eval()


@pytest.fixture
def content():
    """What a file of the authors' code holds."""
    torch.manual_seed(0)
    return {**SIZES, "state_dict": dict(build_network(SIZES).state_dict())}


@pytest.fixture
def stored(content, tmp_path):
    """Stores the content, changed, and returns the file."""

    def store(**changes):
        torch.save({name: value for name, value in {**content, **changes}.items() if value is not None}, tmp_path / "EmoTx.pt")
        return tmp_path / "EmoTx.pt"

    return store


def test_a_file_comes_back_as_it_was_and_is_all_that_the_network_needs(network, inputs, tmp_path):
    name, model = network
    file = write_published(tmp_path / "new" / "EmoTx.pt", {"network": name, "streams": ("scene",), **SIZES}, model.state_dict())
    architecture, tensors = read_published(file)
    assert architecture == {"network": name, **SIZES}
    assert all(torch.equal(tensors[key], value) for key, value in model.state_dict().items())
    again = build_network(architecture).eval()
    again.load_state_dict(tensors)
    for a, b in zip(again(*inputs), model(*inputs), strict=True):
        assert torch.equal(a, b)
    content = torch.load(file, weights_only=True)
    assert list(content) == [
        *("num_labels", "num_pos_embeddings", "scene_feat_dim", "char_feat_dim", "srt_feat_dim", "num_chars", "num_enc_layers"),
        *("max_individual_tokens", "hidden_dim", "state_dict"),
    ]
    assert list(content["state_dict"]) == list(tensors)


def test_a_file_in_half_precision_or_the_old_format_is_read(content, stored, tmp_path):
    half = {name: value.half() for name, value in content["state_dict"].items()}
    tensors = read_published(stored(state_dict=half))[1]
    assert tensors["type_emb.weight"].dtype == torch.float32
    torch.save(content, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert torch.equal(read_published(tmp_path / "old.pt")[1]["cls_emb_char.weight"], content["state_dict"]["cls_emb_char.weight"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_chars": None}, "lacks 'num_chars'"),
        ({"state_dict": None}, "lacks 'state_dict'"),
        ({"state_dict": 3}, "its 'state_dict' is not a mapping of tensors"),
        ({"state_dict": {"conv1.weight": torch.zeros(1)}}, "has neither 'cls_emb_scene.weight' nor 'logits.weight'"),
        ({"num_labels": 7}, "says num_labels 7, its tensors are those of 5"),
        ({"num_labels": 10**12}, "says num_labels 1000000000000, its tensors are those of 5"),
        ({"num_enc_layers": 2}, "says num_enc_layers 2, its tensors are those of 3"),
        ({"hidden_dim": 16.0}, "hidden_dim is 16.0, expected a whole number"),
        ({"max_individual_tokens": 0}, "max_individual_tokens is 0"),
        ({"num_chars": True}, "num_chars is True"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(stored, changes, message):
    assert message in refused(stored(**changes))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("encoder.layers.1.linear1.bias", None, "lacks tensor 'encoder.layers.1.linear1.bias'"),
        ("char_emb.weight", None, "lacks tensor 'char_emb.weight'"),
        ("char_emb.weight", torch.zeros(()), "lacks tensor 'char_emb.weight' or has it in another shape"),
        ("logits.4.bias", torch.zeros(2), "tensor 'logits.4.bias' has shape (2,), expected (1,)"),
        ("module.extra", torch.zeros(2), "has tensor 'module.extra', which the model does not have"),
        ("layer_norm.bias", torch.full((16,), torch.nan), "tensor 'layer_norm.bias' has NaN or infinite values"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(content, stored, name, value, message):
    state = {key: each for key, each in {**content["state_dict"], name: value}.items() if each is not None}
    assert message in refused(stored(state_dict=state))


class Hostile:
    def __reduce__(self):
        return (print, ("run",))


def test_files_of_something_else_are_refused(content, stored, tmp_path, capsys):
    file = stored()
    file.write_bytes(file.read_bytes()[:-2000])
    assert "truncated or not a torch state dict" in refused(file)
    assert "is not there" in refused(tmp_path / "absent.pt")
    (tmp_path / "empty.pt").touch()
    assert "empty.pt" in refused(tmp_path / "empty.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    assert "holds a list" in refused(tmp_path / "list.pt")
    torch.save(content["state_dict"], tmp_path / "bare.pt")
    assert "lacks 'num_labels'" in refused(tmp_path / "bare.pt")
    torch.save({"fingerprint": "a", "position": 3, "model": content["state_dict"]}, tmp_path / "half.pt")
    assert "is the checkpoint of a training" in refused(tmp_path / "half.pt")
    torch.save(build_network(SIZES), tmp_path / "module.pt")
    assert "module.pt" in refused(tmp_path / "module.pt")
    (tmp_path / "hostile.pt").write_bytes(pickle.dumps(Hostile(), 2))
    assert "hostile.pt" in refused(tmp_path / "hostile.pt")
    assert capsys.readouterr().out == ""


def test_what_has_no_published_form_is_not_written(content, tmp_path):
    mlp = {"network": "mlp", **SIZES}
    with pytest.raises(UsageError, match="no published checkpoint of the network 'mlp'"):
        write_published(tmp_path / "a.pt", mlp, build_network(mlp).state_dict())
    with pytest.raises(WeightsError, match="lacks tensor 'cls_token'"):
        write_published(tmp_path / "a.pt", {"network": "emotx_1cls", **SIZES}, content["state_dict"])
    with pytest.raises(StorageError, match="is a folder"):
        write_published(tmp_path, SIZES, content["state_dict"])
    assert list(tmp_path.iterdir()) == []
