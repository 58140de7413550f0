"""What all layers share: checking what comes in, and the two marginals of a weighted layer."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from torch_gbp.errors import InvalidInput
from torch_gbp.gaussian import Gaussian
from torch_gbp.memory import NO_MEMORY, Memory
from torch_gbp.parameter import GaussianParameter
from torch_gbp.priors import Prior, bias_prior

PRIOR_SCALE = 0.1  # times the formula's variance; chosen on validation data, see benchmarks/README.md

Belief = Gaussian | Tensor
STORED_PRECISIONS = (3, 5)  # where a weighted rule takes the variances of weights and biases


class GaussianLayer(nn.Module):
    """A layer without weights: maps a belief to a belief through one rule."""

    memory: Memory = NO_MEMORY  # what it keeps between inner sweeps, see memory.py

    def accept(self, belief: Belief, dims: tuple[int, ...]) -> Gaussian:
        """Checks the number of axes; an observed tensor becomes a belief with variance 0."""
        mean, variance = split(belief, self, dims)
        return Gaussian(mean, torch.zeros_like(mean) if variance is None else variance)


class WeightedLayer(nn.Module):
    """A layer with Gaussian weights and biases; `bias` is None without one."""

    weight: GaussianParameter
    bias: GaussianParameter | None
    memory: Memory = NO_MEMORY  # what it keeps between inner sweeps, see memory.py

    def make_marginals(self, shape: tuple[int, ...], prior: Prior, shared: bool, bias: bool, device: Any, dtype: Any) -> None:
        self.shared_precision = shared
        self.weight = GaussianParameter(shape, prior, device, dtype, shared)
        self.bias = GaussianParameter(shape[:1], bias_prior(), device, dtype) if bias else None

    @property
    def weight_mean(self) -> Tensor:
        """Posterior mean of the weights."""
        return self.weight.mean

    @property
    def weight_variance(self) -> Tensor:
        """Posterior variance of the weights (1 / precision), detached."""
        return self.weight.belief().variance

    def reset_parameters(self) -> None:
        """Back to the prior with a fresh random start."""
        self.weight.reset_parameters()
        if self.bias is not None:
            self.bias.reset_parameters()

    def marginals(self) -> tuple[Tensor | None, ...]:
        """Mean and precision of the weights, then of the biases (None, None without), for a forward sweep."""
        weight, bias = self.weight, self.bias
        weight.check_writes()
        if bias is None:
            return weight.mean, weight.precision, None, None
        bias.check_writes()
        return weight.mean, weight.precision, bias.mean, bias.precision

    def adopt(self, source: nn.Linear | nn.Conv2d, as_prior: bool) -> None:
        """Starts from a torch layer's weights; with `as_prior` they are the prior mean as well."""
        for own, theirs in ((self.weight, source.weight), (self.bias, source.bias)):
            if own is not None and theirs is not None:
                own.set_prior_mean(theirs) if as_prior else own.mean.data.copy_(theirs.detach())


def split(belief: Belief, layer: nn.Module, dims: tuple[int, ...]) -> tuple[Tensor, Tensor | None]:
    """Mean and variance of what comes in (variance None for an observed tensor), checked.

    Raises:
        InvalidInput: not a floating tensor, an empty batch, NaN or Inf, or the wrong number of axes.
    """
    mean, variance = belief if isinstance(belief, Gaussian) else (belief, None)
    if variance is None:
        _check_observed(mean, layer)
    if mean.ndim not in dims:
        raise InvalidInput(
            f"expected {' or '.join(map(str, dims))} axes",
            where=_name(layer),
            got=f"shape {tuple(mean.shape)}",
            cause="a missing batch axis, or no nn.Flatten before it",
            fix="add the batch axis with x[None], or flatten first",
        )
    return mean, variance


def require_features(size: int, expected: int, kind: str, layer: nn.Module) -> None:
    """Raises InvalidInput unless the feature or channel count is the layer's own."""
    if size != expected:
        raise InvalidInput(
            f"expected {expected} {kind}",
            where=_name(layer),
            got=str(size),
            cause="the layer before it has another width, or the axes are in another order",
            fix=f"build the layer for {size} {kind} or permute the input",
        )


def _check_observed(x: Tensor, layer: nn.Module) -> None:
    if not isinstance(x, Tensor) or not x.is_floating_point():
        raise InvalidInput(
            "inputs must be floating-point tensors or Gaussians",
            where=_name(layer),
            got=str(getattr(x, "dtype", type(x).__name__)),
            cause="integer images (uint8)",
            fix="convert with x.float() / 255 and standardise",
        )
    if x.numel() == 0:
        raise InvalidInput(
            "the batch is empty",
            where=_name(layer),
            got=f"shape {tuple(x.shape)}",
            cause="a filter or a split that left nothing",
            fix="skip empty batches",
        )
    if not torch.compiler.is_compiling() and not math.isfinite(x.sum().item()) and not bool(x.isfinite().all()):
        bad = ~x.isfinite()
        raise InvalidInput(
            f"{int(bad.sum())} of {x.numel()} input values are NaN or Inf",
            where=_name(layer),
            cause="missing values, or a feature with zero spread that was standardised",
            fix="impute or drop them before the network",
        )


def _name(layer: nn.Module) -> str:
    return f"{type(layer).__name__}({layer.extra_repr()})"
