"""The factor a = f(z), f(z) = z for z > 0 and l z below; l = 0 is the ReLU.

With w = sqrt(2 v), x = m / w, E = erfc(-x) = 2 P(z > 0), e = exp(-x^2) / sqrt(pi) and the mean overshoot at the
kink h = e - |x| erfc(|x|), all of which stay accurate in both tails:

    E[f]   = f(m) + (1 - l) w h / 2
    Var[f] = v (l^2 + (1 - l^2) E / 2 - (1 - l)^2 h (h + 2 |x|) / 2)

No term cancels for l > 0, at any x. Score form (`SCORE`, default), with the gain D = E[f'] = l + (1 - l) E / 2:

    g_z = D g - G Cov(f, f')        Cov(f, f') = (E[f] - l m) (1 - D) + l (1 - l) w e / 2
    G_z = E[f'^2] G                 E[f'^2] = (1 + l) D - l                      Gauss-Newton, never negative

and the derivatives of a loss by v with d = E[f''] = (1 - l) phi(m / s) / s: dE[f]/dv = d / 2, dVar[f]/dv = E[f'^2] - E[f] d.
At a mean of exactly 0, E[f''] grows like 1 / s; at variance 0 it is that of the smallest variance (numerics.floored).

EP form (`EP`): the moments of the belief times the message that came back, divided by the belief.
It is exact for one variable, and its curvature is signed; summed over a batch the signed noise has to be
kept (clamping it at 0 was measured to stall training), so it serves small problems and as the reference.
Source: AMP-BNN thesis section 3.2.2, its misprinted marginal corrected; the moments are those of Frey & Hinton 1999.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from torch_gbp.autograd.bridge import Moments, Rule, Saved
from torch_gbp.errors import ImproperMarginal
from torch_gbp.factors.elementwise import Elementwise, LinearisedElementwise
from torch_gbp.factors.factor import Factor
from torch_gbp.factors.numerics import INV_SQRT_PI, SQRT_HALF, SQRT_PI, floored, log_normal_cdf, truncated_moments
from torch_gbp.factors.quadrature import Expectations
from torch_gbp.gaussian import Gaussian, Message

BLOCK = 32768  # entries at a time on a CPU: 20 passes over memory become 20 passes over its cache


class LeakyReLUOptions(NamedTuple):
    """slope below 0; learn is False where no backward sweep will come, which saves its preparation."""

    slope: float
    learn: bool = True

    @property
    def arguments(self) -> tuple[float]:
        """What torch's function takes."""
        return (self.slope,)


def forward(options: LeakyReLUOptions, mean: Tensor, variance: Tensor) -> tuple[Moments, Saved]:
    """Moments of a, same shape; float32 error below 2e-6 of max(|m|, s) and 2e-6 of v over |x| <= 100."""
    mean, variance = mean.contiguous(), variance.contiguous()
    if torch.compiler.is_compiling() or mean.device.type != "cpu" or mean.numel() <= BLOCK:  # exported, a batch has no size
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


def gradient(options: LeakyReLUOptions, inputs: Saved, by_mean: Tensor, by_variance: Tensor) -> tuple[Tensor | None, ...]:
    """Derivatives of a loss by m and v from those by E[f] and Var[f]."""
    return LEAKY_RELU.gradient(options, inputs, by_mean, by_variance)


def linearised_forward(options: LeakyReLUOptions, mean: Tensor, variance: Tensor) -> tuple[Moments, Saved]:
    """Moments of a to first order; at 0 the slope is the one below."""
    return (F.leaky_relu(mean, options.slope), _sloped(variance, mean, options.slope**2)), (mean,)


def linearised_backward(options: LeakyReLUOptions, saved: Saved, score: Tensor, precision: Tensor) -> tuple[Tensor, Tensor]:
    """f' g and f'^2 G."""
    (mean,) = saved
    assert mean is not None
    return _sloped(score, mean, options.slope), _sloped(precision, mean, options.slope**2)


