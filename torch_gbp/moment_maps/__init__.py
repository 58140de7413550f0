"""Moment maps: what torch's functions do to beliefs, so that plain torch layers predict with Gaussian inputs and weights.

`moments` registers a map, `Elementwise` makes one of an elementwise function, `dependence.recorded` tells which operations took
dependent terms for independent. Importing the package registers the library's maps.
"""

from torch_gbp.functions import has_map, moments
from torch_gbp.moment_maps import (
    arithmetic,
    attention,
    clips,
    dependence,
    elementwise,
    norms,
    pooling,
    products,
    rectifiers,
    shapes,
)
from torch_gbp.moment_maps.elementwise import Elementwise

__all__ = [
    "Elementwise",
    "arithmetic",
    "attention",
    "clips",
    "dependence",
    "elementwise",
    "has_map",
    "moments",
    "norms",
    "pooling",
    "products",
    "rectifiers",
    "shapes",
]
