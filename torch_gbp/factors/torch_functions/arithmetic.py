"""Sums, means, products and quotients of beliefs, and dropout, whose mask is a factor.

    a + b     mean m_a + m_b        variance v_a + v_b
    a b       mean m_a m_b          variance m_a^2 v_b + m_b^2 v_a + v_a v_b
    mean of n entries               variance sum v / n^2

The terms are taken as independent, which those of one network need not be (dependence.py).
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor

from torch_gbp.errors.checks import PART, require
from torch_gbp.factors.torch_functions import dependence
from torch_gbp.functions import moments, named, require_gradients
from torch_gbp.gaussian import Gaussian

Term = Gaussian | Tensor

moments(*named("neg", "negative"), linear=True)(operator.neg)


def belief_of(value: Term) -> Gaussian:
    """A Gaussian as it is, a known tensor with variance 0."""
    return value if isinstance(value, Gaussian) else Gaussian(value, torch.zeros_like(value))


@moments(*named("add", "__add__", "__radd__"), linear=True)
def add(input: Any, other: Any, *, alpha: float = 1) -> Gaussian:
    """input + alpha other, where either may be a known tensor or number."""
    other = other if alpha == 1 else other * alpha
    if other is input or not (isinstance(input, Gaussian) and isinstance(other, Gaussian)):
        return input + other if isinstance(input, Gaussian) else other + input  # the operators of a Gaussian
    dependence.note("add")
    return Gaussian(input.mean + other.mean, input.variance + other.variance)


@moments(*named("sub", "subtract", "__sub__"), linear=True)
def subtract(input: Any, other: Any, *, alpha: float = 1) -> Gaussian:
    """input - alpha other."""
    other = other if alpha == 1 else other * alpha
    return input - other if isinstance(input, Gaussian) else -other + input


@moments(*named("rsub", "__rsub__"), linear=True)
def reverse_subtract(input: Any, other: Any) -> Gaussian:
    """other - input."""
    return subtract(other, input)


@moments(*named("mul", "multiply", "__mul__", "__rmul__"), linear=True)
def multiply(input: Any, other: Any) -> Gaussian:
    """The product elementwise; of two beliefs as independent, or of one with itself: mean m^2 + v, variance 2 v^2 + 4 m^2 v."""
    if not (isinstance(input, Gaussian) and isinstance(other, Gaussian)):
        return input * other if isinstance(input, Gaussian) else other * input  # the operators of a Gaussian
    require_gradients(Gaussian, torch.mul, input, other)  # the product of two beliefs is not linear
    if other is input:
        return square(input)
    dependence.note("mul")
    return product(input, other)


def product(first: Term, second: Term) -> Gaussian:
    """The product of independent variables, either of which may be known; broadcast.

    >>> product(Gaussian(torch.tensor(2.0), torch.tensor(1.0)), Gaussian(torch.tensor(3.0), torch.tensor(0.5)))
    Gaussian(mean=tensor(6.), variance=tensor(11.5000))
    """
    if not isinstance(second, Gaussian):
        return belief_of(first) * second
    if not isinstance(first, Gaussian):
        return second * first
    variance = first.mean.square() * second.variance + first.variance * (second.mean.square() + second.variance)
    return Gaussian(first.mean * second.mean, variance)


@moments(*named("square"))
def square(input: Gaussian) -> Gaussian:
    """x^2: mean m^2 + v, variance 2 v^2 + 4 m^2 v."""
    second = input.mean.square()
    return Gaussian(second + input.variance, input.variance * (4 * second + 2 * input.variance))


@moments(*named("exp"))
def exponential(input: Gaussian) -> Gaussian:
    """exp(x), the log-normal variable: mean e = exp(m + v / 2), variance e^2 (exp(v) - 1)."""
    mean = torch.exp(input.mean + 0.5 * input.variance)
    return Gaussian(mean, mean.square() * torch.expm1(input.variance))


@moments(*named("div", "divide", "true_divide", "__truediv__"), linear=True)
def divide(input: Any, other: Any) -> Gaussian:
    """input / other for a known divisor.

    Raises:
        MissingRule: a Gaussian divisor.
    """
    return input / other if isinstance(input, Gaussian) else other.__rtruediv__(input)


@moments(*named("sum"), linear=True)
def total(input: Gaussian, dim: Any = None, keepdim: bool = False, *, dtype: torch.dtype | None = None) -> Gaussian:
    """Sum over axes: means add, variances add."""
    dependence.note("sum")
    return Gaussian(*(part.sum(dim, keepdim, dtype=dtype) for part in input))


@moments(*named("mean"), linear=True)
def average(input: Gaussian, dim: Any = None, keepdim: bool = False, *, dtype: torch.dtype | None = None) -> Gaussian:
    """Mean over axes: that of the means, and of n variances their mean divided by n."""
    dependence.note("mean")
    mean, variance = (part.mean(dim, keepdim, dtype=dtype) for part in input)
    return Gaussian(mean, variance * (mean.numel() / max(input.numel(), 1)))


@moments(*named("dropout", "dropout1d", "dropout2d", "dropout3d", "feature_dropout"))
def dropout(input: Gaussian, p: float = 0.5, training: bool = True, inplace: bool = False) -> Gaussian:
    """The identity in evaluation; in training the mask is Bernoulli: mean m, variance v / (1 - p) + p / (1 - p) m^2.

    The mask is integrated over, not drawn. One that drops whole channels makes their entries dependent, which is left out.

    Raises:
        InvalidInput: p outside [0, 1].
    """
    p = require("p", p, PART, "dropout", fix="use p=0.5")
    if not training or p == 0:
        return input
    if p == 1:
        return input * 0.0
    odds = p / (1 - p)
    return Gaussian(input.mean, input.variance * (1 + odds) + odds * input.mean.square())
