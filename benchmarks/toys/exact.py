"""A network of noisy linear layers as a graph of scalar variables, with exact messages on every edge.

Variables, layer by layer: weights (o, i), biases (o,), outputs (n, o); a factor for every example and output of a layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import torch_gbp as gbp
from benchmarks.toys.scalar_graph import Factors, ScalarGraph

Observe = Callable[[Tensor], Factors]
"""Indices (n, o) of the outputs -> the factors of their targets."""


class Places(NamedTuple):
    """Indices of a layer's weights, biases and outputs among all variables."""

    weight: Tensor
    bias: Tensor
    output: Tensor


def scalar_graph(model: nn.Sequential, x: Tensor, observe: Observe) -> tuple[ScalarGraph, list[Places]]:
    """The graph of blocks (GBPLinear, activation or none, GBPNoise), inputs x (n, i) observed; and where its variables are.

    The first linearisation is at the means of the weights and the activations they predict, as `FactorGraph` does it.
    """
    blocks: list[Any] = list(model)
    places = list(_places([block[0] for block in blocks], len(x)))
    groups, start, precision, below = [], [], [], None
    for block, own, output in zip(blocks, places, activations(model, x), strict=True):
        layer = block[0]
        groups.append(_factors(block, own, x, below))
        start += [layer.weight.mean.detach().flatten(), layer.bias.mean.detach(), output.flatten()]
        told = layer.weight.prior_precision, layer.bias.prior_precision, torch.tensor(block[-1].prior_sigma ** -2)
        precision += [one.to(x).expand(part.numel()) for one, part in zip(told, own, strict=True)]
        below = own.output
    groups.append(observe(places[-1].output))
    return ScalarGraph(torch.zeros_like(torch.cat(start)), torch.cat(precision), groups, torch.cat(start)), places


@torch.no_grad()
def activations(model: nn.Sequential, x: Tensor) -> list[Tensor]:
    """Every layer's outputs where weights and activations below are at their means, without noise and unary priors."""
    found: list[Tensor] = []
    blocks: list[Any] = list(model)
    for block in blocks:
        x = _bent(block, F.linear(x, block[0].weight.mean, block[0].bias.mean))
        found.append(x)
    return found


def adopt(model: nn.Sequential, graph: ScalarGraph, places: list[Places]) -> None:
    """Gives the layers the posterior means, to predict with."""
    mean, blocks = graph.belief().mean, list[Any](model)
    with torch.no_grad():
        for (layer, *_), own in zip(blocks, places, strict=True):
            assert isinstance(layer, gbp.GBPLinear) and layer.bias is not None
            layer.weight.mean.copy_(mean[own.weight])
            layer.bias.mean.copy_(mean[own.bias])


def _places(layers: list[gbp.GBPLinear], examples: int) -> Iterator[Places]:
    first = 0
    for layer in layers:
        shapes = (layer.out_features, layer.in_features), (layer.out_features,), (examples, layer.out_features)
        parts = []
        for shape in shapes:
            parts.append(torch.arange(first, first := first + torch.Size(shape).numel()).view(shape))
        yield Places(*parts)


def _factors(block: Any, own: Places, x: Tensor, below: Tensor | None) -> Factors:
    """r = f(w a + b) - z, with a the variables below, or x where there are none."""
    layer = block[0]
    n, o, i = len(x), layer.out_features, layer.in_features
    weight, bias = own.weight.expand(n, o, i), own.bias.expand(n, o)[..., None]
    inputs = () if below is None else (below[:, None].expand(n, o, i),)
    index = torch.cat([weight, *inputs, bias, own.output[..., None]], 2).flatten(0, 1)
    rows = x.repeat_interleave(o, 0)

    def residual(values: Tensor) -> Tensor:
        a = rows if below is None else values[..., i : 2 * i]
        return _bent(block, (values[..., :i] * a).sum(-1) + values[..., -2]) - values[..., -1]

    return Factors(index, residual, block[-1].sigma)


def _bent(block: Any, mean: Tensor) -> Tensor:
    """The block's activation, if it has one."""
    return block[1].plain(mean) if len(block) == 3 else mean
