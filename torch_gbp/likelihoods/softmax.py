"""Softmax: class probabilities from Gaussian logits in closed form."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Categorical

from torch_gbp.errors.rows import require_probabilities
from torch_gbp.gaussian import Gaussian
from torch_gbp.likelihoods.base import Evidence, Likelihood, validation
from torch_gbp.likelihoods.targets import check_labels, check_values


class Softmax(Likelihood):
    """Classification with probit-scaled logits: p = softmax(k m), one k = 1 / sqrt(1 + pi v / 8) for an example.

    v = C / (C - 1) times the average variance of the C logits: for two classes the variance of their difference, so that a
    constant added to all logits changes nothing. log p(y) = log p_y; g = k (onehot - p), G = k^2 p (1 - p).

    Args:
        power: likelihood power, see `Likelihood`. The automatic one is a cold posterior that suits the default
            narrow prior; power = 1 is Bayes' rule and wants `Prior(scale=1)` in the layers.

    Shape: outputs (n, classes), labels (n,) of integers, or class probabilities (n, classes) as in
    torch.nn.functional.cross_entropy (smoothed labels): then log p(y) = sum_c y_c log p_c and y takes the place of onehot.
    Source: the probit approximation of MacKay 1992, for several classes by the average variance; score and curvature are its
    derivatives with k held fixed. Where the logits' variances differ, its divergence from the integral (`IntegratedSoftmax`) is
    below that of a k for each logit, if the logits are centred on 0; the latter depends on the centre.

    >>> output = Gaussian(torch.tensor([[2.0, 0.0]]), torch.zeros(1, 2))
    >>> round(Softmax().predictive(output).probs[0, 0].item(), 4)
    0.8808
    """

    classes = True
    automatic_power = 64.0  # chosen on held-out MNIST images together with the prior scale, see benchmarks/README.md
    automatic_variance_factor = 4.0  # likewise

    def __init__(self, power: float | None = None) -> None:
        super().__init__(power)

    def check(self, output: Gaussian, target: Tensor) -> None:
        if target.is_floating_point() and target.ndim == 2:
            _check_probabilities(output, target)
        else:
            check_labels(output, target, type(self).__name__)

    def evidence(self, mean: Tensor, variance: Tensor, target: Tensor) -> Evidence:
        shrink = _shrink(variance)
        log_p = torch.log_softmax(shrink * mean, 1)
        p = log_p.exp()
        curvature = torch.addcmul(p, p, p, value=-1).mul_(shrink).mul_(shrink)
        if target.is_floating_point():
            return Evidence((target * log_p).sum(1), target.to(p).sub(p).mul_(shrink), curvature)
        label = target.long()[:, None]
        score = p.neg().scatter_add_(1, label, torch.ones_like(label, dtype=p.dtype)).mul_(shrink)
        return Evidence(log_p.gather(1, label).squeeze(1), score, curvature)

    def known_evidence(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        log_p = torch.log_softmax(output, 1)
        if target.is_floating_point():
            return (target * log_p).sum(1), target - log_p.exp()
        label = target.long()[:, None]
        return log_p.gather(1, label)[:, 0], log_p.exp().neg_().scatter_add_(1, label, torch.ones_like(log_p[:, :1]))

    def probe(self, output: Tensor, generator: torch.Generator) -> Tensor:
        p = torch.softmax(output, 1)
        drawn = torch.multinomial(p, 1, generator=generator)
        return p.neg().scatter_add_(1, drawn, torch.ones_like(p[:, :1]))

    def distribution(self, output: Gaussian) -> Categorical:
        """softmax(k m)."""
        return Categorical(logits=_shrink(output.variance) * output.mean, validate_args=validation())


def _shrink(variance: Tensor) -> Tensor:
    """k, (..., 1), from the logits' variances (..., C)."""
    classes = variance.shape[-1]
    return torch.rsqrt(1 + (math.pi / 8) / max(1, classes - 1) * variance.sum(-1, keepdim=True))


def _check_probabilities(output: Gaussian, target: Tensor) -> None:
    """Class probabilities: of the outputs' shape, at least 0, rows that sum to 1."""
    check_values(output, target, "Softmax")
    require_probabilities(target, "Softmax", fix="normalise each row, or pass integer labels of shape (n,)")
