"""The factor a = f(z), f(z) = z for z > 0 and l z below; l = 0 is the ReLU.

With w = sqrt(2 v), x = m / w, E = erfc(-x) = 2 P(z > 0), e = exp(-x^2) / sqrt(pi) and the mean overshoot at the
kink h = e - |x| erfc(|x|), all of which stay accurate in both tails:

    E[f]   = f(m) + (1 - l) w h / 2
    Var[f] = v (l^2 + (1 - l^2) E / 2 - (1 - l)^2 h (h + 2 |x|) / 2)

No term cancels for l > 0, at any x. Score form (`SCORE`, default), with the gain D = l + (1 - l) E / 2:

    g_z = D g - G ((E[f] - l m) (1 - D) + l (1 - l) w e / 2)     g dE[f]/dm - G/2 dVar[f]/dm, see factors/linear.py
    G_z = E[f'^2] G = ((1 + l) D - l) G                          Gauss-Newton, never negative

EP form (`EP`): the moments of the belief times the message that came back, divided by the belief.
It is exact for one variable, and its curvature is signed; summed over a batch the signed noise has to be
kept (clamping it at 0 was measured to stall training), so it serves small problems and as the reference.
Source: AMP-BNN thesis section 3.2.2, its misprinted marginal corrected; the moments are those of Frey & Hinton 1999.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from torch_gbp.autograd.bridge import Moments, Rule, Saved
from torch_gbp.errors import ImproperMarginal
from torch_gbp.factors.numerics import INV_SQRT_PI, SQRT_PI, floored, log_normal_cdf, truncated_moments
from torch_gbp.gaussian import Message

BLOCK = 32768  # entries at a time on a CPU: 20 passes over memory become 20 passes over its cache


class LeakyReLUOptions(NamedTuple):
    """slope below 0; learn is False where no backward sweep will come, which saves its preparation."""

    slope: float
    learn: bool = True


def forward(options: LeakyReLUOptions, mean: Tensor, variance: Tensor) -> tuple[Moments, Saved]:
    """Moments of a, same shape; float32 error below 2e-6 of max(|m|, s) and 2e-6 of v over |x| <= 100."""
    mean, variance = mean.contiguous(), variance.contiguous()
    if mean.numel() <= BLOCK or mean.device.type != "cpu" or torch.compiler.is_compiling():
        out_mean, out_var, *saved = _moments(options, mean, variance)
        return (out_mean, out_var), tuple(saved)
    results = [torch.empty_like(mean) for _ in range(4 if options.learn else 2)]
    for block in zip(*(tensor.view(-1).split(BLOCK) for tensor in (mean, variance, *results)), strict=True):
        _moments(options, *block)
    return (results[0], results[1]), tuple(results[2:])


def _moments(options: LeakyReLUOptions, mean: Tensor, variance: Tensor, *out: Tensor) -> list[Tensor]:
    """The moments, and gain and slack for the way back; written into the tensors that follow the first two, if there are any."""
    into: list[Any] = [*out] if out else [None] * 4
    slope, steep = options.slope, 1.0 - options.slope
    width = floored(variance).mul_(2).sqrt_()
    x = mean / width
    size, minus = x.abs(), x.neg()
    bell = x.mul_(minus).exp_()  # sqrt(pi) e
    twice_cdf = minus.erfc_()
    # The smaller tail is exactly 0 where the larger rounds to 2: nothing cancels beyond.
    tail = (2 - twice_cdf).clamp_max_(twice_cdf)
    overshoot = torch.addcmul(bell, size, tail, value=-SQRT_PI)  # sqrt(pi) h
    out_mean = torch.addcmul(F.leaky_relu(mean, slope), width, overshoot, value=0.5 * steep * INV_SQRT_PI, out=into[0])
    share = (twice_cdf * (0.5 * (1 - slope * slope))).add_(slope * slope)
    share.addcmul_(overshoot, size.mul_(2 * SQRT_PI).add_(overshoot), value=-0.5 * (steep * INV_SQRT_PI) ** 2)
    out_var = torch.mul(share if slope else share.clamp_min_(0), variance, out=into[1])
    if not options.learn:
        return [out_mean, out_var]
    gain = torch.mul(twice_cdf, 0.5 * steep, out=into[2]).add_(slope)
    rest = torch.sub(out_mean, mean, alpha=slope)
    slack = torch.addcmul(rest, rest, gain, value=-1, out=into[3])
    return [out_mean, out_var, gain, slack.addcmul_(width, bell, value=0.5 * slope * steep * INV_SQRT_PI)]


def score_backward(options: LeakyReLUOptions, saved: Saved, score: Tensor, precision: Tensor) -> tuple[Tensor, Tensor]:
    """Score form: the message through mean and variance, Gauss-Newton curvature."""
    gain, slack = saved
    assert gain is not None and slack is not None
    to_precision = torch.addcmul(precision * -options.slope, gain, precision, value=1.0 + options.slope)  # E[f'^2] G
    return torch.addcmul(score * gain, precision, slack, value=-1), to_precision


def gradient(options: LeakyReLUOptions, inputs: Saved, by_mean: Tensor, by_variance: Tensor) -> tuple[Tensor, Tensor]:
    """Derivatives of a loss by m and v from those by E[f] and Var[f], the bell b = exp(-x^2) / sqrt(2 pi):

    dE/dm = D      dE/dv = (1 - l) b / (2 s)      dVar/dm = 2 (l^2 m + (1 - l^2) (m P + s b) - E D)
    dVar/dv = l^2 + (1 - l^2) P - 2 E dE/dv                        s = sqrt(v), P = P(z > 0), D = l + (1 - l) P
    """
    mean, variance = inputs
    assert mean is not None and variance is not None
    slope, deviation = options.slope, floored(variance).sqrt()
    (expected, _), _ = forward(options._replace(learn=False), mean, variance)
    bell = torch.exp(-0.5 * (mean / deviation).square()) * (INV_SQRT_PI / math.sqrt(2))
    above = 0.5 * torch.erfc(-mean / deviation * math.sqrt(0.5))
    gain, drift = slope + (1 - slope) * above, 0.5 * (1 - slope) * bell / deviation
    overlap = slope**2 * mean + (1 - slope**2) * (mean * above + deviation * bell) - expected * gain
    spread = slope**2 + (1 - slope**2) * above - 2 * expected * drift
    return by_mean * gain + 2 * by_variance * overlap, by_mean * drift + by_variance * spread


def ep_forward(options: LeakyReLUOptions, mean: Tensor, variance: Tensor) -> tuple[Moments, Saved]:
    """The same moments; keeps the belief, which the backward message divides out."""
    moments, _ = forward(options._replace(learn=False), mean, variance)
    return moments, (mean, variance, moments[0])


def ep_backward(options: LeakyReLUOptions, saved: Saved, score: Tensor, precision: Tensor) -> tuple[Tensor, Tensor]:
    """EP form: (posterior mean - m) / posterior variance, and 1 / posterior variance - 1 / v."""
    mean, variance, out_mean = saved
    assert mean is not None and variance is not None and out_mean is not None
    above = Message.centred(score, precision, out_mean)
    log_mass, means, variances = pieces(options.slope, mean, variance, above)
    weight, other = torch.softmax(log_mass, 0)
    (mean_up, mean_down), (var_up, var_down) = means, variances
    marginal_mean = weight * mean_up + other * mean_down
    marginal_var = weight * var_up + other * var_down + weight * other * (mean_up - mean_down) ** 2
    return (marginal_mean - mean) / marginal_var, marginal_var.reciprocal() - variance.reciprocal()


def pieces(slope: float, mean: Tensor, variance: Tensor, above: Message) -> tuple[Tensor, Tensor, Tensor]:
    """Log mass, mean and variance of N(z; m, v) above(f(z)) on z > 0 and on z < 0, stacked in this order."""
    steep, sign = (mean.new_tensor(pair).view(2, *(1 for _ in mean.shape)) for pair in ((1.0, slope), (1.0, -1.0)))
    total = variance.reciprocal() + steep.square() * above.precision
    if not bool((total > 0).all()):
        raise ImproperMarginal(
            "the message to an activation outweighs its belief with negative precision",
            where="the EP form of LeakyReLU",
            got=f"worst precision {total.min():.3g}",
            cause="an improper message from above",
            fix="use the score form",
        )
    centre = (mean / variance + steep * above.information) / total
    deviation = total.rsqrt()
    t = sign * centre / deviation
    shift, spread = truncated_moments(t)
    log_mass = 0.5 * (centre.square() * total - mean.square() / variance) - 0.5 * torch.log(total * variance)
    return log_mass + log_normal_cdf(t), sign * deviation * shift, deviation.square() * spread


SCORE = Rule(forward, score_backward, gradient)
EP = Rule(ep_forward, ep_backward, gradient)
