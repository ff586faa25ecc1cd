"""What all tests share."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

# Before the first import of torch. Tests compute little: one thread is the fastest, and leaves the other cores to whoever runs beside.
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
# A choice between back ends takes seconds of measuring with every fresh cache; the tests of the choice take this away again.
os.environ["EMOTION_PERCEPTION_TUNE"] = "0"

ROOT = Path(__file__).resolve().parent.parent
DATA_VARIABLE = "EMOTION_PERCEPTION_TEST_DATA"


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real data sets, published weights and reference outputs; tests that need it are skipped without it."""
    given = os.environ.get(DATA_VARIABLE)
    if not given:
        pytest.skip(f"{DATA_VARIABLE} is not set; it names a folder with data/, weights/ and golden/")
    folder = Path(given)
    if not folder.is_dir():
        pytest.fail(f"{DATA_VARIABLE} is {given!r}, which is not a folder")
    return folder


@pytest.fixture(scope="session")
def portrait(root: Path) -> Path:
    """A picture in the public domain that shows one face."""
    return root / "engine" / "assets" / "astronaut.png"


@pytest.fixture(scope="session")
def tiny_emotx_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``backbones`` (small ones that have learned nothing, in their published files' forms) and ``weights`` of EmoTx."""
    transformers = pytest.importorskip("transformers")
    import torch

    from emotion_perception.learners.emotx.features.backbones.catalogue import FACES, SCENES
    from emotion_perception.learners.emotx.learner import EmoTxLearner
    from emotion_perception.learners.emotx.settings import FeatureInfo, Settings

    root = tmp_path_factory.mktemp("emotx")
    folder = root / "backbones"
    base = folder / "roberta-base"
    base.mkdir(parents=True)
    torch.manual_seed(0)
    mvit, resnet = (kind.build() for kind in _tiny(SCENES["mvit_v1"], FACES["resnet50_fer"]))
    torch.save({"model_state": mvit.state_dict()}, folder / SCENES["mvit_v1"].files[0])
    torch.save(resnet.state_dict(), folder / FACES["resnet50_fer"].files[0])
    # RoBERTa's alphabet is bytes; its own names for those that print nothing do not matter for a few plain words.
    words = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "\u0120", *map(chr, range(33, 127))]
    (base / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}), encoding="utf-8")
    (base / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    config = transformers.RobertaConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=40,
        pad_token_id=1,
    )
    config.save_pretrained(base)
    torch.save(transformers.RobertaModel(config).state_dict(), folder / "RoBERTa_finetuned_t10.pt")
    widths = {
        "mvit_v1": FeatureInfo(scene_feat_dim=16),
        "resnet50_fer": FeatureInfo(face_feat_dim=64),
        "roberta": FeatureInfo(srt_feat_dim=16),
    }
    learner = EmoTxLearner(settings=Settings(feat_info=widths, hidden_dim=16, num_enc_layers=1), device="cpu")
    learner.init_model()
    learner.save(root / "weights")
    return root


@pytest.fixture
def tiny_emotx(tiny_emotx_files: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of `tiny_emotx_files`, and backbones of that size where the published ones would be."""
    from emotion_perception.learners.emotx.features.backbones.catalogue import FACES, SCENES

    mvit, resnet = _tiny(SCENES["mvit_v1"], FACES["resnet50_fer"])
    monkeypatch.setitem(SCENES, "mvit_v1", mvit)
    monkeypatch.setitem(FACES, "resnet50_fer", resnet)
    return tiny_emotx_files


def _tiny(mvit: Any, resnet: Any) -> tuple[Any, Any]:
    """Returns small backbones of the same kinds."""
    from emotion_perception.learners.emotx.features.backbones.mvit import MViT
    from emotion_perception.learners.emotx.features.backbones.resnet import ResNet

    eyes = replace(mvit.preparation, side=32, short_side=36)
    scenes = replace(mvit, width=16, preparation=eyes, build=lambda: MViT(32, 32, 8, 2, (1,)))
    faces = replace(
        resnet,
        width=64,
        preparation=replace(resnet.preparation, side=32),
        build=lambda: ResNet((1, 1, 1, 1), 7, 2, stride_first=True, stem_bias=True, eps=1e-4),
    )
    return scenes, faces
