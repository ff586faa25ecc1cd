"""From the words of MovieGraphs to the classes of a label set."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from emotion_perception.engine.errors import DatasetError, UsageError, unknown_name
from emotion_perception.engine.labels import EMOTIC26, MOVIEGRAPHS10, MOVIEGRAPHS25, LabelSet, label_set

LABEL_SETS = {labels.name: labels for labels in (MOVIEGRAPHS10, MOVIEGRAPHS25, EMOTIC26)}


def chosen_labels(labels: str | LabelSet) -> LabelSet:
    """Returns the label set of that name; one that is not of MovieGraphs raises `UsageError`."""
    found = label_set(labels) if isinstance(labels, str) else labels
    if LABEL_SETS.get(found.name) != found:
        raise UsageError(f"MovieGraphs has no targets in label set {found.name!r}; expected one of {', '.join(LABEL_SETS)}")
    return found


def classes_of(labels: LabelSet, mapping: Path, skipped: list[str]) -> dict[str, tuple[int, ...]]:
    """Returns which classes each word of MovieGraphs counts for.

    The most frequent words are classes of their own, in the published order whatever the data at hand. The classes of Emotic are
    groups of words, which the published ``emotic_mapping.json`` lists.

    Args:
        labels: The label set.
        mapping: Path of that file; read for Emotic only.
        skipped: A line is added for each word in several groups (it counts for all of them) and each class without words.

    Raises:
        DatasetError: The file cannot be read, or names a class that Emotic does not have.
    """
    if labels != EMOTIC26:
        return {word: (index,) for index, word in enumerate(labels.words)}
    classes: dict[str, tuple[int, ...]] = {}
    groups = _groups(mapping)
    for index in range(len(labels)):
        for word in groups.get(index, ()):
            classes[word] = (*classes.get(word, ()), index)
    for index in sorted(set(range(len(labels))) - groups.keys()):
        skipped.append(f"{mapping.name}: no word counts as {labels.words[index]}, so nothing ever is")
    for word, indices in classes.items():
        if len(indices) > 1:
            skipped.append(f"{mapping.name}: {word!r} counts as {' and '.join(labels.words[index] for index in indices)}")
    return classes


def _groups(mapping: Path) -> dict[int, list[str]]:
    """Reads the words of each class of Emotic, by its index; the order of the file does not matter."""
    try:
        found = json.loads(mapping.read_text(encoding="utf-8"))
    except OSError as error:
        raise DatasetError(f"cannot read {str(mapping)!r}: {error.strerror}; Emotic's classes need emotic_mapping.json") from None
    except ValueError as error:
        raise DatasetError(f"{str(mapping)!r} is not JSON: {error}; copy it again") from None
    if not isinstance(found, Mapping) or not all(isinstance(words, list) for words in found.values()):
        raise DatasetError(f"{str(mapping)!r} is not a mapping of Emotic's classes to lists of words")
    return {_class(name, mapping): [str(word).strip() for word in words] for name, words in found.items()}


def _class(name: str, mapping: Path) -> int:
    for index, word in enumerate(EMOTIC26.words):
        # The long form of one of them is Doubt/Confusion.
        if name.casefold().startswith(word.casefold()):
            return index
    raise DatasetError(f"{str(mapping)!r}: {unknown_name('class of Emotic', name, EMOTIC26.words)}")
