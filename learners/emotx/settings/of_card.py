"""What the published configuration would have to say for a network as a card describes it."""

from __future__ import annotations

from dataclasses import replace

from emotion_perception.engine.cards import ModelCard
from emotion_perception.learners.emotx.settings import FeatureInfo, Settings
from emotion_perception.learners.emotx.settings.checks import NETWORKS


def settings_of_card(card: ModelCard, settings: Settings) -> Settings:
    """Returns settings with all that the weights decide, so that data are opened, and training goes on, as they need it.

    Args:
        card: Of the weights.
        settings: What the weights do not decide.
    """
    sizes, features = card.architecture, card.architecture["features"]
    streams, judges = sizes["streams"], sizes["judges"]
    widths = (("scene", "scene", "scene_feat_dim"), ("face", "face", "char_feat_dim"), ("text", "srt", "srt_feat_dim"))
    info = dict(settings.feat_info)
    for feature, kind, size in widths:
        info[features[feature]] = replace(info.get(features[feature], FeatureInfo()), **{f"{kind}_feat_dim": sizes[size]})
    numbers = [number for number, network in NETWORKS.items() if network == sizes["network"]]
    alone = sizes["network"] in ("mlp", "single_encoder")
    # Of networks for one stream, the first number is for characters, the second for scenes.
    number = numbers[-1 if alone and streams == ["scene"] else 0]
    if not alone and settings.model_no in numbers:
        number = settings.model_no
    level = {"scene": "scene", "character": "characters"}.get(settings.keep)
    return settings.with_(
        model_no=number,
        joint_character_modeling=not (alone and streams == ["characters"]),
        keep=settings.keep if level is None or level in judges else "gm",
        top_k=settings.top_k if card.labels == "emotic26" else sizes["num_labels"],
        use_emotic_mapping=card.labels == "emotic26",
        scene_feat_type=features["scene"],
        face_feat_type=features["face"],
        srt_feat_model=features["text"],
        srt_feat_type=features["text_pooling"],
        srt_feat_pretrained=features["text_pretrained"],
        use_scene_feats="scene" in streams,
        use_char_feats="characters" in streams,
        use_srt_feats="dialogue" in streams,
        get_scene_targets="scene" in judges,
        get_char_targets="characters" in judges,
        max_possible_vid_frame_no=sizes["num_pos_embeddings"] * settings.feat_sampling_rate,
        num_chars=sizes["num_chars"],
        num_enc_layers=sizes["num_enc_layers"],
        max_feats=sizes["max_individual_tokens"],
        max_srt_feats=sizes["max_individual_tokens"],
        hidden_dim=sizes["hidden_dim"],
        dropout=sizes["dropout"],
        attention_dropout=sizes["attention_dropout"],
        feat_info=info,
    )
