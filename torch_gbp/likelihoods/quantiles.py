"""Quantiles of the distributions that predictions hand out: Gaussians, counts, and mixtures of either."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, MixtureSameFamily, Poisson

from torch_gbp.errors import InvalidInput

_STEPS = 80  # of bisection at most: to the rounding of float64, whatever the deviation


def cdf(distribution: Distribution, y: Tensor) -> Tensor:
    """P(Y <= y), also of `Poisson` and of mixtures of it, of which torch has none.

    Raises:
        InvalidInput: a distribution of which torch has none either.

    >>> cdf(Poisson(torch.tensor([2.0])), torch.tensor([1.5]))  # 3 / e^2, of the counts 0 and 1
    tensor([0.4060])
    """
    try:
        return distribution.cdf(y)
    except NotImplementedError:
        if isinstance(distribution, MixtureSameFamily):
            shares = cdf(distribution.component_distribution, y.unsqueeze(-1))
            return (distribution.mixture_distribution.probs * shares).sum(-1)
        if isinstance(distribution, Poisson):
            return torch.where(y < 0, 0.0, torch.special.gammaincc(y.clamp_min(0).floor() + 1, distribution.rate.to(y)))
        raise InvalidInput(
            "this distribution has no cumulative distribution function",
            where="quantile",
            got=type(distribution).__name__,
            cause="a likelihood of one's own, whose torch distribution has no cdf",
            fix="give it a cdf, or take quantiles of distribution.sample((1000,))",
        ) from None


def quantile(distribution: Distribution, level: float) -> Tensor:
    """The smallest y with P(Y <= y) >= level, for each target, in its units.

    In closed form where torch has one, else by bisection. It starts with Cantelli's bounds, which hold for every distribution:
    mean - s sqrt((1 - p) / p) <= y <= mean + s sqrt(p / (1 - p)), s the standard deviation, p the level.

    Args:
        distribution: of real targets or of counts.
        level: between 0 and 1, neither of them.

    Raises:
        InvalidInput: a distribution of classes, or one without a cdf.

    >>> even = torch.distributions.Categorical(torch.tensor([0.5, 0.5]))
    >>> two = MixtureSameFamily(even, torch.distributions.Normal(torch.tensor([-1.0, 1.0]), 0.1))
    >>> round(quantile(two, 0.75).item(), 4), quantile(Poisson(torch.tensor(2.0)), 0.5)
    (1.0, tensor(2.))
    """
    if isinstance(distribution, Categorical):
        raise InvalidInput("classes have no quantiles", where="quantile", got="a Categorical", fix="use its probs")
    mean = distribution.mean
    try:
        return distribution.icdf(mean.new_tensor(level))
    except NotImplementedError:
        return _by_bisection(distribution, level).to(mean)


def bisected(below: Callable[[Tensor], Tensor], level: float, low: Tensor, high: Tensor, whole: bool = False) -> Tensor:
    """The smallest y with below(y) >= level, below(low) < level <= below(high), to the rounding; `whole`: among whole numbers.

    >>> bisected(lambda y: y / 8, 0.3, torch.zeros(1), torch.full((1,), 8.0), whole=True)
    tensor([3.])
    """
    for _ in range(_STEPS):
        middle = (low + high) / 2
        middle = middle.ceil() if whole else middle
        if bool(((middle == low) | (middle == high)).all()):
            break
        enough = below(middle) >= level
        low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
    return high + 0.0  # never -0


def _by_bisection(distribution: Distribution, level: float) -> Tensor:
    mean, deviation = distribution.mean.double(), distribution.stddev.double()
    low = mean - deviation * math.sqrt((1 - level) / level)
    high = mean + deviation * math.sqrt(level / (1 - level))
    whole = distribution.support.is_discrete  # type: ignore[union-attr]
    if whole:
        low, high = low.floor() - 1, high.ceil()  # two points far apart meet the bounds
    return bisected(partial(cdf, distribution), level, low, high, whole)
