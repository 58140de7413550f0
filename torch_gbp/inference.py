"""Inference: how the messages of one batch are iterated before they enter the weight marginals.

A visit to a batch is one or more inner sweeps and one step of the optimizer. Between the sweeps every layer keeps its
messages (`memory.py`), and the weight marginals are cavity x the batch's messages so far. At the end they are the cavity
again, bit for bit, and the optimizer lets the last messages in at its rate. Nothing is left of them at the next visit.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor, nn

from torch_gbp.errors import InvalidInput
from torch_gbp.gaussian import Message
from torch_gbp.likelihoods import Likelihood
from torch_gbp.memory import BatchMemory, ExactMemory, Memory, Note
from torch_gbp.optimizer import MessagePassing
from torch_gbp.parameter import GaussianParameter
from torch_gbp.stores.base import write
from torch_gbp.stores.batch_sites import memory_of_sites, require_memory

Weights = dict[GaussianParameter, Message]  # messages to the weights, in natural form


class Visit(NamedTuple):
    """A batch, and who takes part in its visit; the weights are at their cavity as it begins."""

    model: nn.Module
    likelihood: Likelihood
    propagate: MessagePassing
    x: Tensor
    y: Tensor

    def sweep(self, part: slice = slice(None)) -> Tensor:
        """One forward and one backward sweep of some of the examples; returns their loss."""
        loss = self.likelihood(self.model(self.x[part]), self.y[part])
        loss.backward()
        return loss.detach()

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
    examples answer at once, and together they overshoot.
    """

    def infer(self, visit: Visit, iterations: int, damping: float) -> Tensor:
        visit.propagate.zero_grad()
        if iterations == 1:
            return visit.sweep()
        layers, notes, loss = visit.layers(), dict[GaussianParameter, Note](), torch.zeros(())
        with _cavity_kept(visit) as cavity, _remembering(layers, [BatchMemory(damping) for _ in layers]):
            for _ in range(iterations):
                _write(cavity, {marginal: note.message for marginal, note in notes.items() if note.message is not None})
                visit.propagate.zero_grad()
                loss = visit.sweep()
                for marginal, message in _heard(visit).items():
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


@dataclass(frozen=True)
class Inference:
    """How a visit to a batch goes: inner sweeps, rate, damping, order.

    Args:
        iterations: inner sweeps per visit; a sequence has one number for each pass, the last for all that follow.
        rate: pass (1, 2, ...) -> rate at which the visit's messages enter the store; None leaves it to the optimizer.
        damping: share of the old message that is kept between the inner sweeps of a visit, in [0, 1).
        order: Parallel() or Sequential().

    `inference(model, likelihood, propagate, x, y)` takes the place of zero_grad, sweep and step in a loop, inside
    `propagate.visit` where the store has fixed batches. A failure in the middle leaves the marginals as they were.

    Raises:
        InvalidInput: iterations below 1 or damping out of range.

    >>> import torch_gbp as gbp
    >>> model, likelihood = gbp.GBPLinear(2, 1).double(), gbp.Regression(0.1)
    >>> propagate = MessagePassing(model.parameters(), num_data=3, store=gbp.BatchSites(), epochs=None)
    >>> x, y = torch.ones(3, 2).double(), torch.ones(3, 1).double()
    >>> inference = Inference(iterations=(1, 1, 2, 2), rate=thesis_rate, order=Sequential())
    >>> for epoch in range(1, 5):
    ...     with propagate.visit(0, x, y):
    ...         loss = inference(model, likelihood, propagate, x, y, epoch)
    """

    iterations: int | Sequence[int] = 1
    rate: Callable[[int], float] | None = None
    damping: float = 0.0
    order: Order = field(default_factory=Parallel)

    def __post_init__(self) -> None:
        counts = [self.iterations] if isinstance(self.iterations, int) else self.iterations
        if not counts or min(counts) < 1 or not 0 <= self.damping < 1:
            raise InvalidInput(
                "iterations must be at least 1 and damping in [0, 1)",
                where="Inference",
                got=f"iterations={self.iterations}, damping={self.damping}",
                fix="use iterations=1 and damping=0",
            )

    def __call__(
        self, model: nn.Module, likelihood: Likelihood, propagate: MessagePassing, x: Tensor, y: Tensor, epoch: int = 1
    ) -> Tensor:
        """All sweeps of one visit and the step; returns the last sweep's loss, -log evidence of the batch."""
        if self.rate is not None:
            for group in propagate.param_groups:
                group["lr"] = self.rate(epoch)
        loss = self.order.infer(Visit(model, likelihood, propagate, x, y), self.sweeps(epoch), self.damping)
        propagate.step()
        return loss

    def sweeps(self, epoch: int) -> int:
        """Inner sweeps of a visit in this pass.

        >>> [Inference(iterations=(1, 1, 2)).sweeps(epoch) for epoch in (1, 2, 3, 4)]
        [1, 1, 2, 2]
        """
        if isinstance(self.iterations, int):
            return self.iterations
        return self.iterations[min(epoch, len(self.iterations)) - 1]


def thesis_rate(epoch: int) -> float:
    """Rate of the published schedule, 0.9 + 0.1 exp(-0.3 (e - 1)) in pass e = 1, 2, ...: the first visit is undamped.

    >>> [round(thesis_rate(epoch), 3) for epoch in (1, 2, 18)]
    [1.0, 0.974, 0.901]
    """
    return 0.9 + 0.1 * math.exp(-0.3 * (epoch - 1))


def thesis_iterations(epochs: int = 18) -> tuple[int, ...]:
    """Inner sweeps of the published schedule: 1, 1, 2, 2, ..., 9, 9 (90 in all).

    >>> thesis_iterations(5), sum(thesis_iterations())
    ((1, 1, 2, 2, 3), 90)
    """
    return tuple((epoch + 1) // 2 for epoch in range(1, epochs + 1))


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
            fix=f"use {type(likelihood).__name__}(..., power=1), and prior_scale=1 in the layers",
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
        yield {marginal: Message(precision * mean, precision) for marginal, mean, precision in before}
    finally:
        with torch.no_grad():
            for marginal, mean, precision in before:
                marginal.mean.copy_(mean)
                marginal.precision.copy_(precision)
                marginal.trust()


def _heard(visit: Visit) -> Weights:
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
    for marginal, message in _heard(visit).items():
        old = sites.get(marginal.mean)
        change = message if old is None else message / old
        information = marginal.precision * marginal.mean + change.information
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
    for marginal, message in said.items():
        score = message.information - message.precision * marginal.mean
        marginal.tell(Message(score, message.precision).tempered(1 / visit.propagate.scale))
