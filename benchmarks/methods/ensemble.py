"""A deep ensemble: plain networks with initial weights and batches of their own, trained one after the other."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from benchmarks.methods.base import Entrant, Method, Training, log_mean
from benchmarks.methods.gradient import AdamW

MEMBERS = 5


class Ensemble(Method):
    """Five networks by AdamW; their probabilities are averaged.

    The first has the initial weights and the batches of all other methods, the others draw theirs.
    """

    def __init__(self, training: Training, *, lr: float, weight_decay: float) -> None:
        others = [training._replace(network=_redrawn(training.network)) for _ in range(MEMBERS - 1)]
        self.members = [AdamW(own, lr=lr, weight_decay=weight_decay) for own in (training, *others)]
        self.network = nn.ModuleList([member.network for member in self.members])
        self._x, self._y = training.x, training.y
        self._orders = [torch.empty(0, dtype=torch.long) for _ in others]

    def step(self, x: Tensor, y: Tensor) -> None:
        first, *others = self.members
        first.step(x, y)
        for i, member in enumerate(others):
            index = self._next(i, len(x))
            member.step(self._x[index], self._y[index])

    def log_probabilities(self, x: Tensor) -> Tensor:
        return log_mean(member.log_probabilities(x) for member in self.members)

    def trained_at_a_time(self) -> Method:
        return self.members[0]

    def _next(self, member: int, size: int) -> Tensor:
        """The next images in this member's shuffle of the data, shuffled anew when they run out."""
        if len(self._orders[member]) < size:
            self._orders[member] = torch.cat([self._orders[member], torch.randperm(len(self._x))])
        index, self._orders[member] = self._orders[member][:size], self._orders[member][size:]
        return index


def _redrawn(network: nn.Module) -> nn.Module:
    """A copy with new initial weights, drawn as torch's layers draw them."""
    fresh = copy.deepcopy(network)
    for module in fresh.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            module.reset_parameters()
    return fresh


ENSEMBLE = Entrant("ensemble of 5", Ensemble, {"lr": 1e-3, "weight_decay": 0.01}, borrows="adamw")
