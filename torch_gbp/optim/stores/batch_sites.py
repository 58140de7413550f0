"""BatchSites: one site for every fixed batch of the data."""

from __future__ import annotations

import logging
import math
from typing import Any

import torch
from torch import Tensor

from torch_gbp.gaussian import Message
from torch_gbp.memory import require_memory, size_of
from torch_gbp.optim.stores.base import State, Step, Store, natural, write
from torch_gbp.weights.parameter import GaussianParameter

_LOG = logging.getLogger(__name__)


class BatchSites(Store):
    """One site per fixed batch, divided out before the batch is revisited: no batch is counted twice.

    With a likelihood power of 1 that is Bayes' bookkeeping; another power counts every example that many times.
    cavity = marginal / site_b;  site_b <- (1 - a) site_b + a (message at the cavity);  marginal = cavity x site_b
    The prior is that of the weights, wherever their means start (`GaussianParameter.batch_prior`). Around 0 all hidden units are
    alike: where batches say little beside the prior, give a deep network `Prior(mean="start")`.
    Memory: 2 numbers per weight and batch, in `needed` (bytes) and the log before the first site is made.
    Source: AMP-BNN thesis section 4.2.2 (the old batch message is divided out, the new one damped).

    Args:
        device: where the sites are kept, e.g. "cpu" for marginals on a GPU; None for where the marginals are.

    Raises:
        OutOfMemory: before the first step, where the sites of all batches would not fit.
    """

    fixed_batches = True
    cavity = True
    way_out = 'use prior=Prior(mean="start") in the layers (here means start at the prior, all alike), or AveragedSites'
    keeps, may_keep = ("sites", "prior"), ("before",)

    def __init__(self, device: Any = None) -> None:
        self.device = None if device is None else torch.device(device)
        self.needed: int | None = None

    def prepare(self, marginals: list[GaussianParameter], batches: float) -> None:
        """Tells the memory of all sites, and compares it with what is free."""
        self.needed = memory_of_sites(marginals, batches)
        device = self.device or marginals[0].mean.device
        _LOG.info("BatchSites: %.3g GB on %s for the sites of %d batches", self.needed / 1e9, device, math.ceil(batches))
        way_out = "use larger batches, BatchSites(device='cpu'), or AveragedSites, which keeps one site for all batches"
        require_memory(self.needed, device, f"the sites of {math.ceil(batches)} batches", way_out)

    def open(self, marginal: GaussianParameter, state: State, batch: int) -> None:
        """The marginal becomes the batch's cavity; the one from before is kept until the commit."""
        if not state:
            state.update(sites={}, prior=self._pack(marginal.batch_prior()))
        self._bring_home(state)
        state["before"] = [marginal.mean.detach().clone(), marginal.precision.detach().clone()]
        if batch in state["sites"]:
            write(marginal, natural(marginal) / _unpack(state["sites"][batch], marginal))

    def commit(self, marginal: GaussianParameter, state: State, message: Message, step: Step) -> None:
        assert step.batch is not None
        site = self._damped(marginal, state, message, step)
        write(marginal, marginal.batch_prior() * site)
        state["sites"][step.batch] = self._pack(site)
        del state["before"]

    def precision_after(self, marginal: GaussianParameter, state: State, message: Message, step: Step) -> Tensor:
        return marginal.precision + self._damped(marginal, state, message, step).precision

    def distance(self, marginal: GaussianParameter, state: State, message: Message, step: Step) -> float:
        after = marginal.batch_prior() * self._damped(marginal, state, message, step)
        prior = marginal.prior_message()
        moved = after.information / after.precision - prior.information / prior.precision
        return float((moved.abs() * prior.precision.sqrt()).max())

    def _damped(self, marginal: GaussianParameter, state: State, message: Message, step: Step) -> Message:
        """The batch's new site: its message at the cavity, damped towards the old site."""
        old = state["sites"].get(step.batch)
        site = Message.centred(*message.tempered(step.message_weight), marginal.mean)
        return site.damp(_unpack(old, marginal) if old is not None else _silence(site), step.rate)

    def restore(self, marginal: GaussianParameter, state: State) -> None:
        if "before" in state:
            mean, precision = state.pop("before")
            marginal.mean.copy_(mean)
            marginal.precision.copy_(precision)

    def prior(self, marginal: GaussianParameter, state: State) -> Message:
        return _unpack(state["prior"], marginal) if state else super().prior(marginal, state)

    def set_prior(self, marginal: GaussianParameter, state: State, precision: Tensor) -> None:
        if state:  # what the marginal was when first met: its mean stays, its precision may be more than the prior's
            old = self.prior(marginal, state)
            new = marginal.as_stored(precision) + (old.precision - marginal.floor)
            after = self._pack(Message(old.information * (new / old.precision), new))
        super().set_prior(marginal, state, precision)
        if state:
            state["prior"] = after

    def rebuild(self, marginal: GaussianParameter, state: State) -> None:
        if state:
            total = _unpack(state["prior"], marginal)
            for site in state["sites"].values():
                total = total * _unpack(site, marginal)
            write(marginal, total)

    def _pack(self, message: Message) -> list[Tensor]:
        """On the sites' device, as a plain list, which checkpoints with weights_only=True take."""
        return [part.to(self.device, copy=True) for part in message]

    def _bring_home(self, state: State) -> None:
        """Sites that a checkpoint brought to the marginals' device go to their own."""
        if self.device is None or state["prior"][0].device == self.device:
            return
        for packed in (state["prior"], *state["sites"].values()):
            packed[:] = [part.to(self.device) for part in packed]


def memory_of_sites(marginals: list[GaussianParameter], batches: float) -> int:
    """Bytes of one site for each of the batches, and of the prior: information and precision of every weight.

    >>> import torch_gbp as gbp
    >>> layer = gbp.GBPLinear(9, 10, covariance="diagonal", dtype=torch.float64)
    >>> memory_of_sites([layer.weight, layer.bias], batches=3)  # 2 numbers of 8 bytes, 90 weights + 10 biases, 4 messages
    6400
    """
    return size_of(part for own in marginals for part in (own.mean, own.precision)) * (math.ceil(batches) + 1)


def _unpack(packed: list[Tensor], marginal: GaussianParameter) -> Message:
    """A stored message, on the marginal's device."""
    return Message(*(part.to(marginal.mean.device) for part in packed))


def _silence(like: Message) -> Message:
    return Message(torch.zeros_like(like.information), torch.zeros_like(like.precision))
