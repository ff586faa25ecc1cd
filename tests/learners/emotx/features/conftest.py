"""Small backbones with random weights, in files like the published ones."""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from emotion_perception.engine.vision.video import VideoWriter
from emotion_perception.learners.emotx.features.backbones.catalogue import FACES, SCENES, Backbone
from emotion_perception.learners.emotx.features.backbones.inception_resnet import InceptionResnetV1
from emotion_perception.learners.emotx.features.backbones.mvit import MViT
from emotion_perception.learners.emotx.features.backbones.resnet import ResNet
from emotion_perception.learners.emotx.features.backbones.vgg_m import VggM


def small_mvit() -> MViT:
    return MViT(frames=4, side=64, width=8, depth=4, scaling_blocks=(1, 3), classes=5)


SMALL_SCENES = {
    "mvit_v1": replace(
        SCENES["mvit_v1"],
        build=small_mvit,
        width=32,
        frames=4,
        stride=2,
        preparation=replace(SCENES["mvit_v1"].preparation, side=64, short_side=72),
    ),
    "resnet50_places": replace(SCENES["resnet50_places"], build=lambda: ResNet((1, 1, 1, 1), 365, width=2), width=64),
    "generic": replace(SCENES["generic"], build=lambda: ResNet((1, 2, 1, 1), 10, width=2), width=64),
}
SMALL_FACES = {
    "resnet50_fer": replace(
        FACES["resnet50_fer"], build=lambda: ResNet((1, 2, 1, 1), 7, width=2, stride_first=True, stem_bias=True, eps=1e-4), width=64
    ),
    "emo": replace(FACES["emo"], build=lambda: VggM((2, 4, 4), hidden=48), width=48),
    "generic": replace(FACES["generic"], build=lambda: InceptionResnetV1((1, 1, 1), classes=3)),
}


def to_dag(name: str) -> str:
    """Names a tensor of torchvision's ResNet as the ``*_dag`` family does."""
    found = re.fullmatch(r"layer(\d)\.(\d+)\.(conv|bn|downsample\.)(\d)\.(.+)", name)
    if found:
        stage, block, kind, number, rest = found.groups()
        place = f"conv{int(stage) + 1}_{int(block) + 1}"
        if kind == "downsample.":
            return f"{place}_adapt_{('conv', 'bn')[int(number)]}.{rest}"
        return f"{place}{'abc'[int(number) - 1]}_{kind}.{rest}"
    return re.sub(r"^fc\.", "prediction.", re.sub(r"^(conv|bn)1\.", r"conv1_\1.", name))


def published(name: str, backbone: Backbone) -> object:
    """Makes the content of a file of random weights in the form in which the real one is published."""
    state = OrderedDict((key, value) for key, value in backbone.build().state_dict().items() if not key.endswith("num_batches_tracked"))
    if name == "mvit_v1":
        return {"model_state": state, "cfg": "text"}
    if name == "resnet50_places":
        return {"epoch": 3, "arch": "resnet50", "state_dict": {f"module.{key}": value for key, value in state.items()}, "best_prec1": 55.0}
    return {to_dag(key): value for key, value in state.items()} if name == "resnet50_fer" else state


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file for each small backbone, and a small RoBERTa."""
    folder = tmp_path_factory.mktemp("backbones")
    torch.manual_seed(0)
    for name, backbone in [*SMALL_SCENES.items(), *SMALL_FACES.items()]:
        torch.save(published(name, backbone), folder / backbone.files[0])
    return folder


@pytest.fixture
def small_backbones(weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Puts the small backbones in the place of the large ones; returns the folder of their weights."""
    for small, catalogue in ((SMALL_SCENES, SCENES), (SMALL_FACES, FACES)):
        for name, backbone in small.items():
            monkeypatch.setitem(catalogue, name, backbone)
    return weights


@pytest.fixture(scope="session")
def roberta(weights: Path) -> Path:
    """Adds a small RoBERTa in transformers' layout; returns the folder of all weights."""
    transformers = pytest.importorskip("transformers")
    base = weights / "roberta-base"
    torch.manual_seed(1)
    words = ["<s>", "<pad>", "</s>", "<unk>", *(chr(code) for code in range(33, 127)), "\u0120", "he", "llo", "<mask>"]
    config = transformers.RobertaConfig(
        vocab_size=len(words),
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=20,
        type_vocab_size=1,
    )
    transformers.RobertaModel(config).save_pretrained(base)
    (base / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}), encoding="utf-8")
    (base / "merges.txt").write_text("#version: 0.2\nh e\n", encoding="utf-8")
    return weights


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of 40 frames at the rate of films: 20 of them dark, then, after a cut, 20 bright ones."""
    file = tmp_path_factory.mktemp("film") / "scene-001.mp4"
    random = np.random.default_rng(0)
    with VideoWriter(file, 24000 / 1001, (160, 120)) as writer:
        for number in range(40):
            frame = random.integers(0, 60, (120, 160, 3), dtype=np.uint8) + np.uint8(0 if number < 20 else 180)
            writer.write(frame)
    return file
