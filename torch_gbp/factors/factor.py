"""Factors: a factor says the moments of its output once; messages, linearised and exact forms are derived from them.

A factor connects inputs x_1, x_2, ... that are uncertain and independent with one output z. `moments` takes mean and variance of
each input in turn, a variance None for an input that is observed, and returns mean and variance of z. Derived from it:

    backward     F = sum g m_z - sum G v_z / 2 is the expected log message to second order; autograd through the moments gives the
                 centred messages g_x = dF/dm_x and G_x = -2 dF/dv_x
    linearised   m_z at variances 0, v_z = sum_x v_x dv_z/dv_x there; backward g_x by m_z alone, G_x by v_z alone

A closed form overrides a derived one, and is tested against it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from torch_gbp.autograd.bridge import Moments, Rule, Saved
from torch_gbp.errors import MissingRule


class Factor:
    """A factor of one output, by its moments.

    >>> class Squared(Factor):
    ...     def moments(self, options, mean, variance):
    ...         return mean**2 + variance, 2 * variance**2 + 4 * mean**2 * variance
    >>> two, one = torch.tensor([2.0]), torch.tensor([1.0])
    >>> _, saved = Squared().rule().forward(None, two, one)
    >>> Squared().rule().backward(None, saved, one, 0 * one)
    (tensor([4.]), tensor([-2.]))
    """

    gradient: Callable[..., tuple[Tensor | None, ...]] | None = None  # as in `Rule`, where autograd cannot go through `forward`

    def moments(self, options: Any, *inputs: Tensor | None) -> Moments:
        """Mean and variance of the output."""
        raise NotImplementedError

    def forward(self, options: Any, *inputs: Tensor | None) -> tuple[Moments, Saved]:
        """The moments, and what `backward` needs."""
        return self.moments(options, *inputs), inputs

    def backward(self, options: Any, saved: Saved, score: Tensor, precision: Tensor) -> tuple[Tensor | None, ...]:
        """Centred messages (g, G) to each input in turn; None, None to one that is observed."""
        return messages_by_autograd(lambda *inputs: self.moments(options, *inputs), saved, score, precision)

    def rule(self) -> Rule:
        """The two passes as the autograd bridge and the nodes of a factor graph take them."""
        return Rule(self.forward, self.backward, self.gradient)

    def linearised(self) -> Factor:
        """The factor expanded to first order at the means."""
        return Linearised(self)

    def per_edge(self) -> Factor:
        """The factor with exact messages: to each variable, of all others only (factors/tilted.py, factors/per_edge.py).

        Raises:
            MissingRule: a factor without.
        """
        raise MissingRule(f"{type(self).__name__} has no exact messages", where="per_edge", fix="use its summed messages")

    def __deepcopy__(self, memo: dict[int, Any]) -> Factor:
        return self  # a constant, by which the bridge knows what it has made


@dataclass(frozen=True)
class Linearised(Factor):
    """The first-order form of a factor whose moments are differentiable twice by autograd."""

    factor: Factor

    def moments(self, options: Any, *inputs: Tensor | None) -> Moments:
        known = _without_variances(inputs)
        hidden = [place for place, x in enumerate(inputs) if place % 2 and x is not None]

        def variance(*variances: Tensor) -> Tensor:
            values = list(known)
            for place, own in zip(hidden, variances, strict=True):
                values[place] = own
            return self.factor.moments(options, *values)[1]

        mean = self.factor.moments(options, *known)[0]
        if not hidden:
            return mean, torch.zeros_like(mean)
        points, directions = (tuple(values[place] for place in hidden) for values in (known, inputs))
        return mean, torch.autograd.functional.jvp(variance, points, directions)[1]  # type: ignore[return-value]

    def backward(self, options: Any, saved: Saved, score: Tensor, precision: Tensor) -> tuple[Tensor | None, ...]:
        parts = [
            messages_by_autograd(lambda *inputs: self.factor.moments(options, *inputs), _without_variances(saved), *message)
            for message in ((score, torch.zeros_like(precision)), (torch.zeros_like(score), precision))
        ]
        return tuple(parts[place % 2][place] for place in range(len(saved)))


def _without_variances(inputs: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
    """The inputs as if they were known at their means."""
    return tuple(torch.zeros_like(x) if place % 2 and x is not None else x for place, x in enumerate(inputs))


@torch.enable_grad()
def messages_by_autograd(
    moments: Callable[..., Moments], inputs: Sequence[Tensor | None], score: Tensor, precision: Tensor
) -> tuple[Tensor | None, ...]:
    """Centred messages g = dF/dm and G = -2 dF/dv of F = sum g m_z - sum G v_z / 2."""
    hidden = [x is not None and inputs[place + 1 - place % 2] is not None for place, x in enumerate(inputs)]
    leaves = [x.detach().requires_grad_() if own and x is not None else x for x, own in zip(inputs, hidden, strict=True)]
    mean, variance = moments(*leaves)
    functional = (score * mean).sum() - 0.5 * (precision * variance).sum()
    wanted = [x for x, own in zip(leaves, hidden, strict=True) if own]
    found = iter(torch.autograd.grad(functional, wanted, materialize_grads=True))  # type: ignore[arg-type]
    return tuple(next(found) * (-2.0 if place % 2 else 1.0) if own else None for place, own in enumerate(hidden))
