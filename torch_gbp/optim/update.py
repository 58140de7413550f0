"""Update: what a step does to one marginal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from torch_gbp import foreach
from torch_gbp.errors import InvalidInput
from torch_gbp.gaussian import Message
from torch_gbp.optim.settings import name_of
from torch_gbp.optim.stores import Step
from torch_gbp.weights.parameter import GaussianParameter
from torch_gbp.weights.received import scores_of

NOTHING = Message(torch.zeros(()), torch.zeros(()))


class Update(NamedTuple):
    """One marginal's part of a step: its parameter group, its place in it, the message and how that enters."""

    group: dict[str, Any]
    position: int
    marginal: GaussianParameter
    message: Message
    step: Step
    curvature: Tensor | None = None  # precision of an example's message, from a probe

    @property
    def name(self) -> str:
        """Name of the layer, if the optimizer was given named parameters."""
        return name_of(self.group, self.position)


def told(updates: Sequence[Update], curvatures: Sequence[Tensor | None], examples: float, take: bool) -> list[Update]:
    """The updates with the messages that their marginals got; `take` as in `GaussianParameter.message`.

    Args:
        curvatures: precision of an example's message in the last probe before those that came with these sweeps, if any.
        examples: how many spoke.

    Raises:
        InvalidInput: a score for which no probe has ever said a precision; before anything is taken.
    """
    probed = [i for i, update in enumerate(updates) if update.step.probed]
    each = {i: _curvature(updates[i], curvatures[i], examples) for i in probed}
    precisions = foreach.mul(list(each.values()), examples) if each else []
    scores = scores_of([updates[i].marginal for i in probed], take)
    messages = {i: Message(*message) for i, *message in zip(probed, scores, precisions, strict=True)}
    return [
        update._replace(message=messages.get(i) or update.marginal.message(take), curvature=each.get(i))
        for i, update in enumerate(updates)
    ]


def _curvature(update: Update, last: Tensor | None, examples: float) -> Tensor:
    probed = update.marginal.curvature
    if probed is not None:
        return probed / examples
    if last is None:
        raise _no_probe(update.marginal.mean, update.name)
    return last


def _no_probe(mean: Tensor, where: str) -> InvalidInput:
    """The error where no probe has ever reached a marginal, which so has a score and no precision."""
    return InvalidInput(
        "a score came without a precision: no probe has reached the marginal",
        where=f"MessagePassing.step, {where}",
        got=f"shape {tuple(mean.shape)}",
        cause="a loss that is not a torch_gbp likelihood, checkpoint(..., use_reentrant=True), or weights first used late",
        fix="compute the loss by a likelihood, e.g. torch_gbp.Softmax()(model(x), y), and use all weights from the start",
    )


@contextmanager
def restoring_gradients(updates: list[Update]) -> Iterator[None]:
    """After an error inside, the gradients are again what they were before the updates took them."""
    try:
        yield
    except BaseException:
        for update in updates:
            update.marginal.give_back()
        raise
