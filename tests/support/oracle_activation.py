"""The activations by quadrature: moments, messages and exact marginals of a rectifier."""

from __future__ import annotations

from collections.abc import Callable

import torch
from oracle import expectation, tilted_moments
from torch import Tensor


def rectifier(slope: float, score: Tensor, precision: Tensor, mean: Tensor, variance: Tensor) -> tuple[Tensor, ...]:
    """Score form of a = f(z): moments, dE/dm and dVar/dm by quadrature (f' = 1 or the slope), G = E[f'^2] G'."""

    def f(z: Tensor) -> Tensor:
        return torch.where(z > 0, z, slope * z)

    def slope_at(z: Tensor) -> Tensor:
        return torch.where(z > 0, torch.ones_like(z), slope)

    out_mean = expectation(f, mean, variance)
    out_var = expectation(lambda z: (f(z) - out_mean.unsqueeze(-1)) ** 2, mean, variance)
    gain = expectation(slope_at, mean, variance)
    both = expectation(lambda z: (f(z) - out_mean.unsqueeze(-1)) * slope_at(z), mean, variance)
    squared = expectation(lambda z: slope_at(z) ** 2, mean, variance)
    return out_mean, out_var, gain * score - precision * both, squared * precision


def rectifier_ep(slope: float, score: Tensor, precision: Tensor, mean: Tensor, variance: Tensor) -> tuple[Tensor, ...]:
    """EP form: mean and variance of belief x message by quadrature, divided by the belief, centred at its mean."""
    out_mean, out_var = rectifier(slope, score, precision, mean, variance)[:2]
    centre, spread = rectifier_marginal(slope, mean, variance, score + precision * out_mean, precision, lambda z: z)
    return out_mean, out_var, (centre - mean) / spread, 1 / spread - 1 / variance


def exact_rectifier(
    slope: float, score: Tensor, precision: Tensor, mean: Tensor, variance: Tensor, *above: Tensor | None
) -> tuple[Tensor | None, ...]:
    """Marginals of a = f(z) and of z by quadrature; forward, that of a / the message from above; backward, derivatives."""
    out_mean, out_var = rectifier(slope, score, precision, mean, variance)[:2]
    information, strength = above
    if information is not None and strength is not None:
        centre, spread = rectifier_marginal(
            slope, mean, variance, information, strength, lambda z: torch.where(z > 0, z, slope * z)
        )
        rest = 1 / spread - strength
        narrower = rest >= 1 / variance
        out_mean = torch.where(narrower, (centre / spread - information) / rest, out_mean)
        out_var = torch.where(narrower, 1 / rest, out_var)
    rho = precision / (1 - out_var * precision)
    eta = score / (1 - out_var * precision) + rho * out_mean
    centre, spread = rectifier_marginal(slope, mean, variance, eta, rho, lambda z: z)
    return out_mean, out_var, (centre - mean) / variance, (variance - torch.minimum(spread, variance)) / variance**2, None, None


def rectifier_marginal(
    slope: float, mean: Tensor, variance: Tensor, information: Tensor, precision: Tensor, of: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Mean and variance of `of(z)` under N(z; mean, variance) x the message to max(z, slope z)."""

    def log_factor(z: Tensor) -> Tensor:
        a = torch.where(z > 0, z, slope * z)
        return information.unsqueeze(-1) * a - 0.5 * precision.unsqueeze(-1) * a**2

    ends = []  # 12 deviations beyond the peak of each side's Gaussian piece
    for sign, steep in ((-1, slope), (1, 1.0)):
        total = 1 / variance + steep**2 * precision
        peak = (mean / variance + steep * information) / total
        ends.append(sign * ((sign * peak).clamp_min(0) + 12 * total.rsqrt()))
    return tilted_moments(mean, variance, log_factor, *ends, of)


def elementwise(
    f: Callable[[Tensor], Tensor], score: Tensor, precision: Tensor, mean: Tensor, variance: Tensor
) -> tuple[Tensor, ...]:
    """Score form of a = f(z) as `rectifier`, with the slope of f by autograd."""

    def slope_at(z: Tensor) -> Tensor:
        z = z.detach().requires_grad_()
        return torch.autograd.grad(f(z).sum(), z)[0]

    out_mean = expectation(f, mean, variance)
    out_var = expectation(lambda z: (f(z) - out_mean.unsqueeze(-1)) ** 2, mean, variance)
    both = expectation(lambda z: (f(z) - out_mean.unsqueeze(-1)) * slope_at(z), mean, variance)
    gain, squared = (expectation(lambda z, power=power: slope_at(z) ** power, mean, variance) for power in (1, 2))
    return out_mean, out_var, gain * score - precision * both, squared * precision


def linearised(
    f: Callable[[Tensor], Tensor], score: Tensor, precision: Tensor, mean: Tensor, variance: Tensor
) -> tuple[Tensor, ...]:
    """f to first order at the mean, its slope by autograd."""
    at = mean.detach().requires_grad_()
    (steep,) = torch.autograd.grad(f(at).sum(), at)
    return f(mean), steep**2 * variance, steep * score, steep**2 * precision
