"""Makes the index of one part of MovieGraphs.

The rules for bad input, each of which adds a line to ``skipped``:

- A scene is left out if features that are to be read are missing for one of its clips, unreadable, of another width, or do not belong
  to its tracks or times.
- Tracks or names that are missing or unreadable name nobody in their clip. A track without faces adds none; a character who is never
  seen keeps an empty stream.
- Later clips of a scene start when the earlier ones have ended: after as many frames as these have by their scene features, or, where
  there are none, up to the last face, person or utterance.
- Subtitles that cannot be read, or whose times are not those of the features, are not shown; the features count.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emotion_perception.engine.errors import DatasetError, InputError
from emotion_perception.engine.target import FloatArray
from emotion_perception.learners.emotx.clips import BIN_S, BINS, FPS
from emotion_perception.learners.emotx.features.subtitles import read_srt
from emotion_perception.learners.emotx.moviegraphs.graphs import SceneGraph, read_graphs
from emotion_perception.learners.emotx.moviegraphs.index import FeatureFile, Index, Scene
from emotion_perception.learners.emotx.moviegraphs.pickles import read_pickles
from emotion_perception.learners.emotx.moviegraphs.sources import Source
from emotion_perception.learners.emotx.moviegraphs.tracks import read_faces, read_name_table, read_names

logger = logging.getLogger(__name__)

_NO_NUMBERS, _NO_TIMES = np.zeros(0, np.int64), np.zeros(0, np.float32)
_TOLERANCE_S = 0.1  # between a subtitle and the feature that was made of it


def make_index(source: Source, movies: Sequence[str]) -> Index:
    """Reads everything but the values of scene and face features.

    Args:
        source: What to read.
        movies: Keys of the movies.

    Raises:
        DatasetError: The graphs cannot be read.
    """
    skipped: list[str] = []
    graphs = read_graphs(source.graphs, movies, skipped)
    builder = _Builder(source, skipped)
    for number, movie in enumerate(movies):
        own = [graph for graph in graphs if graph.movie == movie]
        logger.info("movie %d of %d, %s: %d scenes", number + 1, len(movies), movie, len(own))
        columns = builder.columns(movie) if own else {}
        for graph in own:
            try:
                builder.add(graph, columns)
            except DatasetError as error:
                skipped.append(f"{graph.name}: left out: {error}")
    return builder.index()


@dataclass
class _Clip:
    """What is read of one clip of a scene; times count from its own start."""

    scene: FeatureFile | None = None
    faces: FeatureFile | None = None
    seen: dict[str, tuple[NDArray[np.int64], FloatArray]] = field(default_factory=dict)
    texts: FloatArray | None = None
    text_times_s: FloatArray = field(default_factory=lambda: _NO_TIMES)
    words: list[str] | None = None
    duration_s: float = 0.0


class _Builder:
    def __init__(self, source: Source, skipped: list[str]) -> None:
        self.source, self.skipped = source, skipped
        self.scenes: list[Scene] = []
        self.rows: list[NDArray[np.int64]] = []
        self.clips: list[NDArray[np.int64]] = []
        self.times_s: list[FloatArray] = []
        self.texts: list[FloatArray] = []
        self.text_times_s: list[FloatArray] = []
        self.faces, self.utterances = 0, 0
        self.has_subtitles = "dialogue" in source.streams and source.subtitles.is_dir()
        if "dialogue" in source.streams and not self.has_subtitles:
            skipped.append(f"there is no folder {str(source.subtitles)!r} of subtitles, so no words are shown")

    def columns(self, movie: str) -> Mapping[str, int]:
        """Reads the columns of a movie's names."""
        try:
            return read_name_table(self.source.name_tables / f"{movie}.pkl")
        except DatasetError as error:
            self.skipped.append(f"{movie}: nobody is named: {error}")
            return {}

    def add(self, graph: SceneGraph, columns: Mapping[str, int]) -> None:
        """Adds a scene; raises `DatasetError` if it is to be left out."""
        wanted = {character for character, _ in graph.emotions}
        clips = [self._clip(Path(graph.movie, clip), {name: columns[name] for name in columns if name in wanted}) for clip in graph.clips]
        scene = Scene(graph.name, [list(pair) for pair in graph.emotions])
        start_s = 0.0
        for clip in clips:
            scene.starts_s.append(start_s)
            start_s += clip.duration_s
        scene.duration_s = start_s
        scene.scene = [clip.scene for clip in clips if clip.scene is not None and "scene" in self.source.streams]
        scene.faces = [clip.faces for clip in clips]
        last_s = max(scene.duration_s, self._add_characters(scene, clips), self._add_dialogue(scene, clips))
        if last_s > BINS * BIN_S:
            end = f"its features go on to {last_s:.1f} s, the table of positions to {BINS * BIN_S:.1f} s"
            self.skipped.append(f"{scene.name}: {end}; what is later has the last position")
        self.scenes.append(scene)

    def index(self) -> Index:
        """Returns all that was added."""
        return Index(
            self.scenes,
            self.skipped,
            np.concatenate([_NO_NUMBERS, *self.rows]).astype(np.int32),
            np.concatenate([_NO_NUMBERS, *self.clips]).astype(np.uint16),
            np.concatenate([_NO_TIMES, *self.times_s]),
            np.concatenate([np.zeros((0, self.source.srt_feat_dim), np.float32), *self.texts]),
            np.concatenate([_NO_TIMES, *self.text_times_s]),
        )

    def _clip(self, name: Path, columns: Mapping[str, int]) -> _Clip:
        clip = _Clip(scene=self._scene_file(self.source.scene_features / f"{name}.npy"))
        frames = self._read_faces(clip, name, columns)
        if "dialogue" in self.source.streams:
            self._read_dialogue(clip, name)
        if clip.scene is not None:
            clip.duration_s = clip.scene.rows * self.source.frames_per_feature / FPS
        else:
            clip.duration_s = max(frames / FPS, float(clip.text_times_s.max(initial=0.0)))
        return clip

    def _scene_file(self, file: Path) -> FeatureFile | None:
        """Finds the features of the scene; where they are not read, they are of use to tell its length."""
        try:
            found = FeatureFile.of(file, self.source.scene_width)
            if not found.rows:
                raise DatasetError(f"{str(file)!r} has no features")
        except DatasetError:
            if "scene" in self.source.streams:
                raise
            return None
        return found

    def _read_faces(self, clip: _Clip, name: Path, columns: Mapping[str, int]) -> int:
        """Reads who is seen in a clip, and returns how many frames it has at least."""
        try:
            faces = read_faces(self.source.tracks / f"{name}.pkl")
            tracks = read_names(self.source.track_names / f"{name}.npy", columns, self.source.character_name_selection_threshold)
        except DatasetError as error:
            self.skipped.append(f"{name}: nobody is named: {error}")
            return 0
        for person, own in tracks.items():
            rows = np.flatnonzero(np.isin(faces.track, own))
            clip.seen[person] = rows, (faces.frame[rows] / FPS).astype(np.float32)
            if not len(rows):
                self.skipped.append(f"{name}: the tracks of {person} have no face; nothing is seen of them in this clip")
        if "characters" in self.source.streams and any(len(rows) for rows, _ in clip.seen.values()):
            file = self.source.face_features / f"{name}.npy"
            clip.faces = FeatureFile.of(file, self.source.face_width)
            if clip.faces.rows != len(faces.track):
                raise DatasetError(f"{str(file)!r} has {clip.faces.rows} features, but {len(faces.track)} faces were tracked")
        return faces.frames

    def _read_dialogue(self, clip: _Clip, name: Path) -> None:
        file = self.source.text_features / f"{name}.pkl"
        times, texts = read_pickles(file, 2)
        width = self.source.srt_feat_dim
        clip.texts = np.asarray(texts if len(texts) else np.zeros((0, width)), np.float32)
        if clip.texts.ndim != 2 or clip.texts.shape[1] != width:
            raise DatasetError(f"{str(file)!r} has features of shape {clip.texts.shape}, expected (utterances, {width})")
        if not len(times) and self.source.srt_feat_type == "concat":
            times = [0.0] * len(clip.texts)  # all words of the clip in one feature, which has no time of its own
        clip.text_times_s = np.asarray(times, np.float32)
        if clip.text_times_s.shape != clip.texts.shape[:1] or not np.isfinite(clip.text_times_s).all():
            raise DatasetError(f"{str(file)!r} has {clip.text_times_s.size} times for {len(clip.texts)} features, or some that are none")
        order = np.argsort(clip.text_times_s, kind="stable")
        clip.texts, clip.text_times_s = clip.texts[order], clip.text_times_s[order]
        if self.has_subtitles:
            clip.words = self._words(self.source.subtitles / f"{name}.srt", clip.text_times_s, name)

    def _words(self, file: Path, times_s: FloatArray, name: Path) -> list[str] | None:
        """Returns the words of each feature, None where they cannot be told."""
        malformed: list[str] = []
        try:
            utterances = read_srt(file, malformed)
        except InputError as error:
            self.skipped.append(f"{name}: its words are not shown: {error}")
            return None
        self.skipped += malformed
        if self.source.srt_feat_type == "concat":
            return [" ".join(utterance.text for utterance in utterances)] * len(times_s)
        middles_s = np.array([utterance.middle_s for utterance in utterances], np.float32)
        if middles_s.shape != times_s.shape or (np.abs(middles_s - times_s) > _TOLERANCE_S).any():
            self.skipped.append(f"{name}: its words are not shown: {len(middles_s)} subtitles are not its {len(times_s)} features")
            return None
        return [utterance.text for utterance in utterances]

    def _add_characters(self, scene: Scene, clips: Sequence[_Clip]) -> float:
        """Adds the faces of all characters; returns when the last one is seen."""
        last_s = 0.0
        for person in sorted({person for clip in clips for person in clip.seen}):
            start = self.faces
            for number, clip in enumerate(clips):
                if person not in clip.seen:
                    continue
                rows, times_s = clip.seen[person]
                # Its tracks come one after the other in the file, whenever they were.
                order = np.argsort(times_s, kind="stable")
                self.rows.append(rows[order])
                self.clips.append(np.full(len(rows), number))
                self.times_s.append(times_s[order] + np.float32(scene.starts_s[number]))
                self.faces += len(rows)
                last_s = max(last_s, float(self.times_s[-1].max(initial=0.0)))
            scene.characters[person] = [start, self.faces]
            if start == self.faces:
                self.skipped.append(f"{scene.name}: {person} is never seen; kept without features of a face")
        return last_s

    def _add_dialogue(self, scene: Scene, clips: Sequence[_Clip]) -> float:
        """Adds all utterances; returns when the last one is said."""
        start, last_s = self.utterances, 0.0
        for start_s, clip in zip(scene.starts_s, clips, strict=True):
            if clip.texts is not None:
                self.texts.append(clip.texts)
                self.text_times_s.append(clip.text_times_s + np.float32(start_s))
                self.utterances += len(clip.texts)
                last_s = max(last_s, float(self.text_times_s[-1].max(initial=0.0)))
        scene.dialogue = [start, self.utterances]
        words = [clip.words for clip in clips]
        scene.utterances = [text for own in words for text in own or ()] if None not in words else []
        return last_s
