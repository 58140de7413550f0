"""Exact messages of a factor a = f(z) of one variable each, by the tilted distribution of z, and its moments by quadrature.

The belief N(m, v) of z times a message told of f(z) is the tilted distribution; its moments are the marginals of z and of a.

Forward, to a: the marginal of a / the message from above. Without one (first sweep), and where the quotient would say more
than z itself does (precision below 1 / v), the moments of f(z).
Backward, the derivatives of the log evidence at the belief N(m, v) of z, from the marginal N(m_q, v_q) of z:

    g = (m_q - m) / v,        G = (v - min(v_q, v)) / v^2

A marginal wider than the belief (the message contradicts it across a kink) counts as one as wide, as in the reference:
its message has the marginal's mean and no precision.
Source: AMP-BNN thesis section 3.2.2, its misprinted forward marginal and missing 1 / l corrected as in its code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from torch_gbp.autograd.bridge import Moments, Saved
from torch_gbp.factors.factor import Factor
from torch_gbp.factors.quadrature import LEGENDRE
from torch_gbp.gaussian import Gaussian, Message

_PANELS = 48  # of 8 nodes: half of them over the whole range, half where the mass is
_REACH, _FAINT = 10.0, 40.0  # standard deviations of the belief to begin with; log density of what is left out, below the peak
_HEATS = tuple(4.0**k for k in range(9, -1, -1))  # of the density that the panels follow: its 1 / heat-th power
_LAST = 6  # so many sets of panels make the last one: wide and narrow ones about every peak

Tilted = Callable[[Any, Tensor, Tensor, Message], tuple[Gaussian, Gaussian]]


class Exact(Factor):
    """The exact form of a factor of one input, from its moments and the marginals of input and output.

    Args:
        plain: (options, mean, variance) -> moments of f(z).
        tilted: (options, mean, variance, message to f(z)) -> marginals of z and of f(z).
    """

    def __init__(self, plain: Callable[..., Moments], tilted: Tilted) -> None:
        self.plain, self.tilted = plain, tilted

    def forward(self, options: Any, *inputs: Tensor | None) -> tuple[Moments, Saved]:
        """Moments of the message to a; the last two inputs are the message from above in natural form, None without."""
        mean, variance, information, precision = inputs
        assert mean is not None and variance is not None
        moments = self.plain(options, mean, variance)
        if information is not None and precision is not None:
            above = Message(information, precision)
            moments = _quotient(Gaussian(*moments), self.tilted(options, mean, variance, above)[1], above, variance)
        return moments, (mean, variance, *moments)

    def backward(self, options: Any, saved: Saved, score: Tensor, precision: Tensor) -> tuple[Tensor | None, ...]:
        """Derivatives of the log evidence at the belief of z."""
        mean, variance, out_mean, out_var = saved
        assert mean is not None and variance is not None and out_mean is not None and out_var is not None
        above = Gaussian(out_mean, out_var).evidence_message(score, precision)
        (q_mean, q_var), _ = self.tilted(options, mean, variance, above)
        return (q_mean - mean) / variance, (variance - torch.minimum(q_var, variance)) / variance.square(), None, None


def _quotient(plain: Gaussian, marginal: Gaussian, above: Message, variance: Tensor) -> Moments:
    """Moments of marginal / above, or the plain ones where the quotient is wider than z."""
    information, precision = marginal.message() / above
    sound = precision >= variance.reciprocal()
    safe = torch.where(sound, precision, torch.ones_like(precision))
    return torch.where(sound, information / safe, plain.mean), torch.where(sound, safe.reciprocal(), plain.variance)


def tilted(
    function: Callable[[Tensor], Tensor], kinks: tuple[float, ...], belief: Gaussian, above: Message
) -> tuple[Gaussian, Gaussian]:
    """Marginals of z and of f(z), z ~ N(m, v) exp(eta f(z) - R f(z)^2 / 2), by Gauss-Legendre panels that close in on the mass.

    The panels follow the density raised to powers from nearly 0 to 1, so that a narrow peak does not hide another. In float64
    whatever the dtype; error below 2e-8 of the marginal's standard deviation for messages up to R = 1e6 / v. 4,000 values of f
    for each entry.

    >>> one = torch.ones(1, dtype=torch.float64)
    >>> [round(part.item(), 6) for part in tilted(lambda z: z, (), Gaussian(one, one), Message(3 * one, one))[0]]
    [2.0, 0.5]
    """
    like = belief.mean
    mean, variance, eta, precision = (part.double().expand(like.shape).reshape(-1, 1) for part in (*belief, *above))

    def log(z: Tensor, a: Tensor) -> Tensor:
        return eta * a - 0.5 * precision * a.square() - 0.5 * (z - mean).square() / variance

    def shares(edges: Tensor, heat: float) -> tuple[Tensor, Tensor, Tensor]:
        """Nodes (entries, panels, nodes), f there, and the normalised masses of the density's 1 / heat-th power."""
        z, weight = _nodes(edges)
        a = function(z)
        density = log(z.flatten(1), a.flatten(1)).view_as(z)
        mass = weight * torch.exp((density - density.amax((1, 2), keepdim=True)) / heat)
        return z, a, mass / mass.sum((1, 2), keepdim=True)

    sets = [_range(lambda z: log(z, function(z)), mean, variance.sqrt())]
    for heat in _HEATS:
        edges = _with(kinks, sets[-1])
        sets.append(_followed(shares(edges, heat)[2].sum(2), edges))
    z, a, mass = shares(_with(kinks, torch.cat(sets[-_LAST:], 1)), 1.0)
    return _moments(mass, z, like), _moments(mass, a, like)


