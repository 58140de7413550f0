"""Priors of the weights: how wide, where they are centred, and where the first sweep starts.

The width follows a `VarianceFormula` of the layer's fan-in, fan-out ratio. All-zero weights are a symmetric point that
no message can leave, so the marginals start at random means: with variance 2 / fan-in, which hands the energy of a signal on
through a rectifier, however many layers follow. Prior means are 0; with `random_prior_mean` they are the random start, then of
the thesis' "spectral" scale.
Source: AMP-BNN thesis, Appendix B, and its public code; He et al. 2015, eq. 10, for the start; the default formula, the narrow
scale and the zero prior mean were chosen by measurement (benchmarks/README.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from torch_gbp.checks import VARIANCE, require, require_callable

# LeakyReLU(0.1) activations under the thesis' model of a hidden layer, z ~ N(u, 2) with u ~ N(0, 1):
_VARIANCE = 0.8040586726631379  # b, E of an activation's variance
_THESIS_SECOND_MOMENT = 0.44958619556324186  # a, what the thesis takes for E of an activation's squared mean
_SECOND_MOMENT = 0.710938354471  # that expectation, by quadrature
_TARGET = 1.5  # wanted variance of a pre-activation, before the bias
BIAS_VARIANCE = 0.5
BIAS_START_VARIANCE = (
    0.01  # all examples say something to a bias, so it needs no doubt to be moved, and in a forward pass it is noise
)
RECTIFIER_GAIN = 2.0  # variance of the start times fan-in: half of a signal's energy goes through a rectifier

VarianceFormula = Callable[[int, float], float]
"""(fan-in, r = min(1, fan-out / fan-in)) -> prior variance of a weight."""


def code(fan_in: int, ratio: float) -> float:
    """v = (1.5 - r b) / (a fan_in + b), a = 0.4496, b = 0.8041, as in AMP-BNN's public code (default).

    >>> f"{code(256, 1.0):.5f}"
    '0.00600'
    """
    return (_TARGET - ratio * _VARIANCE) / (fan_in * _THESIS_SECOND_MOMENT + _VARIANCE)


def thesis(fan_in: int, ratio: float) -> float:
    """v = (1.5 - r b) / (fan_in (a + b)), as the thesis derives it in Appendix B.

    >>> f"{thesis(256, 1.0):.5f}"
    '0.00217'
    """
    return (_TARGET - ratio * _VARIANCE) / (fan_in * (_THESIS_SECOND_MOMENT + _VARIANCE))


def corrected(fan_in: int, ratio: float) -> float:
    """v = (1.5 - r b) / (fan_in (a' + b)), a' = 0.7109: the derivation with the right second moment.

    With it and prior means of standard deviation sqrt(r / fan_in), a hidden pre-activation has variance 1.5 on average.

    >>> f"{corrected(256, 1.0):.5f}"
    '0.00179'
    """
    return (_TARGET - ratio * _VARIANCE) / (fan_in * (_SECOND_MOMENT + _VARIANCE))


def first_layer(fan_in: int, ratio: float) -> float:
    """v = 1.5 / fan_in, the code's prior of the layer that reads standardised inputs.

    >>> first_layer(6, 1.0)
    0.25
    """
    return _TARGET / fan_in


class Prior(NamedTuple):
    """Prior of one weight tensor: its variance, and the standard deviation of the random start of the means.

    The prior mean is 0; with `random_mean` it is the random start. A store that anneals the precisions begins with marginals of
    variance `start_variance` at most (None: as wide as the prior).
    """

    variance: float
    start_deviation: float
    random_mean: bool = False
    start_variance: float | None = None


def weight_prior(
    fan_in: int,
    fan_out: int,
    scale: float,
    variance: float | None = None,
    formula: VarianceFormula = code,
    random_mean: bool = False,
) -> Prior:
    """Prior of a layer's weights from its fan-in and fan-out.

    v = scale formula(fan_in, r) with r = min(1, fan_out / fan_in), unless `variance` is given; the start has standard
    deviation sqrt(2 / fan_in), or sqrt(r / fan_in) where it is the prior mean.

    Raises:
        InvalidInput: variance or scale that is not positive and finite.

    >>> f"{weight_prior(256, 256, scale=1.0).variance:.5f}"
    '0.00600'
    """
    ratio = min(1.0, fan_out / fan_in)
    if variance is None:
        require_callable("prior_formula", formula, "the prior", fix="use torch_gbp.weights.priors.code")
        variance = _positive("prior_scale", scale) * _positive("prior_formula's variance", formula(fan_in, ratio))
    start = ratio if random_mean else RECTIFIER_GAIN
    return Prior(_positive("prior_variance", variance), math.sqrt(start / fan_in), random_mean)


def bias_prior(variance: float = BIAS_VARIANCE) -> Prior:
    """Prior N(0, variance) of every bias; it starts at its mean, with little variance."""
    return Prior(_positive("bias_variance", variance), 0.0, start_variance=BIAS_START_VARIANCE)


def empirical_variance(mean: Tensor, variance: Tensor, centre: Tensor) -> Tensor:
    """The prior variance that the marginals of a layer's weights favour (empirical Bayes), a scalar.

    v0 = average over the weights of (m - m0)^2 + v. It maximises the expected log prior
    sum E_q[log N(w; m0, v0)] under the marginals q = N(m, v), whose derivative with respect to v0 is
    sum ((m - m0)^2 + v - v0) / (2 v0^2): the M step of EM for the evidence, or for its lower bound where q is factorised.

    >>> import torch
    >>> empirical_variance(torch.tensor([1.0, 3.0]), torch.tensor([0.5, 0.5]), torch.tensor(1.0)).item()
    2.5
    """
    return ((mean - centre).square() + variance).mean()


def _positive(name: str, value: float) -> float:
    cause, fix = "a variance of 0 would fix the weight for ever", "give a small positive value"
    return require(name, value, VARIANCE, "the prior", cause=cause, fix=fix)
