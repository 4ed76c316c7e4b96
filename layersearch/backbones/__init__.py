"""Pretrained networks: loading them, finding their units, cutting them into chains."""

from layersearch.backbones.assembling import ValueShape
from layersearch.backbones.backbone import Backbone, Preprocessing, Source
from layersearch.backbones.chain import Chain, Values, build_chain, cut, head_inputs
from layersearch.backbones.cloning import clone_stage, owners, parameter_names
from layersearch.backbones.description import ChainDescription, UnitRow, describe_chain
from layersearch.backbones.heads import new_head, paired
from layersearch.backbones.loading import backbone_from_module, load_backbone
from layersearch.backbones.registry import backbone_names
from layersearch.backbones.survey import UncutBackboneWarning
from layersearch.backbones.units import UnitSpec, find_units

__all__ = [
    "Backbone",
    "Chain",
    "ChainDescription",
    "Preprocessing",
    "Source",
    "UncutBackboneWarning",
    "UnitRow",
    "UnitSpec",
    "ValueShape",
    "Values",
    "backbone_from_module",
    "backbone_names",
    "build_chain",
    "clone_stage",
    "cut",
    "describe_chain",
    "find_units",
    "head_inputs",
    "load_backbone",
    "new_head",
    "owners",
    "paired",
    "parameter_names",
]
