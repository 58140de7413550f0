"""The max-pool factor in iterated inference: which entry is the largest is decided at the belief means."""

from __future__ import annotations

import torch
from torch import Tensor

from torch_gbp.factors import max_pool
from torch_gbp.factors.max_pool import PoolOptions
from torch_gbp.gaussian import Gaussian, Message
from torch_gbp.inference.damping import DampedMessage, Damping, Iteration
from torch_gbp.inference.node import Node
from torch_gbp.inference.variable import product


class MaxPoolNode(Node):
    """p = max of a window + e. The chosen entry and p exchange their messages, through the noise; the others hear nothing.

    Windows that overlap may choose the same entry: it multiplies their messages and, with `exchange`, tells each of them the
    product of the others'. Source: GBP Learning (arXiv 2311.14649) section 3.3.2.
    """

    def __init__(self, options: PoolOptions, noise: float, prior: Message | None, exchange: bool = True) -> None:
        self.options, self.noise, self.prior = options, noise, prior
        self.exchange = exchange and options.overlapping()
        self.previous: Tensor | None = None  # the entries that the windows last sent to
        self.from_windows = DampedMessage()  # what they said

    def up(self, now: Iteration) -> None:
        entries = self.lower.belief_mean()
        _, self.index = max_pool.largest(self.options, entries)
        self.like = entries.new_empty(()).expand_as(entries)
        mean, variance = self.lower.cavity_at(self._pick)
        self.chosen = mean, torch.zeros_like(mean) if variance is None else variance
        if self.exchange and self.previous is not None:
            self.chosen = product(self.chosen, self._of_other_windows(self.index == self.previous))
        self.upper.predict(self.chosen[0], self.chosen[1] + self.noise)

    def down(self, now: Iteration) -> None:
        message = Gaussian(*self.chosen).evidence_message(*self.upper.score())
        information, precision = (max_pool.backward(self.options, (self.like, self.index), part, part)[0] for part in message)
        self.lower.replace(Message(information, precision))
        self._note(message, now)

    def predicted(self, *means: Tensor) -> Tensor:
        return self._pick(*means)

    def damped(self) -> list[DampedMessage]:
        return [*super().damped(), self.from_windows]

    def _note(self, message: Message, now: Iteration) -> None:
        """Remembers what the windows said and to whom: as it is, for what comes from above was damped there."""
        self.from_windows.update(message, Iteration(Damping(), watch=now.watch), 1.0)
        if now.watch and self.previous is not None and not torch.equal(self.previous, self.index):
            self.from_windows.change = float("inf")  # the same words to another entry are news
        self.previous = self.index

    def _of_other_windows(self, same: Tensor) -> Message:
        """What other windows told the chosen entry: all that it heard, less what this one said, where the entry is the same."""
        above, sent = self.lower.above.parts, self.from_windows.parts
        assert above is not None and sent is not None
        others = (self._pick(part) - own.where(same, 0.0) for part, own in zip(above, sent, strict=True))
        return Message(*others)

    def _pick(self, entries: Tensor) -> Tensor:
        """The chosen entry of every window."""
        return entries.flatten(2).gather(2, self.index.flatten(2)).view_as(self.index)
