"""Mixture: a distribution of real numbers made of Gaussians, with all that scores need of it."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from torch_gbp.likelihoods.quantiles import bisected

ENTRIES = 2**22  # pairs of components that are held at a time


class Mixture(NamedTuple):
    """Mixtures of Gaussians, one for each target; a single Gaussian is a mixture of one.

    p(y) = sum_s w_s N(y; mean_s, std_s^2).

    Attributes:
        log_weight, mean, std: (..., S), log w, means and standard deviations in the targets' units.

    >>> zero = torch.zeros(1, 2, dtype=torch.float64)
    >>> two = Mixture(zero + math.log(0.5), torch.tensor([[-1.0, 1.0]]).double(), zero + 1)
    >>> two.moments(), two.cdf(torch.zeros(1).double())
    ((tensor([0.], dtype=torch.float64), tensor([1.4142], dtype=torch.float64)), tensor([0.5000], dtype=torch.float64))
    """

    log_weight: Tensor
    mean: Tensor
    std: Tensor

    @classmethod
    def gaussian(cls, mean: Tensor, std: Tensor) -> Mixture:
        """One Gaussian for each entry."""
        return cls(torch.zeros_like(mean).unsqueeze(-1), mean.unsqueeze(-1), std.unsqueeze(-1))

    @classmethod
    def even(cls, mean: Tensor, std: Tensor) -> Mixture:
        """Gaussians (S, ...) of equal weight, as those of an ensemble's members."""
        mean, std = mean.movedim(0, -1), std.movedim(0, -1)
        return cls(torch.full_like(mean, -math.log(mean.shape[-1])), mean, std)

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the whole."""
        weight = self.log_weight.exp()
        mean = (weight * self.mean).sum(-1)
        spread = (self.mean - mean.unsqueeze(-1)).square()
        return mean, (weight * (self.std.square() + spread)).sum(-1).sqrt()

    def log_prob(self, y: Tensor) -> Tensor:
        """Log density at y (...)."""
        z = (y.unsqueeze(-1) - self.mean) / self.std
        return (self.log_weight - z.square() / 2 - self.std.log() - math.log(2 * math.pi) / 2).logsumexp(-1)

    def cdf(self, y: Tensor) -> Tensor:
        """P(Y <= y)."""
        share = torch.special.ndtr((y.unsqueeze(-1) - self.mean) / self.std)
        return (self.log_weight.exp() * share).sum(-1).clamp(0, 1)

    def transform(self, y: Tensor) -> Tensor:
        """Probability integral transform P(Y <= y): uniform where the predictions are right."""
        return self.cdf(y)

    def quantile(self, level: float) -> Tensor:
        """y with P(Y <= y) = level: in closed form of one Gaussian, else by bisection between those of the components."""
        own = self.mean + self.std * torch.special.ndtri(torch.tensor(level, dtype=self.mean.dtype))
        if own.shape[-1] == 1:
            return own.squeeze(-1)
        return bisected(self.cdf, level, own.amin(-1), own.amax(-1))

    def crps(self, y: Tensor) -> Tensor:
        """Continuous ranked probability score, integral of (P(Y <= t) - 1{t >= y})^2 dt, in the units of y.

        sum_s w_s A(y - m_s, v_s) - 1/2 sum_(s, t) w_s w_t A(m_s - m_t, v_s + v_t), A(m, v) = E|N(m, v)|.

        Source: Grimit et al. 2006, equation 5; Gneiting and Raftery 2007, equation 21.
        """
        flat = Mixture(*(part.flatten(0, -2) for part in self))
        size = max(1, ENTRIES // flat.mean.shape[-1] ** 2)
        parts = zip(*(part.split(size) for part in (*flat, y.flatten())), strict=True)
        return torch.cat([_crps(Mixture(*part), own) for *part, own in parts]).reshape(y.shape)


def _crps(mixture: Mixture, y: Tensor) -> Tensor:
    weight, variance = mixture.log_weight.exp(), mixture.std.square()
    near = (weight * _absolute(y[:, None] - mixture.mean, variance)).sum(-1)
    apart = _absolute(mixture.mean[:, :, None] - mixture.mean[:, None], variance[:, :, None] + variance[:, None])
    return near - (weight[:, :, None] * weight[:, None] * apart).sum((-1, -2)) / 2


def _absolute(mean: Tensor, variance: Tensor) -> Tensor:
    """E|z| of z ~ N(mean, variance)."""
    deviation = variance.sqrt()
    z = mean / deviation
    density = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
    return 2 * deviation * density + mean * torch.special.erf(z / math.sqrt(2))
