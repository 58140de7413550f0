"""The textbook network, prior scale 1 and Bayes' rule, and the ways of letting the messages of its data in."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import torch_gbp as gbp

SLOPE = 0.1


class Fitting(NamedTuple):
    """How the messages enter.

    Args:
        store: what remembers them.
        epochs: sweeps over the data.
        batch: examples of a batch, None for all in one.
        rate: the peak rate, None for the store's.
        schedule: all sweeps belong to a single visit, by this schedule; None for one sweep a visit.
        damping: share of the old messages that is kept between the sweeps of a visit; a number: not of its first.
    """

    store: type[gbp.AveragedSites] | type[gbp.BatchSites]
    epochs: int
    batch: int | None = None
    rate: float | None = None
    schedule: type[gbp.AllAtOnce] | type[gbp.ExampleByExample] | None = None
    damping: float | gbp.Damping = 0.0

    def told(self) -> dict[str, Any]:
        """For the result file."""
        named = {"store": self.store.__name__, "schedule": self.schedule and self.schedule.__name__}
        return {**self._asdict(), **named, "damping": asdict(gbp.Damping.of(self.damping, undamped_first=True))}

    def fit(
        self, layers: nn.Module, likelihood: gbp.Likelihood, x: Tensor, y: Tensor, epochs: int | None, seed: int
    ) -> gbp.Trainer:
        """Trains the layers; `epochs` in place of its own sweeps, batches dealt from the seed."""
        torch.manual_seed(seed)
        sweeps, store, data = epochs or self.epochs, self.store(), TensorDataset(x, y)
        passes, inference = sweeps, gbp.Inference()
        if self.schedule is not None:
            passes, inference = 1, gbp.Inference(sweeps, damping=self.damping, schedule=self.schedule())
        fixed = gbp.FixedBatches(data, self.batch or len(x))
        loader = DataLoader(fixed, None, shuffle=True) if store.fixed_batches else DataLoader(data, self.batch, shuffle=True)
        trainer = gbp.Trainer(layers, likelihood, passes, lr=self.rate, store=store, inference=inference, progress=False)
        trainer.fit(loader)
        return trainer


SEQUENTIAL = Fitting(gbp.BatchSites, epochs=60, schedule=gbp.ExampleByExample)
PARALLEL = Fitting(gbp.BatchSites, epochs=3000, schedule=gbp.AllAtOnce, damping=0.95)
AVERAGED = Fitting(gbp.AveragedSites, epochs=100, batch=10, rate=1.0)


def make(widths: Sequence[int], seed: int, scale: float = 1.0) -> nn.Sequential:
    """Layers of these widths, a precision for every weight, prior variances of this scale, and random prior means from the seed.

    The means break the symmetry of the hidden units (AMP-BNN, "spectral" means); being the prior's, they are no free start.
    """
    layers, prior = list[nn.Module](), gbp.Prior(scale=scale, mean="start")
    with torch.random.fork_rng(devices=[]):  # who asks for the prior in the middle of a training keeps his random numbers
        torch.manual_seed(seed)
        for fan_in, fan_out in itertools.pairwise(widths):
            layer = gbp.GBPLinear(fan_in, fan_out, dtype=torch.float64, prior=prior, covariance="diagonal")
            layers += [layer, gbp.GBPLeakyReLU(SLOPE)]
    return nn.Sequential(*layers[:-1])
