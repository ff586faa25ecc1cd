"""The published configuration: read, checked, written, and what it means for the network."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from emotion_perception.engine.errors import UsageError
from emotion_perception.learners.emotx.model import build_network
from emotion_perception.learners.emotx.settings import Settings

pytest.importorskip("omegaconf", reason="omegaconf is not installed; it comes with the extra 'emotx'")


def test_the_file_that_comes_along_names_every_setting_with_its_default(root: Path) -> None:
    from omegaconf import OmegaConf

    file = root / "config" / "emotx_training.yaml"
    assert Settings.read(file) == Settings()
    given = OmegaConf.to_container(OmegaConf.load(file))
    assert set(given) == set(vars(Settings()))
    assert set(given["wandb"]) == set(vars(Settings().wandb))


def test_words_win_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("top_k: 25\nepochs: 3\nwandb:\n  project: films\ndata_path:\n")
    read = Settings.read(tmp_path / "my.yaml", ["epochs=5", "wandb.logging=True", "lr=5e-5", "epochs=7"])
    assert (read.top_k, read.epochs, read.lr, read.seed) == (25, 7, 5e-5, 0)
    assert (read.wandb.logging, read.wandb.project, read.data_path) == (True, "films", None)
    assert Settings.read(None, [f"config={tmp_path / 'my.yaml'}"]).top_k == 25


def test_settings_are_read_as_they_were_written(tmp_path: Path) -> None:
    words = ["top_k=25", "lr=1e-5", "data_path=/films/my data", "model_name=ä b", "wandb.entity=me", "model_no=5"]
    settings = Settings.read(None, words)
    assert Settings.read(settings.write(tmp_path / "run" / "settings.yaml")) == settings
    assert settings.model_no == 5.0


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("topk=25", "unknown setting of emotx 'topk'; did you mean 'top_k'?"),
        ("wandb.loging=True", "did you mean 'wandb.logging'?"),
        ("feat_info.mvit.scene_feat_dim=3", "did you mean 'feat_info.mvit_v1'?"),
        ("top_k=many", "setting top_k: Value 'many'"),
        ("top_k=2.5", "expected something like top_k=10"),
        ("top_k=null", "expected something like top_k=10"),
        ("use_scene_feats=maybe", "expected something like use_scene_feats=true"),
        ("lr=fast", "setting lr: Value 'fast'"),
        ("wandb=3", "'wandb=3' cannot be read"),
        ("data_path=[a", "'data_path=[a' cannot be read"),
        ("data_path=${nowhere}", "setting data_path: Interpolation key 'nowhere' not found"),
        ("top_k", "write KEY=VALUE"),
        ("config=missing.yaml", "'missing.yaml' is not there"),
        ("top_k=12", "expected 10 or 25; for the 26 classes of Emotic set use_emotic_mapping=True"),
        ("scene_feat_type=mvit", "did you mean 'mvit_v1'?"),
        ("loss=bse", "did you mean 'bce'?"),
        ("model_no=6", "expected one of 1.1, 1.2, 2.1, 2.2, 3.0, 4.0, 5.0"),
        ("max_feats=200", "model_no 4.0 needs them equal"),
        ("joint_character_modeling=False", "is for model_no 1.1 and 2.1"),
        ("model_no=1.1", "set use_scene_feats=False use_srt_feats=False get_scene_targets=False joint_character_modeling=False"),
        ("model_no=2.2", "set use_char_feats=False use_srt_feats=False get_char_targets=False"),
        ("use_srt_cls_only=False", "were never published"),
        ("feat_sampling_rate=4", "expected 8 and 23.976"),
        ("wandb.sweeps=True", "wandb agent"),
        ("epochs=0", "epochs is 0, expected at least 1"),
        ("dropout=1.0", "expected from 0 to below 1"),
        ("lr=0", "lr is 0.0, expected above 0"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(word: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        Settings.read(None, [word])
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["use_scene_feats=False", "use_char_feats=False", "use_srt_feats=False"], "nothing to read"),
        (["get_scene_targets=False", "get_char_targets=False"], "nothing to judge"),
        (["get_scene_targets=False", "keep=scene"], "keep is scene, but scenes are not judged"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(words: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Settings.read(None, words)


def test_a_file_that_is_no_settings_is_refused(tmp_path: Path) -> None:
    for content, says in (("- a\n- b\n", "expected keys and values"), ("a: [1", "cannot be read"), ("top_k: {a: 1}", "top_k")):
        (tmp_path / "bad.yaml").write_text(content)
        with pytest.raises(UsageError, match=says) as caught:
            Settings.read(tmp_path / "bad.yaml")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "parameters"),
    [
        ([], 8_166_410),
        (["top_k=25"], 8_197_145),
        (["use_emotic_mapping=True"], 8_199_194),
        (["face_feat_type=emo"], 9_214_986),
        (["face_feat_type=generic"], 7_379_978),
        (["scene_feat_type=resnet50_places"], 8_821_770),
        (["scene_feat_type=generic", "model_no=5.0"], 8_821_770),
    ],
)
def test_settings_make_the_published_network(words: list[str], parameters: int) -> None:
    import torch

    with torch.device("meta"):
        network = build_network(Settings.read(None, words).architecture())
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


def test_what_settings_mean() -> None:
    both = Settings()
    assert (both.loss_name, Settings(model_no=5.0).loss_name, Settings(loss="mlsm").loss_name) == ("bce", "mlsm", "mlsm")
    assert (both.learning_rate, Settings(optimizer="adam").learning_rate, Settings(lr=3e-4).learning_rate) == (1e-4, 1e-5, 3e-4)
    scene = Settings(use_char_feats=False, use_srt_feats=False, get_char_targets=False)
    assert (scene.streams, scene.judges) == (("scene",), ("scene",))
    assert both.layout().bins == 2187
    assert Settings(optimizer="adam", model_name_suffix="x").name == "M4.0.L2.N4.e5.t10.mS.rC.inFrSr.8_x"
    assert Settings(scene_feat_type="generic", face_feat_type="emo", srt_feat_pretrained=True).name.endswith(".gS.eC.inPrSr.8")
    with pytest.raises(UsageError, match="did you mean 'top_k'"):
        both.with_(topk=25)
    with pytest.raises(UsageError, match="--data DIR, or data_path=DIR"):
        both.open("train")


def test_settings_in_python_need_no_omegaconf(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['omegaconf'] = None\n"
        "from emotion_perception.learners.emotx.settings import Settings\n"
        f"Settings(top_k=25).write({str(tmp_path / 's.yaml')!r}); assert 'torch' not in sys.modules\n"
        "try: Settings.read(None, ['top_k=25'])\n"
        "except ImportError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'emotion_perception[emotx]'" in done.stdout
    assert Settings.read(tmp_path / "s.yaml") == Settings(top_k=25)
