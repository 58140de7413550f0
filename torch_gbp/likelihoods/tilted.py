"""Adaptive quadrature over a tilted belief N(z; m, v) p(y | z) / Z of one variable, for any log-concave p(y | z).

With z = m + s x the trapezoidal rule runs over the x whose log density lies within 40 of its peak, so that its nodes are where
the mass is: a count of 10^6 says more of z than the belief does, a variance of 10^4 less. Its error falls exponentially with
the number of nodes. Source: the adaptive Gauss-Hermite rule of Liu & Pierce 1994, by trapezoids and for skewed densities.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Density = Callable[[Tensor], Tensor]
NODES = 128
DROP = 40.0  # exp(-40) is below float64's rounding
_PEAK, _EDGE = 28, 8  # halvings
_NARROWEST = 1e-10  # deviations from a peak to its edges


def derivatives(log_density: Density, z: Tensor) -> tuple[Tensor, Tensor]:
    """First and second derivative of an elementwise function, by autograd.

    >>> derivatives(torch.exp, torch.zeros(1))
    (tensor([1.]), tensor([1.]))
    """
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        first = slope(log_density, z, graph=True)
        if not first.requires_grad:
            return first, torch.zeros_like(first)
        (second,) = torch.autograd.grad(first.sum(), z, allow_unused=True, materialize_grads=True)
    return first.detach(), second


@torch.enable_grad()
def slope(log_density: Density, z: Tensor, graph: bool = False) -> Tensor:
    """First derivative of an elementwise function, by autograd; `graph` keeps what a second one takes."""
    z = z if z.requires_grad else z.detach().requires_grad_()
    return torch.autograd.grad(log_density(z).sum(), z, create_graph=graph)[0]


@torch.no_grad()
def rule(log_density: Density, mean: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes x and log weights, (..., 128), of integrals over N(x; 0, 1) exp(log_density(mean + deviation x)).

    Args:
        log_density: log p(y | z) up to a constant, elementwise and concave in z; it is called with z of shape (..., any number).
        mean, deviation: (...), in float64.

    >>> x, log_weight = rule(lambda z: -0.5 * z.square(), torch.zeros(1).double(), torch.ones(1).double())
    >>> round(torch.logsumexp(log_weight - 0.5 * x.square(), -1).exp().item(), 10)  # 1 / sqrt 2
    0.7071067812
    """
    mean, deviation = mean.unsqueeze(-1), deviation.unsqueeze(-1)

    def height(x: Tensor) -> Tensor:
        return log_density(mean + deviation * x) - 0.5 * x.square()

    peak = _peak(log_density, mean, deviation)
    low, high = _edges(height, peak)
    steps = torch.linspace(0, 1, NODES, dtype=mean.dtype, device=mean.device)
    x = torch.lerp(low, high, steps)
    width = (high - low) / (NODES - 1)
    return x, width.log() - 0.5 * x.square() - 0.5 * math.log(2 * math.pi)


def _peak(log_density: Density, mean: Tensor, deviation: Tensor) -> Tensor:
    """The x at which s l'(m + s x) = x, which lies between 0 and s l'(m), by bisection of asinh x."""
    last = torch.asinh(deviation * slope(log_density, mean))
    low, high = last.clamp_max(0), last.clamp_min(0)
    for _ in range(_PEAK):
        middle = 0.5 * (low + high)
        x = middle.sinh()
        rising = deviation * slope(log_density, mean + deviation * x) > x
        low, high = torch.where(rising, middle, low), torch.where(rising, high, middle)
    return (0.5 * (low + high)).sinh()


def _edges(height: Density, peak: Tensor) -> Tensor:
    """The x on both sides of the peak where the log density has fallen by 40, at most sqrt 80 away; stacked in front.

    By bisection of the log distance, to a tenth, outwards.
    """
    sides = torch.tensor([-1.0, 1.0], dtype=peak.dtype, device=peak.device)
    floor = height(peak) - DROP
    near, far = (torch.full_like(peak * sides, math.log(bound)) for bound in (_NARROWEST, math.sqrt(2 * DROP)))
    for _ in range(_EDGE):
        middle = 0.5 * (near + far)
        inside = height(peak + sides * middle.exp()) > floor
        near, far = torch.where(inside, middle, near), torch.where(inside, far, middle)
    return (peak + sides * far.exp()).movedim(-1, 0).unsqueeze(-1)
