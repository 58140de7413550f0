"""torch_gbp: message passing by the moment sweep on GBP layers, and by the means sweep on any network; used as shipped.

Nothing is searched for it here: what its defaults were chosen on is told in benchmarks/TUNING.md.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import torch_gbp as gbp
from benchmarks.methods.base import Entrant, Method, Settings, Training, log_softmax, normalises, statistics_batches
from benchmarks.methods.sampled import add_dropout
from torch_gbp.optim.plain_parameters import RATE

SHIPPED: Settings = {}


class MessagePassed(Method):
    """A network, a likelihood, and the optimizer that learns from their messages."""

    def __init__(self, network: nn.Module, likelihood: gbp.Likelihood, optimizer: Any) -> None:
        self.network, self.likelihood, self.optimizer = network, likelihood, optimizer

    def step(self, x: Tensor, y: Tensor) -> None:
        self.optimizer.zero_grad()
        self.likelihood(self.network(x), y).backward()
        self.optimizer.step()

    def log_probabilities(self, x: Tensor) -> Tensor:
        return self.likelihood.predictive(self.network(x)).logits  # type: ignore[attr-defined]

    def pace(self, rate: float) -> None:
        """Multiplies the marginals' rates, which the library has chosen; 1 is the largest that it takes."""
        for group in self.optimizer.param_groups:
            group["lr"] = min(1.0, rate * group["lr"])


class GBP(MessagePassed):
    """Moment sweeps with the library's defaults.

    Args:
        kind: the likelihood's class.
        follow: show `from_torch` the training images, so that a first linear layer's prior follows them.
        likelihood, prior, optimizer: settings in place of defaults, for studies.
        rate: factor on the rate that the library chooses, for studies.
    """

    def __init__(
        self,
        training: Training,
        kind: Callable[..., gbp.Likelihood] = gbp.Softmax,
        follow: bool = False,
        likelihood: Settings = SHIPPED,
        prior: Settings = SHIPPED,
        optimizer: Settings = SHIPPED,
        rate: float = 1.0,
    ) -> None:
        inputs = training.x if follow else None
        network = gbp.from_torch(training.network, fresh=True, inputs=inputs, moments=True, **prior)
        passing = gbp.MessagePassing(network.parameters(), len(training.x), **{"epochs": training.epochs, **optimizer})
        super().__init__(network, kind(**likelihood), passing)
        self.pace(rate)


class MeansSweep(MessagePassed):
    """Means sweeps on any network, AdamW for what stays plain; predicts at the means, or by sampled networks.

    The labels of an example are examples to the likelihood: outputs (..., classes) become (n, classes).

    Args:
        samples: tell the predictive of sampled networks too, in rows of its own.
        rate: factor on the rates that the library chooses, that of the plain parameters too, for studies.
    """

    def __init__(self, training: Training, samples: bool = True, rate: float = 1.0) -> None:
        self.training, self.samples = training, samples
        network = nn.Sequential(gbp.from_torch(training.network, fresh=True), nn.Flatten(0, -2))
        plain = None if rate == 1 else partial(torch.optim.AdamW, lr=rate * RATE, weight_decay=0.0)
        passing = gbp.configure_optimizers(network, training.y.numel(), epochs=training.epochs, plain=plain)
        super().__init__(network, gbp.Softmax(), passing)
        self.pace(rate)
        passing._plain.begin(float(passing.param_groups[0]["lr"]), anew=True)  # plain parameters have their multiple already

    def step(self, x: Tensor, y: Tensor) -> None:
        super().step(x, y.flatten())

    def finish(self) -> None:
        """The step that completes the passes has put the means at their average."""
        if normalises(self.network):  # by the library's own way, which also prepares for drawn networks
            gbp.renew_statistics(self.network, statistics_batches(self.training), batches=None)

    def log_probabilities(self, x: Tensor) -> Tensor:
        return log_softmax(self.network(x))

    def predictives(self) -> dict[str, Callable[[Tensor], Tensor]]:
        return {"gbp_samples": self._sampled} if self.samples else {}

    def _sampled(self, x: Tensor) -> Tensor:
        return gbp.predict(self.network, self.likelihood, x, how="samples").distribution.logits  # type: ignore[attr-defined]


class DropoutSweep(MeansSweep):
    """Means sweeps on the network of MC dropout (`methods/sampled.py`); no value is dropped to predict.

    Args:
        rate: share of the values that are dropped, that of MC dropout's search.
        of_adamw: its further settings, for which there is no use.
    """

    def __init__(self, training: Training, *, rate: float, **of_adamw: float) -> None:
        add_dropout(training.network, rate)
        super().__init__(training, samples=False)


SOFTMAX = Entrant("torch_gbp", GBP)
BASIS = Entrant("torch_gbp, input basis", partial(GBP, follow=True))
MEANS = Entrant("torch_gbp, means", partial(MeansSweep, samples=False))
DROPOUT = Entrant("torch_gbp, means, dropout", DropoutSweep, {"rate": 0.1}, borrows="dropout")
ONE_HOT = Entrant("torch_gbp, one-hot", partial(GBP, kind=gbp.OneHotRegression))
ARGMAX = Entrant("torch_gbp, argmax", partial(GBP, kind=gbp.Argmax))
