"""RAF-DB (Li, Deng and Du 2017), single labels: aligned faces with the attributes of the persons."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from emotion_perception.engine.datasets.base import Targets
from emotion_perception.engine.datasets.files import Files, FilesDataset
from emotion_perception.engine.errors import DatasetError, InputError, unknown_name
from emotion_perception.engine.labels import AFFECTNET8, LabelSet

WORDS = ("surprise", "fear", "disgust", "happy", "sad", "anger", "neutral")  # label, from 1 -> word
LIST = "EmoLabel/list_patition_label.txt"  # spelt so in the data set
_PARTS = {"train": "train", "valid": "test", "test": "test"}
# After five lines of landmarks the file of attributes has one number for each of these.
ATTRIBUTES = {
    "gender": ("male", "female", "unsure"),
    "race": ("Caucasian", "African-American", "Asian"),
    "age": ("0-3", "4-19", "20-39", "40-69", "70+"),
}
_LANDMARKS = 5


class RAFDB(FilesDataset):
    """Aligned colour faces of 100 pixels; those of the classes that the label set has."""

    def __init__(
        self,
        path: str | Path,
        split: str | None = None,
        labels: LabelSet = AFFECTNET8,
        also: Mapping[str, str] | None = None,
        scale: float = 1.0,
    ) -> None:
        """Reads the list.

        Args:
            path: Folder that holds ``EmoLabel/list_patition_label.txt``, ``Image/aligned/`` and, for `attributes`,
                ``Annotation/manual/``.
            split: ``train`` or ``test``; ``valid`` is ``test``, as there are no more parts; both if None.
            labels: The label set of the targets; pictures of other classes are left out.
            also: Class word of RAF-DB -> word in ``labels``, for classes that count as one they are not called after.
            scale: Side of the pictures in units of the face's box.

        Raises:
            DatasetError: Missing, malformed, or without a usable picture.
            UsageError: An unknown split.
        """
        if split is not None and split not in _PARTS:
            raise unknown_name("RAF-DB split", split, _PARTS)
        self.labels, self.scale = labels, scale
        files = Files(Path(path))
        source = str(files.path / LIST)
        try:
            lines = files.read(LIST).decode("utf-8", "replace").splitlines()
        except InputError:
            raise DatasetError(f"{str(files.path)!r} has no {LIST}; give the folder of RAF-DB's single labels (basic)") from None
        index_of = labels.index_of(WORDS, also)
        names, classes = [], []
        for number, line in enumerate(lines, 1):
            name, _, label = line.strip().partition(" ")
            if not name:
                continue
            if not label.isdecimal() or not 1 <= int(label) <= len(WORDS):
                raise DatasetError(f"line {number} of {source!r} is {line!r}, expected a name and a label from 1 to {len(WORDS)}")
            if (split is None or name.startswith(_PARTS[split])) and WORDS[int(label) - 1] in index_of:
                names.append(f"Image/aligned/{Path(name).stem}_aligned.jpg")
                classes.append(index_of[WORDS[int(label) - 1]])
        self._keep_whole(f"RAF-DB in {str(files.path)!r}", files, names, Targets(np.array(classes, np.int64)))

    def attributes(self, index: int) -> dict[str, str]:
        """Returns gender, race and age group of the person in a picture, as its annotators judged them.

        Raises:
            DatasetError: The file of attributes is missing or malformed.
        """
        stem = self.names[index].rpartition("/")[2].removesuffix("_aligned.jpg")
        name = f"Annotation/manual/{stem}_manu_attri.txt"
        try:
            numbers = [int(line) for line in self.files.read(name).decode("ascii", "replace").split("\n")[_LANDMARKS:] if line.strip()]
            return {column: words[number] for (column, words), number in zip(ATTRIBUTES.items(), numbers, strict=True)}
        except (InputError, ValueError, IndexError) as error:
            raise DatasetError(f"{name!r} in {str(self.files.path)!r} does not state gender, race and age: {error}") from None
