"""Mean-field variational inference and last-layer Laplace on the small problems, by their own libraries, with the same prior."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Categorical, Normal
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.methods.packages import rival
from benchmarks.methods.vi import convert
from benchmarks.posterior.predictive import told, told_by_samples
from benchmarks.posterior.problems import Problem, marginals, network, plain
from torch_gbp.weights.parameter import GaussianParameter

STEPS, RATE = 4000, 0.01  # Adam on all points at once, with a cosine
SAMPLES = 500  # weight samples of a variational predictive


def mean_field(problem: Problem, epochs: int | None, seed: int) -> Tensor:
    """Independent Gaussians by the reparametrisation trick (bayesian-torch), the divergence that of the exact prior."""
    torch.manual_seed(seed)
    layers = plain(problem)
    convert(layers, prior_std=1.0)  # the package's own divergence, the only place of its prior, is not used
    layers = layers.double()
    priors = marginals(network(problem))
    _descend(layers, lambda: misfit(problem, layers(problem.x)) + _divergence(layers, priors), epochs or STEPS)
    with torch.no_grad():
        outputs = torch.stack([layers(problem.inputs) for _ in range(SAMPLES)])
    return told_by_samples(outputs, problem.noise_variance)


def last_layer(problem: Problem, epochs: int | None, seed: int) -> Tensor:
    """The most probable weights, then a Gaussian of full covariance around those of the last layer (laplace-torch)."""
    torch.manual_seed(seed)
    layers = plain(problem)
    priors = marginals(network(problem))
    _descend(layers, lambda: misfit(problem, layers(problem.x)) + _penalty(layers, priors), epochs or STEPS)
    prior = torch.cat([own.prior_precision.expand(own.mean.numel()) for own in priors[-2:]])
    classes = problem.noise_variance is None
    options = {"subset_of_weights": "last_layer", "hessian_structure": "full", "prior_precision": prior}
    noise = {} if problem.noise_variance is None else {"sigma_noise": problem.noise_variance**0.5}
    fitted = rival("laplace").Laplace(layers, "classification" if classes else "regression", **options, **noise)
    fitted.fit(DataLoader(TensorDataset(problem.x, problem.y), len(problem.x)))
    if problem.noise_variance is None:
        return told(Categorical(probs=fitted(problem.inputs, pred_type="glm", link_approx="probit")))
    mean, variance = fitted(problem.inputs, pred_type="glm")
    return told(Normal(mean, (variance.squeeze(2) + problem.noise_variance).sqrt()))


def misfit(problem: Problem, outputs: Tensor) -> Tensor:
    """-log likelihood of the training points, but for a constant."""
    if problem.noise_variance is None:
        return F.cross_entropy(outputs, problem.y, reduction="sum")
    return (outputs - problem.y).square().sum() / (2 * problem.noise_variance)


def _penalty(layers: nn.Module, priors: list[GaussianParameter]) -> Tensor:
    """-log prior of the weights, but for a constant."""
    pairs = zip(layers.parameters(), priors, strict=True)
    return torch.stack([(own.prior_precision * (w - own.mean.detach()).square()).sum() / 2 for w, own in pairs]).sum()


def _divergence(layers: nn.Module, priors: list[GaussianParameter]) -> Tensor:
    """KL(posterior || prior) of all weights, each with its layer's prior."""
    found = dict(layers.named_parameters())
    means = [name for name in found if "mu_" in name]
    terms = []
    for name, own in zip(means, priors, strict=True):
        std = F.softplus(found[name.replace("mu_", "rho_")])
        ratio = own.prior_precision * std.square()
        gap = own.prior_precision * (found[name] - own.mean.detach()).square()
        terms.append(0.5 * (ratio + gap - ratio.log() - 1).sum())
    return torch.stack(terms).sum()


def _descend(layers: nn.Module, loss: Callable[[], Tensor], steps: int) -> None:
    optimizer = torch.optim.Adam(layers.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        schedule.step()
