"""The step of a means sweep: of a Newton step and a signal-to-noise step, the smaller one, weight by weight.

    U <- beta U + (1 - beta) g      V <- b V + (1 - b) g^2            g the score of a batch
    u = s U / (1 - beta^t)                                            s the message weight
    d = u min(k_m a_m / R, a_n sqrt(1 - b^t) / (s sqrt(V)))
    m <- m - a_p (r / B) (m - m0) + d min(1, D / |d|)^(c - 1),  |d|^2 = sum of d^2 R over an output's weights
    r = R0 / R, if m0 = 0 at least .2 min(1, W)                       W the number of weights for an example

Where curvature decides, a weight moves as message passing says. Where a weight has hardly any curvature, its deviation is the
prior's and a Newton step far too long: there the noise of g decides, as it does for Adam (Kingma & Ba 2015), of whose steps no
weight makes a larger one. That bound follows the schedule's rate a, but no likelihood's wish for less with few batches in a pass.
It falls with the depth, and rises where a run has few steps and starts from nothing known (`schedule.longer`):

    a_n = .006 (a / .4) k / sqrt(max(1, L)),  k = max(1, min(4, 2000 / T) min(1, 64 / f) / L)    T steps in all, f inputs, L depth

Where weights outnumber the examples and a pass has few batches, k is at least e(sqrt(40 / B)), e(x) = min(4, max(1, x))^(c - 1).
Where a run starts from known weights k = 1, and k = min(1, T / 500) where the prior is around these (`schedule.shorter`).

A Newton step takes a weight 1 / B of the way to where its batch would have it. With many batches in a pass and not too many
weights for an example that is so little that it slows long runs down, so there it is lengthened to 1 / 32; where weights are many
it keeps them from learning the examples by heart. With few batches and many weights it is longer by e(160 / B) again: those
weights are then held to the prior less than the others, which the noise bounds:

    k_m = max(1, B / 32)^((2 - c) min(1, max(0, 2 - W / 8))) e(160 / B)    c the crowding (1 to 2, of an automatic power)

The prior has no noise, so its pull is a Newton step whatever bounds that of the data: weights of which the data say little
are back at m0 after a pass or two. Around 0 well-known weights, too, are pulled a little where they are many, as the fit is
then too good for the data. Weights yet to be heard are spared, as what every layer of a deep network loses multiplies, and
where weights outnumber the examples, their messages count late:

    a_p = a_m p^(c - 1) / sqrt(max(1, L))    p the share of the passes done

Where only the direction of an output's weights matters, as before a normalisation, g is orthogonal to m, and a pull to 0 harms
nothing: shorter weights turn by more in a step. So where that factor is below 1, these have a_p = a_m instead; and with many
examples all are pulled alike, as by AdamW's decay, where with few those of which the data say little are given up: with m0 = 0

    r = max(R0 / R, l)^(c - 1) l^(2 - c)    l = .2 min(1, W)

The trust region, whose radius falls with the number of batches in a pass, keeps a batch's examples from overshooting together.
With many examples for a weight all that it does is to slow the run down, so it acts to the power of c - 1.

Where the likelihood's curvature does not fall as the fit gets better, as that of Gaussian noise, the Newton step alone is taken,
in all of the trust region: d = u a_m / R min(1, D / |d|); a_p = a_m, r = R0 / R.
Chosen on held-out images, text and rows of tables, see benchmarks/README.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from torch_gbp import foreach
from torch_gbp.optim.schedule import stretched
from torch_gbp.optim.stores.base import Entry, State, Step
from torch_gbp.weights.held_prior import Start
from torch_gbp.weights.parameter import GaussianParameter

MEANS = 2.5  # rate of the means over that of the precisions, divided by `automatic_power_factor`
NOISE = 6e-3  # a_n at the peak of the rate, 0.4: the largest step of a weight, in its own units
PEAK = 0.4
LEAST = 0.2  # R0 / R by which the prior pulls where there is a weight or more for every example
RADIAL = 0.05  # of what chance has: scores whose part along the weights is smaller do not care how long those are
LOOK = 16  # steps between two looks at that
MEMORY = 0.99  # b
BATCHES = 32  # in a pass; with more of them Newton steps are as much longer
FEW_BATCHES = 160  # with fewer batches in a pass Newton steps are longer where weights outnumber the examples
FEWER_BATCHES = 40  # with fewer of them so is the largest step, by the root of that
MOST = 4.0  # by how much at most
MANY = 8  # weights for an example with which they begin to be longer by less; with twice as many they are as they were
_TINY = 1e-30  # V of a weight that nobody has spoken to


class Rates(NamedTuple):
    """Numbers of one step: d = `move` U / max(R / `newton`, sqrt(V)), else U / R; the prior pulls by `pull` of its share, which
    is R0 / R or `least`, and by `patience` of that where the length of an output's weights matters; elsewhere that share is
    nearer to `least` by the power `alike`. The trust region acts to the power of `confined`."""

    newton: float | None
    move: float
    pull: float
    patience: float = 1.0
    least: float = 0.0
    confined: float = 1.0
    alike: float = 0.0


def move(entries: Sequence[Entry], momentum: float, reach: float) -> None:
    """Moves the means of marginals whose precisions have their new values, all in one step; uses up the scores."""
    step, scores = entries[0].step, [entry.message.information for entry in entries]
    for entry in entries:
        _begin(entry)
    foreach.lerp_([entry.state["gradient"] for entry in entries], scores, 1 - momentum)
    noise = [entry.state["noise"] for entry in entries]
    foreach.mul_(noise, MEMORY)
    foreach.addcmul_(noise, scores, scores, value=1 - MEMORY)  # of this score too, which may be a rare large one
    if step.rate:  # a scheduler may have let it come to 0
        rates = [_rates(step, own.state, momentum, own.marginal.inputs) for own in entries]
        _look(entries, rates)
        _move(entries, [_directed(own.state, rate, step) for own, rate in zip(entries, rates, strict=True)], reach)


def _begin(entry: Entry) -> None:
    state, score = entry.state, entry.message.information
    if "noise" not in state:
        state.update(gradient=torch.zeros_like(score), noise=torch.full_like(score, _TINY), steps=0)
    if "start" not in state:  # nor in one of an earlier version
        state["start"] = int(entry.marginal.start)
    state["steps"] += 1


def _look(entries: Sequence[Entry], rates: Sequence[Rates]) -> None:
    """Every few steps: how much of the scores lies along the weights, where that would change a rate."""
    due = [own for own, rate in zip(entries, rates, strict=True) if rate.patience < 1 and (own.state["steps"] - 1) % LOOK == 0]
    if due:
        both = ((own.message.information, own.marginal.mean.detach(), own.marginal.by_output) for own in due)
        found = [_radial(by_output(score), by_output(mean)) for score, mean, by_output in both]
        for own, radial in zip(due, torch.stack(found).tolist(), strict=True):  # one read-back from the device
            own.state["radial"] = radial


def _directed(state: State, rates: Rates, step: Step) -> Rates:
    """The rates where only the directions of weights matter, if that is so."""
    free = rates.newton is not None and state.get("radial", 1.0) < RADIAL
    return rates._replace(patience=1.0, alike=2 - step.run.crowding) if free else rates


def _limit(state: State, step: Step, inputs: int) -> float:
    """a_n: the largest step of a weight."""
    rate = step.rate if step.scheduled is None else step.scheduled
    depth, start = step.run.depth, Start(state["start"])
    longer = stretched(step.run.steps, depth, start, inputs)
    if start is Start.NEW:
        longer = max(longer, _of_few((FEWER_BATCHES / step.batches) ** 0.5, step))
    return NOISE * rate / PEAK / max(1.0, depth) ** 0.5 * longer


def _longer(step: Step, start: Start) -> float:
    """k_m: the factor on the Newton step."""
    few = min(1.0, max(0.0, 2 - step.run.weights / MANY))
    rare = _of_few(FEW_BATCHES / step.batches, step) if start is Start.NEW else 1.0
    return max(1.0, step.batches / BATCHES) ** ((2 - step.run.crowding) * few) * rare


def _of_few(factor: float, step: Step) -> float:
    """e: a factor for passes of few batches, of which as much is taken as weights outnumber the examples."""
    return min(MOST, max(1.0, factor)) ** (step.run.crowding - 1)


def _rates(step: Step, state: State, momentum: float, inputs: int) -> Rates:
    steps, start = state["steps"], Start(state["start"])
    newton, u = min(1.0, MEANS * step.rate) / step.run.crowding, step.message_weight / (1 - momentum**steps)  # u over U
    pull = newton / step.batches
    if step.steady:
        return Rates(None, newton * u, pull)
    noise = _limit(state, step, inputs) * (1 - MEMORY**steps) ** 0.5 / step.message_weight  # times 1 / sqrt(V) the largest step
    patience = step.run.progress ** (step.run.crowding - 1) / max(1.0, step.run.depth) ** 0.5
    least = LEAST * min(1.0, step.run.weights)
    return Rates(newton * _longer(step, start) / noise, noise * u, pull, patience, least, step.run.crowding - 1)


def _move(entries: Sequence[Entry], rates: Sequence[Rates], reach: float) -> None:
    marginals, over = [entry.marginal for entry in entries], [entry.message.information for entry in entries]
    means, precisions = [own.mean.detach() for own in marginals], [own.precision.detach() for own in marginals]
    gradients, noise = [entry.state["gradient"] for entry in entries], [entry.state["noise"] for entry in entries]
    _pull(marginals, means, precisions, rates)
    newtons = [own.newton for own in rates if own.newton is not None]
    if newtons:
        foreach.copy_(over, noise)
        foreach.sqrt_(over)
        foreach.maximum_(over, foreach.div(precisions, newtons))
    else:
        foreach.copy_(over, precisions)
    moves = [own.move for own in rates]
    if rates[0].confined:
        steps = foreach.div(gradients, over)
        foreach.copy_(over, steps)
        foreach.mul_(over, foreach.sqrt(precisions))
        foreach.addcmul_(means, steps, _confined(marginals, over, moves, reach, rates[0].confined))
    else:
        foreach.addcdiv_(means, gradients, over, moves)


def _confined(
    marginals: Sequence[GaussianParameter], deviations: Sequence[Tensor], moves: Sequence[float], reach: float, power: float
) -> list[Tensor]:
    """Factors on steps, these given in deviations: what the trust region leaves of each output's, to be broadcast to weights."""
    lengths = [torch.linalg.vector_norm(own.by_output(part), dim=1) for own, part in zip(marginals, deviations, strict=True)]
    foreach.reciprocal_(lengths)
    foreach.mul_(lengths, [reach / move for move in moves])
    foreach.clamp_max_(lengths, 1.0)
    foreach.pow_(lengths, power)
    foreach.mul_(lengths, moves)
    return [own.of_outputs(length) for own, length in zip(marginals, lengths, strict=True)]


