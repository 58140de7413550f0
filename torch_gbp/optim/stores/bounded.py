"""The step of a means sweep: of a Newton step and a signal-to-noise step, the smaller one, weight by weight.

    U <- beta U + (1 - beta) g      V <- b V + (1 - b) g^2            g the score of a batch
    u = s U / (1 - beta^t)                                            s the message weight
    d = u min(a_m / R, a_n sqrt(1 - b^t) / (s sqrt(V)))               a_n falls as 1 / sqrt(L) in networks of depth L
    m <- m - a_m (R0 / (B R)) (m - m0) + d min(1, D / |d|),  |d|^2 = sum of d^2 R over an output's weights

The prior has no noise, so its pull is a Newton step whatever bounds that of the data: weights of which the data say little are
back at m0 after a pass or two, well-known ones stay. Where curvature decides, a weight moves as message passing says. Where a
weight has hardly any curvature, its deviation is the prior's and a Newton step far too long: there the noise of g decides, as it
does for Adam (Kingma & Ba 2015), of whose steps no weight makes a larger one. Where the likelihood's curvature does not fall as
the fit gets better, as that of Gaussian noise, the Newton step alone is taken.
Chosen on held-out images, text and rows of tables, see benchmarks/README.md.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from torch_gbp.optim.stores.base import State, Step
from torch_gbp.weights.parameter import GaussianParameter

MEANS = 2.5  # rate of the means over that of the precisions, divided by `automatic_power_factor`
NOISE = 6e-3  # a_n at the peak of the rate, 0.4: the largest step of a weight, in its own units
PEAK = 0.4
MEMORY = 0.99  # b
_TINY = 1e-30  # V of a weight that nobody has spoken to


class Rates(NamedTuple):
    """Numbers of one step: d = `move` U min(`newton` / R, 1 / sqrt(V)), else 1 / R; the prior pulls by `pull` R0 / R."""

    newton: float | None
    move: float
    pull: float


def move(marginal: GaussianParameter, state: State, score: Tensor, step: Step, momentum: float, reach: float) -> None:
    """Moves the means of a marginal whose precision has its new value; uses up the score."""
    if "noise" not in state:
        state.update(gradient=torch.zeros_like(score), noise=torch.full_like(score, _TINY), steps=0)
    state["steps"] += 1
    state["gradient"].lerp_(score, 1 - momentum)
    state["noise"].mul_(MEMORY).addcmul_(score, score, value=1 - MEMORY)  # of this score too, which may be a rare large one
    if step.rate:  # a scheduler may have let it come to 0
        rates = _rates(step, state["steps"], momentum)
        _move(marginal, state["gradient"], state["noise"], rates, reach, into=score)


def _rates(step: Step, steps: int, momentum: float) -> Rates:
    newton, u = min(1.0, MEANS * step.rate) / step.power_factor, step.message_weight / (1 - momentum**steps)  # u over U
    pull = newton / step.batches
    if step.steady:
        return Rates(None, newton * u, pull)
    limit = NOISE * step.rate / PEAK / max(1.0, step.depth) ** 0.5
    noise = limit * (1 - MEMORY**steps) ** 0.5 / step.message_weight  # times 1 / sqrt(V) the largest step
    return Rates(newton / noise, noise * u, pull)


def _move(marginal: GaussianParameter, gradient: Tensor, noise: Tensor, rates: Rates, reach: float, into: Tensor) -> None:
    mean, precision = marginal.mean.detach(), marginal.precision
    if rates.newton is None:
        share = into.copy_(precision.reciprocal().expand_as(into))
    else:
        share = torch.rsqrt(noise, out=into)
        torch.minimum(share, precision.reciprocal() * rates.newton, out=share)
    step = gradient * share
    length = torch.mul(step, precision.sqrt(), out=share).reshape(len(step), -1).norm(dim=1)
    scale = length.reciprocal_().mul_(reach / rates.move).clamp_max_(1.0)
    pull = marginal.prior_precision * rates.pull / precision
    if marginal.prior_mean is None:
        mean.mul_(1 - pull)
    else:
        mean.lerp_(marginal.centre.expand_as(mean), pull.expand_as(mean))
    mean.addcmul_(step, scale.view(-1, *(1 for _ in mean.shape[1:])), value=rates.move)
