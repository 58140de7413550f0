"""ObservationNode: what a likelihood says about the outputs, for the examples whose target is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from torch_gbp.gaussian import Gaussian
from torch_gbp.inference.node import Node
from torch_gbp.inference.damping import Iteration

Evidence = Callable[[Tensor, Tensor, Tensor | None], Any]
"""(mean, variance, belief mean or None at first) -> `likelihoods.base.Evidence`."""


class ObservationNode(Node):
    """The factor p(target | output) at the top of a graph; its first message of a batch is not damped.

    Args:
        evidence: the likelihood with its targets. The belief's mean is where a factor that is linearised is taken.
        power: likelihood power, on the message.
        known: which targets are known, (n,) or as the outputs are shaped; None for all. The others say nothing.
    """

    def __init__(self, evidence: Evidence, power: float = 1.0, known: Tensor | None = None) -> None:
        self.evidence, self.power, self.known = evidence, power, known
        self.at: Tensor | None = None

    def up(self, now: Iteration) -> None:
        """Nothing is above."""

    def down(self, now: Iteration) -> None:
        mean, variance = self.lower.cavity()
        assert variance is not None
        found = self.evidence(mean, variance, self.at).masked(self.known)
        message = Gaussian(mean, variance).evidence_message(found.score, found.precision).tempered(self.power)
        self.lower.hear(message, now, now.rate if now.number else 1.0)
        self.at, _ = self.lower.belief()

    def energy(self) -> float:
        """-log p(target | output) at the belief means."""
        mean, _ = self.lower.belief()
        log = self.evidence(mean, mean.new_zeros(mean.shape), mean).masked(self.known).log
        return -self.power * float(log.sum())