def _pull(
    marginals: Sequence[GaussianParameter], means: Sequence[Tensor], precisions: Sequence[Tensor], rates: Sequence[Rates]
) -> None:
    """The prior takes back its part of m - m0."""
    shares = foreach.div([own.prior_precision for own in marginals], precisions)
    factors = [own.pull * own.patience for own in rates]
    zero = [i for i, own in enumerate(marginals) if own.prior_mean is None]
    if zero:
        foreach.clamp_min_([shares[i] for i in zero], rates[0].least)
        alike = [i for i in zero if rates[i].alike]
        if alike:
            foreach.pow_([shares[i] for i in alike], [1 - rates[i].alike for i in alike])
            for i in alike:
                factors[i] *= rates[i].least ** rates[i].alike
        own = [means[i] for i in zero]
        foreach.addcmul_(own, own, [shares[i] for i in zero], [-factors[i] for i in zero])
    for i in (i for i, own in enumerate(marginals) if own.prior_mean is not None):
        means[i].lerp_(marginals[i].centre.expand_as(means[i]), shares[i].mul_(factors[i]).expand_as(means[i]))


def _radial(g: Tensor, m: Tensor) -> Tensor:
    """How much of the scores g lies along the means m, a number: 0 before a normalisation, about 1 by chance, 1 without scores.

    f sum (g m)^2 / sum |g|^2 |m|^2 over outputs (rows), f the number of weights of one.
    """
    along, most = (g * m).sum(1), g.norm(dim=1) * m.norm(dim=1)
    return (m.shape[1] * along.square().sum() / most.square().sum()).nan_to_num(1.0)
