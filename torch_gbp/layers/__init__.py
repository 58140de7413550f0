"""Layers: thin torch modules that hold weight marginals and send messages through a rule."""

from typing import Any

from torch_gbp.errors import SUBSTITUTES
from torch_gbp.layers.activation import GBPActivation, GBPLeakyReLU, GBPReLU, GBPSigmoid
from torch_gbp.layers.conv import GBPConv2d
from torch_gbp.layers.conv_transpose import GBPConvTranspose2d
from torch_gbp.layers.linear import GBPLinear
from torch_gbp.layers.noise import GBPNoise
from torch_gbp.layers.pooling import GBPAdaptiveAvgPool2d, GBPAvgPool2d, GBPMaxPool2d
from torch_gbp.layers.upsample import GBPUpsample

__all__ = [
    "GBPActivation",
    "GBPAdaptiveAvgPool2d",
    "GBPAvgPool2d",
    "GBPConv2d",
    "GBPConvTranspose2d",
    "GBPLeakyReLU",
    "GBPLinear",
    "GBPMaxPool2d",
    "GBPNoise",
    "GBPReLU",
    "GBPSigmoid",
    "GBPUpsample",
]

LAYERS: tuple[Any, ...] = tuple(globals()[name] for name in __all__)
SUBSTITUTES.update({function: layer.__name__ for layer in LAYERS for function in layer.replaces})
