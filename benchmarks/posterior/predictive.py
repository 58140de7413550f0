"""What is compared of a predictive: class probabilities, or quantiles of a real target; and by which distance."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution

from benchmarks.posterior.problems import SCORED

LEVELS = 50


def levels() -> Tensor:
    """Probabilities (i + 1/2) / 50 of the quantiles."""
    return (torch.arange(LEVELS, dtype=torch.float64) + 0.5) / LEVELS


def told(predictive: Distribution) -> Tensor:
    """Of a classification the probabilities (inputs, classes), of a regression the quantiles (inputs, levels)."""
    return predictive.probs if isinstance(predictive, Categorical) else predictive.icdf(levels())


def told_by_samples(outputs: Tensor, noise_variance: float | None) -> Tensor:
    """The same from network outputs (samples, inputs, outputs) at sampled weights."""
    if noise_variance is None:
        return outputs.softmax(2).mean(0)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(outputs.shape, generator=generator, dtype=outputs.dtype)
    return torch.quantile((outputs + noise_variance**0.5 * noise).squeeze(2), levels(), 0).T


def total_variation(found: Tensor, truth: Tensor) -> Tensor:
    """Half the sum of |p - q| over the classes, for every input.

    >>> total_variation(torch.tensor([[0.5, 0.5]]), torch.tensor([[0.2, 0.8]]))
    tensor([0.3000])
    """
    return 0.5 * (found - truth).abs().sum(1)


def wasserstein2(found: Tensor, truth: Tensor) -> Tensor:
    """(mean of (F^-1(u) - G^-1(u))^2 over the levels u)^(1/2), for every input; exact as the levels get dense.

    >>> normal = lambda mean, std: torch.distributions.Normal(mean, std).icdf(levels())[None]
    >>> round(wasserstein2(normal(0.0, 1.0), normal(3.0, 1.0)).item(), 4)
    3.0
    """
    return (found - truth).square().mean(1).sqrt()


def distances(found: Tensor, truth: Tensor, classes: bool) -> dict[str, float]:
    """Mean distance over the near inputs, over the far ones and over all."""
    name, each = ("tv", total_variation(found, truth)) if classes else ("w2", wasserstein2(found, truth))
    parts = {name: each[:SCORED], f"{name}_far": each[SCORED:], f"{name}_all": each}
    return {part: float(own.mean()) for part, own in parts.items()}
