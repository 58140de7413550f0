"""Independent answers for moment maps: multilinear functions by all their derivatives, networks by samples of their weights."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.autograd.functional import jacobian
from torch.func import functional_call

from torch_gbp import Gaussian


def waves(*shape: int, shift: float = 0.0) -> Tensor:
    """Numbers that look random, the same with every version of torch."""
    return torch.sin(7.3 * torch.arange(1, torch.Size(shape).numel() + 1) + shift).reshape(shape)


def belief(*shape: int, shift: float = 0.0) -> Gaussian:
    """Means between -1 and 1, and unequal variances between 0.1 and 0.7."""
    return Gaussian(waves(*shape, shift=shift), 0.4 + 0.3 * waves(*shape, shift=shift + 1))


def multilinear_moments(function: Callable[..., Tensor], *beliefs: Gaussian) -> Gaussian:
    """Moments of a function linear in each of its independent arguments: sum over subsets of (mixed derivative)^2 x variances."""
    means = [each.mean for each in beliefs]
    mean = function(*means)
    variance = torch.zeros_like(mean)
    for order in (1, 2):
        for subset in itertools.combinations(range(len(beliefs)), order):
            derivative = function
            for argument in subset:
                derivative = _jacobian(derivative, argument)
            term = derivative(*means).square()
            for argument in reversed(subset):
                own = beliefs[argument].variance
                term = (term * own).flatten(term.ndim - own.ndim).sum(-1)
            variance = variance + term
    return Gaussian(mean.detach(), variance.detach())


def _jacobian(function: Callable[..., Tensor], argument: int) -> Callable[..., Tensor]:
    """The derivative of a function by one of its arguments, as a function of all of them."""

    def derivative(*values: Tensor) -> Tensor:
        before, own, after = values[:argument], values[argument], values[argument + 1 :]
        return jacobian(lambda x: function(*before, x, *after), own, create_graph=True)  # type: ignore[return-value]

    return derivative


def beliefs_of(model: nn.Module, variance: float, least_axes: int = 2) -> dict[str, Gaussian]:
    """A Gaussian at every parameter; those with fewer axes than `least_axes` have variance 0."""
    return {
        name: Gaussian(own.detach(), torch.full_like(own, variance if own.ndim >= least_axes else 0.0))
        for name, own in model.named_parameters()
    }


@contextmanager
def shadowed(model: nn.Module, beliefs: dict[str, Gaussian]) -> Iterator[nn.Module]:
    """The model with Gaussians in the place of its parameters."""
    places = [(model.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2]) for name in beliefs]
    for (module, name), own in zip(places, beliefs.values(), strict=True):
        module.__dict__[name] = own
    try:
        yield model
    finally:
        for module, name in places:
            del module.__dict__[name]


def predict(model: nn.Module, variance: float, *inputs: Tensor | Gaussian, least_axes: int = 2) -> Gaussian:
    """One forward pass with Gaussian weights."""
    with torch.no_grad(), shadowed(model, beliefs_of(model, variance, least_axes)):
        return model(*inputs)


def sampled(model: nn.Module, variance: float, *inputs: Tensor, samples: int, least_axes: int = 2) -> Gaussian:
    """Mean and variance of the outputs of networks drawn from the same beliefs."""
    beliefs = beliefs_of(model, variance, least_axes)

    def draw(_: int) -> Tensor:
        weights = {name: own.mean + own.standard_deviation * torch.randn_like(own.mean) for name, own in beliefs.items()}
        return functional_call(model, weights, inputs)

    with torch.no_grad():
        outputs = torch.stack([draw(number) for number in range(samples)])
    return Gaussian(outputs.mean(0), outputs.var(0))
