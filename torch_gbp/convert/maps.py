"""Which layers of a torch network carry moments: those whose function has a moment map, and those that have a GBP twin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from torch_gbp.factors.activations import SHAPES
from torch_gbp.factors.torch_functions import has_map
from torch_gbp.functions import named
from torch_gbp.layers.base import GaussianLayer, WeightedLayer
from torch_gbp.weights.parameter import GaussianParameter

_FREE = (nn.Sequential, nn.ModuleList, nn.ModuleDict, nn.Identity)

# The torch function that a layer calls; a subclass calls the same.
FUNCTIONS: dict[type[nn.Module], Callable[..., Any]] = {
    nn.Linear: F.linear,
    nn.Bilinear: F.bilinear,
    nn.Conv1d: F.conv1d,
    nn.Conv2d: F.conv2d,
    nn.Conv3d: F.conv3d,
    nn.ConvTranspose1d: F.conv_transpose1d,
    nn.ConvTranspose2d: F.conv_transpose2d,
    nn.ConvTranspose3d: F.conv_transpose3d,
    nn.Embedding: F.embedding,
    nn.EmbeddingBag: F.embedding_bag,
    nn.MultiheadAttention: F.multi_head_attention_forward,
    nn.BatchNorm1d: F.batch_norm,
    nn.BatchNorm2d: F.batch_norm,
    nn.BatchNorm3d: F.batch_norm,
    nn.InstanceNorm1d: F.instance_norm,
    nn.InstanceNorm2d: F.instance_norm,
    nn.InstanceNorm3d: F.instance_norm,
    nn.LayerNorm: F.layer_norm,
    nn.GroupNorm: F.group_norm,
    nn.RMSNorm: F.rms_norm,
    nn.MaxPool1d: F.max_pool1d,
    nn.MaxPool2d: F.max_pool2d,
    nn.MaxPool3d: F.max_pool3d,
    nn.AvgPool1d: F.avg_pool1d,
    nn.AvgPool2d: F.avg_pool2d,
    nn.AvgPool3d: F.avg_pool3d,
    nn.AdaptiveMaxPool1d: F.adaptive_max_pool1d,
    nn.AdaptiveMaxPool2d: F.adaptive_max_pool2d,
    nn.AdaptiveMaxPool3d: F.adaptive_max_pool3d,
    nn.AdaptiveAvgPool1d: F.adaptive_avg_pool1d,
    nn.AdaptiveAvgPool2d: F.adaptive_avg_pool2d,
    nn.AdaptiveAvgPool3d: F.adaptive_avg_pool3d,
    nn.Upsample: F.interpolate,
    nn.PixelShuffle: F.pixel_shuffle,
    nn.PixelUnshuffle: F.pixel_unshuffle,
    nn.Flatten: torch.Tensor.flatten,
    nn.Unflatten: torch.Tensor.unflatten,
    nn.Dropout: F.dropout,
    nn.Dropout1d: F.dropout1d,
    nn.Dropout2d: F.dropout2d,
    nn.Dropout3d: F.dropout3d,
    nn.ReLU: F.relu,
    nn.ReLU6: F.relu6,
    nn.LeakyReLU: F.leaky_relu,
    nn.PReLU: F.prelu,
    nn.GLU: F.glu,
    nn.Hardtanh: F.hardtanh,
    nn.Hardsigmoid: F.hardsigmoid,
    nn.Softmax: F.softmax,
    nn.LogSoftmax: F.log_softmax,
    **{kind: named(kind.__name__.lower())[0] for kind in SHAPES},
}


def without_map(network: nn.Module) -> dict[str, nn.Module]:
    """Layers of torch, by path, whose function has no moment map, so that the network does not predict by moments.

    >>> list(without_map(nn.Sequential(nn.Linear(3, 3), nn.GELU(), nn.LSTM(3, 3))))
    ['2']
    """
    return unknown(network, lambda module: has_map(_function(module)))


def unknown(network: nn.Module, known: Callable[[nn.Module], bool]) -> dict[str, nn.Module]:
    """Layers of torch, by path, that are not known; modules of others are looked into, as are containers."""
    found, inside = dict[str, nn.Module](), set[nn.Module]()
    for path, module in network.named_modules():
        if module in inside:
            continue
        if known(module) or isinstance(module, (WeightedLayer, GaussianLayer, GaussianParameter)):
            inside |= set(module.modules())
        elif _opaque(module):
            found[path] = module
            inside |= set(module.modules())
    return found


def _function(module: nn.Module) -> Any:
    return next((FUNCTIONS[kind] for kind in type(module).__mro__ if kind in FUNCTIONS), None)


def _opaque(module: nn.Module) -> bool:
    """Whether this is a layer of torch, and no container of layers that are looked at one by one."""
    if not type(module).__module__.startswith("torch.nn") or isinstance(module, _FREE):
        return False
    return bool(module._parameters) or not module._modules
