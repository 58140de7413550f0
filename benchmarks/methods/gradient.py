"""Gradient descent on the plain network's cross-entropy: AdamW with a cosine, and SGD as in the AMP-BNN thesis."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.methods.base import Entrant, Method, Training, grid


class CrossEntropy(Method):
    """The plain network and any torch optimizer."""

    optimizer: torch.optim.Optimizer

    def step(self, x: Tensor, y: Tensor) -> None:
        self.optimizer.zero_grad()
        F.cross_entropy(self.network(x), y).backward()
        self.optimizer.step()

    def log_probabilities(self, x: Tensor) -> Tensor:
        return torch.log_softmax(self.network(x), 1)


class AdamW(CrossEntropy):
    """AdamW, its learning rate falling on a cosine."""

    def __init__(self, training: Training, *, lr: float, weight_decay: float) -> None:
        self.network = training.network
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=lr, weight_decay=weight_decay)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, training.steps)

    def step(self, x: Tensor, y: Tensor) -> None:
        super().step(x, y)
        self.schedule.step()


class SGD(CrossEntropy):
    """Plain gradient descent: no momentum, no weight decay, constant rate. The thesis' own rate is 1e-3."""

    def __init__(self, training: Training, *, lr: float) -> None:
        self.network = training.network
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=lr)


_RATES = {"lr": (5e-4, 1e-3, 2e-3, 4e-3), "weight_decay": (0.01, 0.1)}
ADAMW = Entrant("AdamW", AdamW, {"lr": 1e-3, "weight_decay": 0.01}, grid(**_RATES))
SGD_PLAIN = Entrant("SGD", SGD, {"lr": 0.1}, grid(lr=(1e-3, 3e-3, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5)))
