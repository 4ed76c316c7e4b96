"""Features of frozen prefixes, computed once and kept on the device, in memory or in files."""

from layersearch.subtuning.features.blocks import Values
from layersearch.subtuning.features.opening import remove_leftovers
from layersearch.subtuning.features.prefix import PrefixChain, ViewSource
from layersearch.subtuning.features.store import FeatureStore
from layersearch.subtuning.features.tiers import Budget

__all__ = ["Budget", "FeatureStore", "PrefixChain", "Values", "ViewSource", "remove_leftovers"]
