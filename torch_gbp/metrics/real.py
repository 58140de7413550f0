"""Scores of predictive distributions of real targets."""

from __future__ import annotations

import torch
from torch import Tensor

from torch_gbp.errors.checks import require_moments
from torch_gbp.gaussian import Gaussian
from torch_gbp.likelihoods.targets import check_values
from torch_gbp.metrics.mixture import Mixture

LEVELS = tuple(0.05 + 0.9 * k / 14 for k in range(15))  # of the quantile calibration error, as in torch-uncertainty


def regression_scores(mean: Tensor, variance: Tensor, target: Tensor) -> dict[str, float]:
    """Root mean squared error (units of the target) and mean log density (nats per example).

    Args:
        mean, variance: of the predictive distribution, (n, ...), the variance with the noise.
        target: as `mean`.

    Raises:
        InvalidInput: targets of another shape, or not finite; variances that are negative.

    >>> regression_scores(torch.zeros(1, 1), torch.ones(1, 1), torch.ones(1, 1))["rmse"]
    1.0
    """
    require_moments(mean, variance, "regression_scores")
    check_values(Gaussian(mean, variance), target, "regression_scores")
    y = target.double()
    density = Mixture.gaussian(mean.double(), variance.double().sqrt()).log_prob(y)
    return {"rmse": root_mean_square(y - mean), "log_likelihood": float(density.sum() / len(y))}


def root_mean_square(gap: Tensor) -> float:
    """Root of the mean square of all entries."""
    return float(gap.double().square().mean().sqrt())


def interval_coverage(pit: Tensor, level: float) -> float:
    """Share of targets in the central interval of this probability.

    Args:
        pit: probability integral transform P(Y <= y) at the targets, any shape.
        level: probability of the interval.

    >>> interval_coverage(torch.tensor([0.5, 0.04, 0.9]), level=0.9)
    0.6666666666666666
    """
    return float(((pit - 0.5).abs() <= level / 2).double().mean())


def quantile_calibration_error(pit: Tensor, levels: tuple[float, ...] = LEVELS) -> float:
    """Quantile calibration error: mean over the levels of |share of targets in the central interval - level|.

    Args:
        pit: probability integral transform P(Y <= y) at the targets, any shape.
        levels: 15 of them from .05 to .95.

    Source: Kuleshov et al. 2018, equation 9, of central intervals and absolute gaps, as in torch-uncertainty (`cal/QCE`).

    >>> round(quantile_calibration_error(torch.full((4,), 0.5)), 4)
    0.5
    """
    return sum(abs(interval_coverage(pit, level) - level) for level in levels) / len(levels)


def distance_from_uniform(pit: Tensor) -> float:
    """Kolmogorov-Smirnov distance of the probability integral transform from the uniform distribution, max |F_n(u) - u|.

    >>> round(distance_from_uniform(torch.tensor([0.25, 0.5, 0.75])), 4)
    0.25
    """
    u = pit.double().flatten().sort().values
    number = torch.arange(len(u) + 1, dtype=torch.float64, device=u.device) / len(u)
    return float(torch.maximum(number[1:] - u, u - number[:-1]).max())
