"""The methods compared: each trains one batch at a time and gives class probabilities."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import torch_gbp as gbp


class Task(NamedTuple):
    """What a method is told before training: the plain network, the data and the number of steps."""

    network: nn.Module
    num_data: int
    epochs: int
    steps: int


class Method(Protocol):
    """One row of the comparison."""

    network: nn.Module

    def step(self, x: Tensor, y: Tensor) -> None: ...

    def log_probabilities(self, x: Tensor) -> Tensor: ...


class GBP:
    """Message passing: layers and optimizer swapped, everything else as in the plain script."""

    def __init__(self, task: Task, *, power: float, prior_scale: float, lr: float, warmup: float) -> None:
        self.network = gbp.from_torch(task.network, fresh=True, prior_scale=prior_scale)
        self.likelihood = gbp.Softmax(power)
        self.propagate = gbp.MessagePassing(self.network.parameters(), task.num_data, lr=lr, epochs=task.epochs, warmup=warmup)

    def step(self, x: Tensor, y: Tensor) -> None:
        self.propagate.zero_grad()
        self.likelihood(self.network(x), y).backward()
        self.propagate.step()

    def log_probabilities(self, x: Tensor) -> Tensor:
        return self.likelihood.predictive(self.network(x)).logits


class AdamW:
    """The plain network with cross-entropy and a cosine learning rate."""

    def __init__(self, task: Task, *, lr: float) -> None:
        self.network = task.network
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=lr)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, task.steps)

    def step(self, x: Tensor, y: Tensor) -> None:
        self.optimizer.zero_grad()
        F.cross_entropy(self.network(x), y).backward()
        self.optimizer.step()
        self.schedule.step()

    def log_probabilities(self, x: Tensor) -> Tensor:
        return torch.log_softmax(self.network(x), 1)


METHODS: dict[str, Any] = {"gbp": GBP, "adamw": AdamW}  # a new method adds its row
