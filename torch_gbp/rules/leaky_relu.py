"""The factor a = f(z), f(z) = z for z > 0 and l z below; l = 0 is the ReLU.

With s = sqrt(v), x = m / s, Phi and phi at x, and the partial expectations k = E[max(z, 0)] / s,
q = E[max(-z, 0)] / s (so that k - q = x and k (1 - Phi) + q Phi = phi):

    E[f]   = l m + (1 - l) s k
    Var[f] = v (l^2 + 2 l (1 - l) Phi + (1 - l)^2 (Phi - k q))

Written in k and q no term cancels for l > 0, at any x. Score form (`SCORE`, default), D = l + (1 - l) Phi:

    g_z = D g - G s (1 - l) (l phi + (1 - l) k (1 - Phi))        exact: g dE/dm - G/2 dVar/dm
    G_z = E[f'^2] G = (l^2 + (1 - l^2) Phi) G                    Gauss-Newton, never negative

EP form (`EP`): the moments of the belief times the message that came back, divided by the belief.
It is exact for one variable, and its curvature is signed; summed over a batch the signed noise has to be
kept (clamping it at 0 was measured to stall training), so it serves small problems and as the reference.
Source: moments, Frey & Hinton 1999; EP form, thesis section 4.3 with its misprint corrected.
"""

from __future__ import annotations

import torch
from torch import Tensor

from torch_gbp.errors import ImproperMarginal, explain
from torch_gbp.factor import Moments, Rule, Saved
from torch_gbp.numerics import SQRT_HALF, log_normal_cdf, normal_pdf, standard_deviation, truncated_moments


def forward(slope: float, mean: Tensor, variance: Tensor) -> tuple[Moments, Saved]:
    """Moments of a, same shape; float32 error below 2e-6 of max(|m|, s) and 2e-6 of v over |x| <= 100."""
    deviation = standard_deviation(variance)
    x = mean / deviation
    size = x.abs()
    tail = torch.erfc(size * SQRT_HALF).mul_(0.5)  # Phi(-|x|)
    pdf = normal_pdf(x)
    small = torch.addcmul(pdf, size, tail, value=-1)  # the smaller of k and q
    cdf = torch.where(x > 0, 1 - tail, tail)
    above = x.clamp_min(0).add_(small)  # k
    spread = torch.addcmul(cdf, small, small + size, value=-1)  # Phi - k q
    steep = 1.0 - slope
    slack = torch.addcmul(pdf * slope, above, 1 - cdf, value=steep).mul_(deviation).mul_(steep)
    gain = cdf.mul(steep).add_(slope)  # D
    out_mean = torch.addcmul(mean * slope, deviation, above, value=steep)
    share = spread.mul_(steep * steep).add_(cdf, alpha=2 * slope * steep).add_(slope * slope)
    return (out_mean, share.mul_(variance)), (gain, slack)


def score_backward(slope: float, saved: Saved, score: Tensor, precision: Tensor) -> tuple[Tensor, Tensor]:
    """Score form: exact score through mean and variance, Gauss-Newton curvature."""
    gain, slack = saved
    assert gain is not None and slack is not None
    curvature = gain.mul(1.0 + slope).sub_(slope)  # E[f'^2] = (1 + l) D - l
    return torch.addcmul(score * gain, precision, slack, value=-1), curvature.mul_(precision)


def ep_forward(slope: float, mean: Tensor, variance: Tensor) -> tuple[Moments, Saved]:
    """The same moments; keeps the belief, which the backward message divides out."""
    moments, _ = forward(slope, mean, variance)
    return moments, (mean, variance, moments[0])


def ep_backward(slope: float, saved: Saved, score: Tensor, precision: Tensor) -> tuple[Tensor, Tensor]:
    """EP form: (posterior mean - m) / posterior variance, and 1 / posterior variance - 1 / v."""
    mean, variance, out_mean = saved
    assert mean is not None and variance is not None and out_mean is not None
    information = score + precision * out_mean
    pieces = [_piece(mean, variance, s * information, s * s * precision, sign) for s, sign in ((1.0, 1), (slope, -1))]
    log_mass = torch.stack([piece[0] for piece in pieces])
    weight, other = torch.softmax(log_mass, 0)
    (_, mean_up, var_up), (_, mean_down, var_down) = pieces
    marginal_mean = weight * mean_up + other * mean_down
    marginal_var = weight * var_up + other * var_down + weight * other * (mean_up - mean_down) ** 2
    return (marginal_mean - mean) / marginal_var, marginal_var.reciprocal() - variance.reciprocal()


def _piece(mean: Tensor, variance: Tensor, information: Tensor, precision: Tensor, sign: int) -> tuple[Tensor, ...]:
    """Log mass, mean and variance of N(z; m, v) exp(information z - precision z^2 / 2) on sign z > 0."""
    total = variance.reciprocal() + precision
    if not bool((total > 0).all()):
        raise ImproperMarginal(explain("the message to an activation outweighs its belief with negative precision",
                                       where="the EP form of LeakyReLU", got=f"worst precision {total.min():.3g}",
                                       cause="an improper message from above", fix="use the score form"))
    centre = (mean / variance + information) / total
    deviation = total.rsqrt()
    t = sign * centre / deviation
    shift, spread = truncated_moments(t)
    log_mass = 0.5 * (centre.square() * total - mean.square() / variance) - 0.5 * torch.log(total * variance)
    return log_mass + log_normal_cdf(t), sign * deviation * shift, deviation.square() * spread


SCORE = Rule(forward, score_backward)
EP = Rule(ep_forward, ep_backward)
