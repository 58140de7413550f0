"""IVON: a variational Gaussian by natural gradients, at nearly the cost of Adam (Shen et al. 2024, package ivon-opt)."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.methods.base import Entrant, Method, Training, cross_entropy, grid, log_mean, log_softmax
from benchmarks.methods.packages import rival

SAMPLES = 32  # weight samples of a prediction


class IVON(Method):
    """One weight sample a step, a cosine learning rate, the average over sampled networks as prediction.

    Args:
        lr: peak learning rate.
        hess_init: first guess of the Hessian's diagonal; a larger one starts with less noise.
        weight_decay: precision of the prior over the number of labels; the package's own unless it is given.
    """

    def __init__(self, training: Training, *, lr: float, hess_init: float, weight_decay: float = 1e-4) -> None:
        self.network = training.network
        options = {"lr": lr, "hess_init": hess_init, "ess": training.y.numel(), "weight_decay": weight_decay}
        self.optimizer = rival("ivon").IVON(self.network.parameters(), **options)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, training.steps)

    def step(self, x: Tensor, y: Tensor) -> None:
        with self.optimizer.sampled_params(train=True):
            self.optimizer.zero_grad()
            cross_entropy(self.network(x), y).backward()
        self.optimizer.step()
        self.schedule.step()

    def log_probabilities(self, x: Tensor) -> Tensor:
        return log_mean(self._sampled(x) for _ in range(SAMPLES))

    def _sampled(self, x: Tensor) -> Tensor:
        with self.optimizer.sampled_params():
            return log_softmax(self.network(x))


BY_IVON = Entrant(
    "IVON", IVON, {"lr": 0.1, "hess_init": 0.5}, grid(lr=(0.05, 0.1, 0.2, 0.4), hess_init=(0.2, 0.5)), package="ivon"
)
