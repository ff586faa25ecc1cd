"""A small MovieGraphs that is made up, in the published layout, with known structure: to try everything without 167 GB.

From the command line: ``emotion-perception download emotx --mode synthetic --output DIR``, or ``synthetic-small``.
"""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from emotion_perception.engine.errors import StorageError, UsageError
from emotion_perception.engine.storage import folder_update
from emotion_perception.engine.target import FloatArray
from emotion_perception.learners.emotx.clips import FPS, TEXT_WIDTH
from emotion_perception.learners.emotx.moviegraphs.sources import WINDOWED, Source
from emotion_perception.learners.emotx.moviegraphs.synthetic_graphs import emotic_groups, write_graphs

# Arguments of `write_synthetic` for one that is trained on in about a minute.
SMALL: Mapping[str, Any] = MappingProxyType({"movies": 5, "scenes": 24})
# Word -> what it can be told from; see `write_synthetic`.
LEARNABLE_FROM: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("happy", "calm", "friendly", "sad"), "scene"),
        **dict.fromkeys(("worried", "excited", "amused", "angry", "nervous", "scared"), "face"),
        **dict.fromkeys(("quiet", "curious", "annoyed", "polite"), "dialogue"),
        **dict.fromkeys(("confused", "shocked"), "timing"),
        **dict.fromkeys(("serious", "surprise", "confident", "cheerful", "upset", "honest", "helpful", "determined", "alarmed"), "noise"),
    }
)
_NOTE = "synthetic.json"
_STRENGTH, _NOISE = 1.0, 0.5  # of a pattern, and around it
_WINDOW = 16  # frames from one of MViT's windows to the next
_SHARE = {"face": 0.4, "dialogue": 0.4, "timing": 0.5, "noise": 0.4}  # how often an emotion holds
_CAST = ("Ada", "Ben", "Chloé", "Dan", "Eve")
_LINES = ("That\N{RIGHT SINGLE QUOTATION MARK}s it.", "Où est-elle?", "I know, I know.", "Wait \N{EM DASH} who?", "Come with me.")


@dataclass
class MadeScene:
    """One scene before it is written.

    Attributes:
        movie, clips: Where it belongs.
        cast: Characters, each with a named track, in no special order.
        emotions: (character, emotion) pairs.
        early: For each emotion that timing tells: whether its cue comes early, which it does where the emotion holds.
    """

    movie: str
    clips: tuple[str, ...]
    cast: tuple[str, ...]
    emotions: list[tuple[str, str]] = field(default_factory=list)
    early: dict[str, bool] = field(default_factory=dict)


def write_synthetic(
    root: str | Path,
    *,
    movies: int = 10,
    scenes: int = 50,
    seed: int = 0,
    scene_feat_type: str = "mvit_v1",
    face_feat_type: str = "resnet50_fer",
) -> Path:
    """Writes a made-up MovieGraphs with features, tracks, names, subtitles, parts, graphs and the mapping to Emotic.

    Of the movies a fifth are for validation and a fifth for the test. A scene has one to three named characters, whose faces are seen
    about thirty times each, and three to five utterances; a tenth of the scenes consist of two clips. What can be learned from it:

    - ``happy`` and ``calm``, one of which holds in every scene, and ``friendly`` and ``sad`` likewise, from the scene: all windows have
      the pattern of the emotion. They hold for all characters.
    - ``worried``, ``excited``, ``amused`` (``angry``, ``nervous``, ``scared``) from the face of the character that they hold for, and of
      no other; in the scene they hold if they do for anybody.
    - ``quiet`` and ``curious`` (``annoyed``, ``polite``) from the dialogue: one utterance has the pattern. They hold for all characters.
    - ``confused`` (``shocked``) from the timing: a window with their cue comes in every scene, early where they hold and late where they
      do not. They hold for all characters. A network that does not read times is at chance.
    - ``serious`` and ``surprise`` (and the other six of the 25) are noise: nothing tells them, so average precision is at chance, which is
      the share of positives.

    Words in brackets are not among the ten. In Emotic's classes, each is as far to be learned as the words that are in its group.

    In every part, one more scene has no emotion of any label set, one has nobody who is named, and one has a character whose track has
    no face, so that reports have something to say.

    Args:
        root: Folder to make; one that was written with the same arguments is left as it is.
        movies: At least three.
        scenes: Of each movie, at least one.
        seed: Another seed makes other patterns and scenes.
        scene_feat_type: Kind of the scene's features, in their published width.
        face_feat_type: Kind of the faces' features, in their published width.

    Returns:
        The folder.

    Raises:
        UsageError: Too few movies or scenes, or an unknown kind of features.
        StorageError: There is something else in the folder, or it cannot be written.
    """
    if movies < 3 or scenes < 1:
        raise UsageError(f"{movies} movies of {scenes} scenes were asked for, expected at least 3 of at least 1")
    target = Path(root).expanduser()
    source = Source(target, scene_feat_type=scene_feat_type, face_feat_type=face_feat_type)
    note = {"movies": movies, "scenes": scenes, "seed": seed, "scene": scene_feat_type, "face": face_feat_type, "version": 1}
    if target.is_dir() and any(target.iterdir()):
        try:
            if json.loads((target / _NOTE).read_text(encoding="utf-8")) == note:
                return target
        except (OSError, ValueError):
            pass
        raise StorageError(f"cannot write a synthetic MovieGraphs into {str(target)!r}: something else is there; choose another folder")
    with folder_update(target) as folder:
        _Writer(folder, source, seed).write(movies, scenes)
        (folder / _NOTE).write_text(json.dumps(note) + "\n", encoding="utf-8")
    return target


