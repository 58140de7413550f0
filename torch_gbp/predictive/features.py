"""What a network's layers are given: one vector for an example and layer; and Gaussians of such vectors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from torch_gbp.errors import InvalidInput
from torch_gbp.gaussian import Gaussian
from torch_gbp.layers.base import WeightedLayer
from torch_gbp.modules import spare, uncompiled

RIDGE = 1e-6  # of the mean variance of a feature, added to every variance: a unit that never moved would make distances infinite


def features_of(model: nn.Module, x: Any, where: str) -> tuple[Tensor, Tensor]:
    """Inputs of the second layer with weights and of the last one, (n, features) each: means of beliefs, of places, of positions.

    Layers in the order in which they are called. A network of one layer has its own inputs for both.

    Raises:
        InvalidInput: the network calls no linear or convolutional layer.
    """
    with _caught(uncompiled(model)) as inputs:
        uncompiled(model)(spare(x))
    if not inputs:
        raise InvalidInput(
            "the network calls no linear or convolutional layer, so it has no features",
            where=where,
            got=type(model).__name__,
            cause="layers of one's own that use torch's functions",
            fix="build it of nn.Linear, nn.Conv2d or their GBP twins",
        )
    found = list(inputs.values())
    return found[min(1, len(found) - 1)], found[-1]


@contextmanager
def _caught(model: nn.Module) -> Iterator[dict[nn.Module, Tensor]]:
    """Inside, the first inputs of every layer with weights that is called."""
    inputs: dict[nn.Module, Tensor] = {}

    def catch(layer: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        if layer not in inputs and (given or named):
            first = next(iter((*given, *named.values())))
            inputs[layer] = pooled(layer, first.mean if isinstance(first, Gaussian) else first)

    layers = [module for module in model.modules() if isinstance(module, (nn.Linear, _ConvNd, WeightedLayer))]
    hooks = [layer.register_forward_pre_hook(catch, with_kwargs=True) for layer in layers]
    try:
        yield inputs
    finally:
        for hook in hooks:
            hook.remove()


def pooled(layer: nn.Module, x: Tensor) -> Tensor:
    """One vector for an example, (n, features): the mean over an image's places, or over the positions before a linear layer.

    >>> pooled(nn.Conv2d(3, 1, 1), torch.ones(2, 3, 4, 4)).shape, pooled(nn.Linear(3, 1), torch.ones(2, 4, 3)).shape
    (torch.Size([2, 3]), torch.Size([2, 3]))
    """
    whole = isinstance(layer, _ConvNd) or hasattr(layer, "kernel_size")
    return x.flatten(2).mean(2) if whole and x.ndim > 2 else x.flatten(1, -2).mean(1) if x.ndim > 2 else x


class SharedGaussian:
    """Gaussians of one covariance around the means of groups: z | k ~ N(m_k, S), by maximum likelihood.

    Args:
        z: (n, d), float64.
        groups: (n,) of integers.
    """

    def __init__(self, z: Tensor, groups: Tensor) -> None:
        _, place = groups.unique(return_inverse=True)
        count = place.bincount().to(z)
        self.means = z.new_zeros(len(count), z.shape[1]).index_add_(0, place, z) / count[:, None]
        around = z - self.means[place]
        covariance = around.T @ around / len(z)
        ridge = RIDGE * covariance.diagonal().mean().clamp_min(torch.finfo(z.dtype).tiny)
        self._root = torch.linalg.cholesky(covariance + ridge * torch.eye(z.shape[1], dtype=z.dtype, device=z.device))

    def distance(self, z: Tensor) -> Tensor:
        """Squared Mahalanobis distance from the nearest mean, (n,)."""
        own, means = (torch.linalg.solve_triangular(self._root, part.T, upper=False).T for part in (z, self.means))
        return torch.stack([(own - mean).square().sum(1) for mean in means], 1).amin(1)
