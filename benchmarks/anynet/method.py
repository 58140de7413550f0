"""torch_gbp on any network: marginals on weights, means sweeps with probes, AdamW for what stays plain; everything as it comes.

This file alone says how the library is called.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.func import functional_call

import torch_gbp as gbp
from benchmarks.methods.base import Method, Training, log_mean, log_softmax, renew_statistics
from torch_gbp.attached import attach, marginals
from torch_gbp.configure import configure_optimizers
from torch_gbp.layers.base import PRIOR_SCALE
from torch_gbp.priors import weight_prior

SAMPLES = 16  # networks drawn from the marginals for a prediction
_WEIGHTED = (nn.Linear, nn.modules.conv._ConvNd, nn.Embedding, nn.MultiheadAttention)


class MeansSweep(Method):
    """Message passing at the means of the weights, which also predict."""

    def __init__(self, training: Training) -> None:
        self.training, self.network = training, training.network
        give_marginals(self.network)
        self.likelihood = gbp.Softmax()
        self.optimizer = configure_optimizers(self.network, training.y.numel(), epochs=training.epochs)

    def step(self, x: Tensor, y: Tensor) -> None:
        self.optimizer.zero_grad()
        self.likelihood(self.network(x).flatten(0, -2), y.flatten()).backward()
        self.optimizer.step()

    def finish(self) -> None:
        """The step that completes the passes has put the means at their average."""
        renew_statistics(self.network, self.training)

    def log_probabilities(self, x: Tensor) -> Tensor:
        return log_softmax(self.network(x))


class Samples(Method):
    """The predictions of a trained `MeansSweep` by networks drawn from its marginals."""

    def __init__(self, trained: MeansSweep) -> None:
        self.network = trained.network

    def log_probabilities(self, x: Tensor) -> Tensor:
        return log_mean(log_softmax(functional_call(self.network, self._drawn(), x)) for _ in range(SAMPLES))

    def _drawn(self) -> dict[str, Tensor]:
        beliefs = {name: marginal.belief() for name, marginal in marginals(self.network).items()}
        return {name: torch.normal(belief.mean, belief.variance.sqrt()) for name, belief in beliefs.items()}


def give_marginals(network: nn.Module) -> None:
    """Marginals with the library's default prior on the weights with two axes or more; the start is the network as it is."""
    for module, name, weight in list(_weights(network)):
        prior = weight_prior(weight[0].numel(), len(weight), PRIOR_SCALE)
        attach(module, name, prior)


def _weights(network: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Parameter]]:
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if isinstance(module, _WEIGHTED) and parameter.ndim >= 2:
                yield module, name, parameter
