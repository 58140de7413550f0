"""torch_gbp on any network: marginals on weights, means sweeps with probes, AdamW for what stays plain; everything as it comes.

This file alone says how the library is called.
"""

from __future__ import annotations

from torch import Tensor, nn

import torch_gbp as gbp
from benchmarks.methods.base import Method, Training, log_softmax, renew_statistics


class MeansSweep(Method):
    """Message passing at the means of the weights, which also predict.

    The labels of an example are examples to the likelihood: outputs (..., classes) become (n, classes).
    """

    def __init__(self, training: Training) -> None:
        network = gbp.from_torch(training.network, fresh=True)
        self.training, self.network = training, nn.Sequential(network, nn.Flatten(0, -2))
        self.likelihood = gbp.Softmax()
        self.optimizer = gbp.configure_optimizers(self.network, training.y.numel(), epochs=training.epochs)

    def step(self, x: Tensor, y: Tensor) -> None:
        self.optimizer.zero_grad()
        self.likelihood(self.network(x), y.flatten()).backward()
        self.optimizer.step()

    def finish(self) -> None:
        """The step that completes the passes has put the means at their average."""
        renew_statistics(self.network, self.training)

    def log_probabilities(self, x: Tensor) -> Tensor:
        return log_softmax(self.network(x))


class Samples(Method):
    """The predictions of a trained `MeansSweep` by networks drawn from its marginals."""

    def __init__(self, trained: MeansSweep) -> None:
        self.network, self.likelihood = trained.network, trained.likelihood

    def log_probabilities(self, x: Tensor) -> Tensor:
        return gbp.predict(self.network, self.likelihood, x, how="samples").distribution.logits  # type: ignore[attr-defined]
