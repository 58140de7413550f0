"""The autograd bridge: how a pure message rule rides on torch's forward and backward walk.

Forward a factor maps moments to moments. Backward there are two ways:

* messages: the gradients of (mean, variance) are (-g, G / 2), where (g, G) is the centred message to that variable. Autograd's
  own sum over the uses of a variable is the product of messages (docs/how_it_works.md);
* true gradients (`torch_gbp.autograd.passes`): the derivatives of the loss, for plain parameters beneath layers with marginals.

Likelihoods emit g = d log Z / dm and G = -d2 log Z / dm2. Layers send the variational message: g_x is the
derivative of E[g (z - m_z) - G (z - m_z)^2 / 2], z their output and the rest at its marginals, g dm_z/dx - (G / 2) dv_z/dx. So
(-g, G / 2) is the gradient of the expected loss E[-log p(y | z)] to second order in z, to which the loss -log E[p(y | z)] adds
-g^2 / 2 at v_z; on average over the targets that the network itself expects, g^2 is G.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from torch_gbp.autocast import full_precision
from torch_gbp.autograd import passes
from torch_gbp.gaussian import Message

Moments = tuple[Tensor, Tensor]
Saved = tuple[Tensor | None, ...]


class Rule(NamedTuple):
    """One factor's rule: two pure functions on tensors that know no module; `Factor.rule` makes one (factors/factor.py).

    forward(options, *tensors) -> ((mean, variance) of the output, tensors to keep)
    backward(options, kept, g, G) -> one part of the outgoing messages per tensor of `forward`

    and, where autograd cannot go through `forward`, the derivatives of a loss by its tensors from those by the moments:
    gradient(options, tensors, dL/dmean, dL/dvariance) -> one for each tensor.
    """

    forward: Callable[..., tuple[Moments, Saved]]
    backward: Callable[..., tuple[Tensor | None, ...]]
    gradient: Callable[..., tuple[Tensor | None, ...]] | None = None


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


def _make(rule: Rule, precisions: tuple[int, ...]) -> Callable[..., Moments]:
    def moments(options: Any, *tensors: Tensor | None) -> tuple[Moments, Saved]:
        values = list(tensors)
        for position in precisions:
            stored = values[position]
            values[position] = None if stored is None else stored.reciprocal()
        return rule.forward(options, *values)

    class Factor(Function):
        @staticmethod
        def forward(ctx: Any, options: Any, *tensors: Tensor | None) -> Moments:
            with full_precision(_device(tensors)):
                found, saved = moments(options, *tensors)
            ctx.options, ctx.kept = options, len(saved)
            ctx.save_for_backward(*saved, *(tensors if passes.keeping() else ()))
            return found

        @staticmethod
        def backward(ctx: Any, *gradient: Tensor) -> tuple[Tensor | None, ...]:
            saved, inputs = ctx.saved_tensors[: ctx.kept], ctx.saved_tensors[ctx.kept :]
            with full_precision(gradient[0].device):  # backward may be called under autocast too
                return None, *sent(ctx.options, saved, inputs, gradient)

    def sent(options: Any, saved: Saved, inputs: Saved, gradient: tuple[Tensor, ...]) -> Sequence[Tensor | None]:
        if not passes.true():
            return gradients_of(rule.backward(options, saved, *message_of(*gradient)), own=True)
        passes.require_inputs(inputs)
        if rule.gradient is not None:
            return rule.gradient(options, inputs, *gradient)
        return _true_gradient(lambda *values: moments(options, *values)[0], inputs, gradient)

    return Factor.apply  # type: ignore[return-value]


def _device(tensors: Sequence[Tensor | None]) -> torch.device:
    return next(x.device for x in tensors if x is not None)


def message_of(mean: Tensor, variance: Tensor) -> Message:
    """The centred message (g, G) that comes as the gradients (-g, G / 2) of mean and variance."""
    return Message(mean.neg(), variance * 2)


def gradients_of(parts: Sequence[Tensor | None], own: bool = False) -> list[Tensor | None]:
    """The gradients (-g, G / 2, ...) that carry messages g, G, ... to one variable after the other.

    With `own` they take the memory of the messages, which nobody else needs and which is still in the cache."""
    factors = [0.5 if odd % 2 else -1.0 for odd in range(len(parts))]
    return [
        None if part is None else part.mul_(factor) if own and part.is_contiguous() else part * factor
        for part, factor in zip(parts, factors, strict=True)
    ]


@torch.enable_grad()
def _true_gradient(moments: Callable[..., Moments], inputs: Sequence[Tensor | None], gradient: Sequence[Tensor]) -> list[Any]:
    """Gradients of a factor's inputs from those of its moments, by autograd through the moments."""
    leaves = [None if x is None else x.detach().requires_grad_(x.is_floating_point()) for x in inputs]
    wanted = [x for x in leaves if x is not None and x.requires_grad]
    found = iter(torch.autograd.grad(moments(*leaves), wanted, gradient, allow_unused=True))
    return [next(found) if x is not None and x.requires_grad else None for x in leaves]