def _sloped(part: Tensor, at: Tensor, slope: float) -> Tensor:
    """part x (1 where at > 0, slope elsewhere), in one pass over memory."""
    return torch.ops.aten.leaky_relu_backward(part, at, slope, False)


def ep_forward(options: LeakyReLUOptions, mean: Tensor, variance: Tensor) -> tuple[Moments, Saved]:
    """The same moments; keeps the belief, which the backward message divides out."""
    moments, _ = forward(options._replace(learn=False), mean, variance)
    return moments, (mean, variance, moments[0])


def ep_backward(options: LeakyReLUOptions, saved: Saved, score: Tensor, precision: Tensor) -> tuple[Tensor, Tensor]:
    """EP form: (posterior mean - m) / posterior variance, and 1 / posterior variance - 1 / v."""
    mean, variance, out_mean = saved
    assert mean is not None and variance is not None and out_mean is not None
    above = Message.centred(score, precision, out_mean)
    q_mean, q_var = LEAKY_RELU.tilted(options, mean, variance, above)[0]
    return (q_mean - mean) / q_var, q_var.reciprocal() - variance.reciprocal()


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


class LeakyReLU(Elementwise):
    """The rectifiers: what `Elementwise` finds by quadrature, in closed form; options are `LeakyReLUOptions`."""

    def __init__(self) -> None:
        super().__init__(F.leaky_relu, kinks=(0.0,))

    def forward(self, options: Any, *inputs: Any) -> tuple[Moments, Saved]:
        return forward(options, *inputs)

    def backward(self, options: Any, saved: Saved, score: Tensor, precision: Tensor) -> tuple[Tensor | None, ...]:
        return score_backward(options, saved, score, precision)

    def linearised(self) -> Factor:
        return _LinearisedLeakyReLU(self)

    def expectations(self, arguments: tuple[Any, ...], mean: Tensor, variance: Tensor, learn: bool) -> Expectations:
        (slope,) = arguments
        moments, saved = forward(LeakyReLUOptions(slope, learn), mean, variance)
        if not learn:
            return Expectations(*moments)
        gain, slack = saved
        assert gain is not None and slack is not None
        deviation = floored(variance).sqrt()
        bend = torch.exp(-0.5 * (mean / deviation).square()) * ((1 - slope) * INV_SQRT_PI * SQRT_HALF) / deviation  # E[f'']
        squared = (1 + slope) * gain - slope
        return Expectations(*moments, gain, 0.5 * bend, 2 * slack, squared - moments[0] * bend, squared)

    def tilted(self, options: Any, mean: Tensor, variance: Tensor, above: Message) -> tuple[Gaussian, Gaussian]:
        log_mass, means, variances = pieces(options.slope, mean, variance, above)
        below = mean.new_tensor((1.0, options.slope)).view(2, *(1 for _ in mean.shape))
        weights = torch.softmax(log_mass, 0)
        return _mixed(weights, means, variances), _mixed(weights, below * means, below.square() * variances)


class _LinearisedLeakyReLU(LinearisedElementwise):
    def forward(self, options: Any, *inputs: Any) -> tuple[Moments, Saved]:
        return linearised_forward(options, *inputs)

    def backward(self, options: Any, saved: Saved, score: Tensor, precision: Tensor) -> tuple[Tensor | None, ...]:
        return linearised_backward(options, saved, score, precision)


def _mixed(weights: Tensor, means: Tensor, variances: Tensor) -> Gaussian:
    """Moments of a mixture of two."""
    (weight, other), (up, down) = weights, means
    spread = weight * variances[0] + other * variances[1] + weight * other * (up - down) ** 2
    return Gaussian(weight * up + other * down, spread)


LEAKY_RELU = LeakyReLU()
SCORE = Rule(forward, score_backward, gradient)
EP = Rule(ep_forward, ep_backward, gradient)
LINEARISED = Rule(linearised_forward, linearised_backward)
EXACT = LEAKY_RELU.per_edge().rule()
