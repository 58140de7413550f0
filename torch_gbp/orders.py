"""Orders: who speaks when during the inner sweeps of one visit to a batch, and what the visit hands to the optimizer.

Between the sweeps every layer keeps its messages (`memory.py`), and the weight marginals are cavity x the batch's
messages so far. At the end they are the cavity again, bit for bit, and the batch's messages lie where
`MessagePassing.step` looks for them. Nothing else is left of a visit.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from functools import partial, reduce
from typing import NamedTuple

import torch
from torch import Tensor, nn

from torch_gbp.errors import InvalidInput
from torch_gbp.gaussian import Gaussian, Message
from torch_gbp.likelihoods import Likelihood
from torch_gbp.memory import BatchMemory, ExactMemory, Memory, Note
from torch_gbp.optim.message_passing import MessagePassing
from torch_gbp.optim.message_weight import full_power
from torch_gbp.optim.stores.base import write
from torch_gbp.optim.stores.batch_sites import memory_of_sites, require_memory
from torch_gbp.weights.parameter import GaussianParameter

Weights = dict[GaussianParameter, Message]  # messages to the weights, in natural form


class Visit(NamedTuple):
    """A batch, and who takes part in its visit; the weights are at their cavity as it begins."""

    model: nn.Module
    likelihood: Likelihood
    propagate: MessagePassing
    x: Tensor
    y: Tensor

    def sweep(self, part: slice = slice(None), known: Tensor | None = None) -> Tensor:
        """One forward and one backward sweep of some of the examples, whose `known` targets speak; returns their loss."""
        loss = self.likelihood(self.model(self.x[part]), self.y[part], known)
        loss.backward()
        return loss.detach()

    def at_full_power(self) -> Visit:
        """The visit whose messages count in every inner sweep as they will in the step, an automatic power included.

        Else what the weights take in would differ from what is taken out of the outputs as their own.
        """
        likelihood, propagate = copy(self.likelihood), self.propagate
        weights = [marginal.mean.numel() for marginal in propagate.marginals]
        likelihood.power = full_power(likelihood, weights, propagate.param_groups[0]["num_data"])
        likelihood.automatic, likelihood.inside = False, True
        return self._replace(likelihood=likelihood)

    def layers(self) -> list[nn.Module]:
        """The layers that can keep messages between sweeps."""
        return [module for module in self.model.modules() if isinstance(getattr(module, "memory", None), Memory)]


class Order:
    """Who speaks when: how the messages of one visit come about."""

    def infer(self, visit: Visit, iterations: int, damping: float) -> Tensor:
        """Runs the inner sweeps and leaves the batch's messages for `propagate.step()`; returns the last sweep's loss."""
        raise NotImplementedError


class Parallel(Order):
    """All examples at once, by the aggregated messages of a single sweep, iterated (`memory.BatchMemory`).

    One iteration is exactly the plain loop's sweep. With more, messages to weights and activations want damping: all
    examples answer at once, and together they overshoot. A likelihood power multiplies messages, as in the plain sweep;
    `LayerSweeps` raises the likelihood itself to it, which is the same for a power of 1 alone.
    """

    def infer(self, visit: Visit, iterations: int, damping: float) -> Tensor:
        visit.propagate.zero_grad()
        if iterations == 1:
            return visit.sweep()
        visit = visit.at_full_power()
        layers, notes, loss = visit.layers(), dict[GaussianParameter, Note](), torch.zeros(())
        with _cavity_kept(visit) as cavity, _remembering(layers, [BatchMemory(damping) for _ in layers]):
            for _ in range(iterations):
                _write(cavity, {marginal: note.message for marginal, note in notes.items() if note.message is not None})
                visit.propagate.zero_grad()
                loss = visit.sweep()
                for marginal, message in messages_of(visit).items():
                    notes.setdefault(marginal, Note(damping)).keep(message)
        _hand_over(visit, {marginal: note.message for marginal, note in notes.items() if note.message is not None})
        return loss


class Sequential(Order):
    """One example after the other, by exact scalar messages (`memory.ExactMemory`); weights change after each. Small data.

    The first sweep multiplies every example's message into the weights, a later one replaces it. Examples come in an order
    that is drawn at every visit. For a likelihood with `power=1`, Bayes' rule. Memory: two numbers per weight and example of
    a batch. Source: AMP-BNN thesis section 4.2 and its code.
    """

    def infer(self, visit: Visit, iterations: int, damping: float) -> Tensor:
        _check_sequential(visit.likelihood, damping)
        owned = visit.propagate.marginals
        needed = memory_of_sites(owned, len(visit.x))
        require_memory(
            needed, owned[0].mean.device, f"the messages of {len(visit.x)} examples", "use smaller batches, or Parallel()"
        )
        layers, loss, said = visit.layers(), torch.zeros(()), Weights()
        sites: list[dict[Tensor, Message]] = [{} for _ in visit.x]
        memories = [[ExactMemory(own) for _ in layers] for own in sites]
        order = torch.randperm(len(sites)).tolist()
        with _cavity_kept(visit) as cavity:
            for _ in range(iterations):
                visit.propagate.zero_grad()
                loss = torch.zeros(())
                for n in order:
                    with _remembering(layers, memories[n]):
                        loss = loss + visit.sweep(slice(n, n + 1))
                    _replace(visit, sites[n])
                said = _product(visit, sites)
                _write(cavity, said)  # exactly cavity x messages: takes away the rounding of many replacements
        _hand_over(visit, said)
        return loss


def _check_sequential(likelihood: Likelihood, damping: float) -> None:
    if damping:
        raise InvalidInput(
            "the sequential order replaces messages one by one, undamped",
            where="Inference",
            got=f"damping={damping}",
            fix="use damping=0, and a rate to damp what enters the store",
        )
    if likelihood.power != 1:
        raise InvalidInput(
            "exact messages need a likelihood power of 1",
            where="Inference, sequential order",
            got=f"{type(likelihood).__name__} with power {likelihood.power:g}",
            cause="the automatic power, which suits the default order and narrow prior",
            fix=f"use {type(likelihood).__name__}(..., power=1), and prior=Prior(scale=1) in the layers",
        )


@contextmanager
def _remembering(layers: list[nn.Module], memories: Sequence[Memory]) -> Iterator[None]:
    """Gives every layer its memory for a sweep, and takes it away again."""
    try:
        for layer, memory in zip(layers, memories, strict=True):
            layer.memory = memory  # type: ignore[assignment]
        yield
    finally:
        for layer in layers:
            layer.__dict__.pop("memory", None)  # back to the class's own


@contextmanager
def _cavity_kept(visit: Visit) -> Iterator[Weights]:
    """Tells the cavity, lets the weights move, and puts them back, whatever happens."""
    owned = visit.propagate.marginals
    before = [(marginal, marginal.mean.detach().clone(), marginal.precision.detach().clone()) for marginal in owned]
    try:
        yield {marginal: Message(*(part.clone() for part in marginal.batch_prior())) for marginal in owned}
    finally:
        with torch.no_grad():
            for marginal, mean, precision in before:
                marginal.mean.copy_(mean)
                marginal.precision.copy_(precision)
                marginal.trust()


def messages_of(visit: Visit) -> Weights:
    """The messages of the last sweep, at the strength at which the store would take them."""
    return {marginal: Message.centred(*message, marginal.mean.detach()) for marginal, message in visit.propagate.messages()}


@torch.no_grad()
def _write(cavity: Weights, said: Weights) -> None:
    """Weights = cavity x what the batch has said so far."""
    for marginal, message in said.items():
        write(marginal, cavity[marginal] * message)
        marginal.trust()


@torch.no_grad()
def _replace(visit: Visit, sites: dict[Tensor, Message]) -> None:
    """The example's new messages take the place of its old ones in the weights; uses up the gradients."""
    for marginal, message in messages_of(visit).items():
        old = sites.get(marginal.mean)
        change = message if old is None else message / old
        information = marginal.batch_prior().information + change.information
        marginal.precision.add_(change.precision)
        torch.div(information, marginal.precision, out=marginal.mean.data)
        marginal.trust()
        sites[marginal.mean] = message
        marginal.mean.grad = marginal.precision.grad = None


