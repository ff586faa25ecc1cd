"""EmoTx on a stream: frames, faces and words become features as they come, and the last seconds of them are judged as a clip."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from emotion_perception.engine.clips import ClipResult, FrameGroups, SlidingStream, Window
from emotion_perception.engine.data import Image
from emotion_perception.engine.errors import UsageError
from emotion_perception.engine.vision.faces import Face
from emotion_perception.learners.emotx.clips import BIN_S, EVERY, FPS, MAX_TOKENS, STREAMS, ClipFeatures, Stream
from emotion_perception.learners.emotx.features.extraction import cut_face
from emotion_perception.learners.emotx.features.extractors import Extractors, SceneExtractor

if TYPE_CHECKING:
    from emotion_perception.engine.target import FloatArray
    from emotion_perception.learners.emotx.features.backbones.preparation import Pixels
    from emotion_perception.learners.emotx.learner import EmoTxLearner

# A longer window would have more features than the network takes.
LONGEST_S = MAX_TOKENS * BIN_S


def watch(
    learner: EmoTxLearner, *, window_s: float, num_chars: int = 0, dialogue: bool = True, backbones: str | Path | None = None
) -> EmoTxWindow:
    """Opens a window on a stream with the backbones that the weights in use were trained with; arguments as of `WatchesClips.watch`.

    Raises:
        UsageError: Nothing is left to see, or a length or number that the network cannot take.
        WeightsError: A backbone's weights are missing; the message names the file and its address.
    """
    streams = tuple(name for name in learner.settings.streams if dialogue or name != "dialogue")
    if not streams:
        raise UsageError(f"these weights of {learner.name} read the dialogue only, and there is no speech; say where it comes from")
    extractors = extractors_of(learner, streams, backbones)
    return EmoTxWindow(learner, extractors, window_s=window_s, num_chars=num_chars, streams=streams)


def extractors_of(learner: EmoTxLearner, streams: Sequence[str] | None = None, backbones: str | Path | None = None) -> Extractors:
    """Returns the backbones that a learner's weights were trained with; nothing is read yet.

    Args:
        learner: With weights.
        streams: What is to be extracted; what the network reads if None.
        backbones: Folder of the backbones' weights; the cache if None.
    """
    settings = learner.settings
    return Extractors(
        settings.scene_feat_type,
        settings.face_feat_type,
        srt_feat_pretrained=settings.srt_feat_pretrained,
        num_labels=len(settings.label_set),
        backbones=backbones,
        device=learner.torch_device(),
        streams=settings.streams if streams is None else streams,
    )


class EmoTxWindow(Window):
    """The last seconds of a stream as EmoTx sees a clip.

    Backbones see frames at the rate of films, whatever the camera's is: one feature of the scene per stride of its backbone, one of each
    face every eighth frame, one per utterance. Frames are kept, scaled to the backbone's size, only for as long as its window is.
    Characters are counted as in training: who was seen longest comes first.
    """

    def __init__(
        self,
        learner: EmoTxLearner,
        extractors: Extractors,
        *,
        window_s: float = 20.0,
        num_chars: int = 0,
        streams: Sequence[str] = STREAMS,
    ) -> None:
        """Opens the backbones that are needed.

        Args:
            learner: With weights.
            extractors: Backbones for the features that its weights were trained on.
            window_s: Length of the window, in seconds.
            num_chars: Most characters judged; 0: as many as the network knows.
            streams: What there is to be seen and heard; the backbones of the others are not opened.

        Raises:
            UsageError: A length or number that the network cannot take.
            WeightsError: A backbone's weights are missing; the message names the file.
        """
        known = int(learner.card.architecture["num_chars"])
        if not 0.0 < window_s <= LONGEST_S:
            raise UsageError(f"window_s is {window_s:g}, expected more than 0 and at most {math.floor(LONGEST_S)} seconds")
        if not 0 <= num_chars <= known:
            raise UsageError(f"num_chars is {num_chars}, expected 0 to {known}, as many as the network knows")
        self._learner, self._window_s, self._most = learner, window_s, num_chars or known
        self._scene = extractors.scene if "scene" in streams else None
        self._face = extractors.face if "characters" in streams else None
        self._text = extractors.text if "dialogue" in streams else None
        frames, stride = (1, EVERY) if self._scene is None else (self._scene.frames, self._scene.stride)
        self._shots: FrameGroups[Callable[[], FloatArray]] = FrameGroups(FPS, frames, stride)
        self._looks: FrameGroups[tuple[Image, Mapping[str, Face]]] = FrameGroups(FPS, 1, EVERY)
        self.reset()

    def reset(self) -> None:
        """Forgets everything."""
        self._shots.reset()
        self._looks.reset()
        self._frames, self._dialogue = SlidingStream(MAX_TOKENS), SlidingStream(MAX_TOKENS)
        self._faces: dict[str, SlidingStream] = {}
        self._first_s = self._now_s = -math.inf

    @property
    def start_s(self) -> float:
        """Where the window starts: so many seconds ago, or with the stream's first frame."""
        return max(self._now_s - self._window_s, self._first_s)

    def frame(self, image: Image, faces: Mapping[str, Face]) -> None:
        """Takes the next frame; the frame that completes what a backbone sees at once costs a run of it."""
        now_s = self._now_s if image.stamp_s is None else image.stamp_s
        if now_s < self._now_s:
            self.reset()
        self._first_s = now_s if self._first_s == -math.inf else self._first_s
        self._now_s = now_s
        if self._scene is not None:
            shot = self._shots.add(_prepared(self._scene, image.rgb), now_s)
            if shot is not None:
                seen = self._scene.window([prepared() for prepared in shot[0]])
                self._frames.add(self._scene.features([seen])[0], shot[1])
        look = self._looks.add((image, faces), now_s) if self._face is not None else None
        if look is not None:
            self._look(*look[0][0], look[1])
        self._forget()

    def _look(self, image: Image, faces: Mapping[str, Face], time_s: float) -> None:
        """Adds a feature of each face."""
        assert self._face is not None
        crops = {name: cut_face(image.rgb, face.box) for name, face in faces.items()}
        crops = {name: pixels for name, pixels in crops.items() if pixels.size}
        for name, feature in zip(crops, self._face(list(crops.values())), strict=True):
            self._faces.setdefault(name, SlidingStream(MAX_TOKENS)).add(feature, time_s)

    def _forget(self) -> None:
        for stream in (self._frames, self._dialogue, *self._faces.values()):
            stream.forget(self.start_s)
        self._faces = {name: stream for name, stream in self._faces.items() if len(stream)}

    def speech(self, text: str, start_s: float, end_s: float) -> None:
        """Takes an utterance; one that ended before the window is left out."""
        if self._text is not None and self.start_s <= end_s:
            self._dialogue.add(self._text([text])[0], max((start_s + end_s) / 2, self.start_s))

    def clip(self) -> ClipFeatures:
        """Returns what the window shows now."""
        seen = sorted(self._faces, key=lambda name: -len(self._faces[name]))[: self._most]
        scene, dialogue = self._stream(self._frames), self._stream(self._dialogue)
        characters = {name: stream for name in seen if (stream := self._stream(self._faces[name])) is not None}
        return ClipFeatures(scene, characters, dialogue, duration_s=self._now_s - self.start_s)

    def _stream(self, kept: SlidingStream) -> Stream | None:
        return Stream(*kept.arrays(self.start_s)) if len(kept) else None

    def judge(self) -> ClipResult | None:
        """Judges the window; None while it has no feature."""
        clip = self.clip()
        if clip.scene is None and clip.dialogue is None and not clip.characters:
            return None
        judged = self._learner.infer([clip])
        scene, characters = judged.probabilities[0], judged.extras["characters"][0]
        found = {name: characters[place] for place, name in enumerate(clip.characters)}
        judges = self._learner.card.architecture["judges"]
        return ClipResult(
            self._learner.name,
            judged.labels,
            (self.start_s, self._now_s),
            scene if "scene" in judges else None,
            found if "characters" in judges else {},
        )

    def warm_up(self) -> None:
        """Runs every backbone and the network once, on nothing; what the window holds stays."""
        black = np.zeros((64, 64, 3), np.uint8)
        nothing = np.zeros(1, np.float32)
        scene = dialogue = None
        characters: dict[str, Stream] = {}
        if self._scene is not None:
            prepared = [self._scene.prepare(black)] * self._scene.frames
            scene = Stream(self._scene.features([self._scene.window(prepared)]), nothing)
        if self._face is not None:
            characters["nobody"] = Stream(self._face([black]), nothing)
        if self._text is not None:
            dialogue = Stream(self._text(["nothing"]), nothing)
        self._learner.infer([ClipFeatures(scene, characters, dialogue)])


def _prepared(scene: SceneExtractor, rgb: Pixels) -> Callable[[], FloatArray]:
    """Returns what gives a frame at the backbone's size: made now where it is kept for a while, else when it is asked for."""
    if scene.frames == 1:
        return partial(scene.prepare, rgb)
    small = scene.prepare(rgb)
    return lambda: small
