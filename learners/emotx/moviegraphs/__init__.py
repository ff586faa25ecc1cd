"""MovieGraphs with EmoTx' features, as published, and a small synthetic one in the same layout."""

from emotion_perception.learners.emotx.moviegraphs.dataset import MovieGraphs
from emotion_perception.learners.emotx.moviegraphs.synthetic import SMALL, write_synthetic

__all__ = ["SMALL", "MovieGraphs", "write_synthetic"]