@torch.no_grad()
def _product(visit: Visit, sites: list[dict[Tensor, Message]]) -> Weights:
    """Product of the examples' messages to every marginal that got any."""
    found = Weights()
    for marginal in visit.propagate.marginals:
        own = [said[marginal.mean] for said in sites if marginal.mean in said]
        if own:
            found[marginal] = reduce(operator.mul, own)
    return found


@torch.no_grad()
def _hand_over(visit: Visit, said: Weights) -> None:
    """Puts the batch's messages where `step` looks for them, centred at the cavity and without the store's scale."""
    learn_from_outputs(visit, said)
    for marginal, message in said.items():
        score = message.information - message.precision * marginal.mean
        marginal.tell(Message(score, message.precision).tempered(1 / visit.propagate.message_weight))


@torch.no_grad()
def learn_from_outputs(visit: Visit, said: Weights) -> None:
    """Has the step's M step of a likelihood that learns use outputs that know the batch's targets once."""
    if visit.likelihood.learns:
        visit.propagate.learn_by(partial(visit.likelihood.learn, *_informed(visit, said), visit.y, True))


def _informed(visit: Visit, said: Weights) -> Gaussian:
    """The outputs from weights that know the batch's targets once: cavity x messages, or what the store holds if it has none."""
    with _cavity_kept(visit) as cavity:
        if visit.propagate.store.cavity:
            _write(cavity, said)
        return visit.model(visit.x)
