"""The factor a = f(z) of an elementwise function f, from f alone: moments, messages, linearised and exact forms.

Moments by quadrature (quadrature.py), z ~ N(m, v). From a message (g, G) to a goes to z

    score form, default     g E[f'] - G Cov(f, f')          G E[f'^2]          variational, Gauss-Newton: never negative
    linearised at m         f' g                            f'^2 G             with mean f(m) and variance f'^2 v of a
    exact                   from the tilted moments of z and a (`factors/tilted.py`)

which holds for rectifiers too; their closed forms (`factors/leaky_relu.py`) override and are tested against these.
Error of the functions of torch below, for variances up to 1e6: in float64 1e-6 of the mean (of 0.01 s at least), and 1e-6 of the
variance (of 1e-6 v at least); in float32 3e-6 of |E[f]| + max(|m|, s), and 3e-6 of Var[f] + 0.01 v.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from torch_gbp.autograd.bridge import Moments, Saved
from torch_gbp.errors.checks import require_callable
from torch_gbp.factors.factor import Factor
from torch_gbp.factors.numerics import floored
from torch_gbp.factors.quadrature import FEW, MANY, REACH, WIDER, Expectations, Shape, derivatives, hermite, panels
from torch_gbp.factors.tilted import Exact, tilted
from torch_gbp.gaussian import Gaussian, Message

BLOCK = 16384  # entries at a time: a hundred nodes each


class ElementwiseOptions(NamedTuple):
    """Further arguments of f; learn is False where no backward sweep will come, which saves its preparation."""

    arguments: tuple[Any, ...] = ()
    learn: bool = True


class Elementwise(Factor):
    """The factor, and the moment map, of an elementwise function: mean E[f(x)], variance Var[f(x)] of x ~ N(m, v).

    f is twice differentiable by autograd but for kinks; further arguments of the call are passed on to it, `inplace` is not.

    Args:
        function: f, a function of a tensor.
        kinks: places where the slope jumps.
        bends: places that part stretches of different behaviour, for f that changes over less than a standard deviation.
        narrow: standard deviation up to which f is nearly a polynomial of degree 20 over +-8 standard deviations (and of degree
            64 over twice as wide ones); 0 for never.

    Raises:
        InvalidInput: something that cannot be called.

    >>> import math
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
        function = partial(_call, self.function, args, kwargs)
        return by_quadrature(function, self.shape, input)

    def moments(self, options: Any, *inputs: Tensor | None) -> Moments:
        return _Moments.apply(*inputs, partial(self.expectations, options.arguments))  # type: ignore[return-value]

    def forward(self, options: Any, *inputs: Tensor | None) -> tuple[Moments, Saved]:
        mean, variance = inputs
        assert mean is not None and variance is not None
        found = self.expectations(options.arguments, mean, variance, options.learn)
        return (found.mean, found.variance), (found.mean_by_mean, found.var_by_mean, found.squared_slope)

    def backward(self, options: Any, saved: Saved, score: Tensor, precision: Tensor) -> tuple[Tensor | None, ...]:
        gain, cross, squared = saved
        assert gain is not None and cross is not None and squared is not None
        return torch.addcmul(gain * score, cross, precision, value=-0.5), squared * precision

    def gradient(self, options: Any, inputs: Saved, by_mean: Tensor, by_variance: Tensor) -> tuple[Tensor | None, ...]:
        mean, variance = inputs
        assert mean is not None and variance is not None
        return _gradient(self.expectations(options.arguments, mean, variance, True)[2:], by_mean, by_variance)

    def linearised(self) -> Factor:
        return LinearisedElementwise(self)

    def per_edge(self) -> Factor:
        return Exact(self.moments, self.tilted)

    def expectations(self, arguments: tuple[Any, ...], mean: Tensor, variance: Tensor, learn: bool) -> Expectations:
        """Moments of f, and what the ways back need where wanted."""
        return _expectations(partial(_call, self.function, arguments, {}), self.shape, mean, variance, learn)

    def tilted(self, options: Any, mean: Tensor, variance: Tensor, above: Message) -> tuple[Gaussian, Gaussian]:
        """Marginals of z and of f(z) given a message to f(z)."""
        return tilted(partial(_call, self.function, options.arguments, {}), self.shape.kinks, Gaussian(mean, variance), above)

    def slope(self, arguments: tuple[Any, ...], x: Tensor) -> tuple[Tensor, Tensor]:
        """f(x) and f'(x), the slope below at a kink."""
        return derivatives(partial(_call, self.function, arguments, {}), x, False)[:2]


