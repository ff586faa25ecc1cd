"""MovieGraphs (Vicol et al. 2018) with the features of EmoTx (Srivastava et al. 2023), in the published layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from emotion_perception.engine.errors import DatasetError, unknown_name
from emotion_perception.engine.labels import LabelSet
from emotion_perception.engine.target import FloatArray
from emotion_perception.learners.emotx.clips import FPS, MAX_TOKENS, STREAMS, ClipFeatures, Stream
from emotion_perception.learners.emotx.datasets import ClipDataset, ClipTargets
from emotion_perception.learners.emotx.moviegraphs.emotions import chosen_labels, classes_of
from emotion_perception.learners.emotx.moviegraphs.index import FeatureFile, Scene, open_index
from emotion_perception.learners.emotx.moviegraphs.sources import WINDOWED, Source

if TYPE_CHECKING:
    from emotion_perception.learners.emotx.settings import Settings

Numbers = NDArray[np.int64]


class MovieGraphs(ClipDataset):
    """The scenes of one part of MovieGraphs that have an emotion of the label set in at least one character who is named.

    Characters are those who have such an emotion and a named track, the one with the most faces first, and by name where they have
    equally many; the network counts them in this order. Times go on through all clips of a scene. What is read is described by `Source`,
    what is done about bad input in `indexing`; scenes without a usable label or character are left out, as in the published evaluation.

    Features are mapped into memory and read when asked for. Reading is safe from several threads and from forked worker processes.
    """

    def __init__(
        self,
        root: str | Path,
        split: str,
        *,
        labels: str | LabelSet = "moviegraphs10",
        scene_feat_type: str = "mvit_v1",
        face_feat_type: str = "resnet50_fer",
        srt_feat_type: str = "independent",
        srt_feat_pretrained: bool = False,
        streams: Sequence[str] = STREAMS,
        random_feat_selection: bool = True,
        feat_sampling_rate: int = 8,
        max_feats: int = MAX_TOKENS,
        **published: Any,
    ) -> None:
        """Opens the part; the first time, an index is made, which reads every small file of it once.

        Args:
            root: The published ``data_path``.
            split: ``train``, ``val`` or ``test``.
            labels: ``moviegraphs10``, ``moviegraphs25`` or ``emotic26``.
            scene_feat_type: ``mvit_v1``, ``resnet50_places`` or ``generic``.
            face_feat_type: ``resnet50_fer``, ``emo`` or ``generic``.
            srt_feat_type: ``independent``: a feature per utterance; ``concat``: one of all words.
            srt_feat_pretrained: Text features of RoBERTa as it came, instead of fine-tuned on this label set.
            streams: Which features to read, of ``scene``, ``characters`` and ``dialogue``.
            random_feat_selection: Draw a random subset in training; False: every so many then too.
            feat_sampling_rate: Every so many features of scene and faces are used. MViT's are all used: their windows do that already.
            max_feats: Most features of one stream.
            published: Any other field of `Source`, by its name in the published configuration.

        Raises:
            DatasetError: Nothing usable there.
            UsageError: An unknown part, label set or kind of features.
        """
        known = {f.name for f in fields(Source)} - {"data_path", "num_labels"}
        for name in published:
            if name not in known:
                raise unknown_name("argument of MovieGraphs", name, known)
        self.labels = chosen_labels(labels)
        self.split, self.rate, self.most = split, feat_sampling_rate, max_feats
        self.random = random_feat_selection
        self.source = Source(
            Path(root).expanduser().resolve(),
            tuple(streams),
            len(self.labels),
            scene_feat_type,
            face_feat_type,
            srt_feat_type,
            srt_feat_pretrained,
            **published,
        )
        self._index = open_index(self.source, split)
        skipped = list(self._index.skipped)
        self._scenes: list[Scene] = []
        self._people: list[list[str]] = []
        self._targets: list[ClipTargets] = []
        self._choose(classes_of(self.labels, self.source.emotic_mapping, skipped), skipped)
        self.skipped = skipped

    @classmethod
    def of_settings(cls, settings: Settings, split: str) -> MovieGraphs:
        """Opens a part as settings say."""
        named: dict[str, Any] = {f.name: getattr(settings, f.name) for f in fields(Source) if f.name not in _SET_OTHERWISE}
        widths: dict[str, Any] = {f"{kind}_feat_dim": settings.width(kind) for kind in ("scene", "face", "srt")}
        return cls(
            str(settings.data_path),
            split,
            labels=settings.label_set,
            streams=settings.streams,
            random_feat_selection=settings.random_feat_selection,
            feat_sampling_rate=settings.feat_sampling_rate,
            max_feats=settings.max_feats,
            **named,
            **widths,
        )

    def __len__(self) -> int:
        """Returns the number of scenes."""
        return len(self._scenes)

    def name(self, index: int) -> str:
        """Returns movie and first clip, as ``tt0109830/scene-001.ss-0001.es-0010``."""
        return self._scenes[index].name

    def targets(self, index: int) -> ClipTargets:
        """Returns what the graph says of a scene (all that is felt in it, by whomever), and of its characters."""
        return self._targets[index]

    def clip(self, index: int, draw: np.random.Generator | None = None) -> ClipFeatures:
        """Reads the features of one scene.

        Args:
            index: From 0.
            draw: As in training: takes a random eighth of them, in the order of time; None: every eighth from the first on.

        Raises:
            DatasetError: A file of features has gone since.
        """
        scene, streams = self._scenes[index], self.source.streams
        start, stop = scene.dialogue[0], min(scene.dialogue[1], scene.dialogue[0] + self.most)
        dialogue = Stream(self._index.texts[start:stop], self._index.text_times_s[start:stop]) if "dialogue" in streams else None
        return ClipFeatures(
            self._scene(scene, draw) if "scene" in streams else None,
            {person: self._face(scene, person, draw) for person in self._people[index]},
            dialogue,
            scene.name,
            scene.utterances[: self.most],
            scene.duration_s,
        )

    def _scene(self, scene: Scene, draw: np.random.Generator | None) -> Stream:
        ends = np.cumsum([file.rows for file in scene.scene])
        is_windowed = self.source.scene_feat_type == WINDOWED
        rows = np.arange(min(int(ends[-1]), self.most)) if is_windowed else self._drawn(int(ends[-1]), draw)
        clips = np.searchsorted(ends, rows, side="right")
        # A window stands for the frames up to its middle, as published: its number counts from 1.
        frames = (rows + 1 if is_windowed else rows) * self.source.frames_per_feature
        return Stream(_taken(scene.scene, clips, rows - _before(ends)[clips]), _seconds(frames))

    def _face(self, scene: Scene, person: str, draw: np.random.Generator | None) -> Stream:
        start, stop = scene.characters[person]
        if "characters" not in self.source.streams or start == stop:
            return Stream(np.zeros((0, self.source.face_width), np.float32), np.zeros(0, np.float32))
        chosen = start + self._drawn(stop - start, draw)
        index = self._index
        return Stream(_taken(scene.faces, index.face_clips[chosen], index.face_rows[chosen]), index.face_times_s[chosen])

    def _drawn(self, count: int, draw: np.random.Generator | None) -> Numbers:
        """Returns which of some features to use, in rising order."""
        if draw is None or not self.random:
            return np.arange(0, count, self.rate)[: self.most]
        return np.sort(draw.choice(count, min(max(1, count // self.rate), self.most), replace=False, shuffle=False))

    def _choose(self, classes: dict[str, tuple[int, ...]], skipped: list[str]) -> None:
        """Keeps the scenes that have targets."""
        without: dict[str, list[str]] = {"an emotion of the label set": [], "a named character who has one": []}
        for scene in self._index.scenes:
            felt = [(person, index) for person, emotion in scene.emotions for index in classes.get(emotion, ())]
            people = {person for person, _ in felt} & scene.characters.keys()
            if not people:
                without["an emotion of the label set" if not felt else "a named character who has one"].append(scene.name)
                continue
            order = sorted(people, key=lambda person: (scene.characters[person][0] - scene.characters[person][1], person))
            targets = np.zeros((1 + len(order), len(self.labels)), np.float32)
            targets[0, [index for _, index in felt]] = 1.0
            for row, person in enumerate(order, 1):
                targets[row, [index for other, index in felt if other == person]] = 1.0
            self._scenes.append(scene)
            self._people.append(order)
            self._targets.append(ClipTargets(targets[0], targets[1:]))
        reasons = [f"{self.split}: {len(names)} scenes without {what}: left out, as {names[0]}" for what, names in without.items() if names]
        if not self._scenes:
            first = "; ".join([*reasons, *skipped[:1]]) or "the part has no scenes"
            raise DatasetError(f"part {self.split!r} of MovieGraphs in {str(self.source.data_path)!r} has no usable scene: {first}")
        skipped += reasons
        self._report_empty_classes(skipped)

    def _report_empty_classes(self, skipped: list[str]) -> None:
        scenes = np.sum([targets.scene for targets in self._targets], axis=0)
        people = np.sum([targets.characters.sum(axis=0) for targets in self._targets], axis=0)
        for what, counts in (("scene", scenes), ("named character", people)):
            if not counts.all():
                words = ", ".join(self.labels.words[index] for index in np.flatnonzero(counts == 0))
                skipped.append(f"{self.split}: no {what} is {words}: average precision is unknown there, and not in the mean")


# Of `Source`, what is no published key, or an argument of its own.
_SET_OTHERWISE = {"data_path", "streams", "num_labels", "scene_feat_dim", "face_feat_dim", "srt_feat_dim"}


def _taken(files: Sequence[FeatureFile | None], clips: NDArray[np.integer[Any]], rows: NDArray[np.integer[Any]]) -> FloatArray:
    """Reads rows of the files of several clips, in the order given."""
    first = files[int(clips[0])]
    assert first is not None  # a clip whose rows are asked for has features
    if (clips == clips[0]).all():
        return first.take(rows)
    out = np.empty((len(rows), first.width), np.float32)
    for clip in np.unique(clips):
        file = files[int(clip)]
        assert file is not None
        out[clips == clip] = file.take(rows[clips == clip])
    return out


def _before(ends: Numbers) -> Numbers:
    return np.concatenate([[0], ends[:-1]])


def _seconds(frames: Numbers) -> FloatArray:
    seconds: FloatArray = (frames / FPS).astype(np.float32)
    return seconds
