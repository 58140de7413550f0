"""BatchSites: one site for every fixed batch of the data."""

from __future__ import annotations

import torch
from torch import Tensor

from torch_gbp.gaussian import Message
from torch_gbp.parameter import GaussianParameter
from torch_gbp.stores.base import State, Step, Store, natural, write


class BatchSites(Store):
    """One site per fixed batch, divided out before the batch is revisited: nothing is ever counted twice.

    cavity = marginal / site_b;  site_b <- (1 - a) site_b + a (message at the cavity);  marginal = cavity x site_b
    The prior is the marginal as first met, random start included. Memory: 2 numbers per weight and batch.
    Source: AMP-BNN thesis section 4.2.2 (the old batch message is divided out, the new one damped).
    """

    fixed_batches = True
    cavity = True

    def open(self, marginal: GaussianParameter, state: State, batch: int) -> None:
        """The marginal becomes the batch's cavity; the one from before is kept until the commit."""
        if not state:
            state.update(sites={}, prior=_pack(natural(marginal)))
        state["before"] = [marginal.mean.detach().clone(), marginal.precision.detach().clone()]
        site = state["sites"].get(batch)
        if site is not None:
            write(marginal, natural(marginal) / Message(*site))

    def commit(self, marginal: GaussianParameter, state: State, message: Message, step: Step) -> None:
        assert step.batch is not None
        cavity = natural(marginal)
        site = self._damped(marginal, state, message, step)
        write(marginal, cavity * site)
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

    def prior(self, marginal: GaussianParameter, state: State) -> Message:
        return Message(*state["prior"]) if state else super().prior(marginal, state)

    def set_prior(self, marginal: GaussianParameter, state: State, precision: Tensor) -> None:
        if state:  # what the marginal was when first met: its mean stays, its precision may be more than the prior's
            old = self.prior(marginal, state)
            new = precision + (old.precision - marginal.prior_precision)
            after = _pack(Message(old.information * (new / old.precision), new))
        super().set_prior(marginal, state, precision)
        if state:
            state["prior"] = after

    def rebuild(self, marginal: GaussianParameter, state: State) -> None:
        if state:
            total = Message(*state["prior"])
            for site in state["sites"].values():
                total = total * Message(*site)
            write(marginal, total)


def _silence(like: Message) -> Message:
    return Message(torch.zeros_like(like.information), torch.zeros_like(like.precision))


def _pack(message: Message) -> list[Tensor]:
    """As a plain list, which checkpoints with weights_only=True take."""
    return [part.clone() for part in message]
