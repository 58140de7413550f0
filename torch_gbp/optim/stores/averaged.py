"""AveragedSites: one average site for the whole data set, by online natural-gradient steps; the default store."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from torch_gbp import foreach
from torch_gbp.errors.checks import PART, POSITIVE, SHARE, require
from torch_gbp.gaussian import Message
from torch_gbp.optim.stores import annealing, bounded
from torch_gbp.optim.stores.base import Entry, State, Step, Store
from torch_gbp.optim.stores.parts import parts
from torch_gbp.weights.parameter import GaussianParameter

RATE = 0.4  # peak, of networks of depth 1 or less
TRUST = 16.0  # deviations of an output's mean in a pass of random steps; chosen on validation data, see benchmarks/README.md
FARTHEST = 2.0  # deviations in one step
TAIL = 0.125  # of the steps so far; chosen likewise, together with the schedule's FINAL
_EARLIER = ("informed", "anchored")  # in states of earlier versions, in the place of "start"
EVERY = 4  # steps between two entries of the average of the means, which differ little and cost memory traffic


class AveragedSites(Store):
    """One average site for the whole data set, moved by online natural-gradient steps; the default.

    R <- (1 - a/B) R + (a/B) R0 + a G                                  B batches in a pass
    u <- beta u + (1 - beta) (g - (m - m0) R0 / B)
    m <- m + s d,  d = a u / ((1 - beta^t) R),  s = min(1, D / |d|),  |d|^2 = sum of d^2 R over an output's weights,
    D = min(2, trust_radius / sqrt(B)) / max(1, L)                       L depth of the network
    The fixed point is R = R0 + sum of G over the data. Without momentum this is the natural-gradient step of
    rate a/B for a diagonal Gaussian (variational online Newton, with propagated moments in place of weight samples). No cavity
    is formed: a message is taken at the marginal, and an example counts as often as the likelihood's power says.
    Memory: two numbers per weight besides mean and precision. Shuffling and augmentation are fine.
    The means keep swinging around that point, as every batch says something else; `use_averaged_means` puts them at the average
    of the last steps, A <- A + (m - A) min(1, 1 / (tail t)) at step t.
    Trust region: a batch's examples answer at once, and where they agree they overshoot. By Cauchy-Schwarz no output's
    mean moves by more than D of the deviation that the uncertainty of its weights gives it, whatever the input, and in
    a pass of B random steps by more than `trust_radius` of it.
    Depth: layers that move together move the network's output by as many times as much, so D and the default rate (0.4) are
    divided by L, the number of layers with weights / 5, or / 3 where weights outnumber the examples (`message_weight.depth`),
    if that is more than 1. Likelihoods have a factor of their own on that rate (`Likelihood.rate_factor`).
    Means sweep: where precisions come from probes, the means take the step of `stores/bounded.py`, which keeps one more tensor
    and in which the prior pulls at another strength, so the fixed point of the means is another too. The noise bounds that step,
    so the trust region, with D not divided, is left to likelihoods of constant curvature and to weights that outnumber examples.
    Start: the prior's own noise adds up over the layers and drowns the signal of a deep network, so marginals start narrower
    than the prior: R carries a surplus precision (`stores/annealing.py`), which is gone after half of the passes.
    Source: the average site, stochastic EP, Li, Hernandez-Lobato & Turner 2015 (who divide it out); the step, variational online
    Newton, Khan et al. 2018; polynomial-decay averaging, Shamir & Zhang 2013, eq. 2;
    heavy-ball averaging, trust region and annealing by measurement.

    Args:
        momentum: beta, averages the scores over about 1 / (1 - beta) steps; 0 <= momentum < 1.
        trust_radius: how many deviations an output may move in a pass of random steps, > 0; math.inf for no limit.
        tail: the share of the steps, the last ones, over which means are averaged; 0 <= tail <= 1, 0 for the last mean.
        anneal: start narrow marginals and widen them to the prior; False starts at the prior.
    """

    rated_by_likelihood = True
    keeps, may_keep = ("steps",), ("momentum", "gradient", "noise", "radial", "start", "average", "annealing", *_EARLIER)

    def __init__(self, momentum: float = 0.9, trust_radius: float = TRUST, tail: float = TAIL, *, anneal: bool = True) -> None:
        self.momentum = require("momentum", momentum, SHARE, "AveragedSites", fix="use 0.9")
        self.trust_radius = (
            math.inf
            if trust_radius == math.inf
            else require("trust_radius", trust_radius, POSITIVE, "AveragedSites", fix=f"use {TRUST}")
        )
        self.tail = require("tail", tail, PART, "AveragedSites", fix=f"use {TAIL}")
        self.anneal = anneal

    def default_rate(self, depth: float) -> float:
        return RATE / max(1.0, depth)

    def whole(self, state: State) -> bool:
        """Of a sweep of moments a state has the momentum, of one of the means the average gradient and its noise."""
        return super().whole(state) and ("momentum" in state or {"gradient", "noise"} <= state.keys())

    def begin(self, marginal: GaussianParameter, state: State, depth: float) -> None:
        if self.anneal:
            annealing.begin(marginal, state, depth)

    def learnt(self, marginal: GaussianParameter, state: State) -> bool:
        return ("annealing" not in state or "steps" in state) and super().learnt(marginal, state)

    def set_prior(self, marginal: GaussianParameter, state: State, precision: Tensor) -> None:
        with annealing.lifted(marginal, state):
            super().set_prior(marginal, state, precision)

    def adapt_prior(self, marginal: GaussianParameter, state: State, rule: Callable[[Tensor], Tensor]) -> None:
        with annealing.lifted(marginal, state):
            super().adapt_prior(marginal, state, rule)

    def learn_prior(self, marginal: GaussianParameter, state: State) -> None:
        with _means_kept(marginal):
            super().learn_prior(marginal, state)

    def renew_prior(self, marginal: GaussianParameter, state: State) -> None:
        if marginal.prior.adapts:
            with _means_kept(marginal):
                super().renew_prior(marginal, state)

    def precision_after(self, marginal: GaussianParameter, state: State, message: Message, step: Step) -> Tensor:
        precision = annealing.take(marginal, state)
        prior = marginal.floor.expand_as(precision)
        return torch.lerp(precision, prior, step.rate / step.batches) + step.rate * step.message_weight * message.precision

    def commit(self, marginal: GaussianParameter, state: State, message: Message, step: Step) -> None:
        self.commit_all([Entry(marginal, state, message, step)])

    def commit_all(self, entries: Sequence[Entry]) -> None:
        """Many small tensors cost their calls, so they take the step together (`stores/parts.py`)."""
        for part in parts(entries):
            self._commit(part, part[0].step)

    def _commit(self, entries: Sequence[Entry], step: Step) -> None:
        for own in entries:
            if own.marginal.surplus and "annealing" not in own.state:  # frozen as the run began, or half annealed by another
                self.release(own.marginal, own.state)
                self.begin(own.marginal, own.state, step.run.depth)
        annealed = [own for own in entries if "annealing" in own.state]
        for own in annealed:
            own.marginal.precision.copy_(annealing.take(own.marginal, own.state))
        precisions = [own.marginal.precision for own in entries]
        foreach.lerp_(precisions, [own.marginal.floor for own in entries], step.rate / step.batches)
        foreach.add_(precisions, [own.message.precision for own in entries], alpha=step.rate * step.message_weight)
        for own in annealed:
            annealing.put(own.marginal, own.state, step.run.progress)
        if step.probed:
            bounded.move(entries, self.momentum, self._reach(step.batches, depth=1.0))
        else:
            for own in entries:
                self._newton(own.marginal, own.state, own.message.information, step)
        self._remember([own for own in entries if self.tail and own.state["steps"] % EVERY == 0])

    def _newton(self, marginal: GaussianParameter, state: State, latest: Tensor, step: Step) -> None:
        """Moves the means by the average of the scores over the precision; uses up the batch's."""
        mean, prior_precision, share = marginal.mean, marginal.prior_precision, 1 / step.batches
        if "momentum" not in state:
            state.update(momentum=torch.zeros_like(mean), steps=0)
        state["steps"] += 1
        fresh = 1 - self.momentum
        score = state["momentum"].mul_(self.momentum).add_(latest, alpha=fresh * step.message_weight)
        score.addcmul_(mean, prior_precision, value=-fresh * share)
        if marginal.prior_mean is not None:
            score.addcmul_(marginal.prior_mean, prior_precision, value=fresh * share)
        # The message has done its work: its memory, still in the cache, takes the step.
        move = torch.div(score, marginal.precision, out=latest)
        _move(mean, move, score, step.rate / (1 - self.momentum ** state["steps"]), self._reach(step.batches, step.run.depth))

    def _reach(self, batches: float, depth: float) -> float:
        """How many deviations an output may move in a step."""
        if math.isinf(self.trust_radius):
            return math.inf
        return min(FARTHEST, self.trust_radius / math.sqrt(batches)) / max(1.0, depth)

    def use_averaged_means(self, marginal: GaussianParameter, state: State) -> None:
        """The mean becomes the average of the last ones; a surplus of precision that is left is taken out."""
        if "average" in state and marginal.mean.requires_grad:  # the others have fitted to a frozen one where it is
            marginal.mean.copy_(state["average"])
        self.release(marginal, state)

    def release(self, marginal: GaussianParameter, state: State) -> None:
        annealing.take(marginal, state)
        super().release(marginal, state)

    def _remember(self, entries: Sequence[Entry]) -> None:
        for own in entries:
            if "average" not in own.state:
                own.state["average"] = own.marginal.mean.detach().clone()
        for steps in {own.state["steps"] for own in entries}:  # one number, unless some have joined later
            due = [own for own in entries if own.state["steps"] == steps]
            averages, means = [own.state["average"] for own in due], [own.marginal.mean.detach() for own in due]
            foreach.lerp_(averages, means, min(1.0, EVERY / (self.tail * steps)))


@contextmanager
def _means_kept(marginal: GaussianParameter) -> Iterator[None]:
    """Leaves the means: where the data alone would have them is kept nowhere; the next steps follow the new pull."""
    mean = marginal.mean.clone()
    yield
    marginal.mean.copy_(mean)


def _move(mean: Tensor, step: Tensor, score: Tensor, rate: float, reach: float) -> None:
    """m <- m + s rate step, step = score / R, with s for each output so that it moves by at most `reach` deviations."""
    # a batched matrix product would need no memory of the weights' size, and takes ten times as long
    squares = torch.linalg.vecdot(step.reshape(len(step), -1), score.reshape(len(step), -1))
    scale = squares.rsqrt_().mul_(reach).div_(rate).clamp_max_(1.0)
    mean.addcmul_(step, scale.view(-1, *(1 for _ in mean.shape[1:])), value=rate)
