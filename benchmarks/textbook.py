"""The textbook network, prior scale 1 and Bayes' rule, and the ways of letting the messages of its data in."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import torch_gbp as gbp

SLOPE = 0.1


class Fitting(NamedTuple):
    """How the messages enter: the store, the examples of a batch, the passes, and the peak rate (None: the store's)."""

    store: type[gbp.AveragedSites] | type[gbp.BatchSites]
    batch: int
    epochs: int
    rate: float | None = None

    def told(self) -> dict[str, Any]:
        """For the result file."""
        return {**self._asdict(), "store": self.store.__name__}

    def fit(
        self, layers: nn.Module, likelihood: gbp.Likelihood, x: Tensor, y: Tensor, epochs: int | None, seed: int
    ) -> gbp.Trainer:
        """Trains the layers; `epochs` in place of its own passes, batches dealt from the seed."""
        torch.manual_seed(seed)
        store, data = self.store(), TensorDataset(x, y)
        fixed = gbp.FixedBatches(data, self.batch)
        loader = DataLoader(fixed, None, shuffle=True) if store.fixed_batches else DataLoader(data, self.batch, shuffle=True)
        trainer = gbp.Trainer(layers, likelihood, epochs or self.epochs, lr=self.rate, store=store, progress=False)
        trainer.fit(loader)
        return trainer


SEQUENTIAL = Fitting(gbp.BatchSites, batch=1, epochs=60)
PARALLEL = Fitting(gbp.BatchSites, batch=3, epochs=100)  # batches of 5 and more stay far from the data, or diverge
AVERAGED = Fitting(gbp.AveragedSites, batch=10, epochs=100, rate=1.0)


def make(widths: Sequence[int], seed: int) -> nn.Sequential:
    """Layers of these widths, prior scale 1, a precision for every weight, and random prior means from the seed.

    The means break the symmetry of the hidden units (AMP-BNN, "spectral" means); being the prior's, they are no free start.
    """
    layers: list[nn.Module] = []
    with torch.random.fork_rng(devices=[]):  # who asks for the prior in the middle of a training keeps his random numbers
        torch.manual_seed(seed)
        for fan_in, fan_out in itertools.pairwise(widths):
            layer = gbp.GBPLinear(fan_in, fan_out, prior_scale=1.0, shared_precision=False, dtype=torch.float64)
            layer.weight.set_prior_mean(layer.weight.mean)
            layers += [layer, gbp.GBPLeakyReLU(SLOPE)]
    return nn.Sequential(*layers[:-1])
