"""What the published code asserts of its configuration, and what this code does not do: refused in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emotion_perception.engine.errors import UsageError, unknown_name
from emotion_perception.learners.emotx.clips import BIN_S

if TYPE_CHECKING:
    from emotion_perception.learners.emotx.settings import Settings

# model_no -> network, as `build_network` names it.
NETWORKS = {1.1: "mlp", 1.2: "mlp", 2.1: "single_encoder", 2.2: "single_encoder", 3.0: "emotx_1cls", 4.0: "emotx", 5.0: "emotx"}
# Networks that read one kind of features only: model_no -> the only stream that they know.
_ALONE = {1.1: "characters", 2.1: "characters", 1.2: "scene", 2.2: "scene"}
_KEY = {"scene": "scene", "characters": "char"}
_WORDS: dict[str, tuple[str | None, ...]] = {
    "scene_feat_type": ("mvit_v1", "resnet50_places", "generic"),
    "face_feat_type": ("resnet50_fer", "emo", "generic"),
    "srt_feat_type": ("independent", "concat"),
    "srt_feat_model": ("roberta",),
    "loss": (None, "bce", "mlsm"),
    "class_weights": ("published", "train", "none"),
    "optimizer": ("adamw", "adam"),
    "keep": ("gm", "mean", "scene", "character", "last"),
    "precision": ("auto", "fp32", "bf16"),
}


def check_settings(settings: Settings) -> None:
    """Raises `UsageError` for settings that are out of range or do not go together."""
    for name, known in _WORDS.items():
        if (given := getattr(settings, name)) not in known:
            raise unknown_name(f"value of {name}:", str(given), [word for word in known if word is not None])
    _check_numbers(settings)
    _check_variant(settings)


def _check_numbers(settings: Settings) -> None:
    """Refuses numbers out of range, and what this code does not do."""
    least = {
        "num_chars": 1,
        "num_enc_layers": 1,
        "max_feats": 1,
        "batch_size": 1,
        "epochs": 1,
        "gpu_id": 0,
        "seed": 0,
        "hidden_dim": 1,
        "feat_sampling_rate": 1,
        "weight_decay": 0,
    }
    for name, low in least.items():
        if getattr(settings, name) < low:
            raise UsageError(f"{name} is {getattr(settings, name)}, expected at least {low}")
    for name in ("character_name_selection_threshold", "target_prediction_threshold", "dropout", "attention_dropout"):
        if not 0.0 <= getattr(settings, name) < 1.0:
            raise UsageError(f"{name} is {getattr(settings, name)}, expected from 0 to below 1")
    if settings.lr is not None and not settings.lr > 0.0:
        raise UsageError(f"lr is {settings.lr}, expected above 0")
    if settings.top_k not in (10, 25):
        raise UsageError(f"top_k is {settings.top_k}, expected 10 or 25; for the 26 classes of Emotic set use_emotic_mapping=True")
    if abs(settings.feat_sampling_rate / settings.vid_fps / BIN_S - 1.0) > 1e-4:
        given = f"feat_sampling_rate {settings.feat_sampling_rate} and vid_fps {settings.vid_fps:g}"
        raise UsageError(f"{given} make other time bins than the published ones; expected 8 and 23.976")
    if not settings.use_srt_cls_only:
        raise UsageError("use_srt_cls_only=False needs features per word, which were never published; leave it True")
    if settings.wandb.sweeps:
        way = "${program} train emotx ${args_no_hyphens}"
        raise UsageError(f"wandb.sweeps=True is not for this command; run `wandb agent`, its command being emotion-perception as {way}")


def _check_variant(settings: Settings) -> None:
    """Refuses streams, targets and networks that do not go together."""
    if settings.model_no not in NETWORKS:
        raise UsageError(f"model_no is {settings.model_no:g}, expected one of {', '.join(f'{number:.1f}' for number in NETWORKS)}")
    if not settings.streams:
        raise UsageError("nothing to read: set at least one of use_scene_feats, use_char_feats, use_srt_feats to True")
    if not settings.judges:
        raise UsageError("nothing to judge: set at least one of get_scene_targets, get_char_targets to True")
    judged = {"scene": settings.get_scene_targets, "character": settings.get_char_targets}
    if not judged.get(settings.keep, True):
        raise UsageError(f"keep is {settings.keep}, but {settings.keep}s are not judged; set keep=gm, or keep=last")
    number, alone = settings.model_no, _ALONE.get(settings.model_no)
    if alone is None:
        if settings.max_feats != settings.max_srt_feats:
            given = f"max_feats is {settings.max_feats}, max_srt_feats {settings.max_srt_feats}"
            raise UsageError(f"{given}; model_no {number} needs them equal")
        if not settings.joint_character_modeling:
            raise UsageError(f"joint_character_modeling=False is for model_no 1.1 and 2.1; {number} judges all characters together")
        return
    other = "characters" if alone == "scene" else "scene"
    wanted = {f"use_{_KEY[alone]}_feats": True, f"use_{_KEY[other]}_feats": False, "use_srt_feats": False}
    wanted |= {f"get_{_KEY[alone]}_targets": True, f"get_{_KEY[other]}_targets": False}
    if alone == "characters":
        wanted["joint_character_modeling"] = False
    wrong = [f"{name}={value}" for name, value in wanted.items() if getattr(settings, name) is not value]
    if wrong:
        raise UsageError(f"model_no {number} reads and judges {alone} only; set {' '.join(wrong)}")
