"""Whether the messages of a step may be written: looked at before any of them is."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from torch_gbp import foreach
from torch_gbp.errors import Diverged, ImproperMarginal, InvalidInput
from torch_gbp.optim.stores import Store
from torch_gbp.optim.stores.base import State
from torch_gbp.optim.update import Update
from torch_gbp.weights.parameter import TOLERANCE

FARTHEST = 1e6  # prior deviations from the prior mean: no posterior is there, a diverging iteration soon is


def check_updates(store: Store, updates: list[Update], states: list[State]) -> None:
    """Raises ImproperMarginal or Diverged, before anything is written, if any of the messages should not be."""
    quick = sound(updates)
    for update, state in zip(updates, states, strict=True):
        check_type(update, state)
        entry = update.marginal, state, update.message, update.step
        if not quick:
            check_message(update, store.precision_after(*entry))
        check_distance(update, store.distance(*entry))


def check_type(update: Update, state: State) -> None:
    """Raises InvalidInput if what is kept of a marginal is of another type than it has now."""
    here = update.marginal.mean.dtype
    others = {kept.dtype for kept in state.values() if isinstance(kept, Tensor) and kept.dtype != here}
    if others:
        raise InvalidInput(
            "the weights are of another type than what the optimizer remembers of them",
            where=f"{update.name}, step {update.group['steps'] + 1}",
            got=f"{here}, remembered in {', '.join(map(str, others))}",
            cause="model.double() or model.half() between two steps",
            fix="convert the network before the optimizer is made; nothing has changed",
        )


def sound(updates: list[Update]) -> bool:
    """True if all messages are finite and none has a negative precision; one read-back from the device.

    A norm is NaN or Inf if an entry is (one that overflows is looked at again by `check_message`). The
    precision of probes is a square.
    """
    sizes = foreach.norm([part for update in updates for part in update.message])
    lowest = [update.message.precision.amin() for update in updates if not update.step.probed]
    numbers = torch.stack([*sizes, *lowest]).tolist()
    return all(map(math.isfinite, numbers)) and min(numbers) >= 0


def check_message(update: Update, after: Tensor) -> None:
    """The slow and exact check of one marginal, after the quick one was not passed; `after`: the precision to be written.

    Raises:
        ImproperMarginal: the message is not finite, or the precision would fall below the prior's.
    """
    message, where = update.message, f"{update.name}, step {update.group['steps'] + 1}"
    bad = ~(message.information.isfinite() & message.precision.isfinite())
    if bad.any():
        raise ImproperMarginal(
            f"{int(bad.sum())} of {bad.numel()} messages are NaN or Inf",
            where=where,
            got=f"largest finite |g| {_largest(message.information):.3g}",
            cause="beliefs that overflowed: rate or likelihood power too high",
            fix="lower lr or power; the marginals from before the step are kept",
        )
    floor = update.marginal.floor
    bad = ~(after >= floor * (1 - TOLERANCE))
    if bad.any():
        raise ImproperMarginal(
            f"{int(bad.sum())} of {bad.numel()} precisions would fall below the prior's",
            where=where,
            got=f"worst {after.min().item():.4g}, prior {floor.min().item():.4g}",
            cause="messages of negative precision (the EP form of a nonlinear rule) at too high a rate",
            fix="use the score form, or lower lr; the marginals from before the step are kept",
        )


def check_distance(update: Update, distance: float) -> None:
    """Raises Diverged if a mean would be so many prior deviations away that no posterior is there."""
    if distance > FARTHEST:
        raise Diverged(
            "the iteration diverges: a mean would be far from everything its prior allows",
            where=f"{update.name}, step {update.group['steps'] + 1}",
            got=f"{distance:.3g} prior deviations",
            cause="all examples of a batch answer at once, and overshoot together; or data that are not standardised",
            fix="use Inference(iterations=1000, damping=0.95), smaller batches, or AveragedSites; "
            "the marginals from before the step are kept",
        )


def _largest(values: Tensor) -> float:
    finite = values[values.isfinite()]
    return float(finite.abs().max()) if finite.numel() else math.nan
