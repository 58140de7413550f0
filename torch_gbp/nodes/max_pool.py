"""The max-pool factor in iterated inference: which entry is the largest is decided at the belief means."""

from __future__ import annotations

import torch
from torch import Tensor

from torch_gbp.gaussian import Gaussian, Message
from torch_gbp.nodes.node import Node
from torch_gbp.nodes.pace import Pace
from torch_gbp.rules import max_pool
from torch_gbp.rules.max_pool import PoolOptions


class MaxPoolNode(Node):
    """p = max of a window + e. The chosen entry and p exchange their messages, through the noise; the others hear nothing.

    Windows that overlap multiply their messages. Source: GBP Learning (arXiv 2311.14649) section 3.3.2.
    """

    def __init__(self, options: PoolOptions, noise: float, prior: Message | None) -> None:
        self.options, self.noise, self.prior = options, noise, prior

    def up(self, pace: Pace) -> None:
        entries = self.lower.belief_mean()
        _, self.index = max_pool.largest(self.options, entries)
        self.like = entries.new_empty(()).expand_as(entries)
        mean, variance = self.lower.upward_at(self._pick)
        self.chosen = mean, torch.zeros_like(mean) if variance is None else variance
        self.upper.predict(self.chosen[0], self.chosen[1] + self.noise)

    def down(self, pace: Pace) -> None:
        message = Gaussian(*self.chosen).evidence_message(*self.upper.answer())
        information, precision = (max_pool.backward(self.options, (self.like, self.index), part, part)[0] for part in message)
        self.lower.replace(Message(information, precision))

    def predicted(self, mean: Tensor) -> Tensor:
        return self._pick(mean)

    def _pick(self, entries: Tensor) -> Tensor:
        """The chosen entry of every window."""
        return entries.flatten(2).gather(2, self.index.flatten(2)).view_as(self.index)
