"""Data sets that several learners share: pictures one by one, all targets as arrays."""

from emotion_perception.engine.datasets.affectnet import AffectNetCategorical, AffectNetDimensional
from emotion_perception.engine.datasets.affectnet_preparation import PreparationReport, pre_process_affect_net
from emotion_perception.engine.datasets.alterations import ALTERATIONS, AlteredDataset, alter
from emotion_perception.engine.datasets.base import (
    ConcatDataset,
    DatasetIterator,
    EmotionDataset,
    ExternalDataset,
    Pixels,
    SubsetDataset,
    Targets,
)
from emotion_perception.engine.datasets.catalogue import Attributes, catalogue_rows, write_catalogue
from emotion_perception.engine.datasets.ckplus import CKPlus
from emotion_perception.engine.datasets.fer2013 import FER2013
from emotion_perception.engine.datasets.ferplus import FERPlus
from emotion_perception.engine.datasets.leaks import Leaks, find_leaks
from emotion_perception.engine.datasets.opening import KINDS, open_dataset
from emotion_perception.engine.datasets.pictures import CsvDataset, ImageFolder
from emotion_perception.engine.datasets.rafdb import RAFDB
from emotion_perception.engine.datasets.splitting import split_by_source
from emotion_perception.engine.datasets.videos import VideoFolder

__all__ = [
    "ALTERATIONS",
    "FER2013",
    "KINDS",
    "RAFDB",
    "AffectNetCategorical",
    "AffectNetDimensional",
    "AlteredDataset",
    "Attributes",
    "CKPlus",
    "ConcatDataset",
    "CsvDataset",
    "DatasetIterator",
    "EmotionDataset",
    "ExternalDataset",
    "FERPlus",
    "ImageFolder",
    "Leaks",
    "Pixels",
    "PreparationReport",
    "SubsetDataset",
    "Targets",
    "VideoFolder",
    "alter",
    "catalogue_rows",
    "find_leaks",
    "open_dataset",
    "pre_process_affect_net",
    "split_by_source",
    "write_catalogue",
]
