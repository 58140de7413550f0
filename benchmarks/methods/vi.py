"""Mean-field variational inference by the reparametrisation trick (Blundell et al. 2015, package bayesian-torch)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.methods.base import Entrant, Method, Training, grid, log_mean
from benchmarks.methods.packages import rival

SAMPLES = 20  # weight samples of a prediction
RHO = -4.0  # softplus^-1 of the first standard deviations, 0.018


class VI(Method):
    """Layers swapped by `dnn_to_bnn`, Adam on the evidence bound with a cosine learning rate, one weight sample a step.

    Args:
        lr: peak learning rate.
        prior_std: of every weight.
        temperature: factor on the divergence from the prior; 1 is the evidence bound.
    """

    def __init__(self, training: Training, *, lr: float, prior_std: float, temperature: float) -> None:
        self.network, self.prior_std = training.network, prior_std
        self.divergence_weight = temperature / len(training.x)  # the cross-entropy is a mean over the images
        convert(self.network, prior_std)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=lr)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, training.steps)

    def step(self, x: Tensor, y: Tensor) -> None:
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.network(x), y) + self.divergence_weight * divergence(self.network, self.prior_std)
        loss.backward()
        self.optimizer.step()
        self.schedule.step()

    def log_probabilities(self, x: Tensor) -> Tensor:
        return log_mean(torch.log_softmax(self.network(x), 1) for _ in range(SAMPLES))


def convert(network: nn.Module, prior_std: float) -> None:
    """Swaps the layers in place; the means start at the network's weights, as every method does, the deviations at one value."""
    prior = {"prior_mu": 0.0, "prior_sigma": prior_std}
    start = {"posterior_mu_init": 0.0, "posterior_rho_init": RHO, "moped_enable": True, "moped_delta": 0.1}
    rival("bayesian_torch.models.dnn_to_bnn").dnn_to_bnn(network, {"type": "Reparameterization", **prior, **start})
    for name, parameter in network.named_parameters():
        if "rho_" in name:  # moped has made the deviations shares of the weights
            nn.init.constant_(parameter, RHO)


def divergence(network: nn.Module, prior_std: float) -> Tensor:
    """KL(posterior || prior) of all weights: a sum; the package's own `kl_loss` is a mean over each layer's weights."""
    parameters = dict(network.named_parameters())
    means = {name: parameter for name, parameter in parameters.items() if "mu_" in name}
    total = torch.zeros(())
    for name, mean in means.items():
        std = F.softplus(parameters[name.replace("mu_", "rho_")])
        total = total + ((std.square() + mean.square()) / (2 * prior_std**2) - (std / prior_std).log() - 0.5).sum()
    return total


MEAN_FIELD = Entrant(
    "mean-field VI",
    VI,
    {"lr": 3e-3, "prior_std": 0.1, "temperature": 0.1},
    grid(lr=(1e-3, 3e-3), prior_std=(0.1, 1.0), temperature=(0.1, 1.0)),
    package="bayesian_torch",
)
