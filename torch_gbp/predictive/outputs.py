"""Outputs: what a way of predicting knows of a network's outputs, before any likelihood looks at them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution

from torch_gbp.errors import InvalidInput
from torch_gbp.gaussian import Gaussian
from torch_gbp.likelihoods import Likelihood


class Outputs(NamedTuple):
    """Outputs of a batch: their mean and variance, and the samples or the covariances that these are taken from.

    mean, variance: (n, ...). covariance: (n, k, k), of the k outputs of an example, or None. samples: (S, n, ...), or None; then
    centre: (n, ...), the outputs at the weights' means, which are not the samples' mean.

    >>> Outputs(torch.zeros(2, 3), torch.zeros(2, 3)).belief.shape
    torch.Size([2, 3])
    """

    mean: Tensor
    variance: Tensor
    covariance: Tensor | None = None
    samples: Tensor | None = None
    centre: Tensor | None = None

    @classmethod
    def sampled(cls, samples: Tensor, centre: Tensor) -> Outputs:
        """Outputs of S networks (S, n, ...), and those of the network at the means, (n, ...)."""
        return cls(samples.mean(0), samples.var(0, unbiased=False), None, samples, centre)

    @classmethod
    def jointly(cls, mean: Tensor, covariance: Tensor) -> Outputs:
        """Joint Gaussians of each example's outputs."""
        return cls(mean, covariance.diagonal(dim1=-2, dim2=-1).reshape(mean.shape), covariance)

    @classmethod
    def joined(cls, parts: Sequence[Outputs]) -> Outputs:
        """The outputs of several batches as those of one."""
        mean, variance, covariance, samples, centre = zip(*parts, strict=True)
        return cls(torch.cat(mean), torch.cat(variance), _cat(covariance, 0), _cat(samples, 1), _cat(centre, 0))

    @property
    def belief(self) -> Gaussian:
        return Gaussian(self.mean, self.variance)

    @property
    def certain(self) -> bool:
        """Whether nothing spreads them."""
        return not bool(self.variance.any())

    def distribution(self, likelihood: Likelihood) -> Distribution:
        """Predictive distribution of the targets."""
        if self.samples is not None:
            return likelihood.mixture(self.samples, self.centre)
        if self.covariance is not None:
            return likelihood.joint(self.mean, self.covariance)
        return likelihood.predictive(self.belief)

    def drawn(self, points: Tensor, factor: Tensor | float = 1.0) -> Tensor:
        """Draws (S, n, ...) of Gaussian outputs, from points (S, k) of N(0, 1); `factor` multiplies their covariance."""
        points = points.to(self.mean)[:, None]  # (S, 1, k)
        if self.covariance is None:
            steps = points * self.variance.flatten(1).sqrt()
        else:
            values, vectors = torch.linalg.eigh(self.covariance)  # never fails where it is singular
            steps = (vectors * values.clamp_min(0).sqrt()[:, None] @ points.movedim(0, -1)).movedim(-1, 0)
        return self.mean + torch.as_tensor(factor).sqrt() * steps.reshape(len(points), *self.mean.shape)

    def require_finite(self, where: str) -> Outputs:
        """The outputs; raises InvalidInput if some are not finite."""
        bad = ~torch.stack([part.reshape(len(part), -1).isfinite().all(1) for part in self.belief]).all(0)
        if bool(bad.any()):
            raise InvalidInput(
                "outputs are not finite",
                where=where,
                got=f"{int(bad.sum())} of {len(bad)} examples",
                cause="a network that diverged, or inputs that are NaN",
                fix="train it with a lower lr, or standardise the inputs",
            )
        return self


def _cat(parts: Sequence[Tensor | None], dim: int) -> Tensor | None:
    found = [part for part in parts if part is not None]
    return torch.cat(found, dim) if found else None
