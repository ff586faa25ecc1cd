"""Parts a data set so that nothing is on both sides: copies of a picture, frames of a person, near-copies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from emotion_perception.engine.datasets.base import EmotionDataset
from emotion_perception.engine.errors import DatasetError, UsageError


def split_by_source(
    dataset: EmotionDataset, share: float, seed: int = 0, *, radius: int | None = None
) -> tuple[EmotionDataset, EmotionDataset]:
    """Parts a data set at random, by seed, into one to train on and one to validate on; no source is divided.

    Of every class about the same share is held out. What a source is, `EmotionDataset.source` says.

    Args:
        dataset: At least two sources.
        share: Share of the pictures to validate on; at least one source goes there, and one stays.
        seed: Of the drawing.
        radius: Keep pictures together whose hashes differ in at most so many bits as well, see `leaks.find_leaks`; None compares none.

    Raises:
        UsageError: A share that is not between 0 and 1.
        DatasetError: All pictures have one source.
    """
    if not 0.0 < share < 1.0:
        raise UsageError(f"the share to validate on is {share}, expected a number between 0 and 1")
    group = source_groups(dataset, radius)
    count = int(group.max()) + 1 if len(group) else 0
    if count < 2:
        raise DatasetError(f"{dataset!r} has {count} source; a split takes at least two, as no source may be on both sides")
    # A source counts to the class of its first picture.
    first = np.unique(group, return_index=True)[1]
    of_class, sizes = dataset.targets.index[first], np.bincount(group)
    order = np.random.default_rng(seed).permutation(count)
    held = np.zeros(count, np.bool_)
    wanted, before = 0.0, 0
    for label in np.unique(of_class):
        own = order[of_class[order] == label]
        ends = np.cumsum(sizes[own])
        # What rounding leaves over in one class is made up for in the next.
        wanted += share * ends[-1]
        taken = own[: int(np.searchsorted(ends, wanted - before + 0.5, side="right"))]
        held[taken] = True
        before += int(sizes[taken].sum())
    if held.all() or not held.any():
        held[order] = np.arange(count) < (count - 1 if held.all() else 1)
    return dataset.subset(~held[group]), dataset.subset(held[group])


def source_groups(dataset: EmotionDataset, radius: int | None = None) -> NDArray[np.int64]:
    """Returns ``(n,)`` the number of every picture's source, counted from 0.

    Args:
        dataset: n pictures.
        radius: Count sources with pictures whose hashes differ in at most so many bits as one; None compares none.
    """
    groups: NDArray[np.int64] = np.unique([dataset.source(n) for n in range(len(dataset))], return_inverse=True)[1].astype(np.int64)
    if radius is None:
        return groups
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    from emotion_perception.engine.datasets.leaks import copies_within

    one, other = groups[copies_within(dataset, radius)].T
    count = int(groups.max()) + 1
    edges = coo_array((np.ones(len(one), np.bool_), (one, other)), shape=(count, count))
    joined: NDArray[np.int64] = connected_components(edges, directed=False)[1][groups].astype(np.int64)
    return joined
