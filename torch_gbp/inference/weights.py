"""WeightBelief: the weights of a factor during a visit to a batch, marginal before the batch x its summed messages."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from torch_gbp.errors import require_positive
from torch_gbp.gaussian import Message
from torch_gbp.inference.damping import DampedMessage, Iteration


class Marginal(Protocol):
    """Weights N(mean, 1 / precision) before a batch, and what is known of them then."""

    @property
    def mean(self) -> Tensor: ...

    @property
    def precision(self) -> Tensor: ...

    def batch_prior(self) -> Message:
        """What the messages of the batch are multiplied with."""
        ...


class WeightBelief:
    """Belief of one weight tensor while a batch is looked at; the marginal itself stays as it is.

    What is known before the batch is `batch_prior`; the first linearisation is at the mean that is stored.

    Args:
        marginal: the weights before the batch.
        learn: False fixes the weights at their means, without uncertainty, for prediction and denoising.
    """

    def __init__(self, marginal: Marginal, learn: bool = True) -> None:
        self.marginal, self.learn, self.message_so_far = marginal, learn, DampedMessage()
        self.mean, self.precision = marginal.mean.detach(), marginal.precision.detach()
        self.before = marginal.batch_prior()
        self.variance = self.precision.reciprocal() if learn else torch.zeros_like(self.precision)

    def receive(self, score: Tensor, precision: Tensor, now: Iteration) -> None:
        """Takes the centred message (g, G) of the whole batch, G as the marginal stores it, damped."""
        if now.damping.from_start and self.message_so_far.parts is None:
            start = self.before.precision * self.mean - self.before.information
            self.message_so_far.parts = [start, torch.zeros_like(self.before.precision)]
        share = precision.numel() / score.numel()
        precision = precision if share == 1 else precision * share
        message = Message(*self.message_so_far.update(Message.centred(score, precision, self.mean), now, now.weight_rate))
        after = self.before * message
        self.mean, self.precision = after.information / after.precision, after.precision
        self.variance = self.precision.reciprocal()

    def become(self, mean: Tensor, precision: Tensor) -> None:
        """Takes the posterior that somebody else computed, precision as the marginal stores it."""
        require_positive(precision, "precision after the batch", "a singular joint factor")
        self.mean, self.precision, self.variance = mean, precision, precision.reciprocal()

    def message(self) -> Message:
        """What the batch said, centred at the marginal's mean: what was known before x message is this belief."""
        at = self.marginal.mean.detach()
        before = self.before.precision * (self.before.information / self.before.precision - at)
        return Message(self.precision * (self.mean - at) - before, self.precision - self.before.precision)

    def energy(self) -> float:
        """-log of the marginal before the batch at the belief's mean, up to a constant."""
        if not self.learn:
            return 0.0
        gap = self.mean - self.before.information / self.before.precision
        return 0.5 * float((self.before.precision * gap.square()).sum())
