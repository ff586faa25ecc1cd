"""What EmoTx sees of a clip: features with times, of the scene, of each character and of the dialogue; and batches of them.

Padding and masking happen here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotion_perception.engine.errors import InputError
from emotion_perception.engine.target import FloatArray

FPS = 24000 / 1001  # of the films; frame numbers of published features count at this rate
EVERY = 8  # of frames, and of the faces of a track, the network sees every eighth when it judges
BIN_S = EVERY / FPS  # width of a time bin
BINS = 2187  # rows of the published table of positions: 17,500 frames
MAX_TOKENS = 300  # of the scene, of each character, and of the dialogue

STREAMS = ("scene", "characters", "dialogue")
# Kind of features -> width of one.
SCENE_WIDTHS = {"mvit_v1": 768, "resnet50_places": 2048, "generic": 2048}
FACE_WIDTHS = {"resnet50_fer": 2048, "emo": 4096, "generic": 512}
TEXT_WIDTH = 768

Bins = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Stream:
    """Features of one kind over time.

    Attributes:
        features: ``(n, width)`` float32.
        times_s: ``(n,)`` float32, seconds from the start of the clip, ascending.
    """

    features: FloatArray
    times_s: FloatArray

    def __post_init__(self) -> None:
        """Refuses arrays that do not fit each other."""
        if self.features.ndim != 2 or self.times_s.shape != self.features.shape[:1]:
            raise InputError(f"a stream has features (n, width) and times (n,), got {self.features.shape} and {self.times_s.shape}")

    def __len__(self) -> int:
        """Returns the number of features."""
        return len(self.times_s)

    def take(self, indices: NDArray[np.int64]) -> Stream:
        """Returns some of the features, in the order given."""
        return Stream(self.features[indices], self.times_s[indices])


@dataclass(frozen=True, eq=False)
class ClipFeatures:
    """One clip.

    Attributes:
        scene: Features of whole frames, or None.
        characters: Name -> features of the face, most important character first; that order is what the network's character
            embeddings count. A name with an empty stream is a character that is known to be there but never seen.
        dialogue: Features of the utterances, or None.
        name: What a person would call the clip.
        utterances: The words said, one per feature of ``dialogue``, where they are known.
        duration_s: Length in seconds, where it is known.
    """

    scene: Stream | None
    characters: Mapping[str, Stream] = field(default_factory=dict)
    dialogue: Stream | None = None
    name: str = ""
    utterances: Sequence[str] = ()
    duration_s: float | None = None


@dataclass(frozen=True, eq=False)
class Tokens:
    """A batch of B clips as arrays, each stream padded to the longest of the batch (or to a given length).

    T_s, T_c and T_d are the lengths of scene, characters and dialogue; N is the number of characters the network knows.

    Attributes:
        scene: ``(B, T_s, scene width)`` float32.
        scene_bins: ``(B, T_s)`` int64 time bins.
        scene_padding: ``(B, T_s)`` bool, True where there is nothing.
        characters, character_bins, character_padding: ``(B, N, T_c, face width)``, ``(B, N, T_c)``, ``(B, N, T_c)``.
        dialogue, dialogue_bins, dialogue_padding: ``(B, T_d, text width)``, ``(B, T_d)``, ``(B, T_d)``.
        present: ``(B, N)`` bool, True where a clip has a character in that place.
    """

    scene: FloatArray
    scene_bins: Bins
    scene_padding: Mask
    characters: FloatArray
    character_bins: Bins
    character_padding: Mask
    dialogue: FloatArray
    dialogue_bins: Bins
    dialogue_padding: Mask
    present: Mask

    def inputs(self) -> tuple[NDArray[np.generic], ...]:
        """Returns what the network takes, in the order of `INPUT_NAMES`."""
        return tuple(getattr(self, name) for name in INPUT_NAMES)


INPUT_NAMES = (
    "scene",
    "scene_bins",
    "scene_padding",
    "characters",
    "character_bins",
    "character_padding",
    "dialogue",
    "dialogue_bins",
    "dialogue_padding",
)


@dataclass(frozen=True)
class Layout:
    """Widths and lengths that clips are padded to.

    Attributes:
        scene_width, face_width, text_width: Length of one feature.
        characters: N, the number of characters the network knows; a clip's further ones are left out.
        max_tokens: Longest stream; a longer one is thinned out.
        bins: Rows of the table of positions; later times count as the last bin.
        full: Pad every stream to ``max_tokens``, as the published code does, instead of to the longest of the batch.
    """

    scene_width: int = SCENE_WIDTHS["mvit_v1"]
    face_width: int = FACE_WIDTHS["resnet50_fer"]
    text_width: int = TEXT_WIDTH
    characters: int = 4
    max_tokens: int = MAX_TOKENS
    bins: int = BINS
    full: bool = False

    @classmethod
    def of(cls, architecture: Mapping[str, Any], full: bool = False) -> Layout:
        """Returns what a network takes; ``architecture`` is as `model.build_network` takes it, with all sizes."""
        return cls(
            scene_width=architecture["scene_feat_dim"],
            face_width=architecture["char_feat_dim"],
            text_width=architecture["srt_feat_dim"],
            characters=architecture["num_chars"],
            max_tokens=architecture["max_individual_tokens"],
            bins=architecture["num_pos_embeddings"],
            full=full,
        )


def time_bins(times_s: FloatArray, bins: int = BINS) -> Bins:
    """Returns the time bins of some times: 0 for the very start, i for times in ((i - 1) w, i w] with w = `BIN_S`.

    Args:
        times_s: Seconds; any shape.
        bins: How many bins there are; later times fall into the last one.
    """
    # Every eighth frame lies on a boundary; without the millisecond, rounding to float32 would push half of them into the next bin.
    boundaries = np.arange(bins + 1, dtype=np.float64) * BIN_S + 1e-3
    found: Bins = np.searchsorted(boundaries, times_s, side="left").astype(np.int64)
    return np.minimum(found, bins - 1)


def collate(clips: Sequence[ClipFeatures], layout: Layout) -> Tokens:
    """Pads clips to a batch.

    Streams that a clip does not have are padding from end to end. Streams longer than the layout allows keep their first features.

    Args:
        clips: At least one.
        layout: Widths and lengths.

    Raises:
        InputError: A stream of another width, or with values that are not finite.
    """
    streams = [[clip.scene] for clip in clips], [_characters(clip, layout) for clip in clips], [[clip.dialogue] for clip in clips]
    widths = layout.scene_width, layout.face_width, layout.text_width
    places = 1, layout.characters, 1
    kinds = "scene", "face", "dialogue"
    padded = [
        _pad(rows, width, count, layout, kind, clips) for rows, width, count, kind in zip(streams, widths, places, kinds, strict=True)
    ]
    (scene, scene_bins, scene_padding), characters, (dialogue, dialogue_bins, dialogue_padding) = padded
    present = np.array([[place < len(row) for place in range(layout.characters)] for row in streams[1]], dtype=np.bool_)
    return Tokens(
        scene[:, 0],
        scene_bins[:, 0],
        scene_padding[:, 0],
        *characters,
        dialogue[:, 0],
        dialogue_bins[:, 0],
        dialogue_padding[:, 0],
        present,
    )


def _characters(clip: ClipFeatures, layout: Layout) -> list[Stream | None]:
    known: list[Stream | None] = [*clip.characters.values()]
    return known[: layout.characters]


def _pad(
    rows: Sequence[Sequence[Stream | None]], width: int, places: int, layout: Layout, kind: str, clips: Sequence[ClipFeatures]
) -> tuple[FloatArray, Bins, Mask]:
    """Pads a row of streams per clip to ``(clips, places, longest, width)`` features, with bins and padding."""
    longest = max((min(len(stream), layout.max_tokens) for row in rows for stream in row if stream is not None), default=0)
    # A length of at least one keeps every operation of the network defined; that one token is padding and changes nothing.
    length = layout.max_tokens if layout.full else max(longest, 1)
    features = np.zeros((len(rows), places, length, width), np.float32)
    bins = np.zeros((len(rows), places, length), np.int64)
    padding = np.ones((len(rows), places, length), np.bool_)
    for i, row in enumerate(rows):
        for place, stream in enumerate(row):
            if stream is None or len(stream) == 0:
                continue
            if stream.features.shape[1] != width:
                got = f"{clips[i].name or f'clip {i}'}: {kind} features are {stream.features.shape[1]} wide"
                raise InputError(f"{got}, expected {width}; give features of the kind that the weights were trained on")
            n = min(len(stream), length)
            features[i, place, :n] = stream.features[:n]
            bins[i, place, :n] = time_bins(stream.times_s[:n], layout.bins)
            padding[i, place, :n] = False
            if not np.isfinite(features[i, place, :n]).all():
                raise InputError(f"{clips[i].name or f'clip {i}'}: {kind} features have NaN or infinite values; extract them again")
    return features, bins, padding


def random_inputs(layout: Layout, count: int) -> tuple[NDArray[np.generic], ...]:
    """Makes ``count`` random clips as the network takes them, the same ones at each call.

    Streams are some tens of tokens long, and differ in length from each other and from one count to another; rows end somewhere.
    """
    random = np.random.default_rng(count)

    def stream(places: tuple[int, ...], length: int, width: int) -> tuple[FloatArray, Bins, Mask]:
        features = random.standard_normal((*places, length, width), dtype=np.float32)
        bins = np.sort(random.integers(0, layout.bins, (*places, length)), axis=-1)
        return features, bins, np.arange(length) >= random.integers(1, length + 1, (*places, 1))

    scene = stream((count,), 30 + count, layout.scene_width)
    characters = stream((count, layout.characters), 20 + 2 * count, layout.face_width)
    return *scene, *characters, *stream((count,), 10 + 3 * count, layout.text_width)
