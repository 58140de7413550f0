"""The three stores: how a batch's message enters a marginal, and what is remembered of it.

A weight marginal is prior x product of sites, a site being the message of a part of the data. A store sees
one marginal at a time, as plain tensors, and keeps what it remembers in the optimizer's state of it.
R precision, m mean, R0 and m0 the prior's, (g, G) the batch's message centred at m, a the rate of the step.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from torch_gbp.errors import InvalidInput
from torch_gbp.gaussian import Message
from torch_gbp.parameter import GaussianParameter

State = dict[str, Any]
TRUST = 1.0  # deviations of an output's mean; chosen on validation data, see benchmarks/README.md


class Step(NamedTuple):
    """What a store is told about a step: the rate a, how many batches make a pass, which batch this is, and by how
    much its message counts (the message itself comes as the sweep left it)."""

    rate: float
    batches: float
    batch: int | None = None
    scale: float = 1.0


class Store:
    """One interface for the three stores; what a store does not need does nothing."""

    default_rate = 1.0
    fixed_batches = False  # True: every batch must be announced with `MessagePassing.visit`

    def open(self, marginal: GaussianParameter, state: State, batch: int) -> None:
        """Turns the marginal into what it is before the sweep of this batch."""

    def commit(self, marginal: GaussianParameter, state: State, message: Message, step: Step) -> None:
        """Lets the batch's centred message (g, G) into the marginal."""
        raise NotImplementedError

    def foresee(self, marginal: GaussianParameter, state: State, message: Message, step: Step) -> Tensor:
        """The precision that `commit` would write, for the check before it."""
        return marginal.precision + step.scale * message.precision

    def restore(self, marginal: GaussianParameter, state: State) -> None:
        """Puts back the marginal from before `open`, if no commit came."""

    def rebuild(self, marginal: GaussianParameter, state: State) -> None:
        """Recomputes the marginal from zero, which removes rounding drift."""


class AveragedSites(Store):
    """One average site for the whole data set (stochastic EP); the default.

    R <- (1 - a/B) R + (a/B) R0 + a G                                  B batches in a pass
    u <- beta u + (1 - beta) (g - (m - m0) R0 / B)
    m <- m + s d,  d = a u / ((1 - beta^t) R),  s = min(1, trust / |d|),  |d|^2 = sum of d^2 R over an output's weights
    The fixed point is R = R0 + sum of G over the data. Without momentum this is the natural-gradient step of
    rate a/B. Memory: one number per weight besides mean and precision. Shuffling and augmentation are fine.
    Trust region: a batch's examples answer at once, and where they agree they overshoot. By Cauchy-Schwarz no output's
    mean moves by more than `trust` of the deviation that the uncertainty of its weights gives it, whatever the input.
    Source: stochastic EP, Li, Hernandez-Lobato & Turner 2015; heavy-ball averaging and trust region by measurement.

    Args:
        momentum: beta, averages the scores over about 1 / (1 - beta) steps; 0 <= momentum < 1.
        trust: how many deviations an output may move in a step, > 0; math.inf for no limit.
    """

    default_rate = 0.4

    def __init__(self, momentum: float = 0.9, trust: float = TRUST) -> None:
        if not 0 <= momentum < 1:
            raise InvalidInput("momentum must be in [0, 1)", where="AveragedSites", got=repr(momentum), fix="use 0.9")
        if not trust > 0:
            raise InvalidInput("trust must be positive", where="AveragedSites", got=repr(trust), fix=f"use {TRUST}")
        self.momentum, self.trust = momentum, trust

    def foresee(self, marginal: GaussianParameter, state: State, message: Message, step: Step) -> Tensor:
        prior = marginal.prior_precision.expand_as(marginal.precision)
        return torch.lerp(marginal.precision, prior, step.rate / step.batches) + step.rate * step.scale * message.precision

    def commit(self, marginal: GaussianParameter, state: State, message: Message, step: Step) -> None:
        mean, precision, prior_precision = marginal.mean, marginal.precision, marginal.prior_precision
        if not state:
            state.update(momentum=torch.zeros_like(mean), steps=0)
        state["steps"] += 1
        fresh, share = 1 - self.momentum, 1 / step.batches
        precision.lerp_(prior_precision, step.rate * share).add_(message.precision, alpha=step.rate * step.scale)
        score = state["momentum"].mul_(self.momentum).add_(message.information, alpha=fresh * step.scale)
        score.addcmul_(mean, prior_precision, value=-fresh * share)
        if marginal.prior_mean is not None:
            score.addcmul_(marginal.prior_mean, prior_precision, value=fresh * share)
        # The message has done its work: its memory, still in the cache, takes the step.
        move = torch.div(score, precision, out=message.information)
        _move(mean, move, score, step.rate / (1 - self.momentum ** state["steps"]), self.trust)


