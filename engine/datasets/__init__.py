"""Data sets that several learners share."""

from emotion_perception.engine.datasets.base import ConcatDataset, DatasetIterator, EmotionDataset, ExternalDataset, SubsetDataset, Targets
from emotion_perception.engine.datasets.ferplus import FERPlus

__all__ = ["ConcatDataset", "DatasetIterator", "EmotionDataset", "ExternalDataset", "FERPlus", "SubsetDataset", "Targets"]
