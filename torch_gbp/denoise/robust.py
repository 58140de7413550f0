"""Robust factors: a Gaussian factor whose strength falls with its squared Mahalanobis distance M^2 = r^2 / sigma^2.

A factor of a robust energy is sent as a Gaussian one with precision k / sigma^2. k is chosen, at the current beliefs, so
that the Gaussian energy k M^2 / 2 has the value of the robust one:

    Tukey-like   E = min(M^2, N^2) / 2              k = min(1, (N / M)^2)
    Huber        E = M^2 / 2, beyond N: N M - N^2 / 2    k = 1, beyond N: 2 N / M - (N / M)^2

What the iteration comes to rest at is the stationary point of the energy whose derivative is k M, `descended`; it is
Tukey's up to N and grows with the logarithm of M beyond, and for Huber linearly less a logarithm.
Source: Davison & Ortiz 2019, section 5; GBP Learning, tables D1 to D3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import DEVIATION, require, shown


@runtime_checkable
class Robust(Protocol):
    """A robust energy as a function of the squared Mahalanobis distance M^2, elementwise."""

    def weight(self, squared: Tensor) -> Tensor:
        """k in (0, 1], by which the factor's precision is multiplied."""
        ...

    def energy(self, squared: Tensor) -> Tensor:
        """The robust energy, whose value k M^2 / 2 is."""
        ...

    def descended(self, squared: Tensor) -> Tensor:
        """The energy whose derivative with respect to M is k M: what repeated reweighting descends."""
        ...


def require_robust(robust: Any, where: str) -> None:
    """Raises InvalidInput unless the argument is a robust energy, and not its class."""
    if isinstance(robust, type) or not isinstance(robust, Robust):
        got, fix = shown(robust), "use Tukey(0.2), Huber(1.0) or Quadratic()"
        raise InvalidInput("robust must be a robust energy", where=where, got=got, cause="a class, not an instance", fix=fix)


@dataclass(frozen=True)
class Quadratic:
    """No robustness: k = 1, energy M^2 / 2."""

    def weight(self, squared: Tensor) -> Tensor:
        return torch.ones_like(squared)

    def energy(self, squared: Tensor) -> Tensor:
        return squared / 2

    def descended(self, squared: Tensor) -> Tensor:
        return squared / 2


QUADRATIC = Quadratic()


@dataclass(frozen=True)
class _Beyond:
    """An energy that is quadratic up to the distance N (`threshold`)."""

    threshold: float

    def __post_init__(self) -> None:
        where = type(self).__name__
        threshold = require("threshold", self.threshold, DEVIATION, where, fix=f"use {where}(1.0), in standard deviations")
        object.__setattr__(self, "threshold", threshold)


@dataclass(frozen=True)
class Tukey(_Beyond):
    """Flat beyond the distance N (`threshold`, in standard deviations): k = min(1, (N / M)^2).

    >>> Tukey(2.0).weight(torch.tensor([1.0, 16.0])), Tukey(2.0).energy(torch.tensor([1.0, 16.0]))
    (tensor([1.0000, 0.2500]), tensor([0.5000, 2.0000]))
    """

    def weight(self, squared: Tensor) -> Tensor:
        return self.threshold**2 / squared.clamp_min(self.threshold**2)

    def energy(self, squared: Tensor) -> Tensor:
        return squared.clamp_max(self.threshold**2) / 2

    def descended(self, squared: Tensor) -> Tensor:
        """min(M^2, N^2) / 2 + N^2 max(0, ln(M / N))."""
        beyond = (squared / self.threshold**2).clamp_min(1).log()
        return self.energy(squared) + self.threshold**2 * beyond / 2


@dataclass(frozen=True)
class Huber(_Beyond):
    """Linear beyond the distance N (`threshold`, in standard deviations): k = 2 N / M - (N / M)^2.

    >>> Huber(1.0).weight(torch.tensor([0.25, 4.0])), Huber(1.0).energy(torch.tensor([0.25, 4.0]))
    (tensor([1.0000, 0.7500]), tensor([0.1250, 1.5000]))
    """

    def weight(self, squared: Tensor) -> Tensor:
        ratio = self.threshold * squared.clamp_min(self.threshold**2).rsqrt()
        return ratio * (2 - ratio)

    def energy(self, squared: Tensor) -> Tensor:
        return self.weight(squared) * squared / 2

    def descended(self, squared: Tensor) -> Tensor:
        """M^2 / 2, beyond N: 2 N M - 3 N^2 / 2 - N^2 ln(M / N)."""
        far = squared.clamp_min(self.threshold**2)
        linear = 2 * self.threshold * far.sqrt() - 1.5 * self.threshold**2
        beyond = linear - self.threshold**2 * (far / self.threshold**2).log() / 2
        return torch.where(squared > self.threshold**2, beyond, squared / 2)
