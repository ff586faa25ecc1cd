"""The card of the published weights. Weights in a folder bring a card of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emotion_perception.engine.cards import InputSpec, ModelCard, WeightFile
from emotion_perception.learners.emotx.settings import Settings

_IMAGENET: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
# What the scene features see of a frame, by their kind.
FRAMES = {
    "mvit_v1": InputSpec(224, 224, mean=(0.45, 0.45, 0.45), std=(0.225, 0.225, 0.225)),
    "resnet50_places": InputSpec(224, 224, **_IMAGENET),
    "generic": InputSpec(224, 224, **_IMAGENET),
}
# Label set -> name of the published checkpoint.
CHECKPOINTS = {"moviegraphs10": "EmoTx_Top10.pt", "moviegraphs25": "EmoTx_Top25.pt", "emotic26": "EmoTx_Emotic.pt"}
# Name of a published checkpoint -> key under which it is shared.
_KEYS = {
    "EmoTx_Top10.pt": "EUVbB6Mbwy5OpzAoqAz0jxYBsiUCach0dbeTaZWyE9316Q",
    "EmoTx_Top25.pt": "ETiTg6kxt89JrJgFV0jkOGkBPXW7f36CxpW2vi_2VrLzYQ",
    "EmoTx_Emotic.pt": "EYFhKfYaDLxCpAfS6CPLk2ABw5BU_MFkaEjpJGvHyuAYUg",
}
# Label set -> mean average precision of scenes and of characters, on the validation and on the test part.
_SCORES = {
    "moviegraphs10": ((0.3422, 0.2435), (0.2935, 0.2232)),
    "moviegraphs25": ((0.2386, 0.1336), (0.1947, 0.1171)),
    "emotic26": ((0.2367, 0.1229), (0.2140, 0.1176)),
}
_SOURCE = "the authors', mean of three trainings, not measured here"


def shared(key: str) -> str:
    """Returns an address at which EmoTx' authors share a file; in 2025 users found these dead."""
    return f"https://iiitaphyd-my.sharepoint.com/:u:/g/personal/dhruv_srivastava_alumni_iiit_ac_in/{key}?download=1"


def features_of(settings: Settings) -> dict[str, Any]:
    """Returns the kinds of features that a network learns from, which belong to its weights as much as its sizes do."""
    return {
        "scene": settings.scene_feat_type,
        "face": settings.face_feat_type,
        "text": settings.srt_feat_model,
        "text_pooling": settings.srt_feat_type,
        "text_pretrained": settings.srt_feat_pretrained,
    }


def architecture_of(settings: Settings) -> dict[str, Any]:
    """Returns what the card of a network stores: what builds it, and what it is to be fed."""
    return {**settings.architecture(), "features": features_of(settings)}


def published_scores(labels: str) -> Mapping[str, Any]:
    """Returns what was published about the weights for a label set."""
    parts = zip(("validation", "test"), _SCORES[labels], strict=True)
    return {f"MovieGraphs {part}": {"map_scene": s, "map_character": c, "source": _SOURCE} for part, (s, c) in parts}


CARD = ModelCard(
    learner="emotx",
    title="EmoTx, published weights (MovieGraphs, ten labels)",
    perceives="clip",
    input=FRAMES["mvit_v1"],
    labels="moviegraphs10",
    licence="published without a licence, so all rights are reserved: ask the authors; trained on MovieGraphs",
    paper="Srivastava, Singh, Tapaswi: How you feelin'? Learning Emotions and Mental States in Movie Scenes, CVPR 2023",
    architecture=architecture_of(Settings()),
    files=tuple(WeightFile(name, shared(key), None) for name, key in _KEYS.items()),
    data="MovieGraphs, 5,050 scenes of 34 movies",
    scores=published_scores("moviegraphs10"),
    notes=(
        "The network reads features, not pictures: of frames, of the faces of up to four characters, and of what is said.",
        "The published addresses were found dead in 2025, and no digests were ever published: what arrives is only kept if it is a whole"
        " checkpoint of this network.",
        "Several labels may hold at once; each has a probability of its own. There is no valence and arousal.",
    ),
)
