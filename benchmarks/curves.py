"""The thesis' curve, noisy points on it, and a network that has learnt it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Normal

import torch_gbp as gbp
from benchmarks.textbook import Fitting, make

NOISE = 0.05  # standard deviation, known to the network
DATA_SEED = 98  # every network sees the same points


def curve(x: Tensor) -> Tensor:
    """0.5 x + 0.2 sin 2 pi x + 0.3 sin 4 pi x (AMP-BNN thesis, section 5.1)."""
    return 0.5 * x + 0.2 * torch.sin(2 * torch.pi * x) + 0.3 * torch.sin(4 * torch.pi * x)


def points(count: int, low: float, high: float, noise: float = NOISE, seed: int = DATA_SEED) -> tuple[Tensor, Tensor]:
    """Inputs, uniform in the range, and noisy values, both (count, 1)."""
    generator = torch.Generator().manual_seed(seed)
    x = low + (high - low) * torch.rand(count, 1, generator=generator, dtype=torch.float64)
    return x, curve(x) + noise * torch.randn(x.shape, generator=generator, dtype=torch.float64)


def line(low: float, high: float, count: int) -> Tensor:
    """Inputs at even distances, (count, 1)."""
    return torch.linspace(low, high, count, dtype=torch.float64)[:, None]


def learn(fitting: Fitting, widths: list[int], x: Tensor, y: Tensor, epochs: int | None, seed: int) -> gbp.Trainer:
    """A network whose prior means and order of examples come from the seed, after so many sweeps."""
    return fitting.fit(make(widths, seed), gbp.Regression(NOISE**2), x, y, epochs, seed)


def predictive(trainer: gbp.Trainer, x: Tensor) -> Normal:
    """Distribution of a new value at each input, noise included."""
    found = trainer.predict(x)
    assert isinstance(found, Normal)
    return found
