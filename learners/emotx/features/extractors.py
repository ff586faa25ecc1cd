"""From pictures and words to features: what EmoTx sees of a clip, made by the published backbones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from emotion_perception.engine.devices import check_device, torch_device
from emotion_perception.engine.errors import InputError
from emotion_perception.engine.target import FloatArray
from emotion_perception.learners.emotx.clips import STREAMS, ClipFeatures
from emotion_perception.learners.emotx.features.backbones.catalogue import FACES, SCENES, Backbone, choose
from emotion_perception.learners.emotx.features.backbones.preparation import Pixels
from emotion_perception.learners.emotx.features.characters import Names
from emotion_perception.learners.emotx.features.subtitles import Utterance

if TYPE_CHECKING:
    import torch

    from emotion_perception.engine.vision.faces import FaceDetector
    from emotion_perception.learners.emotx.features.backbones.roberta import Roberta

# Pictures that go through a network at once: more are not faster on a CPU, and memory stays flat.
BATCH = 16


class PictureExtractor:
    """A backbone with its weights.

    Attributes:
        width: Length of a feature.
        frames: How many consecutive frames one feature sees.
        stride: Frames from one feature to the next.
    """

    def __init__(self, backbone: Backbone, folder: str | Path | None, device: torch.device) -> None:
        """Opens the network.

        Raises:
            WeightsError: The file of weights is missing, damaged, or of another network.
        """
        self.width, self.frames, self.stride = backbone.width, backbone.frames, backbone.stride
        self.prepare = backbone.preparation
        self._network = backbone.open(folder, device)
        self._device = device

    def features(self, prepared: Sequence[FloatArray]) -> FloatArray:
        """Returns features of pictures that `prepare` made, or of `window`s of them: ``(n, width)`` float32."""
        import torch

        rows = [np.zeros((0, self.width), np.float32)]
        for start in range(0, len(prepared), BATCH):
            x = torch.from_numpy(np.stack(prepared[start : start + BATCH])).to(self._device)
            with torch.inference_mode():
                rows.append(self._network(x).float().cpu().numpy())
        return np.concatenate(rows)


class SceneExtractor(PictureExtractor):
    """Makes features of whole frames."""

    def __call__(self, frames: Sequence[Pixels]) -> FloatArray:
        """Returns the feature of consecutive frames.

        Args:
            frames: At least one and at most ``self.frames`` pictures, ``(height, width, 3)`` uint8 RGB; a clip that ends early is
                followed by grey, as when the published features were made.

        Returns:
            ``(width,)`` float32.

        Raises:
            InputError: No picture, too many, or one of another shape or type.
        """
        feature: FloatArray = self.features([self.window([self.prepare(pixels) for pixels in frames])])[0]
        return feature

    def window(self, prepared: Sequence[FloatArray]) -> FloatArray:
        """Joins prepared pictures to what the network sees at once: one picture as it is, several along a second axis."""
        if not 1 <= len(prepared) <= self.frames:
            raise InputError(f"a scene feature sees 1 to {self.frames} frames, got {len(prepared)}")
        if self.frames == 1:
            return prepared[0]
        joined = np.zeros((3, self.frames, *prepared[0].shape[1:]), np.float32)
        joined[:, : len(prepared)] = np.stack(prepared, axis=1)
        return joined


class FaceExtractor(PictureExtractor):
    """Makes features of faces."""

    def __call__(self, crops: Sequence[Pixels]) -> FloatArray:
        """Returns the features of faces.

        Args:
            crops: What the detector's boxes show, without margin, each ``(height, width, 3)`` uint8 RGB of any size; none is fine.

        Returns:
            ``(n, width)`` float32.

        Raises:
            InputError: A picture of another shape or type.
        """
        return self.features([self.prepare(pixels) for pixels in crops])


class Extractors:
    """All backbones of one set of features; each is opened when it is first used."""

    def __init__(
        self,
        scene_feat_type: str = "mvit_v1",
        face_feat_type: str = "resnet50_fer",
        *,
        srt_feat_pretrained: bool = False,
        num_labels: int = 10,
        backbones: str | Path | None = None,
        device: str | torch.device = "auto",
        streams: Sequence[str] = STREAMS,
    ) -> None:
        """Chooses the backbones; nothing is read yet.

        Args:
            scene_feat_type: ``mvit_v1``, ``resnet50_places`` or ``generic`` (ResNet-152).
            face_feat_type: ``resnet50_fer``, ``emo`` (VGG-M) or ``generic`` (Inception-ResNet-V1).
            srt_feat_pretrained: RoBERTa as it was published, instead of fine-tuned on MovieGraphs.
            num_labels: Labels that RoBERTa was fine-tuned for: 10, 25 or 26.
            backbones: Folder of the files of weights; the cache of ``emotion-perception download emotx --mode backbones`` if None.
            device: Where they run: ``auto``, ``cpu``, ``cuda`` or a torch device.
            streams: What `clip_features` extracts; the weights of the others are not needed.

        Raises:
            UsageError: An unknown kind of features, or an unknown device.
        """
        self.scene_backbone = choose("kind of scene features", scene_feat_type, SCENES)
        self.face_backbone = choose("kind of face features", face_feat_type, FACES)
        if isinstance(device, str):
            check_device(device)
        self.scene_feat_type, self.face_feat_type = scene_feat_type, face_feat_type
        self.srt_feat_pretrained, self.num_labels = srt_feat_pretrained, num_labels
        self.streams = tuple(streams)
        self._folder = backbones
        self._device = device

    @cached_property
    def scene(self) -> SceneExtractor:
        """Makes features of whole frames; `WeightsError` names a missing file and its address."""
        return SceneExtractor(self.scene_backbone, self._folder, self._torch_device)

    @cached_property
    def face(self) -> FaceExtractor:
        """Makes features of faces; `WeightsError` names a missing file and its address."""
        return FaceExtractor(self.face_backbone, self._folder, self._torch_device)

    @cached_property
    def text(self) -> Roberta:
        """Makes features of utterances, ``text(utterances) -> (n, 768)``; `WeightsError` names a missing file and its address."""
        from emotion_perception.learners.emotx.features.backbones.roberta import Roberta

        return Roberta(self.srt_feat_pretrained, self.num_labels, self._folder, self._torch_device)

    def clip_features(
        self,
        video: str | Path,
        subtitles: str | Path | Sequence[Utterance] | None = None,
        tracks: str | Path | None = None,
        names: Names = None,
        *,
        detector: FaceDetector | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> ClipFeatures:
        """Extracts the features of a clip in one pass over its frames, in flat memory.

        Args:
            video: A video file.
            subtitles: An .srt file, or what was said; None: nothing is known to be said.
            tracks: A file of face tracks (`characters.GivenTracks`); None: faces are detected and tracked.
            names: Who the tracks are (`characters.name_tracks`); None: tracks that look alike are one person.
            detector: Finds the faces; the engine's own if None.
            progress: Called with the number of frames that were read since the last call.

        Raises:
            InputError: The video, the subtitles or the tracks cannot be read.
            WeightsError: A backbone's weights are missing.
        """
        from emotion_perception.learners.emotx.features.extraction import record

        recording = record(self, video, subtitles, tracks, detector=detector, progress=progress)
        return recording.clip(recording.characters(names))

    @cached_property
    def _torch_device(self) -> torch.device:
        return torch_device(self._device, who="backbones") if isinstance(self._device, str) else self._device
