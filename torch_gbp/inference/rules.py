"""Rules made for nodes: from a factor of one input, of a linear layer whose inputs have any number of axes, to first order."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from torch_gbp.autograd.bridge import Moments, Rule, Saved
from torch_gbp.factors.bilinear import rule_of
from torch_gbp.factors.convolutions import CONV_TRANSPOSE, ConvTransposeOptions
from torch_gbp.factors.covariance import DIAGONAL
from torch_gbp.factors.leaky_relu import LINEARISED, LeakyReLUOptions
from torch_gbp.inference.node import Bound, Factor


def transposed_convolution() -> Bound:
    """z = W^T * a + b without strides and padding, to first order, all weights independent."""
    return Bound(rule_of(CONV_TRANSPOSE, DIAGONAL, 1), ConvTransposeOptions())


def leaky_relu(slope: float) -> Bound | None:
    """LeakyReLU to first order; None for the slope 1, which is no function at all."""
    return None if slope == 1 else Bound(LINEARISED, LeakyReLUOptions(slope))


def as_rule(factor: Factor) -> Rule:
    """A factor of one input as a rule."""

    def forward(_: None, mean: Tensor, variance: Tensor) -> tuple[Moments, Saved]:
        return factor.moments([(mean, variance)])

    def backward(_: None, saved: Any, score: Tensor, precision: Tensor) -> tuple[Tensor | None, ...]:
        return factor.messages(saved, score, precision)[0]

    return Rule(forward, backward)


def by_rows(rule: Rule) -> Rule:
    """The rule of a linear layer for inputs of any number of axes, the last of which are the features."""

    def forward(options: Any, mean: Tensor, variance: Tensor | None, *weights: Tensor | None) -> tuple[Moments, Saved]:
        rows = (None if part is None else part.reshape(-1, part.shape[-1]) for part in (mean, variance))
        moments, saved = rule.forward(options, *rows, *weights)
        out_mean, out_var = (part.view(*mean.shape[:-1], part.shape[-1]) for part in moments)
        return (out_mean, out_var), (mean.new_zeros(()).expand_as(mean), *saved)

    def backward(options: Any, saved: Saved, score: Tensor, precision: Tensor) -> tuple[Tensor | None, ...]:
        like, *kept = saved
        assert like is not None
        rows = (part.reshape(-1, part.shape[-1]) for part in (score, precision))
        to_mean, to_variance, *to_weights = rule.backward(options, tuple(kept), *rows)
        return *(None if part is None else part.view(like.shape) for part in (to_mean, to_variance)), *to_weights

    return Rule(forward, backward)