class BatchSites(Store):
    """One site per fixed batch, divided out before the batch is revisited: nothing is ever counted twice.

    cavity = marginal / site_b;  site_b <- (1 - a) site_b + a (message at the cavity);  marginal = cavity x site_b
    The prior is the marginal as first met, random start included. Memory: 2 numbers per weight and batch.
    Source: AMP-BNN thesis section 4.2.2 (the old batch message is divided out, the new one damped).
    """

    fixed_batches = True

    def open(self, marginal: GaussianParameter, state: State, batch: int) -> None:
        """The marginal becomes the batch's cavity; the one from before is kept until the commit."""
        if not state:
            state.update(sites={}, prior=_pack(_natural(marginal)))
        state["before"] = [marginal.mean.detach().clone(), marginal.precision.detach().clone()]
        site = state["sites"].get(batch)
        if site is not None:
            _write(marginal, _natural(marginal) / Message(*site))

    def commit(self, marginal: GaussianParameter, state: State, message: Message, step: Step) -> None:
        assert step.batch is not None
        cavity = _natural(marginal)
        site = self._damped(marginal, state, message, step)
        _write(marginal, cavity * site)
        state["sites"][step.batch] = _pack(site)
        del state["before"]

    def foresee(self, marginal: GaussianParameter, state: State, message: Message, step: Step) -> Tensor:
        return marginal.precision + self._damped(marginal, state, message, step).precision

    def _damped(self, marginal: GaussianParameter, state: State, message: Message, step: Step) -> Message:
        """The batch's new site: its message at the cavity, damped towards the old site."""
        old = state["sites"].get(step.batch)
        site = Message.centred(*message.tempered(step.scale), marginal.mean)
        return site.damp(Message(*old) if old is not None else _silence(site), step.rate)

    def restore(self, marginal: GaussianParameter, state: State) -> None:
        if "before" in state:
            mean, precision = state.pop("before")
            marginal.mean.copy_(mean)
            marginal.precision.copy_(precision)

    def rebuild(self, marginal: GaussianParameter, state: State) -> None:
        if state:
            total = Message(*state["prior"])
            for site in state["sites"].values():
                total = total * Message(*site)
            _write(marginal, total)


class Filtering(Store):
    """The posterior becomes the next prior: one pass, streams, continual learning.

    R <- R_p + G,  m <- (R_p m_p + g + G m) / R,  with (m_p, R_p) the marginal, drawn towards the first prior by
    forget: sigma_p = f sigma_0 + (1 - f) sigma, m_p = f m_0 + (1 - f) m. The rate is not used.
    Source: GBP Learning (arXiv 2311.14649) section 3.4 and eq. 27 to 29.

    Args:
        forget: f in [0, 1); 0 keeps everything.
    """

    def __init__(self, forget: float = 0.0) -> None:
        if not 0 <= forget < 1:
            raise InvalidInput("forget must be in [0, 1)", where="Filtering", got=repr(forget), fix="use 0")
        self.forget = forget

    def commit(self, marginal: GaussianParameter, state: State, message: Message, step: Step) -> None:
        said = Message.centred(*message.tempered(step.scale), marginal.mean)
        _write(marginal, self._prior(marginal) * said)

    def foresee(self, marginal: GaussianParameter, state: State, message: Message, step: Step) -> Tensor:
        return self._prior(marginal).precision + step.scale * message.precision

    def _prior(self, marginal: GaussianParameter) -> Message:
        if not self.forget:
            return _natural(marginal)
        first = 0.0 if marginal.prior_mean is None else marginal.prior_mean
        deviation = torch.lerp(marginal.precision.rsqrt(), marginal.prior_precision.rsqrt(), self.forget)
        precision = deviation.square().reciprocal()
        return Message(precision * (self.forget * first + (1 - self.forget) * marginal.mean), precision)


def _move(mean: Tensor, step: Tensor, score: Tensor, rate: float, trust: float) -> None:
    """m <- m + s rate step, step = score / R, with s for each output so that it moves by at most `trust` deviations."""
    squares = step.view(len(step), 1, -1) @ score.view(len(score), -1, 1)  # without a copy of the size of the weights
    scale = squares.sqrt_().mul_(rate).reciprocal_().mul_(trust).clamp_max_(1.0)
    mean.addcmul_(step, scale.view(-1, *(1 for _ in mean.shape[1:])), value=rate)


def _natural(marginal: GaussianParameter) -> Message:
    return Message(marginal.precision.detach() * marginal.mean.detach(), marginal.precision.detach())


def _silence(like: Message) -> Message:
    return Message(torch.zeros_like(like.information), torch.zeros_like(like.precision))


def _pack(message: Message) -> list[Tensor]:
    """As a plain list, which checkpoints with weights_only=True take."""
    return [part.clone() for part in message]


def _write(marginal: GaussianParameter, product: Message) -> None:
    marginal.precision.copy_(product.precision)
    marginal.mean.copy_(product.information / product.precision)
