"""Elementwise functions: sigmoid, tanh, GELU and their like, and `Elementwise` for a function of your own.

Moments by quadrature (quadrature.py), and their exact derivatives: autograd goes through mean and variance, variance 0 included.
Error of the functions below, for variances up to 1e6: in float64 1e-6 of the mean (of 0.01 s at least), and 1e-6 of the variance
(of 1e-6 v at least); in float32 3e-6 of |E[f]| + max(|m|, s), and 3e-6 of Var[f] + 0.01 v.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from torch_gbp.checks import require_callable
from torch_gbp.factors.numerics import floored
from torch_gbp.functions import moments, named
from torch_gbp.gaussian import Gaussian
from torch_gbp.moment_maps.quadrature import FEW, MANY, REACH, WIDER, Expectations, Shape, hermite, panels

BLOCK = 16384  # entries at a time: a hundred nodes each


class Elementwise:
    """The moment map of an elementwise function by quadrature: mean E[f(x)], variance Var[f(x)] of x ~ N(m, v).

    f is twice differentiable by autograd but for kinks; further arguments of the call are passed on to it, `inplace` is not.

    Args:
        function: f, a function of a tensor.
        kinks: places where the slope jumps.
        bends: places that part stretches of different behaviour, for f that changes over less than a standard deviation.
        narrow: standard deviation up to which f is nearly a polynomial of degree 20 over +-8 standard deviations (and of degree
            64 over twice as wide ones); 0 for never.

    Raises:
        InvalidInput: something that cannot be called.

    >>> sine = Elementwise(torch.sin)  # moments(torch.sin)(sine) registers it
    >>> sine(Gaussian(torch.tensor([0.5]), torch.tensor([0.2]))).mean
    tensor([0.4338])
    >>> round(math.exp(-0.1) * math.sin(0.5), 4)
    0.4338
    """

    def __init__(
        self,
        function: Callable[..., Tensor],
        *,
        kinks: tuple[float, ...] = (),
        bends: tuple[float, ...] = (),
        narrow: float = 0.5,
    ) -> None:
        require_callable("function", function, "Elementwise", fix="pass a function such as torch.sin")
        self.function, self.shape = function, Shape(tuple(kinks), tuple(bends), narrow)

    def __call__(self, input: Gaussian, *args: Any, inplace: bool = False, **kwargs: Any) -> Gaussian:
        return by_quadrature(partial(_call, self.function, args, kwargs), self.shape, input)


def by_quadrature(function: Callable[[Tensor], Tensor], shape: Shape, input: Gaussian) -> Gaussian:
    """Moments of f of every entry; new tensors."""
    return Gaussian(*_Quadrature.apply(input.mean, input.variance, function, shape))  # type: ignore[misc]


def _call(function: Callable[..., Tensor], args: Any, kwargs: Any, x: Tensor) -> Tensor:
    return function(x, *args, **kwargs)


class _Quadrature(Function):
    """(mean, variance) -> moments of f; the derivatives are computed with them where a gradient will come back."""

    @staticmethod
    def forward(ctx: Any, mean: Tensor, variance: Tensor, function: Any, shape: Shape) -> tuple[Tensor, Tensor]:
        found = _expectations(function, shape, mean, variance, any(ctx.needs_input_grad[:2]))
        ctx.save_for_backward(*found[2:])
        return found[0], found[1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        to_mean, to_var = gradients
        mean_by_mean, mean_by_var, var_by_mean, var_by_var = ctx.saved_tensors
        return to_mean * mean_by_mean + to_var * var_by_mean, to_mean * mean_by_var + to_var * var_by_var, None, None


def _expectations(function: Any, shape: Shape, mean: Tensor, variance: Tensor, learn: bool) -> tuple[Tensor, ...]:
    """Moments, and derivatives where wanted, block by block, each entry by the nodes that suit it."""
    flat, deviation = mean.reshape(-1), floored(variance).sqrt().reshape(-1)
    known = variance.reshape(-1) == 0
    found = flat.new_empty(6 if learn else 2, flat.numel())
    for start in range(0, flat.numel(), BLOCK):
        block = slice(start, start + BLOCK)
        found[:, block] = _block(function, shape, flat[block], deviation[block], learn)
    if bool(known.any()):
        found[1].masked_fill_(known, 0.0)
    return tuple(part.view(mean.shape) for part in found)


def _block(function: Any, shape: Shape, mean: Tensor, deviation: Tensor, learn: bool) -> Tensor:
    smooth = torch.ones_like(mean, dtype=torch.bool)
    for kink in shape.kinks:
        smooth &= (mean - kink).abs() > REACH * deviation
    few, many = (smooth & (deviation <= width * shape.narrow) for width in (1, WIDER))
    found = mean.new_empty(6 if learn else 2, mean.numel())
    solvers = (partial(hermite, FEW), few), (partial(hermite, MANY), many & ~few), (partial(panels, shape), ~many)
    for solve, where in solvers:
        own = where.nonzero().squeeze(1)
        if own.numel() == mean.numel():
            return _stacked(solve(function, mean, deviation, learn))
        if own.numel():
            found[:, own] = _stacked(solve(function, mean[own], deviation[own], learn))
    return found


def _stacked(found: Expectations) -> Tensor:
    return torch.stack([part for part in found if part is not None])


_AROUND = (-16.0, -8.0, -4.0, -2.0, 0.0, 2.0, 4.0, 8.0, 16.0)  # bends of what changes over a unit and then settles
_HALVED = tuple(place / 2 for place in _AROUND)

moments(*named("sigmoid"))(Elementwise(torch.sigmoid, bends=_AROUND, narrow=1.0))
moments(*named("tanh"))(Elementwise(torch.tanh, bends=_HALVED, narrow=0.5))
moments(*named("logsigmoid"))(Elementwise(F.logsigmoid, bends=_AROUND, narrow=1.0))
moments(F.silu)(Elementwise(F.silu, bends=_AROUND, narrow=1.0))
moments(F.mish)(Elementwise(F.mish, bends=_AROUND, narrow=0.75))
moments(F.gelu)(Elementwise(F.gelu, bends=_HALVED, narrow=0.75))

moments(F.hardswish)(Elementwise(F.hardswish, kinks=(-3.0, 3.0), narrow=math.inf))
moments(*named("selu"))(Elementwise(F.selu, kinks=(0.0,), bends=_AROUND[:4], narrow=1.0))


@moments(F.elu)
def elu(input: Gaussian, alpha: float = 1.0, inplace: bool = False) -> Gaussian:
    """z above 0, alpha (exp(z) - 1) below."""
    return by_quadrature(partial(F.elu, alpha=alpha), Shape((0.0,), _AROUND[:4], 1.0), input)


@moments(*named("celu"))
def celu(input: Gaussian, alpha: float = 1.0, inplace: bool = False) -> Gaussian:
    """z above 0, alpha (exp(z / alpha) - 1) below: its curvature jumps at 0, its slope does not."""
    bends = tuple(alpha * place for place in _AROUND[:4])
    return by_quadrature(partial(F.celu, alpha=alpha), Shape((0.0,), bends, alpha), input)


@moments(F.softplus)
def softplus(input: Gaussian, beta: float = 1.0, threshold: float = 20.0) -> Gaussian:
    """log(1 + exp(beta z)) / beta; torch's own straight line above the threshold is left to torch."""
    bends = tuple(place / beta for place in (*_AROUND, threshold))
    return by_quadrature(partial(F.softplus, beta=beta, threshold=threshold), Shape((), bends, 1.0 / beta), input)
