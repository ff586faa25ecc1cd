"""Features on disk: one clip in an .npz file, or a scene in MovieGraphs' folders."""

from __future__ import annotations

import pickle
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotion_perception.engine.errors import InputError
from emotion_perception.engine.storage import atomic_write, held
from emotion_perception.learners.emotx.clips import ClipFeatures, Stream
from emotion_perception.learners.emotx.features.extraction import Recording
from emotion_perception.learners.emotx.features.extractors import Extractors
from emotion_perception.learners.emotx.moviegraphs.tracks import read_name_table

_FORMAT = "emotx-clip-1"


def write_clip(file: str | Path, clip: ClipFeatures) -> Path:
    """Writes the features of a clip into one .npz file, which holds plain arrays only.

    Raises:
        StorageError: It cannot be written.
    """
    arrays: dict[str, Any] = {"format": _FORMAT, "name": clip.name, "utterances": np.array(clip.utterances, np.str_)}
    arrays["characters"] = np.array(list(clip.characters), np.str_)
    if clip.duration_s is not None:
        arrays["duration_s"] = clip.duration_s
    streams = {"scene": clip.scene, "dialogue": clip.dialogue}
    streams |= {f"character_{i}": stream for i, stream in enumerate(clip.characters.values())}
    for kind, stream in streams.items():
        if stream is not None:
            arrays[f"{kind}_features"], arrays[f"{kind}_times_s"] = stream.features, stream.times_s
    with atomic_write(file) as part, part.open("wb") as target:
        np.savez(target, **arrays)
    return Path(file)


def read_clip(file: str | Path) -> ClipFeatures:
    """Reads what `write_clip` wrote.

    Raises:
        InputError: The file cannot be read, or is of another kind.
    """
    path = Path(file)
    way_out = "give a file of: emotion-perception features --npz"
    try:
        with np.load(path, allow_pickle=False) as content:
            arrays = dict(content.items())
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        reason = getattr(error, "strerror", None) or "it is no .npz file of plain arrays"
        raise InputError(f"cannot read features {str(path)!r}: {reason}; {way_out}") from None
    if str(arrays.get("format")) != _FORMAT:
        raise InputError(f"{str(path)!r} holds {', '.join(arrays) or 'nothing'}, not the features of a clip; {way_out}")

    def stream(kind: str) -> Stream | None:
        features = arrays.get(f"{kind}_features")
        return None if features is None else Stream(features, arrays[f"{kind}_times_s"])

    try:
        names = [str(name) for name in arrays["characters"]]
        characters = {name: stream(f"character_{i}") for i, name in enumerate(names)}
        seen = {name: faces for name, faces in characters.items() if faces is not None}
        utterances = tuple(str(text) for text in arrays["utterances"])
        duration_s = float(arrays["duration_s"]) if "duration_s" in arrays else None
        return ClipFeatures(stream("scene"), seen, stream("dialogue"), str(arrays["name"]), utterances, duration_s)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"features {str(path)!r} are not whole ({error}); {way_out}") from None


def write_scene(
    root: str | Path,
    movie: str,
    scene: str,
    recording: Recording,
    characters: Mapping[str, Sequence[int]],
    extractors: Extractors,
    subtitles: str | Path | None = None,
) -> list[Path]:
    """Writes a scene into MovieGraphs' folders; what other scenes of the movie have there stays.

    Args:
        root: The folder that ``data_path`` names.
        movie: The movie's folder, in MovieGraphs its IMDb number.
        scene: The scene's name, without a suffix.
        recording: Made with ``dense=True``.
        characters: Name -> tracks.
        extractors: Which kinds of features they are.
        subtitles: The .srt file, which is copied.

    Returns:
        The files.

    Raises:
        StorageError: One cannot be written.
        DatasetError: The movie's table of names is damaged.
    """
    data = Path(root)
    written = []
    if recording.scenes is not None:
        written.append(_save(data / f"{extractors.scene_feat_type}_scene_features" / movie / f"{scene}.npy", recording.scenes.features))
    if recording.faces is not None:
        written.append(_save(data / f"{extractors.face_feat_type}_face_features" / movie / f"{scene}.npy", recording.faces.features))
        # The files take tracks for numbered without gaps from 1: row t of the names is track t + 1.
        numbers = {track: place for place, track in enumerate(recording.faces.seen, 1)}
        rows = recording.faces.rows.copy()
        rows[:, 7] = [numbers[int(track)] for track in rows[:, 7]]
        faces = {int(frame): rows[rows[:, 5] == frame] for frame in np.unique(rows[:, 5])}
        persons: dict[int, NDArray[np.float64]] = {}  # only faces are tracked here
        written.append(_dump(data / "character_tracks" / movie / f"{scene}.pkl", persons, faces))
        owners = {track: name for name, tracks in characters.items() for track in tracks}
        written += _write_names(data / "track_names", movie, scene, [owners.get(track) for track in numbers], list(characters))
    if recording.dialogue is not None:
        import torch

        kind = "pretrained" if extractors.srt_feat_pretrained else f"finetuned_t{extractors.num_labels}"
        times_s = [said.middle_s for said in recording.utterances]
        target = data / "srt_feats" / "independent" / kind / movie / f"{scene}.pkl"
        written.append(_dump(target, times_s, torch.from_numpy(recording.dialogue)))
    if subtitles is not None:
        target = data / "MovieGraph" / "srt" / "clip_srt" / movie / f"{scene}.srt"
        with atomic_write(target) as part:
            shutil.copyfile(subtitles, part)
        written.append(target)
    return written


def _write_names(folder: Path, movie: str, scene: str, owners: Sequence[str | None], names: Sequence[str]) -> list[Path]:
    """Writes who each track is, and adds the names to those of the movie; its other scenes get a column for each.

    One at a time: scenes of one movie may be written by several processes, and share its table of names.
    """
    (folder / movie).mkdir(parents=True, exist_ok=True)
    with held(folder / movie):
        return _write_names_alone(folder, movie, scene, owners, names)


def _write_names_alone(folder: Path, movie: str, scene: str, owners: Sequence[str | None], names: Sequence[str]) -> list[Path]:
    file = folder / "metadata" / f"{movie}.pkl"
    known = _known_names(file)
    every = [*known, *(name for name in names if name not in known)]
    columns = {name: column for column, name in enumerate(every)}
    if len(every) > len(known):
        for other in (folder / movie).glob("[!.]*.npy"):  # those with a dot are being written, or were left by a kill
            table = np.load(other, allow_pickle=False)
            _save(other, np.pad(table, ((0, 0), (0, len(every) - table.shape[1]))))
    table = np.zeros((len(owners), len(every)))
    for row, name in enumerate(owners):
        if name is not None:
            table[row, columns[name]] = 1.0
    return [_save(folder / movie / f"{scene}.npy", table), _dump(file, columns, dict(enumerate(every)))]


def _known_names(file: Path) -> list[str]:
    """Returns the names of a movie in the order of their columns."""
    if not file.is_file():
        return []
    columns = read_name_table(file)
    return sorted(columns, key=lambda name: columns[name])


def _save(file: Path, array: NDArray[Any]) -> Path:
    with atomic_write(file) as part, part.open("wb") as target:
        np.save(target, array)
    return file


def _dump(file: Path, *values: Any) -> Path:
    """Writes pickles one after another, as MovieGraphs' files have them."""
    with atomic_write(file) as part, part.open("wb") as target:
        for value in values:
            pickle.dump(value, target, protocol=4)
    return file
