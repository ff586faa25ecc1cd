"""Small clips and networks of EmoTx."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emotion_perception.learners.emotx.clips import ClipFeatures, Layout, Stream, collate
from emotion_perception.learners.emotx.model import build_network

# Everything small but odd, so that no two sizes can be taken for each other.
SIZES = {
    "num_labels": 5,
    "num_pos_embeddings": 50,
    "scene_feat_dim": 24,
    "char_feat_dim": 32,
    "srt_feat_dim": 40,
    "num_chars": 3,
    "max_individual_tokens": 12,
    "hidden_dim": 16,
}
LAYOUT = Layout(scene_width=24, face_width=32, text_width=40, characters=3, max_tokens=12, bins=50)


@pytest.fixture(scope="session")
def small():
    """Makes a small network in evaluation mode; keywords are entries of its architecture."""

    def make(seed: int = 0, **changes):
        torch.manual_seed(seed)
        return build_network({**SIZES, **changes}).eval()

    return make


@pytest.fixture(scope="session")
def clips():
    """Two clips: the first has a character who is never seen, the second one character and no dialogue."""
    random = np.random.default_rng(0)

    def stream(length: int, width: int) -> Stream:
        times = np.sort(random.uniform(0, 16, length)).astype(np.float32)
        return Stream(random.standard_normal((length, width)).astype(np.float32), times)

    first = ClipFeatures(stream(7, 24), {"Ann": stream(5, 32), "Bob": stream(9, 32), "Cy": stream(0, 32)}, stream(4, 40))
    return [first, ClipFeatures(stream(11, 24), {"Dee": stream(3, 32)}, None)]


@pytest.fixture
def inputs(clips):
    """The two clips as the network takes them."""
    return tuple(torch.from_numpy(values.copy()) for values in collate(clips, LAYOUT).inputs())
