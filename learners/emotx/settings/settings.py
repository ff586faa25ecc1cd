"""The published configuration: its keys and defaults as a typed object, from a YAML file and ``KEY=VALUE`` words.

OmegaConf reads files and words; without it, a `Settings` can still be made in Python and written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from emotion_perception.engine.errors import UsageError, unknown_name
from emotion_perception.engine.labels import LabelSet, label_set
from emotion_perception.engine.storage import atomic_write
from emotion_perception.learners.emotx.clips import FACE_WIDTHS, FPS, SCENE_WIDTHS, TEXT_WIDTH, Layout
from emotion_perception.learners.emotx.settings.checks import NETWORKS, check_settings

if TYPE_CHECKING:
    from emotion_perception.learners.emotx.datasets import ClipDataset

# About negatives per positive in the training movies, in the order of the label set (by its size).
_POS_WEIGHT: dict[str, list[float]] = {
    "10": [2.67218201, 2.91079295, 2.36587678, 4.29210134, 3.74098798, 4.70900322, 4.57456829, 4.96806723, 4.72741935, 5.60037175],
    "25": [
        *(3.76215098, 4.0715859, 3.36492891, 5.86289121, 5.1481976, 6.40353698, 6.22919937, 6.7394958, 6.42741935),
        *(7.55947955, 8.63389121, 8.3597561, 8.26559356, 9.41855204, 8.39795918, 10.74744898, 11.75623269, 10.09638554),
        *(10.93005181, 12.15714286, 12.62426036, 14.98958333, 12.70535714, 16.18283582, 17.56854839),
    ],
    "26": [1.0] * 26,
}


@dataclass(frozen=True)
class Wandb:
    """What to log to Weights and Biases; the key is taken from its own login.

    Attributes:
        logging: Log there too.
        project, entity: Where.
        sweeps, sweep_id, sweep_run_count: Of the published sweeps; wandb's own agent runs this command instead.
        mode: ``online`` or ``offline``; None: what wandb itself is set to.
    """

    logging: bool = False
    project: str | None = None
    entity: str | None = None
    sweeps: bool = False
    sweep_id: str | None = None
    sweep_run_count: int = 100
    mode: str | None = None


@dataclass(frozen=True)
class CharacterDetection:
    """Published files of the character detectors, which the engine's own detector and tracker stand in for."""

    person_config: str = "cascade_rcnn_x101_64x4d_fpn.json"
    face_config: str = "mtcnn.json"
    person_det_model: str = "cascade_rcnn_x101_64x4d_fpn.pth"
    face_det_model: str = "mtcnn.pth"
    save_path: str | None = None


@dataclass(frozen=True)
class FeatureInfo:
    """Widths of one kind of features, and the published file of their backbone."""

    scene_feat_dim: int | None = None
    face_feat_dim: int | None = None
    srt_feat_dim: int | None = None
    weights: str | None = None


def _feature_info() -> dict[str, FeatureInfo]:
    return {
        "generic": FeatureInfo(scene_feat_dim=SCENE_WIDTHS["generic"], face_feat_dim=FACE_WIDTHS["generic"]),
        "emo": FeatureInfo(face_feat_dim=FACE_WIDTHS["emo"], weights="vgg_m_face_bn_fer_dag.pth"),
        "resnet50_places": FeatureInfo(scene_feat_dim=SCENE_WIDTHS["resnet50_places"], weights="resnet50_places365.pth.tar"),
        "resnet50_fer": FeatureInfo(face_feat_dim=FACE_WIDTHS["resnet50_fer"], weights="resnet50_fer.pth"),
        "roberta": FeatureInfo(srt_feat_dim=TEXT_WIDTH),
        "mvit_v1": FeatureInfo(scene_feat_dim=SCENE_WIDTHS["mvit_v1"], weights="MVIT_B_32x3_f294077834.pyth"),
    }


