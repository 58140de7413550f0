"""Update: what a step does to one marginal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from torch_gbp.gaussian import Message
from torch_gbp.optim.settings import name_of
from torch_gbp.optim.stores import Step
from torch_gbp.weights.parameter import GaussianParameter

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


@contextmanager
def restoring_gradients(updates: list[Update]) -> Iterator[None]:
    """After an error inside, the gradients are again what they were before the updates took them."""
    try:
        yield
    except BaseException:
        for update in updates:
            update.marginal.give_back()
        raise