class _Writer:
    def __init__(self, folder: Path, source: Source, seed: int) -> None:
        self.folder, self.source = folder, Source(folder, scene_feat_type=source.scene_feat_type, face_feat_type=source.face_feat_type)
        self.random = np.random.default_rng(seed)
        widths = {"scene": source.scene_width, "timing": source.scene_width, "face": source.face_width, "dialogue": TEXT_WIDTH}
        self.patterns = {
            word: self.random.choice((-_STRENGTH, _STRENGTH), widths[stream]).astype(np.float32)
            for word, stream in LEARNABLE_FROM.items()
            if stream in widths
        }

    def write(self, movies: int, scenes: int) -> None:
        """Writes everything."""
        names = [f"tt{9000001 + number}" for number in range(movies)]
        held = max(1, movies // 5)
        parts = {"train": names[: movies - 2 * held], "val": names[movies - 2 * held : movies - held], "test": names[movies - held :]}
        made = {movie: [self._scene(movie, number) for number in range(scenes)] for movie in names}
        for part in parts.values():
            made[part[0]] += self._special(part[0], scenes)
        for movie, own in made.items():
            self._write_names(movie)
            for scene in own:
                self._write_scene(scene)
        _write_json(self.source.split, parts)
        _write_json(self.source.emotic_mapping, emotic_groups())
        write_graphs(self.source.graphs, made)

    def _scene(self, movie: str, number: int) -> MadeScene:
        random = self.random
        count = 2 if random.random() < 0.1 else 1
        clips = tuple(_clip_name(number + 1, 20 * number + 10 * part + 1) for part in range(count))
        cast = tuple(str(name) for name in random.choice(_CAST, random.integers(1, 4), replace=False))
        scene = MadeScene(movie, clips, cast)
        # One of each pair holds, so that everybody has an emotion of the ten, and a further one says nothing about whether there is noise.
        everybody = [str(random.choice(pair)) for pair in (("happy", "calm"), ("friendly", "sad"))]
        for word, stream in LEARNABLE_FROM.items():
            if stream in ("dialogue", "timing"):
                holds = bool(random.random() < _SHARE[stream])
                everybody += [word] * holds
                if stream == "timing":
                    scene.early[word] = holds
            elif stream in ("face", "noise"):
                scene.emotions += [(name, word) for name in cast if random.random() < _SHARE[stream]]
        scene.emotions += [(name, word) for name in cast for word in everybody]
        return scene

    def _special(self, movie: str, number: int) -> list[MadeScene]:
        """Makes a scene without emotions, one without names, and one with a character who is never seen."""
        bare, unnamed, unseen = (self._scene(movie, number + place) for place in range(3))
        bare.emotions = [(bare.cast[0], "bored with it")]
        unnamed.emotions = [("A stranger", "happy")]
        unseen.emotions.append(("Nobody", "happy"))
        unseen.cast = (*unseen.cast, "Nobody")
        return [bare, unnamed, unseen]

    def _write_names(self, movie: str) -> None:
        columns = {name: column for column, name in enumerate((*_CAST, "Nobody"))}
        _write_pickles(self.source.name_tables / f"{movie}.pkl", columns, {column: name for name, column in columns.items()})

    def _write_scene(self, scene: MadeScene) -> None:
        lengths = [int(self.random.integers(10, 15)) for _ in scene.clips]
        for number, (clip, length) in enumerate(zip(scene.clips, lengths, strict=True)):
            place = Path(scene.movie, clip)
            is_first, is_last = number == 0, number == len(scene.clips) - 1
            self._write_windows(scene, place, length, is_first, is_last)
            self._write_faces(scene, place, length * _WINDOW)
            self._write_dialogue(scene, place, length * _WINDOW / FPS, is_first)

    def _write_windows(self, scene: MadeScene, place: Path, length: int, is_first: bool, is_last: bool) -> None:
        is_windowed = self.source.scene_feat_type == WINDOWED
        per = 1 if is_windowed else _WINDOW
        features = self._noise(length * per, self.source.scene_width)
        for word in sorted({word for _, word in scene.emotions if LEARNABLE_FROM.get(word) == "scene"}):
            features += self.patterns[word]
        for word, early in scene.early.items():
            if is_first if early else is_last:
                at = int(self.random.integers(0, 2)) if early else length - 1 - int(self.random.integers(0, 2))
                features[at * per : (at + 1) * per] += 2.0 * self.patterns[word]
        _save(self.source.scene_features / f"{place}.npy", features)

    def _write_faces(self, scene: MadeScene, place: Path, frames: int) -> None:
        """Writes tracks, their names and the features of the faces, whose rows are in the order of the frames."""
        seen = {name: sorted(self.random.choice(frames, self.random.integers(24, 40), replace=False)) for name in scene.cast}
        seen = {name: [] if name == "Nobody" else own for name, own in seen.items()}
        faces: dict[int, list[tuple[int, FloatArray]]] = {}
        for track, (name, own) in enumerate(seen.items(), 1):
            felt = sum((self.patterns[word] for other, word in scene.emotions if other == name and LEARNABLE_FROM.get(word) == "face"), 0.0)
            for frame, noise in zip(own, self._noise(len(own), self.source.face_width), strict=True):
                faces.setdefault(int(frame), []).append((track, noise + felt))
        tracks = {frame: np.array([_face(frame, *row) for row in enumerate(track for track, _ in faces[frame])]) for frame in sorted(faces)}
        persons = {frame: np.array([[*row[:4], row[7]] for row in rows]) for frame, rows in tracks.items()}
        _write_pickles(self.source.tracks / f"{place}.pkl", persons, tracks)
        _save(self.source.face_features / f"{place}.npy", np.array([feature for frame in tracks for _, feature in faces[frame]]))
        names = np.full((len(seen), len(_CAST) + 1), 0.02)
        for track, name in enumerate(seen):
            names[track, (*_CAST, "Nobody").index(name)] = 0.9
        _save(self.source.track_names / f"{place}.npy", names, np.float64)

    def _write_dialogue(self, scene: MadeScene, place: Path, length_s: float, is_first: bool) -> None:
        import torch

        count = int(self.random.integers(3, 6))
        features = self._noise(count, TEXT_WIDTH)
        for word in sorted({word for _, word in scene.emotions if LEARNABLE_FROM.get(word) == "dialogue"}):
            if is_first:
                features[self.random.integers(count)] += self.patterns[word]
        times_ms = [round(1000 * length_s * (number + 0.5) / count) for number in range(count)]
        lines = [str(line) for line in self.random.choice(_LINES, count)]
        said = enumerate(zip(times_ms, lines, strict=True), 1)
        blocks = [f"{number}\n{_time(ms - 400)} --> {_time(ms + 400)}\n{line}\n" for number, (ms, line) in said]
        subtitles = self.source.subtitles / f"{place}.srt"
        subtitles.parent.mkdir(parents=True, exist_ok=True)
        subtitles.write_bytes("\n".join(blocks).encode("cp1252"))
        first = self.folder / "srt_feats" / "independent" / "pretrained" / f"{place}.pkl"
        _write_pickles(first, [ms / 1000 for ms in times_ms], torch.from_numpy(features))
        for kind in ("finetuned_t10", "finetuned_t25", "finetuned_t26"):
            other = self.folder / "srt_feats" / "independent" / kind / f"{place}.pkl"
            other.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(first, other)

    def _noise(self, count: int, width: int) -> FloatArray:
        return self.random.normal(0.0, _NOISE, (count, width)).astype(np.float32)


def _clip_name(scene: int, shot: int) -> str:
    return f"scene-{scene:03d}.ss-{shot:04d}.es-{shot + 9:04d}"


def _face(frame: int, person: int, track: int) -> tuple[float, ...]:
    """Returns a row of a face track: box, score, frame, number of the person in the frame, track."""
    return (100.0 * track, 50.0, 100.0 * track + 60.0, 130.0, 0.99, float(frame), float(person), float(track))


def _time(ms: int) -> str:
    return f"{ms // 3600000:02d}:{ms // 60000 % 60:02d}:{ms // 1000 % 60:02d},{ms % 1000:03d}"


def _save(file: Path, values: Any, dtype: type = np.float16) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    np.save(file, np.asarray(values, dtype))


def _write_pickles(file: Path, *contents: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as stream:
        for content in contents:
            pickle.dump(content, stream)


def _write_json(file: Path, content: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
