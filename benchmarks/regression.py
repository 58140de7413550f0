"""One hidden layer by the library's defaults and `Regression()` on every table; only batches and passes are chosen here."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

import torch_gbp as gbp


class Plan(NamedTuple):
    """How long a table is learnt, and in which steps; the same numbers for all of them.

    Args:
        batches: batches of a pass, unless they would be smaller than `batch`.
        batch: smallest batch.
        steps: of the whole training; a pass is never broken off.
    """

    batches: int = 50
    batch: int = 16
    steps: int = 4000

    def batch_of(self, rows: int) -> int:
        """Rows of a step. The step of all weights together is stable if a pass has about as many steps as an output has
        weights; more steps a pass only cost time.

        >>> PLAN.batch_of(300), PLAN.batch_of(40_000)
        (16, 800)
        """
        return max(self.batch, math.ceil(rows / self.batches))

    def epochs(self, rows: int) -> int:
        """Passes."""
        return math.ceil(self.steps / math.ceil(rows / self.batch_of(rows)))


PLAN = Plan()


class Fitted(NamedTuple):
    """A trained network and the likelihood with the noise that it has learnt."""

    network: nn.Module
    likelihood: gbp.Regression


def fit(x: Tensor, y: Tensor, hidden: int, plan: Plan, epochs: int, seed: int) -> Fitted:
    """Message passing with no setting but the number of passes."""
    torch.manual_seed(seed)
    network = nn.Sequential(gbp.GBPLinear(x.shape[1], hidden), gbp.GBPLeakyReLU(0.1), gbp.GBPLinear(hidden, y.shape[1]))
    likelihood = gbp.Regression().fit_targets(y)
    propagate = gbp.MessagePassing(network.parameters(), len(x), epochs=epochs, report_every=0)
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(plan.batch_of(len(x))):
            propagate.zero_grad()
            likelihood(network(x[batch]), y[batch]).backward()
            propagate.step()
    return Fitted(network, likelihood)
