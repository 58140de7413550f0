"""One hidden layer, a Gaussian noise learned from the data, and the recipe that all regression tables share."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

import torch_gbp as gbp


class Recipe(NamedTuple):
    """How a table is learnt; the same numbers for all of them.

    Args:
        power: likelihood power, see `torch_gbp.Likelihood`.
        prior_scale: of the layers with weights.
        rate, momentum: of the averaged sites.
        batches: batches of a pass, unless they would be smaller than `batch`.
        batch: smallest batch.
        steps: of the whole training; a pass is never broken off.
        first_noise: noise variance to begin with, small: a network that first follows the targets closely finds weights that
            one which takes everything for noise never does.
        held: share of the passes before the noise is learnt, at every step from then on.
    """

    power: float
    prior_scale: float
    rate: float = 1.0
    momentum: float = 0.9
    batches: int = 50
    batch: int = 16
    steps: int = 4000
    first_noise: float = 0.01
    held: float = 0.25

    def batch_of(self, rows: int) -> int:
        """Rows of a step. The step of all weights together is stable if a pass has about as many steps as an output has
        weights; more steps a pass only cost time.

        >>> RECIPE.batch_of(300), RECIPE.batch_of(40_000)
        (16, 800)
        """
        return max(self.batch, math.ceil(rows / self.batches))

    def epochs(self, rows: int) -> int:
        """Passes."""
        return math.ceil(self.steps / math.ceil(rows / self.batch_of(rows)))


RECIPE = Recipe(power=4.0, prior_scale=0.3)  # chosen on held-out training rows, see README.md


class Fitted(NamedTuple):
    """A trained network and the likelihood with the noise that it has learnt."""

    network: nn.Module
    likelihood: gbp.Regression


def fit(x: Tensor, y: Tensor, hidden: int, recipe: Recipe, epochs: int, seed: int) -> Fitted:
    """Message passing on standardised rows, the noise of the targets learnt on the way."""
    torch.manual_seed(seed)
    network = make(x.shape[1], hidden, recipe.prior_scale)
    likelihood = gbp.Regression(recipe.first_noise, power=recipe.power, learn_noise=True)
    store = gbp.AveragedSites(recipe.momentum)
    propagate = gbp.MessagePassing(network.parameters(), len(x), lr=recipe.rate, epochs=epochs, store=store, report_every=0)
    for epoch in range(epochs):
        likelihood.learns = epoch >= recipe.held * epochs
        for batch in torch.randperm(len(x)).split(recipe.batch_of(len(x))):
            propagate.zero_grad()
            likelihood(network(x[batch]), y[batch]).backward()
            propagate.step()
    return Fitted(network, likelihood)


def make(inputs: int, hidden: int, prior_scale: float) -> nn.Sequential:
    """One hidden layer, a precision for every weight."""
    prior = {"prior_scale": prior_scale, "shared_precision": False}
    return nn.Sequential(gbp.GBPLinear(inputs, hidden, **prior), gbp.GBPLeakyReLU(0.1), gbp.GBPLinear(hidden, 1, **prior))
