"""Gaussians over all weights by their authors' packages, IVON and mean-field variational inference; and ensembles."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from benchmarks.methods.base import Entrant, Method, Training, grid, log_mean, log_softmax, rival
from benchmarks.methods.gradient import AdamW, Descent, cross_entropy

IVON_SAMPLES, VI_SAMPLES = 32, 20  # weight samples of a prediction
RHO = -4.0  # softplus^-1 of the first standard deviations, 0.018
MEMBERS = 5


class IVON(Method):
    """Variational Gaussian by natural gradients (Shen et al. 2024, package ivon-opt): one weight sample a step, a cosine.

    Args:
        lr: peak learning rate.
        hess_init: first guess of the Hessian's diagonal; a larger one starts with less noise.
        weight_decay: precision of the prior over the number of labels; the package's own unless it is given.
    """

    def __init__(self, training: Training, *, lr: float, hess_init: float, weight_decay: float = 1e-4) -> None:
        self.network = training.network
        options = {"lr": lr, "hess_init": hess_init, "ess": training.y.numel(), "weight_decay": weight_decay}
        self.optimizer = rival("ivon").IVON(self.network.parameters(), **options)
        self.schedule = CosineAnnealingLR(self.optimizer, training.steps)

    def step(self, x: Tensor, y: Tensor) -> None:
        with self.optimizer.sampled_params(train=True):
            self.optimizer.zero_grad()
            cross_entropy(self.network(x), y).backward()
        self.optimizer.step()
        self.schedule.step()

    def log_probabilities(self, x: Tensor) -> Tensor:
        return log_mean(self._sampled(x) for _ in range(IVON_SAMPLES))

    def _sampled(self, x: Tensor) -> Tensor:
        with self.optimizer.sampled_params():
            return log_softmax(self.network(x))


class VI(Descent):
    """Layers swapped by `dnn_to_bnn` (package bayesian-torch), Adam on the evidence bound with a cosine, one sample a step.

    Args:
        lr: peak learning rate.
        prior_std: of every weight.
        temperature: factor on the divergence from the prior; 1 is the evidence bound.

    Source: Blundell et al. 2015.
    """

    def __init__(self, training: Training, *, lr: float, prior_std: float, temperature: float) -> None:
        weight = temperature / len(training.x)  # the cross-entropy is a mean over the images
        convert(training.network, prior_std)
        optimizer = torch.optim.Adam(training.network.parameters(), lr=lr)
        schedule = CosineAnnealingLR(optimizer, training.steps)
        bound = lambda z, y: cross_entropy(z, y) + weight * divergence(training.network, prior_std)  # noqa: E731
        super().__init__(training.network, optimizer, bound, schedule)

    def log_probabilities(self, x: Tensor) -> Tensor:
        return log_mean(log_softmax(self.network(x)) for _ in range(VI_SAMPLES))


def convert(network: nn.Module, prior_std: float) -> None:
    """Swaps the layers in place; the means start at the network's weights, as every method does, the deviations at one value."""
    prior = {"prior_mu": 0.0, "prior_sigma": prior_std}
    start = {"posterior_mu_init": 0.0, "posterior_rho_init": RHO, "moped_enable": True, "moped_delta": 0.1}
    rival("bayesian_torch.models.dnn_to_bnn").dnn_to_bnn(network, {"type": "Reparameterization", **prior, **start})
    for name, parameter in network.named_parameters():
        if "rho_" in name:  # moped has made the deviations shares of the weights
            nn.init.constant_(parameter, RHO)


def marginals_of(network: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Means and standard deviations of the weights of a converted network, in the order of its layers."""
    found = dict(network.named_parameters())
    return [(found[name], F.softplus(found[name.replace("mu_", "rho_")])) for name in found if "mu_" in name]


def divergence(network: nn.Module, prior_std: float) -> Tensor:
    """KL(posterior || N(0, prior_std^2)) of all weights of a converted network: a sum; the package's `kl_loss` takes means."""
    total = torch.zeros(())
    for mean, std in marginals_of(network):
        total = total + ((std.square() + mean.square()) / (2 * prior_std**2) - (std / prior_std).log() - 0.5).sum()
    return total


class Ensemble(Method):
    """Five networks by AdamW; their probabilities are averaged.

    The first has the initial weights and the batches of all other methods, the others draw theirs.
    """

    def __init__(self, training: Training, *, lr: float, weight_decay: float) -> None:
        others = [training._replace(network=_redrawn(training.network)) for _ in range(MEMBERS - 1)]
        self.members = [AdamW(own, lr=lr, weight_decay=weight_decay) for own in (training, *others)]
        self.network = nn.ModuleList([member.network for member in self.members])
        self._x, self._y = training.x, training.y
        self._orders = [torch.empty(0, dtype=torch.long) for _ in others]

    def step(self, x: Tensor, y: Tensor) -> None:
        first, *others = self.members
        first.step(x, y)
        for i, member in enumerate(others):
            index = self._next(i, len(x))
            member.step(self._x[index], self._y[index])

    def log_probabilities(self, x: Tensor) -> Tensor:
        return log_mean(member.log_probabilities(x) for member in self.members)

    def trained_at_a_time(self) -> Method:
        return self.members[0]

    def _next(self, member: int, size: int) -> Tensor:
        """The next images in this member's shuffle of the data, shuffled anew when they run out."""
        if len(self._orders[member]) < size:
            self._orders[member] = torch.cat([self._orders[member], torch.randperm(len(self._x))])
        index, self._orders[member] = self._orders[member][:size], self._orders[member][size:]
        return index


def _redrawn(network: nn.Module) -> nn.Module:
    """A copy with new initial weights, drawn as torch's layers draw them."""
    fresh = copy.deepcopy(network)
    for module in fresh.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            module.reset_parameters()
    return fresh


_ADAMW, _VI = {"lr": 1e-3, "weight_decay": 0.01}, {"lr": 3e-3, "prior_std": 0.1, "temperature": 0.1}
_IVON_GRID = grid(lr=(0.05, 0.1, 0.2, 0.4), hess_init=(0.2, 0.5))
_VI_GRID = grid(lr=(1e-3, 3e-3), prior_std=(0.1, 1.0), temperature=(0.1, 1.0))
BY_IVON = Entrant("IVON", IVON, {"lr": 0.1, "hess_init": 0.5}, _IVON_GRID, package="ivon")
MEAN_FIELD = Entrant("mean-field VI", VI, _VI, _VI_GRID, package="bayesian_torch")
ENSEMBLE = Entrant(f"ensemble of {MEMBERS}", Ensemble, _ADAMW, borrows="adamw")
