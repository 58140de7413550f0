"""What every store is: how a batch's message enters a marginal, and what is remembered of it.

A weight marginal is prior x product of sites, a site being the message of a part of the data. A store keeps what it
remembers in the optimizer's state of each marginal.
R precision, m mean, R0 and m0 the prior's, (g, G) the batch's message centred at m, a the rate of the step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from torch_gbp.gaussian import Message
from torch_gbp.weights.parameter import GaussianParameter
from torch_gbp.weights.priors import empirical_variance

State = dict[str, Any]


class Run(NamedTuple):
    """The run that a step is part of.

    Args:
        depth: L, of the network (`message_weight.depth`).
        progress: p, the share of the schedule's passes that is done after the step; without a schedule: of the first two.
        steps: T, in all.
        crowding: c, the factor on an automatic power (`message_weight.automatic_power_factor`).
        weights: W, how many there are for an example.
    """

    depth: float = 1.0
    progress: float = 1.0
    steps: float = math.inf
    crowding: float = 1.0
    weights: float = 0.0


class Step(NamedTuple):
    """What a store is told of a step, beside the message, which comes as the sweep left it.

    Args:
        rate: a.
        batches: B, how many make a pass.
        batch: which one this is, of fixed ones.
        message_weight: s, by how much its message counts.
        run: what it is part of.
        probed: whether the precision of the message is that of probes.
        steady: whether the likelihood's curvature stays as the fit gets better.
        scheduled: the rate before the likelihood's factor on it; None for the rate.
    """

    rate: float
    batches: float
    batch: int | None = None
    message_weight: float = 1.0
    run: Run = Run()
    probed: bool = False
    steady: bool = False
    scheduled: float | None = None


class Entry(NamedTuple):
    """A marginal, what a store remembers of it, the message that it lets in, and how."""

    marginal: GaussianParameter
    state: State
    message: Message
    step: Step


class Store:
    """One interface for the three stores; what a store does not need does nothing."""

    fixed_batches = False  # True: every batch must be announced with `MessagePassing.visit`
    cavity = False  # True: the marginals of a sweep do not know what its examples say

    keeps: tuple[str, ...] = ()  # names in a marginal's state from its first step on; tensors like its mean, or messages
    may_keep: tuple[str, ...] = ()  # others that may be there

    def whole(self, state: State) -> bool:
        """Whether all is there that a marginal's state has from its first step on."""
        return set(self.keeps) <= state.keys()

    rated_by_likelihood = False  # True: `Likelihood.rate_factor` multiplies the store's own rate
    way_out = ""  # what to try where nothing is learnt, if it is the store's affair

    def default_rate(self, depth: float) -> float:
        """The peak rate for a network of this depth, where the user gives none."""
        return 1.0

    def begin(self, marginal: GaussianParameter, state: State, depth: float) -> None:
        """Before the first sweep: what a marginal that is still its prior starts with, in a network of this depth."""

    def release(self, marginal: GaussianParameter, state: State) -> None:
        """Takes out a surplus of precision that is left, another optimizer's too (`annealing.py`)."""
        if marginal.surplus and marginal.anneals:
            marginal.precision.copy_(marginal.without_surplus())
            marginal.surplus = 0.0
        state.pop("annealing", None)

    def learnt(self, marginal: GaussianParameter, state: State) -> bool:
        """Whether a marginal is surer of its weights than the prior because of messages."""
        return bool((marginal.precision > marginal.floor).any())

    def prepare(self, marginals: list[GaussianParameter], batches: float) -> None:
        """Before the first step: what the store will need for these marginals and so many batches in a pass."""

    def open(self, marginal: GaussianParameter, state: State, batch: int) -> None:
        """Turns the marginal into what it is before the sweep of this batch."""

    def commit(self, marginal: GaussianParameter, state: State, message: Message, step: Step) -> None:
        """Lets the batch's centred message (g, G) into the marginal."""
        raise NotImplementedError

    def commit_all(self, entries: Sequence[Entry]) -> None:
        """Lets the batch's messages into all marginals that got one."""
        for entry in entries:
            self.commit(*entry)

    def precision_after(self, marginal: GaussianParameter, state: State, message: Message, step: Step) -> Tensor:
        """The precision that `commit` would write, for the check before it."""
        return marginal.precision + step.message_weight * message.precision

    def distance(self, marginal: GaussianParameter, state: State, message: Message, step: Step) -> float:
        """How far from its prior mean `commit` would put a mean, in prior deviations; 0 where no step can go far."""
        return 0.0

    def restore(self, marginal: GaussianParameter, state: State) -> None:
        """Puts back the marginal from before `open`, if no commit came."""

    def use_averaged_means(self, marginal: GaussianParameter, state: State) -> None:
        """Sets the mean to its average over the last steps."""

    def rebuild(self, marginal: GaussianParameter, state: State) -> None:
        """Recomputes the marginal from zero, which removes rounding drift."""

    def prior(self, marginal: GaussianParameter, state: State) -> Message:
        """The prior that is in the product, as a message."""
        return marginal.prior_message()

    def set_prior(self, marginal: GaussianParameter, state: State, precision: Tensor) -> None:
        """Puts a prior of another precision, with the same mean, in the place of the one in the product.

        marginal <- marginal / N(m0, 1 / R0) x N(m0, 1 / R): no site changes, so the precision stays at least the prior's.
        R is one number, or one for each weight.
        """
        old = self.prior(marginal, state)
        new = marginal.as_stored(precision) + (old.precision - marginal.floor)
        sites = (marginal.precision - old.precision).clamp_min(0)  # a difference may round to less than nothing
        centre = old.information / old.precision
        information = marginal.precision * (marginal.mean - centre)  # of the sites, about the prior mean
        marginal.precision.copy_(sites + new)
        marginal.mean.copy_(centre + information / marginal.precision)
        marginal.set_prior_precision(precision)

    def learn_prior(self, marginal: GaussianParameter, state: State) -> None:
        """Sets the prior variance of the whole tensor to the one that its marginals favour (`priors.empirical_variance`): of the
        weights that have learnt something, as the others say the prior's own back."""

        def favoured(moment: Tensor) -> Tensor:
            heard = (marginal.precision > marginal.floor).expand_as(moment)
            return empirical_variance(moment[heard]).reciprocal() if bool(heard.any()) else marginal.prior_precision

        self.adapt_prior(marginal, state, favoured)

    def renew_prior(self, marginal: GaussianParameter, state: State) -> None:
        """Makes the message of a prior anew that depends on the marginal."""
        if marginal.prior.adapts:
            self.adapt_prior(marginal, state, marginal.prior.precision)

    def adapt_prior(self, marginal: GaussianParameter, state: State, rule: Callable[[Tensor], Tensor]) -> None:
        """Sets the prior precision to what a rule makes of E[(w - m0)^2] under the marginals."""
        if marginal.mean.requires_grad:  # a frozen marginal stays what it is
            prior, (mean, variance) = self.prior(marginal, state), marginal.belief()
            centre = prior.information / prior.precision
            self.set_prior(marginal, state, rule((mean - centre).square() + variance))


def natural(marginal: GaussianParameter) -> Message:
    """The marginal as a message: (R m, R)."""
    return Message(marginal.precision.detach() * marginal.mean.detach(), marginal.precision.detach())


def write(marginal: GaussianParameter, product: Message) -> None:
    """The marginal becomes this product of messages."""
    marginal.precision.copy_(product.precision)
    marginal.mean.copy_(product.information / product.precision)
