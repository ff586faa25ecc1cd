"""Checkpoints in, folders out, downloads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from emotion_perception.engine.errors import DownloadError, UsageError, WeightsError
from emotion_perception.engine.labels import EMOTORCH4
from emotion_perception.engine.testing.case import DrawnFaces
from emotion_perception.learners.emotorch import EmoTorchLearner
from emotion_perception.learners.emotorch.card import BASELINE_NAME, CARD, ENHANCED_NAME
from emotion_perception.learners.emotorch.model import NETWORKS

FACES = [DrawnFaces(EMOTORCH4).picture(n) for n in range(4)]


def checkpoint(file: Path, network: str, **changes) -> Path:
    """A file as the published scripts write it, with some tensors changed."""
    torch.manual_seed(1)
    state = {**NETWORKS[network]().state_dict(), **changes}
    state = {name: value for name, value in state.items() if value is not None}
    torch.save({"model_state_dict": state, "optimizer_state_dict": {"state": {}}, "model_config": {"num_classes": 4}}, file)
    return file


@pytest.mark.parametrize("network", ["baseline", "enhanced"])
def test_a_checkpoint_is_read_from_its_file_or_folder_and_saved(tmp_path, network):
    file = checkpoint(tmp_path / "model.pth", network)
    one, other, third = (EmoTorchLearner(device="cpu") for _ in range(3))
    one.load(file)
    other.load(tmp_path)
    third.load(one.save(tmp_path / "saved"))
    expected = one.infer(FACES).probabilities
    for learner in (other, third):
        np.testing.assert_array_equal(learner.infer(FACES).probabilities, expected)
        assert learner.card.architecture["network"] == network


def test_a_folder_with_both_files_gives_the_network_asked_for(tmp_path):
    for name, network in ((ENHANCED_NAME, "enhanced"), (BASELINE_NAME, "baseline")):
        checkpoint(tmp_path / name, network)
    for network in ("enhanced", "baseline"):
        learner = EmoTorchLearner(network=network, device="cpu")
        learner.load(tmp_path)
        assert learner.card.architecture["network"] == network
    (tmp_path / ENHANCED_NAME).unlink()
    learner = EmoTorchLearner(device="cpu")
    learner.load(tmp_path)
    assert learner.card.architecture["network"] == "baseline"


def test_other_and_half_trained_checkpoints_are_refused_in_one_line(tmp_path):
    nan = torch.full((4, 256), float("nan"))
    cases = [
        (checkpoint(tmp_path / "nan.pth", "enhanced", **{"fc2.weight": nan}), "'fc2.weight' that are not finite"),
        (checkpoint(tmp_path / "less.pth", "baseline", **{"conv3.bias": None}), "lacks tensor 'conv3.bias'"),
        (checkpoint(tmp_path / "seven.pth", "enhanced", **{"fc2.weight": torch.zeros(7, 256)}), "(7, 256), expected (4, 256)"),
        (checkpoint(tmp_path / "more.pth", "baseline", extra=torch.zeros(1)), "has tensor 'extra'"),
    ]
    torch.save({"fingerprint": {}, "position": {}, "model": {}, "optimizer": {}}, tmp_path / "checkpoint.pt")
    cases.append((tmp_path / "checkpoint.pt", "checkpoint of a training"))
    torch.save({"model_state_dict": {"epoch": 3}}, tmp_path / "words.pth")
    cases.append((tmp_path / "words.pth", "not a state dict"))
    half = tmp_path / "half.pth"
    half.write_bytes(cases[0][0].read_bytes()[:5000])
    cases += [(half, "truncated or not a torch state dict"), (tmp_path / "none", "is not there")]
    learner = EmoTorchLearner(device="cpu")
    learner.init_model()
    before, card = learner.infer(FACES).probabilities, learner.card
    for file, words in cases:
        with pytest.raises(WeightsError) as raised:
            learner.load(file)
        assert words in str(raised.value)
        assert "\n" not in str(raised.value)
        assert learner.card is card
    np.testing.assert_array_equal(learner.infer(FACES).probabilities, before)
    with pytest.raises(UsageError, match="comes without weights"):
        EmoTorchLearner().load()


def test_both_files_are_downloaded_verified_and_loaded(test_data, tmp_path):
    served = tmp_path / "served"
    served.mkdir()
    for folder, name in (("new_model", ENHANCED_NAME), ("baseline_model", BASELINE_NAME)):
        shutil.copy(test_data / "weights" / "emotorch" / folder / "model.pth", served / name)
    learner = EmoTorchLearner(network="baseline", temp_path=tmp_path / "temp", device="cpu")
    folder = learner.download(url=served.as_uri())
    assert sorted(file.name for file in folder.iterdir()) == sorted(file.name for file in CARD.files)
    learner.load(folder)
    assert learner.card.architecture["network"] == "baseline"
    (served / BASELINE_NAME).write_bytes(b"other")
    with pytest.raises(DownloadError, match=BASELINE_NAME):
        learner.download(tmp_path / "again", url=served.as_uri())


def test_predict_shows_what_the_published_scripts_print_and_more(test_data, tmp_path, portrait, capsys):
    from emotion_perception.commands import main

    weights = test_data / "weights" / "emotorch" / "baseline_model"
    words = ["predict", str(portrait), "--learner", "emotorch", "--weights", str(weights), "--detector", "haar", "--device", "cpu"]
    table = tmp_path / "faces.csv"
    assert main([*words, "--json", "--csv", str(table)]) == 0
    face = json.loads(capsys.readouterr().out)[0]["faces"][0]
    assert face["emotion"] in EMOTORCH4.words
    assert face["confidence"] == pytest.approx(max(face["probabilities"].values()))
    assert list(face["probabilities"]) == list(EMOTORCH4.words)
    assert len(face["softmax"]) == len(face["scores"]) == 4
    assert face["valence"] is None
    assert "p_anger,p_fear,p_calm,p_surprise" in table.read_text(encoding="utf-8").splitlines()[0]
