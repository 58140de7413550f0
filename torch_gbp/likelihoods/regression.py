"""Regression: real targets with Gaussian noise."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Normal

from torch_gbp.errors import InvalidInput
from torch_gbp.gaussian import Gaussian
from torch_gbp.likelihoods.base import Evidence, Likelihood, check_values


class Regression(Likelihood):
    """Gaussian noise: y = output + e, e ~ N(0, noise_variance).

    log p(y) = log N(y; m, v + noise); g = (y - m) / (v + noise), G = 1 / (v + noise).

    Args:
        noise_variance: variance of the noise, in squared units of the target, > 0.
        power: likelihood power, see `Likelihood`. 1 is exact for one linear layer; a network with the default
            narrow prior underfits with it.

    Shape: outputs and targets alike, (n, ...).

    >>> output = Gaussian(torch.zeros(2, 1), torch.ones(2, 1))
    >>> Regression(noise_variance=3.0).predictive(output).stddev[0].item()
    2.0
    """

    def __init__(self, noise_variance: float, power: float = 1.0) -> None:
        super().__init__(power)
        if not (math.isfinite(noise_variance) and noise_variance > 0):
            raise InvalidInput(
                "noise_variance must be positive",
                where=type(self).__name__,
                got=repr(noise_variance),
                cause="noise-free data",
                fix="use the square of the targets' resolution",
            )
        self.noise_variance = float(noise_variance)

    def check(self, output: Gaussian, target: Tensor) -> None:
        check_values(output, target, type(self).__name__)

    def evidence(self, mean: Tensor, variance: Tensor, target: Tensor) -> Evidence:
        return gaussian_evidence(mean, variance, target, self.noise_variance)

    def predictive(self, output: Gaussian) -> Normal:
        """N(m, v + noise) of every target."""
        return Normal(output.mean, (output.variance + self.noise_variance).sqrt())

    def settings(self) -> dict[str, float | None]:
        return {"noise_variance": self.noise_variance}


def gaussian_evidence(mean: Tensor, variance: Tensor, target: Tensor, noise: float) -> Evidence:
    """Evidence of N(target; mean, variance + noise), summed over all but the batch axis."""
    precision = (variance + noise).reciprocal()
    gap = target - mean
    score = gap * precision
    log = 0.5 * (torch.log(precision / (2 * math.pi)) - gap * score)
    return Evidence(log.flatten(1).sum(1) if log.ndim > 1 else log, score, precision)
