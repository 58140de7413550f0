"""mutual_information: BALD of Gaussian logits, by an integral over one variable, exact for any number of classes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import require_kind, require_moments
from torch_gbp.gaussian import Gaussian
from torch_gbp.likelihoods.information import entropy

EULER = 0.5772156649015329  # mean of a Gumbel variable
STEP = 0.5  # of the integral, in units of the narrowest variable
_REACH, _BELOW, _ABOVE = 7.0, 4.0, 20.0  # where the integral ends: deviations of the Gaussians, and of the Gumbel variable
_ENTRIES = 2**21  # of the largest tensor
_X = torch.linspace(-7, 7, 31, dtype=torch.float64)  # trapezoidal rule over N(0, 1)
_G = torch.arange(-4, 23, 0.55, dtype=torch.float64)  # and over a Gumbel variable


@torch.no_grad()
def mutual_information(output: Gaussian) -> Tensor:
    """Mutual information ("BALD", n,) in nats of class and independent logits z_c ~ N(m_c, v_c), p(y | z) = softmax(z).

    H(E[p]) - E[H(p)]. By Stein's identity E[H] = E[logsumexp z] - sum_c (m_c p_c + v_c d_c), with p_c = E[softmax_c(z)] and
    d_c = dp_c / dm_c, and by the Gumbel-max identity E[logsumexp z] is the mean of max_c (z_c + Gumbel) less Euler's constant.
    With F_c and f_c the distribution function and density of z_c + Gumbel, r_c = f_c / F_c, R = sum_c r_c and W = prod_c F_c,

        p_c = int W r_c du        d_c = int W r_c (R - r_c) du        E[logsumexp z] = int u W R du - 0.5772

    Trapezoidal rules, whose error falls exponentially, in float64: within 2e-6 of brute force for deviations from 0 to 1000 and
    means hundreds apart. About a millisecond for ten classes on one thread, more where one logit is much wider than another.
    `Predictive.epistemic` takes the same expectations over 128 quasi-random draws, for any likelihood and joint covariances: a
    tenth of the work, and off by up to .08 nats where deviations are 5 and more.

    Args:
        output: logits (n, classes), as a prediction takes them: their variance times `likelihood.variance_factor`, divided by the
            temperature.

    Raises:
        InvalidInput: no belief of shape (n, classes), or one that is not sound.

    Source: Houlsby et al. 2011 (BALD), Stein 1981 and Gumbel 1954 for the two identities.

    >>> mutual_information(Gaussian(torch.zeros(2, 3), torch.tensor([[0.0], [4.0]]).expand(2, 3))).round(decimals=4)
    tensor([0.0000, 0.4946])
    """
    require_kind("output", output, Gaussian, "mutual_information", fix="pass the belief of the logits, predict(...).belief")
    require_moments(*output, "mutual_information")
    _require_rows(output)
    mean, deviation = output.mean.double(), output.variance.double().sqrt()
    mean = mean - mean.amax(1, keepdim=True)  # the class does not depend on a constant added to all logits
    points = _points(mean, deviation)
    order, found = points.argsort(), torch.empty_like(points)
    for rows in _blocks(order, points[order], mean.shape[1]):
        found[rows] = _integrated(mean[rows], deviation[rows], int(points[rows].amax()))
    return found.clamp_min(0).to(output.mean)


def _ends(mean: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor]:
    """Of the integral, (n,): below the first prod_c F_c has vanished, above the second it is 1."""
    reach = _REACH * deviation
    return (mean - reach).amax(1) - _BELOW, (mean + reach).amax(1) + _ABOVE


def _points(mean: Tensor, deviation: Tensor) -> Tensor:
    """How many of them each example takes, (n,)."""
    low, high = _ends(mean, deviation)
    return (high - low) / (STEP * torch.hypot(deviation.amin(1), torch.ones_like(low))) + 1


def _blocks(order: Tensor, points: Tensor, classes: int) -> list[Tensor]:
    """Examples that are integrated together, of similar numbers of points in ascending order."""
    entries = (points * (classes * len(_G))).tolist()
    blocks, start = [], 0
    for place in range(1, len(order) + 1):
        if place == len(order) or (place + 1 - start) * entries[place] > _ENTRIES:
            blocks.append(order[start:place])
            start = place
    return blocks


def _integrated(mean: Tensor, deviation: Tensor, points: int) -> Tensor:
    """H(E[p]) - E[H(p)] of (n, classes) logits."""
    low, high = _ends(mean, deviation)
    u = torch.lerp(low[:, None], high[:, None], torch.linspace(0, 1, points, dtype=mean.dtype, device=mean.device))
    log_cdf, rate = _gumbel(u[:, None] - mean[..., None], deviation[..., None].expand(-1, -1, points))
    weight = log_cdf.sum(1, keepdim=True).exp() * ((high - low) / (points - 1))[:, None, None]
    total = rate.sum(1, keepdim=True)
    p, slope = (weight * rate).sum(-1), (weight * rate * (total - rate)).sum(-1)
    log_sum = (u[:, None] * weight * total).sum((1, 2)) - EULER
    expected = log_sum - (mean * p + deviation.square() * slope).sum(1)
    return entropy(p) - expected


def _gumbel(gap: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor]:
    """log F and f / F at u - m = gap of N(0, s^2) + Gumbel: the rule over the narrower of the two variables."""
    wide = deviation > 1
    log_cdf, rate = torch.empty_like(gap), torch.empty_like(gap)
    for rows, rule in ((wide, _over_gumbel), (~wide, _over_gaussian)):
        cdf, density = rule(gap[rows][:, None], deviation[rows][:, None])
        cdf = cdf.clamp_min(1e-300)
        log_cdf[rows], rate[rows] = cdf.log(), density / cdf
    return log_cdf, rate


def _over_gaussian(gap: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor]:
    """E over x ~ N(0, 1) of exp(-a) and a exp(-a), a = exp(s x - gap), for s <= 1."""
    x = _X.to(gap.device)
    weight, a = torch.softmax(-0.5 * x.square(), 0), (deviation * x - gap).clamp_max(40.0).exp()
    below = (-a).exp()
    return below @ weight, (a * below) @ weight


def _over_gumbel(gap: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor]:
    """E over a Gumbel variable g of Phi((gap - g) / s) and its density, for s > 1."""
    g = _G.to(gap.device)
    weight, t = torch.softmax(-g - torch.exp(-g), 0), (gap - g) / deviation
    density = (-0.5 * t.square()).exp() / (deviation * math.sqrt(2 * math.pi))
    return torch.special.ndtr(t) @ weight, density @ weight


def _require_rows(output: Gaussian) -> None:
    if output.ndim != 2 or not output.numel():
        raise InvalidInput(
            "logits of shape (n, classes) are needed",
            where="mutual_information",
            got=f"shape {tuple(output.shape)}",
            fix="flatten the axes before the classes",
        )
