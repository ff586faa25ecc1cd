"""Named label sets and the maps between them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from emotion_perception.engine.errors import unknown_name

# Words that mean the same class in different label sets, by the word used in hri_msgs/Expression where it has one.
_CONCEPTS = {
    "neutral": ("neutral", "calm"),
    "happy": ("happy", "happiness", "joy"),
    "sad": ("sad", "sadness"),
    "surprised": ("surprised", "surprise"),
    "scared": ("scared", "fear", "afraid", "fearful"),
    "disgusted": ("disgusted", "disgust"),
    "angry": ("angry", "anger"),
    "contempt": ("contempt", "contemptuous"),
}
_CONCEPT_OF = {word: concept for concept, words in _CONCEPTS.items() for word in words}


def concept(word: str) -> str:
    """Returns the canonical word for an emotion word; a word without synonyms is its own concept."""
    return _CONCEPT_OF.get(word.strip().casefold(), word.strip().casefold())


@dataclass(frozen=True)
class LabelSet:
    """An ordered set of class words.

    Attributes:
        name: Registered name, e.g. ``affectnet8``.
        words: Class words in output order.
        source: Where the order comes from.
        multi_label: Whether several classes may hold at once.
    """

    name: str
    words: tuple[str, ...]
    source: str
    multi_label: bool = False

    def __len__(self) -> int:
        """Returns the number of classes."""
        return len(self.words)

    def __iter__(self) -> Iterator[str]:
        """Iterates over the words in output order."""
        return iter(self.words)

    def index(self, word: str) -> int:
        """Returns the class index of a word or one of its synonyms; an unknown word raises `UsageError`."""
        wanted = concept(word)
        for i, own in enumerate(self.words):
            if concept(own) == wanted:
                return i
        raise unknown_name(f"class in {self.name}", word, self.words)

    def index_of(self, words: Iterable[str], also: Mapping[str, str] | None = None) -> dict[str, int]:
        """Returns the class index of the class words of a data set, without those that have no class here.

        Args:
            words: The data set's words.
            also: Some of its words -> words of this set, where they count as a class they are not called after; an unknown one of
                these raises `UsageError`.
        """
        own = {concept(word): i for i, word in enumerate(self.words)}
        found = {word: own[concept(word)] for word in words if concept(word) in own}
        return found | {word: self.index(target) for word, target in (also or {}).items()}

    def map_to(self, other: LabelSet) -> np.ndarray:
        """Returns an int64 array ``(len(self),)``: this set's class -> the other set's class, -1 where it has none."""
        theirs = {concept(word): i for i, word in enumerate(other.words)}
        return np.array([theirs.get(concept(word), -1) for word in self.words], dtype=np.int64)


AFFECTNET8 = LabelSet(
    "affectnet8",
    ("Neutral", "Happy", "Sad", "Surprise", "Fear", "Disgust", "Anger", "Contempt"),
    "AffectNet, Mollahosseini et al. 2017, expression ids 0 to 7",
)
FERPLUS8 = LabelSet(
    "ferplus8",
    ("Neutral", "Happiness", "Surprise", "Sadness", "Anger", "Disgust", "Fear", "Contempt"),
    "FER+, Barsoum et al. 2016, column order",
)
EMOTORCH4 = LabelSet(
    "emotorch4",
    ("Anger", "Fear", "Calm", "Surprise"),
    "EmoPy's anger-fear-calm-surprise models and EmoTorch, output order; calm is FER2013's neutral",
)
KRAGEL20 = LabelSet(
    "kragel20",
    (
        *("Adoration", "Aesthetic Appreciation", "Amusement", "Anxiety", "Awe", "Boredom", "Confusion", "Craving", "Disgust"),
        *("Empathic Pain", "Entrancement", "Excitement", "Fear", "Horror", "Interest", "Joy", "Romance", "Sadness"),
        *("Sexual Desire", "Surprise"),
    ),
    "EmoNet, Kragel et al. 2019, output order: twenty of the categories of Cowen and Keltner 2017",
)

MOVIEGRAPHS25 = LabelSet(
    "moviegraphs25",
    (
        *("happy", "worried", "calm", "excited", "quiet", "amused", "curious", "confused", "serious", "surprise"),
        *("friendly", "angry", "annoyed", "shocked", "confident", "sad", "nervous", "scared", "cheerful", "upset"),
        *("polite", "honest", "helpful", "determined", "alarmed"),
    ),
    "EmoTx, Srivastava et al. 2023: the 25 most frequent emotions and mental states of MovieGraphs, by frequency",
    multi_label=True,
)
MOVIEGRAPHS10 = LabelSet(
    "moviegraphs10",
    MOVIEGRAPHS25.words[:10],
    "EmoTx, Srivastava et al. 2023: the 10 most frequent emotions and mental states of MovieGraphs, by frequency",
    multi_label=True,
)
EMOTIC26 = LabelSet(
    "emotic26",
    (
        *("Affection", "Anger", "Annoyance", "Anticipation", "Aversion", "Confidence", "Disapproval", "Disconnection"),
        *("Disquietment", "Doubt/Conf", "Embarrassment", "Engagement", "Esteem", "Excitement", "Fatigue", "Fear", "Happiness"),
        *("Pain", "Peace", "Pleasure", "Sadness", "Sensitivity", "Suffering", "Surprise", "Sympathy", "Yearning"),
    ),
    "Emotic, Kosti et al. 2017, in alphabetical order, as EmoTx maps MovieGraphs' words to it",
    multi_label=True,
)

_SETS = {labels.name: labels for labels in (AFFECTNET8, FERPLUS8, EMOTORCH4, KRAGEL20, MOVIEGRAPHS10, MOVIEGRAPHS25, EMOTIC26)}


def label_set(name: str) -> LabelSet:
    """Returns a registered label set by name; an unknown name raises `UsageError` with the nearest right one."""
    if name not in _SETS:
        raise unknown_name("label set", name, _SETS)
    return _SETS[name]
