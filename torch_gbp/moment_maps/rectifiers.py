"""ReLU, LeakyReLU and PReLU: exact moments, those of factors/leaky_relu.py, and their exact derivatives.

For f(z) = z above 0 and l z below, with D = E[f'] = l + (1 - l) P(z > 0) and d = (1 - l) phi(m / s) / s = E[f'']:

    dE[f]/dm = D                    dE[f]/dv = d / 2
    dVar[f]/dm = 2 Cov(f, f')       dVar[f]/dv = E[f'^2] - E[f] d,   E[f'^2] = (1 + l) D - l

At a mean of exactly 0, E[f''] grows like 1 / s; at variance 0 it is that of the smallest variance (numerics.floored).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from torch_gbp.factors.leaky_relu import LeakyReLUOptions, forward
from torch_gbp.factors.numerics import floored
from torch_gbp.functions import moments, named
from torch_gbp.gaussian import Gaussian
from torch_gbp.moment_maps.arithmetic import Term, belief_of, product

_INV_SQRT_2PI = 1 / math.sqrt(2 * math.pi)


class _Rectifier(Function):
    """(mean, variance) -> moments of the rectified variable."""

    @staticmethod
    def forward(ctx: Any, mean: Tensor, variance: Tensor, slope: float) -> tuple[Tensor, Tensor]:
        (out_mean, out_var), (gain, slack) = forward(LeakyReLUOptions(slope), mean, variance)
        ctx.slope = slope
        ctx.save_for_backward(mean, variance, out_mean, gain, slack)
        return out_mean, out_var

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        to_mean, to_var = gradients
        mean, variance, out_mean, gain, slack = ctx.saved_tensors
        deviation = floored(variance).sqrt()
        curvature = torch.exp(-0.5 * (mean / deviation).square()) * ((1 - ctx.slope) * _INV_SQRT_2PI) / deviation
        squared_slope = (1 + ctx.slope) * gain - ctx.slope
        return (
            to_mean * gain + 2 * to_var * slack,
            to_mean * (0.5 * curvature) + to_var * (squared_slope - out_mean * curvature),
            None,
        )


@moments(*named("leaky_relu"))
def leaky_relu(input: Gaussian, negative_slope: float = 0.01, inplace: bool = False) -> Gaussian:
    """max(z, l z) for 0 <= l <= 1, z above 0 and l z below for any l; exact.

    Float32 error: 2e-6 of max(|m|, s) for the mean, and 2e-6 of v for the variance (0 <= l <= 1). Always a new Gaussian, also
    where torch would write in place.

    >>> torch.nn.functional.leaky_relu(Gaussian(torch.tensor([0.0]), torch.tensor([1.0])), 0.1).mean
    tensor([0.3590])
    """
    return Gaussian(*_Rectifier.apply(input.mean, input.variance, float(negative_slope)))  # type: ignore[misc]


@moments(*named("relu"))
def relu(input: Gaussian, inplace: bool = False) -> Gaussian:
    """max(z, 0); exact."""
    return leaky_relu(input, 0.0)


@moments(*named("abs", "absolute"))
def absolute(input: Gaussian) -> Gaussian:
    """|z|, z rectified by the slope -1; exact."""
    return leaky_relu(input, -1.0)


@moments(*named("prelu"))
def prelu(input: Term, weight: Term) -> Gaussian:
    """z above 0 and a z below, a slope for all entries or one a channel (axis 1), known or Gaussian; differentiable in a too.

    With the parts p = max(z, 0) and q = max(-z, 0), of which one is 0, and a independent of z: mean E[p] - E[a] E[q], variance
    Var[p] + Var[a q] + 2 E[a] E[p] E[q].
    """
    belief = belief_of(input)
    slope = weight if weight.numel() == 1 else weight.view(-1, *(1 for _ in belief.shape[2:]))
    up, below = relu(belief), product(relu(-belief), slope)
    return Gaussian(up.mean - below.mean, up.variance + below.variance + 2 * up.mean * below.mean)
