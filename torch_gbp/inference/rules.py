"""Rules made from others: of a factor of one input, and of a linear layer whose inputs have any number of axes."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from torch_gbp.autograd.bridge import Moments, Rule, Saved
from torch_gbp.inference.node import Factor


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
