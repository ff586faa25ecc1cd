from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from emotion_perception.engine.errors import UsageError, WeightsError
from emotion_perception.learners.emotx.features.extractors import Extractors

transformers = pytest.importorskip("transformers")


class Finetuned(torch.nn.Module):
    """As EmoTx' authors pickled it: the network under this name, beside a classifier."""

    def __init__(self, base: Path) -> None:
        super().__init__()
        self.RoBERTa = transformers.RobertaModel.from_pretrained(base)
        self.logits = torch.nn.Linear(24, 10)


@pytest.fixture(scope="module")
def finetuned(roberta: Path) -> Finetuned:
    module = Finetuned(roberta / "roberta-base")
    with torch.no_grad():
        module.RoBERTa.pooler.dense.bias += 1.0
    return module.eval()


def expected(network: torch.nn.Module, text: str, folder: Path) -> np.ndarray:
    words = transformers.RobertaTokenizer.from_pretrained(folder / "roberta-base")(text, return_tensors="pt")
    with torch.no_grad():
        return network(**words).pooler_output[0].numpy()


def test_the_feature_is_the_pooled_output(roberta: Path) -> None:
    text = Extractors(srt_feat_pretrained=True, backbones=roberta, device="cpu").text
    said = ["hello", "a longer one, padded", "x" * 200, *["more"] * 20]
    features = text(said)
    assert features.shape == (23, text.width)
    assert features.dtype == np.float32
    network = transformers.RobertaModel.from_pretrained(roberta / "roberta-base").eval()
    np.testing.assert_allclose(features[0], expected(network, "hello", roberta), atol=1e-5)
    np.testing.assert_allclose(features[22], expected(network, "more", roberta), atol=1e-5)
    assert text([]).shape == (0, text.width)


def test_a_whole_pickled_module_is_read_without_running_it(roberta: Path, finetuned: Finetuned, tmp_path: Path) -> None:
    (tmp_path / "roberta-base").symlink_to(roberta / "roberta-base")
    torch.save(finetuned, tmp_path / "RoBERTa_finetuned_t10.pt")
    text = Extractors(backbones=tmp_path, device="cpu").text
    np.testing.assert_allclose(text(["hello"])[0], expected(finetuned.RoBERTa, "hello", roberta), atol=1e-5)
    torch.save(finetuned.state_dict(), tmp_path / "RoBERTa_finetuned_t25.pt")
    plain = Extractors(backbones=tmp_path, num_labels=25, device="cpu").text
    np.testing.assert_array_equal(plain(["hello"]), text(["hello"]))


RAN: list[str] = []


class Hostile:
    def __init__(self, call, *arguments) -> None:
        self.call = call, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("hostile", "message"),
    [(Hostile(RAN.append, "ran"), "Weights only load failed"), (Hostile(sys.exit, 3), "Weights only load failed")],
    ids=["method", "exit"],
)
def test_a_hostile_pickle_runs_nothing(roberta: Path, tmp_path: Path, hostile: Hostile, message: str) -> None:
    (tmp_path / "roberta-base").symlink_to(roberta / "roberta-base")
    torch.save(hostile, tmp_path / "RoBERTa_finetuned_t10.pt")
    with pytest.raises(WeightsError, match=rf"RoBERTa_finetuned_t10.pt.*{message}\); download it again"):
        _ = Extractors(backbones=tmp_path).text
    assert RAN == []


def touch(file: str) -> None:
    Path(file).touch()


def test_a_function_in_a_pickle_is_not_called(roberta: Path, tmp_path: Path) -> None:
    (tmp_path / "roberta-base").symlink_to(roberta / "roberta-base")
    torch.save(Hostile(touch, str(tmp_path / "touched")), tmp_path / "RoBERTa_finetuned_t10.pt")
    with pytest.raises(WeightsError, match=r"RoBERTa_finetuned_t10.pt.* lacks tensor 'embeddings"):
        _ = Extractors(backbones=tmp_path).text
    assert not (tmp_path / "touched").exists()


def test_missing_parts_are_named(roberta: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"'roberta-base', which is not in .*huggingface.co"):
        _ = Extractors(backbones=tmp_path).text
    with pytest.raises(WeightsError, match=r"'RoBERTa_finetuned_t10.pt', which is not in"):
        _ = Extractors(backbones=roberta).text
    with pytest.raises(UsageError, match="10, 25 or 26 labels, not for 4"):
        _ = Extractors(backbones=roberta, num_labels=4).text
    (tmp_path / "roberta-base").mkdir()
    (tmp_path / "roberta-base" / "config.json").write_text("{")
    with pytest.raises(WeightsError, match="cannot read RoBERTa"):
        _ = Extractors(backbones=tmp_path, srt_feat_pretrained=True).text
