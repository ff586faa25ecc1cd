"""Where the published layout of MovieGraphs and of EmoTx' features has what."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from emotion_perception.engine.errors import DatasetError, UsageError, unknown_name
from emotion_perception.learners.emotx.clips import FACE_WIDTHS, SCENE_WIDTHS, STREAMS, TEXT_WIDTH
from emotion_perception.learners.emotx.settings import Settings

# MViT sees windows of 32 frames, a new one every 16; other scene features are one per frame.
WINDOWED = "mvit_v1"


@dataclass(frozen=True)
class Source:
    """What to read; fields are called as in the published configuration, and paths that are None are those of the published layout.

    Attributes:
        data_path: The folder of all features.
        streams: Which features are read, of ``scene``, ``characters`` and ``dialogue``.
        num_labels: K; it names the folder of fine-tuned text features.
        character_name_selection_threshold: From which probability on a track has a name.
        action_feat_group_size: Frames that one feature of a window sees; the next window starts half of it later.
    """

    data_path: Path
    streams: tuple[str, ...] = STREAMS
    num_labels: int = 10
    scene_feat_type: str = "mvit_v1"
    face_feat_type: str = "resnet50_fer"
    srt_feat_type: str = "independent"
    srt_feat_pretrained: bool = False
    scene_feat_dim: int | None = None
    face_feat_dim: int | None = None
    srt_feat_dim: int = TEXT_WIDTH
    character_name_selection_threshold: float = 0.5
    action_feat_group_size: int = 32
    resource_path: str | Path | None = None
    clip_srts_path: str | Path | None = None
    emotic_mapping_path: str | Path | None = None
    pkl_path: str | Path | None = None
    pkl_name: str = Settings.pkl_name
    scene_feat_dir: str = Settings.scene_feat_dir
    face_feat_dir: str = Settings.face_feat_dir
    srt_feat_dir: str = Settings.srt_feat_dir
    tracks_dir: str = Settings.tracks_dir
    track_names_dir: str = Settings.track_names_dir
    track_name_metadata_dir: str = Settings.track_name_metadata_dir

    def __post_init__(self) -> None:
        """Refuses streams and kinds of features that there are not."""
        for stream in self.streams:
            if stream not in STREAMS:
                raise unknown_name("stream", stream, STREAMS)
        if self.srt_feat_type not in ("independent", "concat"):
            raise unknown_name("srt_feat_type", self.srt_feat_type, ("independent", "concat"))
        for width in (self.scene_width, self.face_width, self.srt_feat_dim):
            if width < 1:
                raise UsageError(f"a feature is {width} wide, expected at least 1")

    @property
    def scene_width(self) -> int:
        """How wide one feature of the scene is."""
        return self.scene_feat_dim if self.scene_feat_dim is not None else _width(SCENE_WIDTHS, "scene_feat_type", self.scene_feat_type)

    @property
    def face_width(self) -> int:
        """How wide one feature of a face is."""
        return self.face_feat_dim if self.face_feat_dim is not None else _width(FACE_WIDTHS, "face_feat_type", self.face_feat_type)

    @property
    def frames_per_feature(self) -> int:
        """How many frames after one feature of the scene the next one is."""
        return self.action_feat_group_size // 2 if self.scene_feat_type == WINDOWED else 1

    @property
    def split(self) -> Path:
        """The file that says which movies are in which part."""
        return _or(self.resource_path, self.data_path / "MovieGraph" / "resources") / "split.json"

    @property
    def graphs(self) -> Path:
        """The pickle of all graphs."""
        return _or(self.pkl_path, self.data_path / "MovieGraph" / "mg" / "py3loader") / self.pkl_name

    @property
    def emotic_mapping(self) -> Path:
        """The file that maps words of MovieGraphs to Emotic's classes."""
        return _or(self.emotic_mapping_path, self.data_path / "emotic_mapping.json")

    @property
    def scene_features(self) -> Path:
        """Folder of the scene's features: ``<movie>/<clip>.npy``."""
        return self.data_path / f"{self.scene_feat_type}{self.scene_feat_dir}"

    @property
    def face_features(self) -> Path:
        """Folder of the faces' features: ``<movie>/<clip>.npy``, a row per row of the face tracks."""
        return self.data_path / f"{self.face_feat_type}{self.face_feat_dir}"

    @property
    def text_features(self) -> Path:
        """Folder of the utterances' features: ``<movie>/<clip>.pkl``."""
        kind = "pretrained" if self.srt_feat_pretrained else f"finetuned_t{self.num_labels}"
        return self.data_path / self.srt_feat_dir / self.srt_feat_type / kind

    @property
    def tracks(self) -> Path:
        """Folder of the tracks: ``<movie>/<clip>.pkl``, person tracks and face tracks."""
        return self.data_path / self.tracks_dir

    @property
    def track_names(self) -> Path:
        """Folder of the tracks' names: ``<movie>/<clip>.npy``, probabilities of tracks x names."""
        return self.data_path / self.track_names_dir

    @property
    def name_tables(self) -> Path:
        """Folder of the columns' names: ``<movie>.pkl``."""
        return self.data_path / self.track_name_metadata_dir

    @property
    def subtitles(self) -> Path:
        """Folder of the subtitles: ``<movie>/<clip>.srt``."""
        return _or(self.clip_srts_path, self.data_path / "MovieGraph" / "srt" / "clip_srt")

    def folders(self) -> list[Path]:
        """Returns the folders that have a folder per movie and are read."""
        used = {"characters": self.face_features, "dialogue": self.text_features}
        also = [self.subtitles] if "dialogue" in self.streams else []
        return [self.scene_features, self.tracks, self.track_names, *(used[name] for name in self.streams if name in used), *also]

    def movies(self, split: str) -> list[str]:
        """Reads which movies are in a part; raises `DatasetError` for a file that cannot be read, `UsageError` for an unknown part."""
        if not self.data_path.is_dir():
            raise DatasetError(f"there is no folder {str(self.data_path)!r} of MovieGraphs; check data_path")
        try:
            parts = json.loads(self.split.read_text(encoding="utf-8"))
        except OSError as error:
            way_out = "give the folder that holds MovieGraph/resources/split.json, or set resource_path"
            raise DatasetError(f"cannot read {str(self.split)!r}: {error.strerror}; {way_out}") from None
        except ValueError as error:
            raise DatasetError(f"{str(self.split)!r} is not JSON: {error}; copy it again") from None
        if not isinstance(parts, dict) or not all(isinstance(movies, list) for movies in parts.values()):
            raise DatasetError(f"{str(self.split)!r} does not list movies by part; copy it again")
        if split not in parts:
            raise unknown_name("part of MovieGraphs", split, parts)
        return [str(movie) for movie in parts[split]]

    def files(self, movies: list[str]) -> Iterator[Path]:
        """Yields everything that is read for some movies, as far as it is there."""
        yield self.graphs
        yield from (self.name_tables / f"{movie}.pkl" for movie in movies)
        for folder in self.folders():
            for movie in movies:
                if (folder / movie).is_dir():
                    yield from sorted((folder / movie).iterdir())


def _or(given: str | Path | None, otherwise: Path) -> Path:
    return otherwise if given is None else Path(given).expanduser().resolve()


def _width(widths: dict[str, int], key: str, kind: str) -> int:
    if kind not in widths:
        raise unknown_name(key, kind, widths)
    return widths[kind]
