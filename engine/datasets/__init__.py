"""Data sets that several learners share: pictures one by one, all targets as arrays."""

from emotion_perception.engine.datasets.affectnet import AffectNetCategorical, AffectNetDimensional
from emotion_perception.engine.datasets.affectnet_preparation import PreparationReport, pre_process_affect_net
from emotion_perception.engine.datasets.base import (
    ConcatDataset,
    DatasetIterator,
    EmotionDataset,
    ExternalDataset,
    Pixels,
    SubsetDataset,
    Targets,
)
from emotion_perception.engine.datasets.ferplus import FERPlus
from emotion_perception.engine.datasets.opening import KINDS, open_dataset
from emotion_perception.engine.datasets.pictures import CsvDataset, ImageFolder

__all__ = [
    "KINDS",
    "AffectNetCategorical",
    "AffectNetDimensional",
    "ConcatDataset",
    "CsvDataset",
    "DatasetIterator",
    "EmotionDataset",
    "ExternalDataset",
    "FERPlus",
    "ImageFolder",
    "Pixels",
    "PreparationReport",
    "SubsetDataset",
    "Targets",
    "open_dataset",
    "pre_process_affect_net",
]
