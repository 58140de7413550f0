"""Gradient descent on the plain network's cross-entropy: AdamW and SGD, with a schedule of the rate and averaged weights.

AdamW and momentum also enter with what torch_gbp has built in: a rate that ends warm, and the average of the last weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR
from torch.optim.swa_utils import AveragedModel

from benchmarks.methods.base import Entrant, Method, Training, grid

WARMUP = 0.05  # of the steps


class CrossEntropy(Method):
    """The plain network and any torch optimizer, the schedule of its rate and the average of its weights if it has them."""

    optimizer: torch.optim.Optimizer
    schedule: LRScheduler | None = None
    average: AveragedModel | None = None

    def step(self, x: Tensor, y: Tensor) -> None:
        self.optimizer.zero_grad()
        F.cross_entropy(self.network(x), y).backward()
        self.optimizer.step()
        if self.schedule is not None:
            self.schedule.step()
        if self.average is not None:
            self.average.update_parameters(self.network)

    def finish(self) -> None:
        """The average predicts."""
        if self.average is not None:
            self.network = self.average.module

    def log_probabilities(self, x: Tensor) -> Tensor:
        return torch.log_softmax(self.network(x), 1)

    def stored(self) -> Iterator[Tensor]:
        yield from super().stored()
        if self.average is not None:
            yield from self.average.parameters()


class AdamW(CrossEntropy):
    """AdamW, its learning rate falling on a cosine.

    Args:
        lr: peak learning rate.
        weight_decay: decoupled from the gradient.
        final: share of the peak rate that is left at the end.
        tail: share of the steps, the last ones, over which weights are averaged; 0 for the last weights.
    """

    def __init__(self, training: Training, *, lr: float, weight_decay: float, final: float = 0.0, tail: float = 0.0) -> None:
        self.network = training.network
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=lr, weight_decay=weight_decay)
        self.schedule = CosineAnnealingLR(self.optimizer, training.steps, eta_min=final * lr)
        self.average = tail_average(self.network, tail) if tail else None


class SGD(CrossEntropy):
    """Plain gradient descent: no momentum, no weight decay, constant rate. The thesis' own rate is 1e-3."""

    def __init__(self, training: Training, *, lr: float) -> None:
        self.network = training.network
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=lr)


class Momentum(CrossEntropy):
    """SGD with momentum 0.9: a linear warm-up over the first steps, then a cosine.

    Args:
        lr, weight_decay, final, tail: as `AdamW`, the weight decay being part of the gradient.
    """

    def __init__(self, training: Training, *, lr: float, weight_decay: float, final: float, tail: float) -> None:
        self.network = training.network
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=lr, momentum=0.9, weight_decay=weight_decay)
        warmup = max(1, round(WARMUP * training.steps))
        rise = LinearLR(self.optimizer, 1 / warmup, total_iters=warmup - 1)
        fall = CosineAnnealingLR(self.optimizer, max(1, training.steps - warmup), eta_min=final * lr)
        self.schedule = SequentialLR(self.optimizer, [rise, fall], [warmup])
        self.average = tail_average(self.network, tail) if tail else None


def tail_average(network: nn.Module, tail: float) -> AveragedModel:
    """Polynomial-decay average of the weights: A <- A + (w - A) min(1, 1 / (tail t)) at step t, as torch_gbp's of its means."""

    def move(averages: Sequence[Tensor], weights: Sequence[Tensor], steps_before: Tensor | int) -> None:
        share = min(1.0, 1 / (tail * (int(steps_before) + 1)))
        for average, weight in zip(averages, weights, strict=True):
            average.lerp_(weight, share)

    return AveragedModel(network, multi_avg_fn=move)  # type: ignore[arg-type]


_RATES = {"lr": (5e-4, 1e-3, 2e-3, 4e-3), "weight_decay": (0.01, 0.1)}
_MOMENTUM_RATES = {"lr": (0.01, 0.02, 0.05, 0.1), "weight_decay": (1e-4, 1e-3)}
_TAIL = {"final": 0.4, "tail": 0.125}  # torch_gbp's own
_TAIL_GRID = {name: (value,) for name, value in _TAIL.items()}
ADAMW = Entrant("AdamW", AdamW, {"lr": 1e-3, "weight_decay": 0.01}, grid(**_RATES))
ADAMW_TAIL = Entrant(
    "AdamW, warm end, tail average, temperature",
    AdamW,
    {"lr": 1e-3, "weight_decay": 0.01, **_TAIL},
    grid(**_RATES, **_TAIL_GRID),
    chosen_by="nll_tempered",
)
SGD_PLAIN = Entrant("SGD", SGD, {"lr": 0.1}, grid(lr=(1e-3, 3e-3, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5)))
SGD_MOMENTUM = Entrant(
    "SGD with momentum, warm end, tail average, temperature",
    Momentum,
    {"lr": 0.05, "weight_decay": 1e-4, **_TAIL},
    grid(**_MOMENTUM_RATES, **_TAIL_GRID),
    chosen_by="nll_tempered",
)
