"""Writes one data set of several: grey faces of one size and their catalogue, parted so that nothing is on both sides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from emotion_perception.engine.datasets.alterations import AlteredDataset
from emotion_perception.engine.datasets.base import ConcatDataset, EmotionDataset, Pixels, SubsetDataset
from emotion_perception.engine.datasets.catalogue import catalogue_rows, write_catalogue
from emotion_perception.engine.datasets.leaks import RADIUS
from emotion_perception.engine.datasets.splitting import source_groups, split_by_source
from emotion_perception.engine.storage import folder_update

CATALOGUE = "labels.csv"
# (data set, number of a picture in it) -> attribute of the person -> value
Persons = Callable[[EmotionDataset, int], Mapping[str, str]]


class _Collected(SubsetDataset):
    """Pictures of several data sets, grey and of one size, with names and sources of their own."""

    def __init__(self, dataset: EmotionDataset, names: Sequence[str], sources: Sequence[str], side: int) -> None:
        super().__init__(dataset, np.arange(len(dataset)))
        self._names, self._sources, self._side = names, sources, side

    def picture(self, index: int) -> Pixels:
        from PIL import Image as PillowImage

        picture = PillowImage.fromarray(self.dataset.picture(index)).convert("L")
        return np.asarray(picture.resize((self._side, self._side), PillowImage.Resampling.LANCZOS))

    def name(self, index: int) -> str:
        return self._names[index]

    def source(self, index: int) -> str:
        return self._sources[index]


def write_faces(
    target: str | Path,
    parts: Mapping[str, EmotionDataset],
    persons: Persons,
    *,
    side: int = 48,
    valid_share: float = 0.2,
    copies: Sequence[str] = (),
    radius: int | None = RADIUS,
    seed: int = 0,
) -> Path:
    """Writes ``<data set>/<class>/<name>.png`` and ``labels.csv``, all or nothing: a data set of the kind ``csv`` with train and valid.

    Args:
        target: The folder; what it holds besides stays.
        parts: Name -> data set; all in one label set, every picture with a class.
        persons: What is known of the person in a picture of a part.
        side: Of the pictures, in pixels.
        valid_share: Share of the pictures that are for validation.
        copies: Names of altered copies to write as well, in the split of their source.
        radius: Bits in which the hashes of near-copies may differ, which get one source, also across the parts; None compares none.
        seed: Of the split and of the copies.

    Returns:
        The catalogue.

    Raises:
        UsageError: An unknown alteration, or a share that is not between 0 and 1.
        DatasetError: All pictures have one source.
        StorageError: The folder cannot be written.
    """
    from PIL import Image as PillowImage

    everything = _collected(parts, radius, side)
    own = [(part, number) for part in parts.values() for number in range(len(part))]
    known = {everything.name(n): dict(persons(part, number)) for n, (part, number) in enumerate(own)}
    rows = []
    with folder_update(target) as staging:
        for split, part in zip(("train", "valid"), split_by_source(everything, valid_share, seed), strict=True):
            written = AlteredDataset(part, copies, 1.0, seed)
            for number in range(len(written)):
                file = staging / written.name(number)
                file.parent.mkdir(parents=True, exist_ok=True)
                PillowImage.fromarray(written.picture(number)).save(file)
            of = [known[part.name(written.original(number))] for number in range(len(written))]
            rows += catalogue_rows(written, split, of.__getitem__)
        write_catalogue(staging / CATALOGUE, rows)
    return Path(target) / CATALOGUE


def _collected(parts: Mapping[str, EmotionDataset], radius: int | None, side: int) -> _Collected:
    """Joins the data sets; near-copies get the source of the first of them."""
    together = ConcatDataset(list(parts.values()))
    names = [name for key, part in parts.items() for name in _names(key, part)]
    groups = source_groups(together, radius)
    first = np.unique(groups, return_index=True)[1].tolist()
    sources = [together.source(number) for number in first]
    # A source that is a path of this machine is called after the file that is written.
    sources = [names[n].removesuffix(".png") if PurePosixPath(s).is_absolute() else s for n, s in zip(first, sources, strict=True)]
    return _Collected(together, names, [sources[group] for group in groups.tolist()], side)


def _names(key: str, part: EmotionDataset) -> list[str]:
    """Returns ``<data set>/<class>/<stem>.png`` of every picture; names that meet are numbered."""
    taken: dict[str, int] = {}
    names = []
    for number in range(len(part)):
        word = part.labels.words[part.targets.index[number]].lower()
        stem = f"{key}/{word}/{PurePosixPath(part.name(number)).stem.removesuffix('_aligned')}"
        taken[stem] = taken.get(stem, 0) + 1
        names.append(f"{stem}.png" if taken[stem] == 1 else f"{stem}-{taken[stem]}.png")
    return names
