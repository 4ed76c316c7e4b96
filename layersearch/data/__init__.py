"""Data sets as tensors: sources, picks and folds, the sealed test split, augmentation views."""

from layersearch.data.augmentation import Augmentation
from layersearch.data.loading import load_data, splits_from_dataset, splits_from_tensors
from layersearch.data.samples import DataSplits, Fold, Samples
from layersearch.data.sealed import SealedTest
from layersearch.data.views import EVALUATION, Views

__all__ = [
    "EVALUATION",
    "Augmentation",
    "DataSplits",
    "Fold",
    "Samples",
    "SealedTest",
    "Views",
    "load_data",
    "splits_from_dataset",
    "splits_from_tensors",
]
