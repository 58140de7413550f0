"""The factor of a noisy copy with a prior of its own: y = z + e, e ~ N(0, noise), y ~ N(0, 1 / R).

With s = v + noise and r = 1 + s R, the belief of y is m_y = m / r, v_y = s / r, and from a message (g, G) to y goes to z

    g_z = (g - m R) / r          G_z = (G / r + R) / r

the derivatives of the log evidence through m_y and the prior. Source: GBP Learning (arXiv 2311.14649), unary factors.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from torch_gbp.autograd.bridge import Moments, Rule, Saved


class UnaryOptions(NamedTuple):
    """Variance of the noise, and precision of the prior of what comes out (0 for none)."""

    noise: float = 0.0
    precision: float = 0.0


def forward(options: UnaryOptions, mean: Tensor, variance: Tensor) -> tuple[Moments, Saved]:
    """Moments of y, as the input is shaped."""
    variance = variance + options.noise
    if not options.precision:
        return (mean, variance), ()
    rest = 1 + variance * options.precision
    return (mean / rest, variance / rest), (mean, rest)


def backward(options: UnaryOptions, saved: Saved, score: Tensor, precision: Tensor) -> tuple[Tensor, Tensor]:
    """Centred message to z."""
    if not saved:
        return score, precision
    mean, rest = saved
    assert mean is not None and rest is not None
    return (score - mean * options.precision) / rest, (precision / rest + options.precision) / rest


RULE = Rule(forward, backward)
