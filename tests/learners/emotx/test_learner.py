"""`EmoTxLearner` beyond the contract: settings and weights that agree, published checkpoints, characters, and every kind of network."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from emotion_perception.engine.errors import DownloadError, InputError, UsageError, WeightsError
from emotion_perception.engine.inference.parity import report_beside
from emotion_perception.learners.emotx import EmoTxLearner
from emotion_perception.learners.emotx.checkpoints import read_published, write_published
from emotion_perception.learners.emotx.clips import ClipFeatures, Stream, collate
from emotion_perception.learners.emotx.features.files import write_clip
from emotion_perception.learners.emotx.settings import FeatureInfo, Settings

WIDTHS = {
    "mvit_v1": FeatureInfo(scene_feat_dim=24),
    "resnet50_fer": FeatureInfo(face_feat_dim=32),
    "roberta": FeatureInfo(srt_feat_dim=40),
}


def settings(**changes) -> Settings:
    small = {"hidden_dim": 32, "num_chars": 3, "max_feats": 12, "max_srt_feats": 12, "num_enc_layers": 1, "feat_info": WIDTHS}
    return Settings(**{**small, **changes})


def learner(tmp_path, keywords=None, **changes) -> EmoTxLearner:
    return EmoTxLearner(settings=settings(**changes), device="cpu", temp_path=tmp_path / "temp", **(keywords or {}))


@pytest.fixture
def made(tmp_path) -> EmoTxLearner:
    """A learner with fresh weights of a small network."""
    fresh = learner(tmp_path)
    fresh.init_model()
    return fresh


def test_keywords_are_settings_and_win_over_those_given():
    usual = EmoTxLearner()
    assert usual.settings == Settings()
    assert usual.batch_size == 4
    given = EmoTxLearner(settings=Settings(top_k=25, epochs=7), epochs=3, batch_size=2, device="cpu")
    assert (given.settings.top_k, given.settings.epochs, given.batch_size, given.device) == (25, 3, 2, "cpu")
    assert EmoTxLearner(settings=Settings(top_k=25, batch_size=8), top_k=10).settings == Settings(batch_size=8)
    assert EmoTxLearner.settings_class is Settings
    with pytest.raises(UsageError, match="top_k is 11, expected 10 or 25"):
        EmoTxLearner(top_k=11)


def test_scenes_and_characters_are_judged_and_who_is_absent_is_nan(made, clips):
    result = made.infer(clips)
    inputs = [torch.from_numpy(x) for x in collate(clips, made.layout).inputs()]
    scene, characters = (torch.sigmoid(x).detach().numpy() for x in made.model(*inputs))
    np.testing.assert_allclose(result.probabilities, scene, atol=1e-6)
    assert result.extras["names"].tolist() == [["Ann", "Bob", "Cy"], ["Dee", "", ""]]
    found = result.extras["characters"]
    assert found.dtype == np.float32
    assert np.isfinite(found).all(axis=2).tolist() == [[True, True, True], [True, False, False]]
    np.testing.assert_allclose(found[0], characters[0], atol=1e-6)
    assert result[1].extras["names"].tolist() == [["Dee", "", ""]]
    assert made.infer([]).extras["characters"].shape == (0, 3, 10)
    assert result.present(0.0).all()


def test_a_clip_may_lack_anything_and_a_fourth_character_is_left_out(made, clips):
    first, _ = clips
    nothing = ClipFeatures(None)
    crowd = ClipFeatures(first.scene, {**first.characters, "Eve": first.characters["Ann"]}, first.dialogue)
    result = made.infer([nothing, crowd, first])
    assert np.isfinite(result.probabilities).all()
    assert np.isnan(result.extras["characters"][0]).all()
    np.testing.assert_allclose(result.probabilities[1], result.probabilities[2], atol=1e-6)
    assert result.extras["names"].tolist()[1] == ["Ann", "Bob", "Cy"]


def test_a_file_of_features_is_judged_as_the_clip_in_memory(made, clips, tmp_path):
    file = write_clip(tmp_path / "clip.npz", clips[0])
    np.testing.assert_array_equal(made.infer(file).extras["characters"], made.infer(clips[0]).extras["characters"])
    np.testing.assert_array_equal(made.infer(file).probabilities, made.infer(clips[0]).probabilities)


@pytest.mark.parametrize("given", [None, 5, np.zeros((8, 8, 3), np.uint8)], ids=["none", "number", "picture"])
def test_what_is_no_clip_is_refused_in_one_line(made, clips, given):
    with pytest.raises(InputError, match=r"emotx takes ClipFeatures, the path of a video or \.npz file, or a list of them, got") as caught:
        made.infer([clips[0], given])
    assert "\n" not in str(caught.value)


def test_features_of_another_width_are_refused(made):
    wide = ClipFeatures(Stream(np.zeros((2, 25), np.float32), np.zeros(2, np.float32)), name="tt1 scene 3")
    with pytest.raises(InputError, match="tt1 scene 3: scene features are 25 wide, expected 24"):
        made.infer(wide)


@pytest.mark.parametrize(
    ("changes", "judges"),
    [
        ({"use_char_feats": False, "get_char_targets": False}, ["scene"]),
        ({"use_scene_feats": False, "use_srt_feats": False, "get_scene_targets": False}, ["characters"]),
        ({"model_no": 3.0}, ["scene", "characters"]),
        ({"model_no": 1.2, "use_char_feats": False, "use_srt_feats": False, "get_char_targets": False}, ["scene"]),
        (
            {"model_no": 1.1, "use_scene_feats": False, "use_srt_feats": False, "get_scene_targets": False}
            | {"joint_character_modeling": False},
            ["characters"],
        ),
    ],
    ids=["scene_dialogue", "characters", "one_class_token", "mlp_scene", "mlp_characters"],
)
def test_what_a_network_does_not_judge_is_nan_and_its_settings_come_back_with_its_weights(tmp_path, clips, changes, judges):
    fresh = learner(tmp_path, **changes)
    fresh.init_model()
    result = fresh.infer(clips)
    assert np.isfinite(result.probabilities).all() == ("scene" in judges)
    assert np.isfinite(result.extras["characters"][0]).all() == ("characters" in judges)
    folder = fresh.save(tmp_path / "weights")
    other = EmoTxLearner(device="cpu", keep="scene")
    other.load(folder)
    assert other.card == fresh.card
    names = ("model_no", "streams", "judges", "hidden_dim", "num_chars", "max_feats", "label_set")
    assert {name: getattr(other.settings, name) for name in names} == {name: getattr(fresh.settings, name) for name in names}
    assert other.settings.architecture() == fresh.settings.architecture()
    assert other.settings.layout() == other.layout == fresh.layout
    np.testing.assert_array_equal(other.infer(clips).probabilities, result.probabilities)


@pytest.mark.parametrize(
    ("changes", "name"),
    [({}, "EmoTx_Top10.pt"), ({"top_k": 25}, "EmoTx_Top25.pt"), ({"use_emotic_mapping": True}, "x.pt")],
    ids=["10", "25", "26"],
)
def test_published_checkpoints_are_read_from_a_file_or_a_folder_and_saved_in_our_own_form(tmp_path, clips, changes, name):
    fresh = learner(tmp_path, **changes)
    fresh.init_model()
    expected = fresh.infer(clips)
    sizes = {key: value for key, value in fresh.card.architecture.items() if key != "features"}
    file = write_published(tmp_path / "published" / name, sizes, fresh.model.state_dict())
    reader = EmoTxLearner(device="cpu")
    reader.load(file)
    assert reader.card.labels == fresh.settings.label_set.name == reader.settings.label_set.name
    assert (reader.card.scores != {}) == (name != "x.pt")
    np.testing.assert_allclose(reader.infer(clips).probabilities, expected.probabilities, atol=1e-6)
    if name != "x.pt":
        folder = EmoTxLearner(device="cpu")
        folder.load(file.parent)
        assert folder.card == reader.card
    again = EmoTxLearner(device="cpu")
    again.load(reader.save(tmp_path / "own"))
    assert again.card == reader.card


def test_a_checkpoint_with_other_labels_is_refused_and_changes_nothing(made, small, tmp_path):
    from tests.learners.emotx.conftest import SIZES

    card = made.card
    file = write_published(tmp_path / "five.pt", SIZES, small().state_dict())
    with pytest.raises(WeightsError, match=r"five.pt' is for 5 labels, expected 10, 25 or 26"):
        made.load(file)
    assert made.card is card


def test_download_keeps_whole_checkpoints_only(made, tmp_path):
    sizes = {key: value for key, value in made.card.architecture.items() if key != "features"}
    for file in made.card.files or EmoTxLearner.card.files:
        write_published(tmp_path / "served" / file.name, sizes, made.model.state_dict())
    folder = made.download(tmp_path / "got", url=(tmp_path / "served").as_uri())
    assert sorted(file.name for file in folder.iterdir()) == ["EmoTx_Emotic.pt", "EmoTx_Top10.pt", "EmoTx_Top25.pt"]
    assert read_published(folder / "EmoTx_Top10.pt")[0]["num_labels"] == 10
    (tmp_path / "served" / "EmoTx_Top10.pt").write_text("<html>the link has expired</html>")
    with pytest.raises(DownloadError, match=r"EmoTx_Top10\.pt"):
        made.download(tmp_path / "other", url=(tmp_path / "served").as_uri())


def test_an_exported_network_takes_streams_of_any_length_and_int8_its_ranges_from_clips(made, clips, tmp_path):
    first, second = clips
    one = ClipFeatures(first.scene.take(np.array([0])), {"Ann": second.characters["Dee"].take(np.array([1]))}, None)
    several = [first, second, one, ClipFeatures(None)]
    expected = made.infer(several)
    with pytest.raises(UsageError, match="int8 needs calibration clips"):
        made.optimize(precision="int8")
    file = made.optimize(precision="int8", calibration=several * 3)  # of an export in fp32, which is compared with the network
    report = json.loads(report_beside(file).read_text())
    assert report["layers"]["int8"] == 2  # the feed-forward of its only layer; the others have too few weights
    assert report["check"]["characters"]["max"] < 0.1
    assert made.backend_name == "onnxruntime cpu int8"
    for got, wanted in ((made.infer(several), expected), (made.infer(one), expected[2])):
        np.testing.assert_allclose(got.probabilities, wanted.probabilities, atol=0.1)
        np.testing.assert_allclose(got.extras["characters"], wanted.extras["characters"], atol=0.1)


@pytest.mark.parametrize("verb", ["fit", "eval"])
def test_another_data_set_is_refused_by_its_kind(made, verb):
    with pytest.raises(UsageError, match=f"{verb} of emotx takes a ClipDataset, got list"):
        getattr(made, verb)([1, 2])
    with pytest.raises(UsageError, match="data_path is not set"):
        getattr(made, verb)()
