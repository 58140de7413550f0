"""LaplacePrior: a prior with a peak and wide tails, for weights of which many are near 0.

A Laplace density is a scale mixture of Gaussians whose variances s are exponentially distributed,

    exp(-|x| / b) / (2 b) = integral of N(x; 0, s) exp(-s / (2 b^2)) / (2 b^2) ds        x = w - m0, b = sqrt(variance / 2)

Given q(w) the best factor of the lower bound of the evidence for s is q(s) ~ s^(-1/2) exp(-E[x^2] / (2 s) - s / (2 b^2)), an
inverse Gaussian in 1 / s, and what it tells w is a Gaussian message of precision

    R0 = E[1 / s] = 1 / (b sqrt(E[x^2])),        E[x^2] = (m - m0)^2 + v

about m0. Small weights are drawn to m0 the more the smaller they are; large ones with the slope 1 / b of the Laplace density.
The deviation is a little too small, as that of every factorised posterior: without data it is b, not sqrt(2) b.
Source: Andrews & Mallows 1974 (the mixture); Park & Casella 2008 (Bayesian lasso); Tipping 2001 (this kind of EM).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from torch_gbp.weights.priors import Prior


@dataclass(frozen=True)
class LaplacePrior(Prior):
    """Laplace prior exp(-|w - mean| / b) / (2 b) of each weight, of variance 2 b^2; biases keep their Gaussian prior.

    Its Gaussian message starts as N(mean, variance), and is made anew from the weight's marginal after every step: precision
    1 / (b sqrt(E[(w - mean)^2])) (weights/laplace.py). Works with every store and in iterated inference, where it stays the same
    while a batch is visited. `MessagePassing.learn_priors` doesn't learn b.

    Args:
        as of `Prior`.

    Raises:
        InvalidInput: as `Prior`.

    >>> import torch
    >>> LaplacePrior(variance=0.5, start_deviation=0.0).precision(torch.tensor([0.25, 4.0]))  # b = 1/2
    tensor([4., 1.])
    """

    adapts: ClassVar[bool] = True

    def precision(self, moment: Tensor) -> Tensor:
        return moment.rsqrt() * math.sqrt(2 / self.width)
