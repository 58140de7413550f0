"""Variance formulas of weight priors: (fan-in, fan-out ratio) -> variance of a weight.

All aim at pre-activations of variance 1.5, before the bias, of a hidden layer behind LeakyReLU(0.1) activations, for
pre-activations z ~ N(u, 2), u ~ N(0, 1): b is the mean variance of an activation, a or a' the mean of its squared mean.
Source: AMP-BNN thesis, Appendix B, and its public code.
"""

from __future__ import annotations

from collections.abc import Callable

_VARIANCE = 0.8040586726631379  # b
_ASSUMED_SECOND_MOMENT = 0.44958619556324186  # a, what the thesis takes for that mean
_SECOND_MOMENT = 0.710938354471  # a', that mean by quadrature
_TARGET = 1.5  # wanted variance of a pre-activation

VarianceFormula = Callable[[int, float], float]
"""(fan-in, r = min(1, fan-out / fan-in)) -> prior variance of a weight."""


def offset_scaled(fan_in: int, ratio: float) -> float:
    """v = (1.5 - r b) / (a fan_in + b), a = 0.4496, b = 0.8041: the default, as in AMP-BNN's public code.

    >>> f"{offset_scaled(256, 1.0):.5f}"
    '0.00600'
    """
    return (_TARGET - ratio * _VARIANCE) / (fan_in * _ASSUMED_SECOND_MOMENT + _VARIANCE)


def fan_in_scaled(fan_in: int, ratio: float) -> float:
    """v = (1.5 - r b) / (fan_in (a + b)), as the thesis derives it in Appendix B.

    >>> f"{fan_in_scaled(256, 1.0):.5f}"
    '0.00217'
    """
    return (_TARGET - ratio * _VARIANCE) / (fan_in * (_ASSUMED_SECOND_MOMENT + _VARIANCE))


def variance_preserving(fan_in: int, ratio: float) -> float:
    """v = (1.5 - r b) / (fan_in (a' + b)), a' = 0.7109: that derivation with the right second moment.

    With it and prior means of standard deviation sqrt(r / fan_in), a hidden pre-activation has variance 1.5 on average.

    >>> f"{variance_preserving(256, 1.0):.5f}"
    '0.00179'
    """
    return (_TARGET - ratio * _VARIANCE) / (fan_in * (_SECOND_MOMENT + _VARIANCE))


def first_layer(fan_in: int, ratio: float) -> float:
    """v = 1.5 / fan_in, for the layer that reads standardised inputs.

    >>> first_layer(6, 1.0)
    0.25
    """
    return _TARGET / fan_in
