"""Moment maps: what torch's functions do to beliefs, so that plain torch layers predict with Gaussian inputs and weights.

`moments` registers a map, `factors.elementwise.Elementwise` makes one of an elementwise function, `dependence.recorded` tells
which operations took dependent terms for independent. Importing the package registers the library's maps.
"""

from torch_gbp.factors import activations
from torch_gbp.factors.torch_functions import (
    arithmetic,
    attention,
    clips,
    dependence,
    norms,
    pooling,
    products,
    rectifiers,
    shapes,
)
from torch_gbp.functions import has_map, moments

__all__ = [
    "activations", "arithmetic", "attention", "clips", "dependence", "has_map", "moments", "norms", "pooling", "products",
    "rectifiers", "shapes",
]  # fmt: skip
