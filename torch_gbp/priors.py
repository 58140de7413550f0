"""Priors of the weights: how wide, and where the first sweep starts.

The prior mean of every weight is 0. All-zero weights are a symmetric point that no message can leave, so the
marginals start at random means ("spectral" scale); the start is not part of the prior.
Source: the variance formula of AMP-BNN's public code (Appendix B of the thesis prints another denominator);
the narrow scale and the zero prior mean were chosen by measurement (benchmarks/README.md).
"""

from __future__ import annotations

import math
from typing import NamedTuple

from torch_gbp.errors import InvalidInput

# Moments of LeakyReLU(0.1) activations under the thesis' model of a hidden layer:
_SECOND_MOMENT = 0.44958619556324186  # of an activation's mean
_VARIANCE = 0.8040586726631379  # E[variance] of an activation
_TARGET = 1.5  # wanted variance of a pre-activation, before the bias
BIAS_VARIANCE = 0.5


class Prior(NamedTuple):
    """Prior of one weight tensor: N(mean 0, variance), and the standard deviation of the random start."""

    variance: float
    start_deviation: float


def weight_prior(fan_in: int, fan_out: int, scale: float, variance: float | None = None) -> Prior:
    """Prior of a layer's weights from its fan-in and fan-out.

    v = scale (1.5 - r b) / (a fan_in + b) with r = min(1, fan_out / fan_in), a = 0.4496, b = 0.8041, unless
    `variance` is given; the start has standard deviation sqrt(r / fan_in).

    Raises:
        InvalidInput: variance or scale that is not positive and finite.

    >>> f"{weight_prior(256, 256, scale=1.0).variance:.5f}"
    '0.00600'
    """
    ratio = min(1.0, fan_out / fan_in)
    if variance is None:
        variance = _positive("prior_scale", scale) * (_TARGET - ratio * _VARIANCE) / (fan_in * _SECOND_MOMENT + _VARIANCE)
    return Prior(_positive("prior_variance", variance), math.sqrt(ratio / fan_in))


def bias_prior() -> Prior:
    """Prior N(0, 0.5) of every bias; it starts at its mean."""
    return Prior(BIAS_VARIANCE, 0.0)


def _positive(name: str, value: float) -> float:
    if not (math.isfinite(value) and value > 0):
        raise InvalidInput(
            f"{name} must be a positive number",
            got=repr(value),
            cause="a variance of 0 would fix the weight for ever",
            fix="give a small positive value",
        )
    return float(value)
