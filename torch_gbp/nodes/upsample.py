"""The copies of an entry in iterated inference: one edge for every copy, so its messages are exact."""

from __future__ import annotations

import torch
from torch import Tensor

from torch_gbp.gaussian import Gaussian, Message
from torch_gbp.nodes.node import Bound, Node
from torch_gbp.nodes.pace import Kept, Pace


class UpsampleNode(Node):
    """z_k = a + e_k for every copy k of an entry a. With N(m, v) what a is from below, and (eta_k, R_k) what copy k tells it,

        to z_k: N(m_k, v_k + noise), the belief of a from below and the other copies
        to a:   R_k = 1 / (1 / P_k + noise), eta_k = R_k y_k,  where all else says of z_k that it is N(y_k, 1 / P_k)

    Memory: two numbers a copy. Exact on trees.
    """

    def __init__(self, bound: Bound, noise: float, prior: Message | None) -> None:
        self.bound, self.noise, self.prior = bound, noise, prior
        self.told = Kept()

    def up(self, pace: Pace) -> None:
        mean, variance = self.lower.upward()
        below = mean, torch.zeros_like(mean) if variance is None else variance
        (mean, variance), self.saved = self.bound.forward(*below)
        if self.told.parts is not None:
            others = (self._copied(part) - own for part, own in zip(self._sums(), self.told.parts, strict=True))
            information, precision = others
            share = (1 + variance * precision).reciprocal_()
            mean, variance = (mean + variance * information) * share, variance * share
        self.cavity = Gaussian(mean, variance)
        self.upper.predict(mean, variance + self.noise)

    def down(self, pace: Pace) -> None:
        self.told.keep(self.cavity.evidence_message(*self.upper.answer()), pace, pace.rate)
        self.lower.replace(Message(*self._sums()))

    def predicted(self, mean: Tensor) -> Tensor:
        return self._copied(mean)

    def kept(self) -> list[Kept]:
        return [self.told]

    def _copied(self, entries: Tensor) -> Tensor:
        return self.bound.forward(entries, entries)[0][0]

    def _sums(self) -> tuple[Tensor, Tensor]:
        """Information and precision of all copies, by entry."""
        assert self.told.parts is not None
        information, precision = self.told.parts
        return self.bound.backward(self.saved, information, precision)