class LinearisedElementwise(Factor):
    """f expanded to first order at the mean, f(m) + f'(m) (z - m)."""

    def __init__(self, factor: Elementwise) -> None:
        self.factor = factor

    def forward(self, options: Any, *inputs: Tensor | None) -> tuple[Moments, Saved]:
        mean, variance = inputs
        assert mean is not None and variance is not None
        value, slope = self.factor.slope(options.arguments, mean)
        return (value, slope.square() * variance), (slope,)

    def backward(self, options: Any, saved: Saved, score: Tensor, precision: Tensor) -> tuple[Tensor | None, ...]:
        (slope,) = saved
        assert slope is not None
        return slope * score, slope.square() * precision


def by_quadrature(function: Callable[[Tensor], Tensor], shape: Shape, input: Gaussian) -> Gaussian:
    """Moments of f of every entry; new tensors."""
    return differentiable(partial(_expectations, function, shape), input)


def differentiable(expectations: Callable[[Tensor, Tensor, bool], Expectations], input: Gaussian) -> Gaussian:
    """The moments, with their exact derivatives for autograd; `expectations` takes mean, variance and whether to learn."""
    return Gaussian(*_Moments.apply(*input, expectations))  # type: ignore[misc]


class _Moments(Function):
    """(mean, variance) -> moments of f; the derivatives are computed with them where a gradient will come back."""

    @staticmethod
    def forward(ctx: Any, mean: Tensor, variance: Tensor, expectations: Any) -> tuple[Tensor, Tensor]:
        found = expectations(mean, variance, any(ctx.needs_input_grad[:2]))
        ctx.save_for_backward(*found[2:])
        return found.mean, found.variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return *_gradient(ctx.saved_tensors, *gradients), None


def _gradient(slopes: Any, to_mean: Tensor, to_var: Tensor) -> tuple[Tensor, Tensor]:
    """Derivatives of a loss by m and v from those by E[f] and Var[f]."""
    mean_by_mean, mean_by_var, var_by_mean, var_by_var, _ = slopes
    return to_mean * mean_by_mean + to_var * var_by_mean, to_mean * mean_by_var + to_var * var_by_var


def _call(function: Callable[..., Tensor], args: Any, kwargs: Any, x: Tensor) -> Tensor:
    return function(x, *args, **kwargs)


def _expectations(function: Any, shape: Shape, mean: Tensor, variance: Tensor, learn: bool) -> Expectations:
    """Moments, and derivatives where wanted, block by block, each entry by the nodes that suit it."""
    flat, deviation = mean.reshape(-1), floored(variance).sqrt().reshape(-1)
    known = variance.reshape(-1) == 0
    found = flat.new_empty(len(Expectations._fields) if learn else 2, flat.numel())
    for start in range(0, flat.numel(), BLOCK):
        block = slice(start, start + BLOCK)
        found[:, block] = _block(function, shape, flat[block], deviation[block], learn)
    if bool(known.any()):
        found[1].masked_fill_(known, 0.0)
    return Expectations(*(part.view(mean.shape) for part in found))


def _block(function: Any, shape: Shape, mean: Tensor, deviation: Tensor, learn: bool) -> Tensor:
    smooth = torch.ones_like(mean, dtype=torch.bool)
    for kink in shape.kinks:
        smooth &= (mean - kink).abs() > REACH * deviation
    few, many = (smooth & (deviation <= width * shape.narrow) for width in (1, WIDER))
    found = mean.new_empty(len(Expectations._fields) if learn else 2, mean.numel())
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
