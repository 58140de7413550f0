"""The autograd bridge: how a pure message rule rides on torch's forward and backward walk.

Forward a factor maps moments to moments. Backward, the pair of "gradients" of (mean, variance) is
by definition the centred message (g, G) to that variable, so autograd's own sum over the uses of a
variable is the product of messages (design in README, "How it works").

Likelihoods emit the derivatives g = d log Z / dm and G = -d2 log Z / dm2. Layers send the variational message: g_x is the
derivative of E[g (z - m_z) - G (z - m_z)^2 / 2], z their output and the rest at its marginals, g dm_z/dx - (G / 2) dv_z/dx. So
the pair is not the gradient of the log evidence, whose derivative by v_z is (g^2 - G) / 2, where v_z depends on x.
"""

from __future__ import annotations

from collections.abc import Callable
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


_FACTORS: dict[tuple[Rule, tuple[int, ...]], Callable[..., Moments]] = {}


def factor(rule: Rule, precisions: tuple[int, ...] = ()) -> Callable[..., Moments]:
    """Returns `send(options, *tensors) -> (mean, variance)`, whose backward pass sends the rule's messages.

    `precisions` are the positions of variances that the caller stores, and passes, as precisions. A message
    speaks about the variable, not about the number that stores it, so G comes back there unchanged.
    A rule's factor is made once; torch.compile can call one but not make one, so layers ask as they are built.
    """
    key = rule, precisions
    if key not in _FACTORS:
        _FACTORS[key] = _make(rule, precisions)
    return _FACTORS[key]


def linear_rule(moments: Callable[..., Moments]) -> Rule:
    """The rule of a linear factor with known weights c, from `moments(options, mean, variance)`, linear with c and c^2.

    (g, G) come back through the transposes of the two maps, which are their gradients at any point.
    """

    def forward(options: Any, mean: Tensor, variance: Tensor | None, *_: None) -> tuple[Moments, Saved]:
        hidden = torch.zeros_like(mean) if variance is None else variance
        return moments(options, mean, hidden), (mean.new_zeros(()).expand_as(mean),)

    @torch.enable_grad()
    def backward(options: Any, saved: Saved, score: Tensor, precision: Tensor) -> tuple[Tensor, ...]:
        (like,) = saved
        assert like is not None
        leaves = [torch.zeros_like(like, requires_grad=True) for _ in range(2)]
        return torch.autograd.grad(moments(options, *leaves), leaves, (score, precision))

    return Rule(forward, backward)


def _make(rule: Rule, precisions: tuple[int, ...]) -> Callable[..., Moments]:
    class Factor(Function):
        @staticmethod
        def forward(ctx: Any, options: Any, *tensors: Tensor | None) -> Moments:
            values = list(tensors)
            for position in precisions:
                stored = values[position]
                values[position] = None if stored is None else stored.reciprocal()
            moments, saved = rule.forward(options, *values)
            ctx.save_for_backward(*saved)
            ctx.options = options
            return moments

        @staticmethod
        def backward(ctx: Any, *message: Tensor) -> tuple[Tensor | None, ...]:
            score, precision = message
            return None, *rule.backward(ctx.options, ctx.saved_tensors, score, precision)

    return Factor.apply  # type: ignore[return-value]
