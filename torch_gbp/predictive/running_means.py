"""RunningMeans: normalisations take out the mean that they receive from the weights of the moment, not from the means."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from torch_gbp.weights.attached import ParameterMarginal
from torch_gbp.weights.mean_input import followed, shift
from torch_gbp.weights.parameter import GaussianParameter

Weights = dict[str, Tensor]


class _Follower(NamedTuple):
    """A normalisation, its path in the network, and the names of the marginals before it."""

    path: str
    norm: Any
    names: list[str]


class RunningMeans:
    """What other weights make of the running means of a network, to first order (`torch_gbp.weights.mean_input`).

    Args:
        owners: marginals by the names of the parameters that are their means. Where `renew_statistics` has told none of them a
            mean input, nothing is watched and nothing changes.
    """

    def __init__(self, model: nn.Module, owners: Mapping[str, GaussianParameter]) -> None:
        told = {name: own for name, own in owners.items() if isinstance(own, ParameterMarginal) and own.mean_input is not None}
        self._model, self._told, self._followers = model, told, list[_Follower]()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Around a pass of the network: finds what follows what."""
        if not self._told:
            yield
            return
        with followed(self._model) as found:
            yield
        paths = {module: path for path, module in self._model.named_modules()}
        named = {norm: [name for name, own in self._told.items() if own._module is layer] for norm, layer in found.items()}
        self._followers = [_Follower(paths[norm], norm, names) for norm, names in named.items() if names]

    def __call__(self, weights: Weights, placed: Weights) -> Weights:
        """What takes the place of parameters and buffers of normalisations beside the weights, which are `placed` already.

        The shift of the running mean is in the affine part, through which derivatives go; without one it is in the mean.
        """
        return dict(self._moved(own, weights, placed) for own in self._followers)

    def _moved(self, own: _Follower, weights: Weights, placed: Weights) -> tuple[str, Tensor]:
        norm, prefix = own.norm, f"{own.path}." if own.path else ""
        moved = torch.stack([self._shift(name, weights[name]) for name in own.names]).sum(0)
        if norm.bias is None:
            return f"{prefix}running_mean", norm.running_mean + moved
        gain, bias = (placed.get(prefix + name, getattr(norm, name)) for name in ("weight", "bias"))
        scale = gain * (norm.running_var + norm.eps).rsqrt()
        return f"{prefix}bias", bias - scale * moved.to(scale)

    def _shift(self, name: str, weights: Tensor) -> Tensor:
        own = self._told[name]
        assert own.mean_input is not None
        return shift(weights, own.mean.detach(), own.mean_input)
