"""Networks drawn from their marginals: the variance of the outputs by Monte Carlo, on fixed inputs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import torch_gbp as gbp
from torch_gbp.weights.parameter import GaussianParameter

CHUNK = 2000  # draws at a time


def drawn(own: GaussianParameter, draws: int) -> Tensor:
    """(draws, ...) independent weights."""
    mean, variance = own.belief()
    return mean + variance.sqrt() * torch.randn(draws, *mean.shape, dtype=mean.dtype)


def through(layer: nn.Module, x: Tensor, draws: int) -> Tensor:
    """One layer with weights of its own for every draw; x is (draws, n, ...)."""
    if isinstance(layer, gbp.GBPLinear):
        bias = 0.0 if layer.bias is None else drawn(layer.bias, draws)[:, None]
        return torch.einsum("sni,soi->sno", x, drawn(layer.weight, draws)) + bias
    if isinstance(layer, gbp.GBPConv2d):
        images = x.transpose(0, 1).flatten(1, 2)  # (n, draws c, h, w): a group for every draw
        bias = None if layer.bias is None else drawn(layer.bias, draws).flatten()
        out = F.conv2d(images, drawn(layer.weight, draws).flatten(0, 1), bias, *layer.options[:3], groups=draws)
        return out.unflatten(1, (draws, -1)).transpose(0, 1)
    if isinstance(layer, gbp.GBPLeakyReLU):
        return F.leaky_relu(x, layer.negative_slope)
    if isinstance(layer, gbp.GBPMaxPool2d):
        return F.max_pool2d(x.flatten(0, 1), layer.options.kernel_size).unflatten(0, x.shape[:2])
    if isinstance(layer, gbp.GBPAdaptiveAvgPool2d):
        return x.mean((-2, -1), keepdim=True)
    assert isinstance(layer, nn.Flatten)
    return x.flatten(2)


def sampled_variance(network: nn.Sequential, x: Tensor, draws: int) -> Tensor:
    """Variance over the draws of every output."""
    parts = []
    for _ in range(draws // CHUNK):
        values = x.expand(CHUNK, *x.shape)
        for layer in network:
            values = through(layer, values, CHUNK)
        parts.append(values)
    return torch.cat(parts).var(0)


@torch.no_grad()
def ratio(network: nn.Sequential, x: Tensor, draws: int = 20_000) -> float:
    """Analytic variance over that of the draws, both summed over the outputs."""
    return float(network(x).variance.sum() / sampled_variance(network, x, draws).sum())
