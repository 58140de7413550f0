"""torch_gbp: layers and optimizer swapped, everything else as in the plain script; used as shipped.

Nothing is searched for it here: its defaults were chosen on held-out training images of MNIST (benchmarks/README.md).
"""

from __future__ import annotations

from functools import partial

from torch import Tensor

import torch_gbp
from benchmarks.methods.base import Entrant, Method, Settings, Training

SHIPPED: Settings = {}


class GBP(Method):
    """Message passing with the library's defaults.

    Args:
        kind: the likelihood's class.
        follow: show `from_torch` the training images, so that a first linear layer's prior follows them.
        likelihood, prior, optimizer: settings in place of defaults, for experiments.
    """

    def __init__(
        self,
        training: Training,
        kind: type[torch_gbp.Likelihood],
        follow: bool = False,
        likelihood: Settings = SHIPPED,
        prior: Settings = SHIPPED,
        optimizer: Settings = SHIPPED,
    ) -> None:
        inputs = training.x if follow else None
        self.network = torch_gbp.from_torch(training.network, fresh=True, inputs=inputs, moments=True, **prior)
        self.likelihood = kind(**likelihood)
        options = {"epochs": training.epochs, **optimizer}
        self.propagate = torch_gbp.MessagePassing(self.network.parameters(), len(training.x), **options)

    def step(self, x: Tensor, y: Tensor) -> None:
        self.propagate.zero_grad()
        self.likelihood(self.network(x), y).backward()
        self.propagate.step()

    def log_probabilities(self, x: Tensor) -> Tensor:
        return self.likelihood.predictive(self.network(x)).logits  # type: ignore[attr-defined]


SOFTMAX = Entrant("torch_gbp", partial(GBP, kind=torch_gbp.Softmax))
BASIS = Entrant("torch_gbp, input basis", partial(GBP, kind=torch_gbp.Softmax, follow=True))
ONE_HOT = Entrant("torch_gbp, one-hot", partial(GBP, kind=torch_gbp.OneHotRegression))
ARGMAX = Entrant("torch_gbp, argmax", partial(GBP, kind=torch_gbp.Argmax))
