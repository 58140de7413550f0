"""The autograd bridge: how a pure message rule rides on torch's forward and backward walk.

Forward a factor maps moments to moments. Backward, the pair of "gradients" of (mean, variance) is
by definition the centred message (g, G) to that variable, so autograd's own sum over the uses of a
variable is the product of messages (design in README, "How it works").
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

Moments = tuple[Tensor, Tensor]
Saved = tuple[Tensor | None, ...]


class Rule(NamedTuple):
    """One factor's rule: two pure functions on tensors that know no module.

    forward(options, *tensors) -> ((mean, variance) of the output, tensors to keep)
    backward(options, kept, g, G) -> one part of the outgoing messages per tensor of `forward`
    """

    forward: Callable[..., tuple[Moments, Saved]]
    backward: Callable[..., tuple[Tensor | None, ...]]


@cache
def factor(rule: Rule) -> Callable[..., Moments]:
    """Returns `send(options, *tensors) -> (mean, variance)`, whose backward pass sends the rule's messages."""

    class Factor(Function):
        @staticmethod
        def forward(ctx: Any, options: Any, *tensors: Tensor | None) -> Moments:
            moments, saved = rule.forward(options, *tensors)
            ctx.save_for_backward(*saved)
            ctx.options = options
            return moments

        @staticmethod
        def backward(ctx: Any, *message: Tensor) -> tuple[Tensor | None, ...]:
            score, precision = message
            return None, *rule.backward(ctx.options, ctx.saved_tensors, score, precision)

    return Factor.apply  # type: ignore[return-value]


class _VarianceOf(Function):
    """A marginal's variance from its stored precision.

    Messages speak about the variable, not about the number that stores it, so G passes unchanged.
    """

    @staticmethod
    def forward(ctx: Any, precision: Tensor) -> Tensor:
        return precision.reciprocal()

    @staticmethod
    def backward(ctx: Any, *message: Tensor) -> Tensor:
        return message[0]


def variance_of(precision: Tensor) -> Tensor:
    """1 / precision, with the message to the variable passed through."""
    variance = _VarianceOf.apply(precision)
    assert isinstance(variance, torch.Tensor)
    return variance
