"""The factor a = f(z), f(z) = max(z, l z), with exact marginals on both sides.

The belief of z times the message from above, told of f(z), is two truncated Gaussians, z > 0 and z < 0 (`leaky_relu.pieces`),
weighted by their masses. All in log space, so messages that disagree by any number of deviations still speak.

Forward, to a: the marginal of a / the message from above. Without one (first sweep), and where the quotient would say more
than z itself does (precision below 1 / v), the moments of f(z).
Backward, the derivatives of the log evidence at the belief N(m, v) of z, from the marginal N(m_q, v_q) of z:

    g = (m_q - m) / v,        G = (v - min(v_q, v)) / v^2

A marginal wider than the belief (the message contradicts it across the kink) counts as one as wide, as in the reference:
its message has the marginal's mean and no precision.
Source: AMP-BNN thesis section 3.2.2, its misprinted forward marginal and missing 1 / l corrected as in its code.
"""

from __future__ import annotations

import torch
from torch import Tensor

from torch_gbp.autograd.bridge import Moments, Rule, Saved
from torch_gbp.factors import leaky_relu
from torch_gbp.factors.leaky_relu import LeakyReLUOptions, pieces
from torch_gbp.gaussian import Gaussian, Message


def forward(
    options: LeakyReLUOptions, mean: Tensor, variance: Tensor, information: Tensor | None, precision: Tensor | None
) -> tuple[Moments, Saved]:
    """Moments of the message to a; (information, precision) is the message from above in natural form, if there is one."""
    moments, _ = leaky_relu.forward(options._replace(learn=False), mean, variance)
    if information is not None and precision is not None:
        above = Message(information, precision)
        moments = _quotient(Gaussian(*moments), _marginal(options.slope, options.slope, mean, variance, above), above, variance)
    return moments, (mean, variance, *moments)


def backward(options: LeakyReLUOptions, saved: Saved, score: Tensor, precision: Tensor) -> tuple[Tensor | None, ...]:
    """Derivatives of the log evidence at the belief of z."""
    mean, variance, out_mean, out_var = saved
    assert mean is not None and variance is not None and out_mean is not None and out_var is not None
    above = Gaussian(out_mean, out_var).evidence_message(score, precision)
    q_mean, q_var = _marginal(options.slope, 1.0, mean, variance, above)
    return (q_mean - mean) / variance, (variance - torch.minimum(q_var, variance)) / variance.square(), None, None


def _marginal(slope: float, scale: float, mean: Tensor, variance: Tensor, above: Message) -> Gaussian:
    """Marginal of z (scale 1), or of a (scale = slope: what z < 0 is multiplied by)."""
    log_mass, (up, down), (up_var, down_var) = pieces(slope, mean, variance, above)
    weight, other = torch.softmax(log_mass, 0)
    down, down_var = scale * down, scale * scale * down_var
    spread = weight * up_var + other * down_var + weight * other * (up - down) ** 2
    return Gaussian(weight * up + other * down, spread)


def _quotient(plain: Gaussian, marginal: Gaussian, above: Message, variance: Tensor) -> Moments:
    """Moments of marginal / above, or the plain ones where the quotient is wider than z."""
    information, precision = marginal.message() / above
    sound = precision >= variance.reciprocal()
    safe = torch.where(sound, precision, torch.ones_like(precision))
    return torch.where(sound, information / safe, plain.mean), torch.where(sound, safe.reciprocal(), plain.variance)


RULE = Rule(forward, backward)
