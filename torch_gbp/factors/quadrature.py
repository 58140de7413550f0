"""Moments of f(x), x ~ N(m, v), and their derivatives, by the values and derivatives of f at quadrature nodes.

With x = m + s u, all formulas rest on the slope f', so that nothing cancels where s is far below |m|:

    f - f(m) = s g(u),  g' = f'         E[f]            Var[f] = v Var[g]
    dE[f]/dm = E[f']                    dE[f]/dv = E[f''] / 2
    dVar[f]/dm = 2 s Cov(g, f')         dVar[f]/dv = E[f'^2] + s Cov(g, f'')

(Price's theorem). Two sets of nodes:

`hermite`, 20 or 64 nodes, where f is smooth over +-8 s. With the coefficients c_n of f' in normalised Hermite polynomials h_n,
those of g are c_n / sqrt(n + 1) at h_{n+1}: Var[g] = sum c_n^2 / (n + 1).
`panels`, Gauss-Legendre between the places where f bends, for the rest; f'' has a jump J_k phi(k) / s at each kink.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

Function = Callable[[Tensor], Tensor]
REACH = 8.0  # standard deviations over which f must be smooth for `hermite`; nodes farther out weigh nothing
WIDER = 2.0  # how much wider a belief may be with `MANY` nodes than with `FEW`
_LEGENDRE = 8
_EDGES = (-10.0, -7.0, -4.5, -2.25, 0.0, 2.25, 4.5, 7.0, 10.0)  # of the panels, in standard deviations


class Shape(NamedTuple):
    """Where a function's values change quickly: `kinks`, jumps of the slope; `bends`, between which it is smooth; and the largest
    standard deviation for which `FEW` nodes of `hermite` are enough away from kinks."""

    kinks: tuple[float, ...] = ()
    bends: tuple[float, ...] = ()
    narrow: float = 0.5


class Expectations(NamedTuple):
    """E[f], Var[f], their derivatives and E[f'^2]; all but the first two are None unless wanted."""

    mean: Tensor
    variance: Tensor
    mean_by_mean: Tensor | None = None
    mean_by_var: Tensor | None = None
    var_by_mean: Tensor | None = None
    var_by_var: Tensor | None = None
    squared_slope: Tensor | None = None


def derivatives(function: Function, x: Tensor, second: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    """f, f' and, if wanted, f'' of an elementwise function, by autograd.

    >>> derivatives(torch.square, torch.tensor([3.0]), True)
    (tensor([9.]), tensor([6.]), tensor([2.]))
    """
    with torch.inference_mode(False), torch.enable_grad():
        x = x.clone().requires_grad_()
        value = function(x)
        slope = _slope(value, x, second)
        return value.detach(), slope.detach(), _slope(slope, x, False) if second else None


def _slope(value: Tensor, x: Tensor, again: bool) -> Tensor:
    """dy/dx entry by entry; 0 where y does not depend on x."""
    if not value.requires_grad:
        return torch.zeros_like(x)
    (slope,) = torch.autograd.grad(value.sum(), x, create_graph=again, allow_unused=True)
    return torch.zeros_like(x) if slope is None else slope


def _rule(off_diagonal: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes u_j, and the matrix p_n(u_j) w_j from values at them to coefficients of the orthonormal polynomials, (n, node).

    Source: the Jacobi matrix's eigenvectors are p_n(u_j) sqrt(w_j) (Golub & Welsch 1969).
    """
    nodes, vectors = torch.linalg.eigh(torch.diag(off_diagonal, 1) + torch.diag(off_diagonal, -1))
    return nodes, vectors * vectors[0]


def _hermite(count: int) -> tuple[Tensor, Tensor]:
    return _rule(torch.arange(1, count, dtype=torch.float64).sqrt())


FEW, MANY = _hermite(20), _hermite(64)


def hermite(rule: tuple[Tensor, Tensor], function: Function, mean: Tensor, deviation: Tensor, learn: bool) -> Expectations:
    """The expectations of a smooth function by n nodes, mean and deviation (n,); exact for polynomials of degree n."""
    nodes, matrix = (part.to(mean) for part in rule)
    value, slope, curve = derivatives(function, mean + deviation * nodes[:, None], learn)
    c = matrix @ slope  # (n, entries)
    root = torch.arange(1.0, len(nodes) + 1, dtype=mean.dtype, device=mean.device).sqrt()[:, None]
    g = c / root  # of h_1 and up
    moments = matrix[0] @ value, deviation.square() * g.square().sum(0)
    if curve is None:
        return Expectations(*moments)
    d = matrix @ curve
    by_mean = 2 * deviation * (g[:-1] * c[1:]).sum(0)
    squared = c.square().sum(0)
    by_var = squared + deviation * (g[:-1] * d[1:]).sum(0)
    return Expectations(*moments, c[0], 0.5 * d[0], by_mean, by_var, squared)


def _legendre() -> tuple[Tensor, Tensor, Tensor]:
    """Nodes and weights on (-1, 1), and the matrix from values to integrals from -1 to each node."""
    n = torch.arange(_LEGENDRE + 1, dtype=torch.float64)[:, None]
    nodes, coefficients = _rule((n / (4 * n.square() - 1).sqrt())[1:-1, 0])
    root = (2 * n[:-1] + 1).sqrt()
    polynomials = torch.zeros(_LEGENDRE + 2, _LEGENDRE, dtype=torch.float64)  # P_-1 to P_L at the nodes, which are P_L's roots
    polynomials[0], polynomials[1:-1] = -1, coefficients / coefficients[0] / root
    return nodes, 2 * coefficients[0], ((polynomials[2:] - polynomials[:-2]) / root).T @ coefficients


_POINTS, _WEIGHTS, _INTEGRALS = _legendre()
LEGENDRE = _POINTS, _WEIGHTS  # on (-1, 1)


class _Grid(NamedTuple):
    """Nodes u of all panels (panel, node, entry), their weights under N(0, 1), and the panels' lower edges and half widths."""

    u: Tensor
    weight: Tensor
    low: Tensor
    half: Tensor


def _grid(places: tuple[float, ...], mean: Tensor, deviation: Tensor) -> _Grid:
    edges = mean.new_tensor(_EDGES)[:, None].expand(-1, mean.numel())
    if places:
        own = (mean.new_tensor(places)[:, None] - mean) / deviation
        edges = torch.cat([edges, own.clamp(_EDGES[0], _EDGES[-1])]).sort(0).values
    low, half = edges[:-1, None], 0.5 * edges.diff(dim=0)[:, None]
    u = low + half * (1 + _POINTS.to(mean)[:, None])
    weight = half * _WEIGHTS.to(mean)[:, None] * torch.exp(-0.5 * u.square())
    return _Grid(u, weight / weight.sum((0, 1)), low, half)


def panels(shape: Shape, function: Function, mean: Tensor, deviation: Tensor, learn: bool) -> Expectations:
    """The expectations of a function with kinks and bends, mean and deviation (n,)."""
    grid = _grid((*shape.kinks, *shape.bends), mean, deviation)
    value, slope, curve = derivatives(function, _apart(grid, shape.kinks, mean, deviation), learn)
    steps = grid.half * (_INTEGRALS.to(mean) @ slope)  # integral of f' from the panel's lower edge to each node
    rises = grid.half[:, 0] * torch.einsum("k,pkn->pn", _WEIGHTS.to(mean), slope)
    g = steps + (rises.cumsum(0) - rises)[:, None]

    def expect(values: Tensor) -> Tensor:
        return (grid.weight * values).sum((0, 1))

    centre = expect(g)
    g = g - centre
    moments = expect(value), deviation.square() * expect(g.square())
    if curve is None:
        return Expectations(*moments)
    by_mean = 2 * deviation * expect(g * slope)
    bend, squared = expect(curve), expect(slope.square())
    pull = squared + deviation * expect(g * curve)
    for kink in shape.kinks:
        u = (kink - mean) / deviation
        height = (rises * (grid.low[:, 0] < u)).sum(0) - centre  # g at the kink
        mass = _jump(function, kink) * torch.exp(-0.5 * u.square()) / math.sqrt(2 * math.pi)
        bend, pull = bend + mass / deviation, pull + mass * height
    return Expectations(*moments, expect(slope), 0.5 * bend, by_mean, pull, squared)


def _apart(grid: _Grid, kinks: tuple[float, ...], mean: Tensor, deviation: Tensor) -> Tensor:
    """x at the nodes, on their own side of every kink also where m + s u would be rounded to it."""
    x = mean + deviation * grid.u
    for kink in kinks:
        place = mean.new_tensor(kink)
        above = grid.low + grid.half > (place - mean) / deviation
        sides = (torch.nextafter(place, place.new_tensor(end)) for end in (math.inf, -math.inf))
        x = torch.where(above, torch.maximum(x, next(sides)), torch.minimum(x, next(sides)))
    return x


def _jump(function: Function, kink: float) -> float:
    """f' just above a kink less f' just below."""
    beside = torch.tensor([kink + 1e-9, kink - 1e-9], dtype=torch.float64)
    _, slope, _ = derivatives(function, beside, False)
    return float(slope[0] - slope[1])
