"""The copies of an entry in iterated inference: one edge for every copy, so its messages are exact."""

from __future__ import annotations

import torch
from torch import Tensor

from torch_gbp.gaussian import Gaussian, Message
from torch_gbp.inference.damping import DampedMessage, Iteration
from torch_gbp.inference.maps import LinearMap
from torch_gbp.inference.node import Node


class CopiesNode(Node):
    """z_k = a + e_k for every copy k of an entry a: upsampling, broadcasting. With N(m, v) what a is without this factor, and
    (eta_k, R_k) what copy k tells it,

        to z_k: N(m_k, v_k + noise), the belief of a without this factor and from the other copies
        to a:   R_k = 1 / (1 / P_k + noise), eta_k = R_k y_k,  where all else says of z_k that it is N(y_k, 1 / P_k)

    Memory: two numbers a copy. Exact on trees.
    """

    def __init__(self, factor: LinearMap, noise: float = 0.0, prior: Message | None = None) -> None:
        self.factor, self.noise, self.prior = factor, noise, prior
        self.from_copies = DampedMessage()

    def up(self, now: Iteration) -> None:
        (mean, variance), self.saved = self.factor.moments([self.lower.cavity_moments()])
        if self.from_copies.parts is not None:
            others = (self._copied(part) - own for part, own in zip(self._sums(), self.from_copies.parts, strict=True))
            information, precision = others
            share = (1 + variance * precision).reciprocal_()
            mean, variance = (mean + variance * information) * share, variance * share
        self.cavity = Gaussian(mean, variance)
        self.upper.predict(mean, variance + self.noise)

    def down(self, now: Iteration) -> None:
        self.from_copies.update(self.cavity.evidence_message(*self.upper.score()), now, now.rate)
        self.lower.replace(Message(*self._sums()))

    def predicted(self, *means: Tensor) -> Tensor:
        return self._copied(*means)

    def damped(self) -> list[DampedMessage]:
        return [self.from_copies]

    def _copied(self, entries: Tensor) -> Tensor:
        return self.factor.moments([(entries, torch.zeros_like(entries))])[0][0]

    def _sums(self) -> tuple[Tensor, Tensor]:
        """Information and precision of all copies, by entry."""
        assert self.from_copies.parts is not None
        ((information, precision),) = self.factor.messages(self.saved, *self.from_copies.parts)
        return information, precision
