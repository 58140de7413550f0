"""SquaredSoftmax: the softmax observation of deep factor graphs, one-hot = softmax(logits) + noise."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Categorical

from torch_gbp.errors.checks import DEVIATION, require
from torch_gbp.gaussian import Gaussian
from torch_gbp.likelihoods.base import Evidence, Likelihood, validation
from torch_gbp.likelihoods.regression import gaussian_probe
from torch_gbp.likelihoods.targets import check_labels


class SquaredSoftmax(Likelihood):
    """Squared error of class probabilities: onehot(y) = softmax(z) + e, e ~ N(0, sigma^2 1), linearised in the logits z.

    With J = diag(p) - p p' at the point z0, p = softmax(z0), and logits N(m, diag(v)):

        r = onehot - p - J (m - z0)        S = J diag(v) J + sigma^2 1        g = J S^-1 r        G = diag(J S^-1 J)

    so every logit gets the exact marginal of the joint factor, in float64. In a single sweep z0 = m; iterated inference
    (`FactorGraph`) starts at z0 = 0, where a confident mistake does not hide the gradient, and moves it to the belief.

    Args:
        sigma: standard deviation of the noise, as published.
        power: likelihood power, see `Likelihood`.

    Shape: outputs (n, classes), labels (n,) of integers.
    Source: GBP Learning (arXiv 2311.14649) equation 16.

    Raises:
        InvalidInput: a sigma that is not positive and finite.

    >>> message = SquaredSoftmax().evidence(torch.zeros(1, 2), torch.ones(1, 2), torch.tensor([0]))
    >>> bool(message.score[0, 0] > 0 > message.score[0, 1])
    True
    """

    classes = True

    def __init__(self, sigma: float = 0.01, power: float = 1.0) -> None:
        super().__init__(power)
        self.sigma = require("sigma", sigma, DEVIATION, "SquaredSoftmax", fix="use 0.01")

    def check(self, output: Gaussian, target: Tensor) -> None:
        check_labels(output, target, "SquaredSoftmax")

    def evidence(self, mean: Tensor, variance: Tensor, target: Tensor) -> Evidence:
        return self.evidence_at(mean, variance, target, mean)

    def evidence_at(self, mean: Tensor, variance: Tensor, target: Tensor, at: Tensor | None) -> Evidence:
        m, v = mean.double(), variance.double()
        z0 = torch.zeros_like(m) if at is None else at.double()
        p = torch.softmax(z0, 1)
        jacobian = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
        residual = F.one_hot(target.long(), p.shape[1]) - p - _apply(jacobian, m - z0)
        spread = torch.diag_embed(torch.full_like(p, self.sigma**2)) + (jacobian * v[:, None, :]) @ jacobian
        factor = torch.linalg.cholesky(spread)
        gain = torch.cholesky_solve(jacobian, factor)  # S^-1 J
        score, precision = _apply(gain.transpose(1, 2), residual), (jacobian * gain).sum(1)
        fit = (residual * torch.cholesky_solve(residual[:, :, None], factor)[:, :, 0]).sum(1)
        volume = factor.diagonal(dim1=1, dim2=2).log().sum(1)
        log = -0.5 * fit - volume - 0.5 * p.shape[1] * math.log(2 * math.pi)
        return Evidence(log.to(mean), score.to(mean), precision.to(mean))

    def probe(self, output: Tensor, generator: torch.Generator) -> Tensor:
        """J e / sigma, e ~ N(0, 1): G = J^2 / sigma^2 where the logits are known."""
        p, draws = torch.softmax(output, 1), gaussian_probe(output, self.sigma**2, generator)
        return p * (draws - (p * draws).sum(1, keepdim=True))

    def distribution(self, output: Gaussian) -> Categorical:
        """softmax(k m), k = 1 / sqrt(1 + pi v / 8), the probit approximation of E[softmax(z)]."""
        return Categorical(logits=output.mean * torch.rsqrt(1 + (math.pi / 8) * output.variance), validate_args=validation())

    def settings(self) -> dict[str, float | None]:
        return {"sigma": self.sigma}


def _apply(matrices: Tensor, vectors: Tensor) -> Tensor:
    return (matrices @ vectors[:, :, None])[:, :, 0]
