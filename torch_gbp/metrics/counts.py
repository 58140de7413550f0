"""Counts: predictive distributions of counts, with all that scores need of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution

from torch_gbp.likelihoods.quantiles import cdf, quantile

NODES = 128  # counts on either side of a target at which a CRPS looks
TAIL = 1e-6  # probability beyond which it does not look


class Counts(NamedTuple):
    """Distributions of counts, one for each target, as torch has them: those of one batch after those of another.

    Attributes:
        parts: of (n, k) targets each, or of (n,); `torch.distributions.Poisson`, mixtures of it, or others that
            `torch_gbp.likelihoods.quantiles` takes.

    >>> found = Counts([torch.distributions.Poisson(torch.tensor([[2.0], [2.0]]))])
    >>> found.quantile(0.5), found.crps(torch.tensor([[2.0], [9.0]]))
    (tensor([[2.],
            [2.]], dtype=torch.float64), tensor([[0.3112],
            [6.2286]], dtype=torch.float64))
    """

    parts: Sequence[Distribution]

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation."""
        return self._each(lambda own: own.mean), self._each(lambda own: own.stddev)

    def log_prob(self, y: Tensor) -> Tensor:
        """Log probability of the counts y (n, k)."""
        return self._at(lambda own, counts: own.log_prob(counts.to(own.mean)), y)

    def cdf(self, y: Tensor) -> Tensor:
        """P(Y <= y)."""
        return self._at(cdf, y)

    def transform(self, y: Tensor) -> Tensor:
        """Probability integral transform P(Y < y) + u P(Y = y), u from [0, 1): uniform where the predictions are right.

        The same u in every call. Source: Czado, Gneiting & Held 2009, equation 1.
        """
        below, with_it = self.cdf(y - 1), self.cdf(y)
        return below + torch.rand(y.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * (with_it - below)

    def quantile(self, level: float) -> Tensor:
        """The smallest y with P(Y <= y) >= level."""
        return self._each(lambda own: quantile(own, level))

    def crps(self, y: Tensor) -> Tensor:
        """Ranked probability score, sum over t = 0, 1, ... of (P(Y <= t) - 1{t >= y})^2.

        Every count is looked at where those on one side of y are up to 128, else so many of them, evenly.

        Source: Epstein 1969; Gneiting and Raftery 2007, section 4.2.
        """
        first = torch.minimum(self.quantile(TAIL), y) - 1
        last = torch.maximum(self.quantile(1 - TAIL), y)
        left = self._sum(lambda below: below.square(), first, y - first)
        return left + self._sum(lambda below: (1 - below).square(), y, last - y + 1)

    def _sum(self, f: Callable[[Tensor], Tensor], start: Tensor, number: Tensor) -> Tensor:
        """Sum of f(P(Y <= t)) over t = start, ..., start + number - 1, or by the midpoints of 128 parts of so many."""
        width, total = (number / NODES).clamp_min(1), torch.zeros_like(start)
        for k in range(int((number / width).ceil().max())):
            t = (start + (k + 0.5) * width - 0.5).round()
            total += f(self.cdf(t)) * width * (k * width < number)
        return total

    def _each(self, f: Callable[[Distribution], Tensor]) -> Tensor:
        return torch.cat([_column(f(own)) for own in self.parts])

    def _at(self, f: Callable[[Distribution, Tensor], Tensor], y: Tensor) -> Tensor:
        """f of every part and its targets, as they are shaped."""
        targets = y.double().split([own.batch_shape[0] for own in self.parts])
        shaped = [one.reshape(own.batch_shape).to(own.mean.device) for own, one in zip(self.parts, targets, strict=True)]
        return torch.cat([_column(f(own, one)) for own, one in zip(self.parts, shaped, strict=True)])


def _column(values: Tensor) -> Tensor:
    values = values.detach().cpu().double()
    return values[:, None] if values.ndim == 1 else values
