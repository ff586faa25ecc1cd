"""Published files and mean images in, folders out, downloads, exports."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from emotion_perception.engine.errors import DownloadError, UsageError, WeightsError
from emotion_perception.learners.emonet import EmoNetLearner
from emotion_perception.learners.emonet.card import CARD, WEIGHTS_NAME
from emotion_perception.learners.emonet.checkpoints import read_mean_image, read_weights
from emotion_perception.learners.emonet.model import EmoNet


def mean_image() -> np.ndarray:
    """Like no other when turned, or with its channels in another order."""
    c, y, x = np.meshgrid(np.arange(3), np.arange(227), np.arange(227), indexing="ij")
    return (20.0 + 60.0 * c + y / 8 + x / 4).astype(np.float32)


def write_text(file, image):
    """As the other port keeps it: a line per row, the channels side by side."""
    np.savetxt(file, image.transpose(1, 0, 2).reshape(227, 681), delimiter=",", fmt="%.6f")


@pytest.fixture
def published(tmp_path, small_is_whole):
    """A file in the layout of Kragel's lab."""
    torch.manual_seed(2)
    file = tmp_path / WEIGHTS_NAME
    torch.save(EmoNet().state_dict(), file)
    return file


def test_a_published_file_is_read_alone_or_in_its_folder_and_saved(published, scenes, tmp_path):
    one, other, third = (EmoNetLearner(device="cpu") for _ in range(3))
    one.load(published)
    other.load(published.parent)
    third.load(one.save(tmp_path / "saved"))
    expected = one.infer(scenes)
    for learner in (other, third):
        np.testing.assert_array_equal(learner.infer(scenes).extras["logits"], expected.extras["logits"])
    assert one.card.architecture["mean"] == "none"
    assert one.card.files == CARD.files
    assert third.card == one.card
    with pytest.raises(UsageError, match="comes without weights"):
        EmoNetLearner().load()


@torch.no_grad()
def test_the_layout_with_full_layers_gives_the_same_answers(full_layers, small_is_whole, scenes, tmp_path):
    torch.save(full_layers.state_dict(), tmp_path / "emonet.pth")
    learner = EmoNetLearner(device="cpu", mean="none")
    learner.load(tmp_path)
    x = torch.from_numpy(np.stack(scenes)).permute(0, 3, 1, 2).float()
    expected = full_layers(x).numpy()
    np.testing.assert_allclose(learner.infer(scenes).extras["logits"], expected, atol=1e-4)
    # And back: the columns first again.
    tensors, layout = read_weights(tmp_path / "emonet.pth")
    assert layout == "full"
    back = tensors["conv_5.0.weight"].transpose(2, 3).flatten(1)
    assert torch.equal(back, full_layers.fc1.weight)
    assert not torch.equal(tensors["conv_5.0.weight"].flatten(1), full_layers.fc1.weight)


@torch.no_grad()
def test_its_mean_image_is_subtracted_and_stays_with_the_weights(full_layers, small_is_whole, scenes, tmp_path):
    torch.save(full_layers.state_dict(), tmp_path / "emonet.pth")
    learner = EmoNetLearner(device="cpu")
    with pytest.raises(WeightsError, match=r"subtracts 'img_mean.txt', which is not beside it; .*none, channel or a file"):
        learner.load(tmp_path)
    write_text(tmp_path / "img_mean.txt", mean_image())
    learner.load(tmp_path)
    assert learner.card.architecture["mean"] == "image"
    x = torch.from_numpy(np.stack(scenes)).permute(0, 3, 1, 2).float() - torch.from_numpy(mean_image())
    expected = full_layers(x).numpy()
    np.testing.assert_allclose(learner.infer(scenes).extras["logits"], expected, atol=2e-4)
    other = EmoNetLearner(device="cpu", mean="none")  # for other files than this folder, which has its mean
    other.load(learner.save(tmp_path / "saved"))
    np.testing.assert_allclose(other.infer(scenes).extras["logits"], expected, atol=2e-4)