@dataclass(frozen=True)
class Settings:
    """Everything that the published configuration sets, by its keys; what follows ``pos_weight`` is set here only.

    ``config/emotx_training.yaml`` explains each of them.
    """

    data_set: ClassVar[str] = "moviegraphs"

    data_path: str | None = None
    resource_path: str | None = None
    clip_srts_path: str | None = None
    emotic_mapping_path: str | None = None
    pkl_path: str | None = None
    save_path: str | None = None
    saved_model_path: str | None = None
    hugging_face_cache_path: str | None = None
    dumps_path: str | None = "./dumps"
    scene_feat_dir: str = "_scene_features"
    face_feat_dir: str = "_face_features"
    srt_feat_dir: str = "srt_feats"
    tracks_dir: str = "character_tracks"
    track_names_dir: str = "track_names"
    track_name_metadata_dir: str = "track_names/metadata"
    mg_videos_dir: str = "mg_videos"
    scene_feat_type: str = "mvit_v1"
    face_feat_type: str = "resnet50_fer"
    srt_feat_type: str = "independent"
    srt_feat_model: str = "roberta"
    pkl_name: str = "2017-11-02-51-7637_py3.pkl"
    char_detection: CharacterDetection = field(default_factory=CharacterDetection)
    use_scene_feats: bool = True
    use_char_feats: bool = True
    use_srt_feats: bool = True
    get_scene_targets: bool = True
    get_char_targets: bool = True
    random_feat_selection: bool = True
    use_srt_cls_only: bool = True
    joint_character_modeling: bool = True
    srt_feat_pretrained: bool = False
    use_emotic_mapping: bool = False
    shuffle_characters: bool = False
    model_no: float = 4.0
    vid_fps: float = FPS
    max_possible_vid_frame_no: int = 17500
    character_name_selection_threshold: float = 0.5
    target_prediction_threshold: float = 0.5
    top_k: int = 10
    feat_sampling_rate: int = 8
    num_chars: int = 4
    num_enc_layers: int = 2
    max_feats: int = 300
    max_srt_feats: int = 300
    batch_size: int = 4
    num_cpus: int = 9
    epochs: int = 20
    lr: float | None = None
    gpu_id: int = 0
    seed: int = 0
    wandb: Wandb = field(default_factory=Wandb)
    model_name: str | None = None
    model_name_suffix: str | None = None
    action_feat_group_size: int = 32
    feat_info: dict[str, FeatureInfo] = field(default_factory=_feature_info)
    pos_weight: dict[str, list[float]] = field(default_factory=lambda: {k: [*v] for k, v in _POS_WEIGHT.items()})
    loss: str | None = None
    class_weights: str = "published"
    optimizer: str = "adamw"
    weight_decay: float = 0.01
    keep: str = "gm"
    precision: str = "auto"
    hidden_dim: int = 512
    dropout: float = 0.1
    attention_dropout: float = 0.0
    full_length: bool = False

    def __post_init__(self) -> None:
        """Refuses what does not go together, as the published code asserts it."""
        check_settings(self)

    # ---- reading and writing ------------------------------------------------------------------------------------------

    @classmethod
    def read(cls, file: str | Path | None = None, words: Sequence[str] = ()) -> Settings:
        """Reads a YAML file and ``KEY=VALUE`` words over the defaults; words win, and later ones over earlier ones.

        Args:
            file: YAML with any of the keys; None: only the defaults. A word ``config=FILE`` names one as well.
            words: As ``top_k=25`` or ``wandb.logging=True``; values are YAML.

        Raises:
            UsageError: An unknown key (with the nearest right one), a value of another type, or settings that do not go together.
            MissingDependencyError: OmegaConf is not installed.
        """
        from emotion_perception.learners.emotx.settings.files import read_settings

        return read_settings(cls, file, words)

    def write(self, file: str | Path) -> Path:
        """Writes all settings as YAML that `read` takes, all or nothing."""
        from emotion_perception.learners.emotx.settings.files import settings_yaml

        with atomic_write(file) as temporary:
            temporary.write_text(settings_yaml(self), encoding="utf-8")
        return Path(file)

    def with_(self, **changes: Any) -> Settings:
        """Returns a copy with some settings changed."""
        unknown = next((name for name in changes if name not in {f.name for f in fields(self)}), None)
        if unknown is not None:
            raise unknown_name("setting of emotx", unknown, [f.name for f in fields(self)])
        return replace(self, **changes)

    # ---- what they mean -----------------------------------------------------------------------------------------------

    @property
    def label_set(self) -> LabelSet:
        """The label set to learn."""
        return label_set("emotic26" if self.use_emotic_mapping else f"moviegraphs{self.top_k}")

    @property
    def streams(self) -> tuple[str, ...]:
        """What the network reads, of ``scene``, ``characters`` and ``dialogue``."""
        used = {"scene": self.use_scene_feats, "characters": self.use_char_feats, "dialogue": self.use_srt_feats}
        return tuple(name for name, use in used.items() if use)

    @property
    def judges(self) -> tuple[str, ...]:
        """What the network judges, of ``scene`` and ``characters``."""
        return tuple(name for name, get in (("scene", self.get_scene_targets), ("characters", self.get_char_targets)) if get)

    @property
    def loss_name(self) -> str:
        """``bce`` or ``mlsm``: what ``loss`` says, else what belongs to the published ``model_no``."""
        return self.loss or ("mlsm" if self.model_no == 5.0 else "bce")

    @property
    def learning_rate(self) -> float:
        """What ``lr`` says, else 1e-5 for Adam, as published, and 1e-4 for AdamW."""
        return self.lr if self.lr is not None else 1e-5 if self.optimizer == "adam" else 1e-4

    @property
    def name(self) -> str:
        """The name of the published checkpoint files: ``model_name``, or one made of the settings."""
        if self.model_name:
            return self.model_name
        letters = {"mvit_v1": "m", "resnet50_places": "r", "resnet50_fer": "r", "emo": "e", "generic": "g"}
        rate = f"{self.learning_rate:.0e}".partition("-")[2].lstrip("0")
        kind = self.srt_feat_type[:2] + ("P" if self.srt_feat_pretrained else "F") + self.srt_feat_model[0]
        parts = [f"M{self.model_no:g}" if self.model_no % 1 else f"M{self.model_no:.1f}", f"L{self.num_enc_layers}", f"N{self.num_chars}"]
        parts += [f"e{rate}", f"t{len(self.label_set)}", f"{letters[self.scene_feat_type]}S", f"{letters[self.face_feat_type]}C"]
        parts += [f"{kind}Sr", str(self.feat_sampling_rate)]
        return ".".join(parts) + (f"_{self.model_name_suffix}" if self.model_name_suffix else "")

    def width(self, kind: str) -> int:
        """Returns how wide one feature of ``scene``, ``face`` or ``srt`` is."""
        feature = {"scene": self.scene_feat_type, "face": self.face_feat_type, "srt": self.srt_feat_model}[kind]
        info = self.feat_info.get(feature)
        width = info and getattr(info, f"{kind}_feat_dim")
        if not isinstance(width, int) or width < 1:
            raise UsageError(f"feat_info.{feature}.{kind}_feat_dim is {width}, expected the width of those features")
        return width

    def architecture(self) -> dict[str, Any]:
        """Returns what `build_network` builds the network from; a card stores it."""
        return {
            "network": NETWORKS[self.model_no],
            "num_labels": len(self.label_set),
            "num_pos_embeddings": int(self.max_possible_vid_frame_no / self.feat_sampling_rate),
            "scene_feat_dim": self.width("scene"),
            "char_feat_dim": self.width("face"),
            "srt_feat_dim": self.width("srt"),
            "num_enc_layers": self.num_enc_layers,
            "num_chars": self.num_chars,
            "max_individual_tokens": self.max_feats,
            "hidden_dim": self.hidden_dim,
            "streams": list(self.streams),
            "judges": list(self.judges),
            "attention_dropout": self.attention_dropout,
            "dropout": self.dropout,
        }

    def layout(self) -> Layout:
        """Returns widths and lengths that clips are padded to."""
        return Layout.of(self.architecture(), self.full_length)

    def open(self, split: str) -> ClipDataset:
        """Opens a part of MovieGraphs in ``data_path``.

        Args:
            split: ``train``, ``val`` or ``test``.

        Raises:
            UsageError: ``data_path`` is not set.
            DatasetError: Nothing usable there.
        """
        from emotion_perception.learners.emotx.datasets import open_moviegraphs

        if not self.data_path:
            raise UsageError("data_path is not set; give the folder of MovieGraphs: --data DIR, or data_path=DIR")
        return open_moviegraphs(self, split)