def _range(log: Callable[[Tensor], Tensor], mean: Tensor, deviation: Tensor) -> Tensor:
    """Equal panels over what is not faint."""
    low, high = mean - _REACH * deviation, mean + _REACH * deviation
    share = torch.linspace(0, 1, _PANELS + 1, dtype=mean.dtype, device=mean.device)
    for _ in range(8):
        values = log(low + (high - low) * share)
        peak, wide = values.amax(1, keepdim=True) - _FAINT, high - low
        low = torch.where(values[:, :1] > peak, low - wide, low)
        high = torch.where(values[:, -1:] > peak, high + wide, high)
    return low + (high - low) * share


def _with(kinks: tuple[float, ...], edges: Tensor) -> Tensor:
    """Edges of panels, (entries, panels + 1), the kinks among them with ever smaller panels on both sides."""
    steps = 2.0 ** -torch.arange(2.0, 26.0, dtype=edges.dtype, device=edges.device)
    beside = torch.cat([steps, torch.zeros_like(steps[:1]), -steps]) * (edges[:, -1:] - edges[:, :1])
    own = [(kink + beside).clamp(edges[:, :1], edges[:, -1:]) for kink in kinks]
    return torch.cat([edges, *own], 1).sort(1).values


def _nodes(edges: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes (entries, panels, nodes) and their weights."""
    points, weights = (part.to(edges) for part in LEGENDRE)
    half = 0.5 * edges.diff(dim=1)[:, :, None]
    return edges[:, :-1, None] + half * (1 + points), half * weights


def _followed(mass: Tensor, edges: Tensor) -> Tensor:
    """Edges of panels of equal shares, half of the mass of the old panels, half of their whole range."""
    below = torch.cat([torch.zeros_like(mass[:, :1]), mass.cumsum(1)], 1)
    share = 0.5 * below / below[:, -1:] + 0.5 * (edges - edges[:, :1]) / (edges[:, -1:] - edges[:, :1])
    wanted = torch.linspace(0, 1, _PANELS + 1, dtype=mass.dtype, device=mass.device).expand(len(mass), -1).contiguous()
    place = torch.searchsorted(share, wanted).clamp(1, edges.shape[1] - 1)
    (low, high), (start, end) = ((part.gather(1, place - 1), part.gather(1, place)) for part in (share, edges))
    return torch.lerp(start, end, ((wanted - low) / (high - low).clamp_min(1e-30)).clamp(0, 1))


def _moments(mass: Tensor, values: Tensor, like: Tensor) -> Gaussian:
    centre = (mass * values).sum((1, 2), keepdim=True)
    variance = (mass * (values - centre).square()).sum((1, 2))
    return Gaussian(centre.view_as(like).to(like), variance.view_as(like).to(like))
