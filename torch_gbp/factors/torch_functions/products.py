"""Linear maps with uncertain input, weight and bias, independent of each other: z = W a + b.

    m_z = m_W m_a + m_b            v_z = (m_a^2 + v_a) v_W + v_a m_W^2 + v_b

where each product is the torch function itself: a linear layer, a matrix product, a convolution or its transpose. What is
known has variance 0, and costs no product. Entries of z are taken as independent: a shared kernel leaves out covariances.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from torch_gbp.errors import MissingRule
from torch_gbp.factors.torch_functions import dependence
from torch_gbp.factors.torch_functions.arithmetic import Term
from torch_gbp.functions import moments, named
from torch_gbp.gaussian import Gaussian

Bilinear = Callable[[Tensor, Tensor], Tensor]


def bilinear(function: Bilinear, first: Term, second: Term) -> Gaussian:
    """Moments of a bilinear function of two independent variables, either of which may be known.

    >>> x, W = torch.tensor([[2.0]]), Gaussian(torch.tensor([[3.0]]), torch.tensor([[0.5]]))
    >>> bilinear(torch.mm, x, W)
    Gaussian(mean=tensor([[6.]]), variance=tensor([[2.]]))
    """
    (a, v_a), (w, v_w) = _moments(first), _moments(second)
    variance = None
    if v_w is not None:
        variance = function(a.square() if v_a is None else a.square() + v_a, v_w)
    if v_a is not None:
        spread = function(v_a, w.square())
        variance = spread if variance is None else variance + spread
    mean = function(a, w)
    return Gaussian(mean, torch.zeros_like(mean) if variance is None else variance)


def _moments(value: Term) -> tuple[Tensor, Tensor | None]:
    return (value.mean, value.variance) if isinstance(value, Gaussian) else (value, None)


def shifted(output: Gaussian, bias: Term | None, axes: int = 0) -> Gaussian:
    """The output plus a bias along the axis that stands `axes` before the end."""
    if bias is None:
        return output
    bias = bias.view(-1, *(1 for _ in range(axes)))
    if not isinstance(bias, Gaussian):
        return Gaussian(output.mean + bias, output.variance)
    return Gaussian(output.mean + bias.mean, output.variance + bias.variance)


@moments(F.linear)
def linear(input: Term, weight: Term, bias: Term | None = None) -> Gaussian:
    """a W' + b: (..., i), (o, i), (o,) -> (..., o); input, weight and bias may each be a Gaussian.

    >>> layer = torch.nn.Linear(3, 2)
    >>> F.linear(torch.ones(1, 3), Gaussian(layer.weight, torch.full((2, 3), 0.1)), layer.bias).variance.detach()
    tensor([[0.3000, 0.3000]])
    """
    return shifted(bilinear(F.linear, input, weight), bias)


@moments(*named("matmul", "__matmul__", "mm", "bmm", "mv"))
def matmul(input: Term, other: Term, **_: Any) -> Gaussian:
    """The matrix product, either side or both Gaussian."""
    return _noted(torch.matmul, "matmul", input, other)


@moments(Tensor.__rmatmul__)
def reverse_matmul(input: Term, other: Term) -> Gaussian:
    """other @ input."""
    return matmul(other, input)


@moments(torch.einsum)
def einsum(equation: str, *operands: Any) -> Gaussian:
    """The Einstein sum over products of two variables, either or both Gaussian, or over one.

    Raises:
        MissingRule: more than two operands.
    """
    terms = operands[0] if len(operands) == 1 and type(operands[0]) in (list, tuple) else operands
    if len(terms) == 1:
        return Gaussian(*(torch.einsum(equation, part) for part in terms[0]))
    if len(terms) != 2:
        raise MissingRule(
            "an Einstein sum over more than two operands has no moment map",
            where="torch.einsum",
            got=f"{len(terms)} operands",
            fix="multiply two at a time",
        )
    return _noted(partial(torch.einsum, equation), "einsum", *terms)


def _noted(function: Bilinear, name: str, input: Term, other: Term) -> Gaussian:
    """The product of two variables; two beliefs of one network are not independent, which is recorded."""
    if isinstance(input, Gaussian) and isinstance(other, Gaussian):
        dependence.note(name)
    return bilinear(function, input, other)


def _convolution(function: Callable[..., Tensor], axes: int) -> Callable[..., Gaussian]:
    """The map of a convolution over `axes` axes, or of its transpose."""

    def convolve(input: Term, weight: Term, bias: Term | None = None, *geometry: Any, **settings: Any) -> Gaussian:
        return shifted(bilinear(lambda a, w: function(a, w, None, *geometry, **settings), input, weight), bias, axes)

    convolve.__doc__ = f"Moments of F.{function.__name__}: input, weight and bias may each be a Gaussian."
    return convolve


for _axes in (1, 2, 3):
    for _function in (getattr(F, f"conv{_axes}d"), getattr(F, f"conv_transpose{_axes}d")):
        moments(_function)(_convolution(_function, _axes))


@moments(F.embedding)
def embedding(input: Tensor, weight: Gaussian, padding_idx: int | None = None, max_norm: float | None = None, *_: Any, **__: Any):
    """Rows of a Gaussian table: those of its means and of its variances.

    Raises:
        MissingRule: max_norm, which rescales the table.

    >>> table = Gaussian(torch.tensor([[1.0], [2.0]]), torch.tensor([[0.1], [0.2]]))
    >>> F.embedding(torch.tensor([1]), table)
    Gaussian(mean=tensor([[2.]]), variance=tensor([[0.2000]]))
    """
    if max_norm is not None:
        raise MissingRule(
            "an embedding with max_norm has no moment map",
            where="F.embedding",
            got=f"max_norm={max_norm}",
            fix="use max_norm=None",
        )
    return Gaussian(F.embedding(input, weight.mean, padding_idx), F.embedding(input, weight.variance, padding_idx))
