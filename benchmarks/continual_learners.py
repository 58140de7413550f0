"""Learners of torch_gbp that meet task after task: by `advance`, by one optimizer over all that comes, with all at hand."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

import torch_gbp as gbp
from benchmarks.continual_tasks import HIDDEN, PIXELS, Part, Scenario


class Heads(nn.Module):
    """A perceptron 784-256-256 with one or several heads."""

    def __init__(self, heads: tuple[int, ...]) -> None:
        super().__init__()
        widths = (PIXELS, *HIDDEN)
        layers = [layer for i, o in zip(widths, HIDDEN, strict=False) for layer in (nn.Linear(i, o), nn.LeakyReLU(0.1))]
        self.trunk = nn.Sequential(*layers)
        self.heads = nn.ModuleList(nn.Linear(widths[-1], outputs) for outputs in heads)

    def forward(self, x: Tensor, head: int) -> Tensor:
        return self.heads[head](self.trunk(x))


class Learner:
    """Learns a task, and answers for all."""

    network: nn.Module

    def learn(self, part: Part, passes: int, batch: int) -> None:
        """All passes over what is there now, and nothing of what was before."""
        raise NotImplementedError

    def finish(self, passes: int, batch: int) -> None:
        """Work after the last task."""

    def log_probabilities(self, x: Tensor, head: int) -> Tensor:
        """Log-probabilities (n, classes)."""
        return torch.log_softmax(self.network(x, head), 1)


class GBP(Learner):
    """torch_gbp as it comes, with a precision for each weight; `advance` after every task.

    Args:
        strength, drift: as in `torch_gbp.advance`.
    """

    def __init__(self, scenario: Scenario, strength: float = 1.0, drift: float = 0.0) -> None:
        self.strength, self.drift, self.likelihood = strength, drift, gbp.Softmax()
        self.network = gbp.from_torch(Heads(scenario.heads), fresh=True, moments=True, covariance="diagonal")

    def learn(self, part: Part, passes: int, batch: int) -> None:
        optimizer = gbp.MessagePassing(self.network.parameters(), num_data=len(part.x), epochs=passes)
        self.sweep(optimizer, part, batches(len(part.x), passes, batch))
        optimizer.use_averaged_means()
        gbp.advance(self.network, optimizer, strength=self.strength, drift=self.drift)

    def sweep(self, optimizer: gbp.MessagePassing, part: Part, indices: Iterator[Tensor]) -> None:
        """A step for each batch."""
        for index in indices:
            optimizer.zero_grad()
            self.likelihood(self.network(part.x[index], part.head), part.y[index]).backward()
            optimizer.step()

    def log_probabilities(self, x: Tensor, head: int) -> Tensor:
        return self.likelihood.predictive(self.network(x, head)).logits  # type: ignore[attr-defined]


class Shuffled(GBP):
    """torch_gbp with everything at hand: the tasks of one head are put together, and learnt in the end."""

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario)
        self.parts: list[Part] = []

    def learn(self, part: Part, passes: int, batch: int) -> None:
        self.parts.append(part)

    def finish(self, passes: int, batch: int) -> None:
        x, y = torch.cat([part.x for part in self.parts]), torch.cat([part.y for part in self.parts])
        super().learn(Part(x, y), passes, batch)


class Stream(GBP):
    """torch_gbp with one optimizer, which knows of no tasks: an average site that is told how many examples will come.

    Args:
        told: that number, as a multiple of the true one.
    """

    def __init__(self, scenario: Scenario, told: float = 1.0) -> None:
        super().__init__(scenario)
        self.optimizer = gbp.MessagePassing(self.network.parameters(), num_data=round(told * scenario.examples), epochs=None)

    def learn(self, part: Part, passes: int, batch: int) -> None:
        self.sweep(self.optimizer, part, batches(len(part.x), passes, batch))

    def finish(self, passes: int, batch: int) -> None:
        self.optimizer.use_averaged_means()


def batches(size: int, passes: int, batch: int) -> Iterator[Tensor]:
    """The rows of every batch, in a random order for each pass."""
    for _ in range(passes):
        yield from torch.randperm(size).split(batch)
