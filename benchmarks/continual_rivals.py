"""Rivals that learn task after task: plain networks that go on, hold weights by a penalty, or keep examples.

A penalty is P(w) = sum over the tasks before of strength / 2 n_t (w - w_t)' F_t (w - w_t) for n_t examples with Fisher
information F_t each, divided by the number of examples of the task under way, as the loss is a mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.continual_learners import Heads, Learner, batches
from benchmarks.continual_tasks import Part, Scenario

RATE = 1e-3  # of Adam
KEPT = 200  # examples of each task in the replay buffer
FISHER = 2000  # examples of a task from which its Fisher information is estimated


class Finetune(Learner):
    """Adam on the task at hand."""

    def __init__(self, scenario: Scenario) -> None:
        self.network = Heads(scenario.heads)
        self.layers = [layer for layer in self.network.modules() if isinstance(layer, nn.Linear)]

    def learn(self, part: Part, passes: int, batch: int) -> None:
        optimizer = torch.optim.Adam(self.network.parameters(), RATE)
        for index in batches(len(part.x), passes, batch):
            optimizer.zero_grad()
            (self.loss(part, index) + self.pull() / len(part.x)).backward()
            optimizer.step()
        self.remember(part)

    def loss(self, part: Part, index: Tensor) -> Tensor:
        return F.cross_entropy(self.network(part.x[index], part.head), part.y[index])

    def pull(self) -> Tensor | float:
        """A number whose gradient is that of the penalty: weights times the penalty's gradient, which is known."""
        gradients = self.gradients()
        return sum((joined(own) * each).sum() for own, each in zip(self.layers, gradients, strict=True)) if gradients else 0.0

    @torch.no_grad()
    def gradients(self) -> list[Tensor]:
        """Of the penalty, for every layer; none where tasks before say nothing of the weights."""
        return []

    def remember(self, part: Part) -> None:
        """Keeps what tasks after are to know."""


class Factor(NamedTuple):
    """What an example of a task says of a layer: inputs with a 1 for the bias, and scores of drawn labels (n, ...)."""

    inputs: Tensor
    scores: Tensor


class EWC(Finetune):
    """Online elastic weight consolidation: one penalty, by the diagonal Fisher informations of all tasks, about the last weights.

    Source: Kirkpatrick et al. 2017; Schwarz et al. 2018, with gamma = 1 unless given.
    """

    def __init__(self, scenario: Scenario, strength: float = 1.0, gamma: float = 1.0) -> None:
        super().__init__(scenario)
        self.strength, self.gamma = strength, gamma
        self.information = [torch.zeros_like(joined(layer)) for layer in self.layers]
        self.centres = [joined(layer).detach() for layer in self.layers]

    @torch.no_grad()
    def gradients(self) -> list[Tensor]:
        parts = zip(self.layers, self.centres, self.information, strict=True)
        return [self.strength * held * (joined(own) - centre) for own, centre, held in parts]

    def remember(self, part: Part) -> None:
        for held, factor in zip(self.information, fishers(self, part), strict=True):
            if factor is not None:
                each = len(part.x) / len(factor.inputs)
                held.mul_(self.gamma).add_(factor.scores.square().T @ factor.inputs.square(), alpha=each)
        self.centres = [joined(layer).detach() for layer in self.layers]


class OnlineLaplace(EWC):
    """Online structured Laplace: the Fisher information of a layer as a Kronecker product, factors added up over the tasks.

    The sum of products is taken to be (sum of A) x (sum of G) / tasks, A = E[a a'], G = E[g g'].
    Source: Ritter, Botev & Barber 2018.
    """

    def __init__(self, scenario: Scenario, strength: float = 1.0, gamma: float = 1.0) -> None:
        super().__init__(scenario, strength, gamma)
        self.sums: list[tuple[Tensor, Tensor, int] | None] = [None for _ in self.layers]

    @torch.no_grad()
    def gradients(self) -> list[Tensor]:
        found = []
        for own, centre, sums in zip(self.layers, self.centres, self.sums, strict=True):
            moved = joined(own) - centre
            found.append(torch.zeros_like(moved) if sums is None else sums[1] @ moved @ sums[0] * (self.strength / sums[2]))
        return found

    def remember(self, part: Part) -> None:
        for i, factor in enumerate(fishers(self, part)):
            if factor is not None:
                n, size = len(factor.inputs), len(part.x)
                a, g = factor.inputs.T @ factor.inputs / n, factor.scores.T @ factor.scores / n * size
                before = self.sums[i]
                self.sums[i] = (a, g, 1) if before is None else (before[0] + a, before[1] * self.gamma + g, before[2] + 1)
        self.centres = [joined(layer).detach() for layer in self.layers]


class Replay(Finetune):
    """Adam on the task at hand and, in equal numbers, on examples that were stored of the tasks before."""

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario)
        self.kept: list[Part] = []

    def loss(self, part: Part, index: Tensor) -> Tensor:
        own = super().loss(part, index)
        if not self.kept:
            return own
        old = self.kept[int(torch.randint(len(self.kept), ()))]
        return own + super().loss(old, torch.randint(len(old.x), (len(index),)))

    def remember(self, part: Part) -> None:
        index = torch.randperm(len(part.x))[:KEPT]
        self.kept.append(Part(part.x[index], part.y[index], part.head))


def joined(layer: nn.Linear) -> Tensor:
    """Weights and biases as one matrix."""
    return torch.cat([layer.weight, layer.bias[:, None]], 1)


def fishers(learner: Finetune, part: Part) -> list[Factor | None]:
    """Inputs and scores of every layer, for labels that the network itself expects; None for heads that were not asked."""
    index = torch.randperm(len(part.x))[:FISHER]
    with captured(learner.layers) as caught:
        outputs = learner.network(part.x[index], part.head)
        labels = torch.distributions.Categorical(logits=outputs.detach()).sample()
        F.cross_entropy(outputs, labels, reduction="sum").backward()
    learner.network.zero_grad()
    return [Factor(*caught[layer]) if layer in caught else None for layer in learner.layers]


@contextmanager
def captured(layers: list[nn.Linear]) -> Iterator[dict[nn.Module, list[Tensor]]]:
    """Inputs (with a 1) and gradients of the outputs of layers, as a sweep forward and back meets them."""
    caught: dict[nn.Module, list[Tensor]] = {}

    def hook(layer: nn.Module, inputs: Any, output: Tensor) -> None:
        x = inputs[0].detach()
        caught[layer] = [torch.cat([x, torch.ones_like(x[:, :1])], 1)]
        output.register_hook(caught[layer].append)

    handles = [layer.register_forward_hook(hook) for layer in layers]
    try:
        yield caught
    finally:
        for handle in handles:
            handle.remove()