def test_mean_images_are_read_in_every_order_and_refused_otherwise(tmp_path):
    image = mean_image()
    write_text(tmp_path / "mean.txt", image)
    np.save(tmp_path / "last.npy", image.transpose(1, 2, 0))
    np.save(tmp_path / "first.npy", image)
    for name in ("mean.txt", "last.npy", "first.npy"):
        np.testing.assert_allclose(read_mean_image(tmp_path / name), image, atol=1e-5)
    np.save(tmp_path / "small.npy", image[:, :224, :224])
    np.save(tmp_path / "unit.npy", image / 255.0)
    (tmp_path / "words.txt").write_text("no,numbers\n")
    wrong = {"small.npy": r"shape \(3, 224, 224\), expected 227 lines", "unit.npy": "expected pixels of 0 to 255"}
    wrong |= {"words.txt": "cannot read mean image", "none.txt": "cannot read mean image"}
    for name, words in wrong.items():
        with pytest.raises(WeightsError, match=words) as raised:
            read_mean_image(tmp_path / name)
        assert "\n" not in str(raised.value)


def test_other_files_are_refused_with_what_they_are(published, scenes, tmp_path):
    learner = EmoNetLearner(device="cpu")
    learner.load(published)
    before, card = learner.infer(scenes).probabilities, learner.card
    state, one = torch.load(published), torch.zeros(1)
    cases = {
        "toisoul": ({"conv1.weight": one, "emo_fc_2.0.weight": one}, "Toisoul et al. 2021, which judges faces"),
        "torchvision": ({"features.0.weight": one, "classifier.1.weight": one}, "torchvision's AlexNet"),
        "raw": ({"Conv_0.weight": one, "initializers.onnx_initializer_0": one}, "raw import of the ONNX file"),
        "less": ({name: value for name, value in state.items() if name != "conv_3.0.bias"}, "lacks tensor 'conv_3.0.bias'"),
        "more": ({**state, "extra": one}, "has tensor 'extra'"),
        "shape": ({**state, "classifier.0.weight": torch.zeros(8, 256, 1, 1)}, "(8, 256, 1, 1), expected (20, 256, 1, 1)"),
        "flat": ({"fc1.weight": torch.zeros(7)}, "of a full layer has shape (7,), expected (out, in)"),
        "words": ({"epoch": 3}, "not a state dict"),
    }
    for name, (content, _) in cases.items():
        torch.save(content, tmp_path / f"{name}.pt")
    half = tmp_path / "half.pt"
    half.write_bytes(published.read_bytes()[:5000])
    said = {name: words for name, (_, words) in cases.items()} | {"half": "truncated or not a torch state dict"}
    for name, words in said.items():
        with pytest.raises(WeightsError) as raised:
            learner.load(tmp_path / f"{name}.pt")
        assert words in str(raised.value)
        assert "\n" not in str(raised.value)
        assert learner.card is card
    np.testing.assert_array_equal(learner.infer(scenes).probabilities, before)


def test_a_new_network_takes_all_but_the_last_layer_of_another(published, tmp_path, small_is_whole):
    state = torch.load(published)
    state["classifier.0.weight"], state["classifier.0.bias"] = torch.zeros(1000, 256, 1, 1), torch.zeros(1000)
    torch.save(state, tmp_path / "imagenet.pt")
    learner = EmoNetLearner(device="cpu", backbone_weights=tmp_path / "imagenet.pt")
    learner.width = 0.0625
    learner.init_model()
    assert torch.equal(learner.model.conv_6[0].weight, state["conv_6.0.weight"])
    assert learner.model.classifier[0].weight.shape[0] == 20
    assert learner.card.architecture["mean"] == "channel"
    assert learner.card.files == ()


def test_a_download_is_checked_by_its_tensors_as_no_digest_is_published(published, tmp_path, caplog):
    assert CARD.files[0].digest is None
    learner = EmoNetLearner(device="cpu", temp_path=tmp_path / "temp")
    with caplog.at_level(logging.WARNING):
        folder = learner.download(url=published.parent.as_uri())
    assert "names no digest" in caplog.text
    assert "sha256:" in caplog.text
    learner.load(folder)
    served = tmp_path / "served"
    served.mkdir()
    torch.save({**torch.load(published), "extra": torch.zeros(1)}, served / WEIGHTS_NAME)
    with pytest.raises(DownloadError, match=r"gave another file than 'emonet_pytorch_weights.pt': .*'extra'"):
        learner.download(tmp_path / "again", url=served.as_uri())
    assert [file for file in (tmp_path / "again").rglob("*") if file.is_file()] == []
    # A damaged copy is fetched again.
    (folder / WEIGHTS_NAME).write_bytes(b"half")
    learner.load(learner.download(url=published.parent.as_uri()))
