"""Linear layers of low-dimensional structure, ordinary modules for anybody's network."""

from lowdim.layers.base import StructuredLinear
from lowdim.layers.factor_shapes import fewest_parameter_shapes
from lowdim.layers.kronecker import KroneckerLinear
from lowdim.layers.lowrank import LowRankLinear
from lowdim.layers.lowrank_diag import LowRankDiagLinear
from lowdim.layers.masked import MaskedLinear
from lowdim.layers.nlmf import NLMFLinear
from lowdim.layers.registry import LAYERS, build_layer, layer_options

__all__ = [
    "LAYERS",
    "KroneckerLinear",
    "LowRankDiagLinear",
    "LowRankLinear",
    "MaskedLinear",
    "NLMFLinear",
    "StructuredLinear",
    "build_layer",
    "fewest_parameter_shapes",
    "layer_options",
]
