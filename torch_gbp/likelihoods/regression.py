"""Regression: real targets with Gaussian noise, whose variance is given or learned."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Normal

from torch_gbp.checks import VARIANCE, require
from torch_gbp.gaussian import Gaussian
from torch_gbp.likelihoods.base import Evidence, Likelihood, check_values, validation
from torch_gbp.likelihoods.noise import average, expected_square, tilted_square


class Regression(Likelihood):
    """Gaussian noise: y = output + e, e ~ N(0, noise_variance).

    log p(y) = log N(y; m, v + noise); g = (y - m) / (v + noise), G = 1 / (v + noise).

    Args:
        noise_variance: variance of the noise, in squared units of the target, > 0; where it starts if it is learned.
        power: likelihood power, see `Likelihood`. 1 is exact for one linear layer; a network with the default
            narrow prior underfits with it.
        learn_noise: let every `MessagePassing` step move `noise_variance`, then a buffer, to its closed-form EM value
            (`torch_gbp.likelihoods.noise`): noise <- (1 - s) noise + s average of (y - m)^2 + v, s the batch's share
            of the data. One variance for all targets.

    Shape: outputs and targets alike, (n, ...).

    Raises:
        InvalidInput: a noise variance that is not positive and finite.

    >>> output = Gaussian(torch.zeros(2, 1), torch.ones(2, 1))
    >>> Regression(noise_variance=3.0).predictive(output).stddev[0].item()
    2.0
    """

    noise_variance: float | Tensor

    def __init__(self, noise_variance: float, power: float = 1.0, *, learn_noise: bool = False) -> None:
        super().__init__(power)
        fix = "use the square of the targets' resolution"
        noise_variance = require("noise_variance", noise_variance, VARIANCE, type(self).__name__, fix=fix)
        self.learns = learn_noise
        if learn_noise:
            self.register_buffer("noise_variance", torch.tensor(noise_variance))
        else:
            self.noise_variance = noise_variance

    def check(self, output: Gaussian, target: Tensor) -> None:
        check_values(output, target, type(self).__name__)

    def evidence(self, mean: Tensor, variance: Tensor, target: Tensor) -> Evidence:
        return gaussian_evidence(mean, variance, target, self.noise_variance)

    def learn(self, mean: Tensor, variance: Tensor, target: Tensor, seen: bool, share: float) -> None:
        """One damped EM step of the noise variance; the buffer is written only if the new value is sound."""
        assert isinstance(self.noise_variance, Tensor)
        old = self.noise_variance.to(mean)
        new = expected_square(mean, variance, target) if seen else tilted_square(mean, variance, target, old / self.power)
        self.noise_variance.copy_(average(old, new, share))

    def distribution(self, output: Gaussian) -> Normal:
        """N(m, v + noise) of every target."""
        return Normal(output.mean, (output.variance + self.noise_variance).sqrt(), validate_args=validation())

    def settings(self) -> dict[str, float | None]:
        return {"noise_variance": float(self.noise_variance)}


def gaussian_evidence(mean: Tensor, variance: Tensor, target: Tensor, noise: float | Tensor) -> Evidence:
    """Evidence of N(target; mean, variance + noise), summed over all but the batch axis."""
    precision = (variance + noise).reciprocal()
    gap = target - mean
    score = gap * precision
    log = 0.5 * (torch.log(precision / (2 * math.pi)) - gap * score)
    return Evidence(log.flatten(1).sum(1) if log.ndim > 1 else log, score, precision)
