"""Prediction by samples: the outputs of networks whose weights are drawn from their marginals.

All that a shared kernel, a skip or a norm correlates is in the samples. Weights are drawn one network after the other, outside of
the passes, so that neither vectorising nor the size of a chunk changes a result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import torch
from torch import Tensor, nn
from torch.func import vmap

from torch_gbp.layers.base import weights_known
from torch_gbp.memory import size_of
from torch_gbp.modules import evaluating
from torch_gbp.predictive.chunks import LIVE, Largest, at_a_time
from torch_gbp.predictive.known import Network, Scattered, Weights, undisturbed
from torch_gbp.predictive.outputs import Outputs
from torch_gbp.predictive.together import Together

SMALL = 2**15  # entries of the largest tensor of a pass: a CPU does larger ones no faster together, grouped convolutions slower


def sampled(
    model: nn.Module, x: Tensor, samples: int, generator: torch.Generator, chunk: int | None, vectorise: bool | None, where: str
) -> Outputs:
    """Outputs of so many networks drawn from the marginals, and those at the means.

    Args:
        generator: of the weights.
        chunk: networks at a time; None takes as many as fit into a quarter of the free memory.
        vectorise: whether a chunk goes through `torch.func.vmap`; None does so on a device, and for small passes on the CPU. What
            vmap cannot follow runs network by network.
    """
    network = Network(model, where)
    draws = _draws(network.scattered, generator)
    with evaluating(model), undisturbed(network.model), torch.no_grad():
        found = _traced(network, x, samples, draws, chunk, vectorise)
        return _carried(network, x, samples, draws, generator) if found is None else found


def draw(scattered: dict[str, Scattered], generator: torch.Generator) -> Weights:
    """One network's weights, from means and deviations.

    >>> draw({"weight": (torch.zeros(2, 3), torch.ones(1, 3))}, torch.Generator().manual_seed(0))["weight"].shape
    torch.Size([2, 3])
    """
    return {name: torch.addcmul(mean, _noise(mean, generator), spread) for name, (mean, spread) in scattered.items()}


def _noise(like: Tensor, generator: torch.Generator) -> Tensor:
    dtype = torch.promote_types(like.dtype, torch.float32)
    return torch.randn(like.shape, generator=generator, device=generator.device, dtype=dtype).to(like)


def _draws(scattered: dict[str, Scattered], generator: torch.Generator) -> Iterator[Weights]:
    while True:
        yield draw(scattered, generator)


def _traced(
    network: Network, x: Tensor, samples: int, draws: Iterator[Weights], chunk: int | None, vectorise: bool | None
) -> Outputs | None:
    """By torch's own layers; None where the network's forward cannot do without beliefs, before any weight is drawn."""
    with weights_known():
        with Largest() as seen:
            centre = network.centre(x)
        if centre is None:
            return None
        if vectorise is None:
            vectorise = centre.device.type != "cpu" or seen.entries <= SMALL
        each = LIVE * seen.bytes + size_of(network.means().values())
        size = chunk or (at_a_time(each, centre.device, samples) if vectorise else 1)
        run = _runs(lambda weights: network(weights, x), vectorise and size > 1)
        parts = [run(list(islice(draws, min(size, samples - start)))) for start in range(0, samples, size)]
    return Outputs.sampled(torch.cat(parts), centre)


def _runs(function: Callable[[Weights], Tensor], vectorise: bool) -> Together[[list[Weights]], Tensor]:
    """Runs drawn networks, all at once while that is possible."""

    def together(drawn: list[Weights]) -> Tensor:
        return vmap(function)({name: torch.stack([one[name] for one in drawn]) for name in drawn[0]})

    return Together(together, lambda drawn: torch.stack([function(weights) for weights in drawn]), vectorise)


def _carried(network: Network, x: Tensor, samples: int, draws: Iterator[Weights], generator: torch.Generator) -> Outputs:
    """By layers of beliefs, network by network; what their own noise leaves uncertain is drawn too."""
    centre = network.carrying(network.means(), x)
    beliefs = (network.carrying(next(draws), x) for _ in range(samples))
    found = [mean + variance.sqrt() * _noise(mean, generator) if bool(variance.any()) else mean for mean, variance in beliefs]
    return Outputs.sampled(torch.stack(found), centre.mean)
