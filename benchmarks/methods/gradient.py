"""Gradient descent on the plain network's cross-entropy: AdamW and SGD, with a schedule of the rate and averaged weights.

AdamW and momentum also enter with what torch_gbp has built in: a rate that ends warm, and the average of the last weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR
from torch.optim.swa_utils import AveragedModel

from benchmarks.methods.base import Entrant, Method, Training, cross_entropy, grid, log_softmax, renew_statistics

WARMUP = 0.05  # of the steps


class CrossEntropy(Method):
    """The plain network and any torch optimizer, the schedule of its rate and the average of its weights if it has them."""

    training: Training
    optimizer: torch.optim.Optimizer
    schedule: LRScheduler | None = None
    average: AveragedModel | None = None

    def step(self, x: Tensor, y: Tensor) -> None:
        self.optimizer.zero_grad()
        cross_entropy(self.network(x), y).backward()
        self.optimizer.step()
        if self.schedule is not None:
            self.schedule.step()
        if self.average is not None:
            self.average.update_parameters(self.network)

    def finish(self) -> None:
        """The average predicts."""
        if self.average is not None:
            self.network = self.average.module
            renew_statistics(self.network, self.training)

    def log_probabilities(self, x: Tensor) -> Tensor:
        return log_softmax(self.network(x))

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
        warmup: share of the steps, the first ones, over which the rate rises.
    """

    def __init__(
        self, training: Training, *, lr: float, weight_decay: float, final: float = 0.0, tail: float = 0.0, warmup: float = 0.0
    ) -> None:
        self.training, self.network = training, training.network
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=lr, weight_decay=weight_decay)
        self.schedule = warm_cosine(self.optimizer, training.steps, warmup, final)
        self.average = tail_average(self.network, tail) if tail else None


class SGD(CrossEntropy):
    """Plain gradient descent: no momentum, no weight decay, constant rate. The thesis' own rate is 1e-3."""

    def __init__(self, training: Training, *, lr: float) -> None:
        self.training, self.network = training, training.network
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=lr)


class Momentum(CrossEntropy):
    """SGD with momentum 0.9: a linear warm-up over the first steps, then a cosine.

    Args:
        lr, weight_decay, final, tail, warmup: as `AdamW`, the weight decay being part of the gradient.
    """

    def __init__(
        self, training: Training, *, lr: float, weight_decay: float, final: float, tail: float, warmup: float = WARMUP
    ) -> None:
        self.training, self.network = training, training.network
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=lr, momentum=0.9, weight_decay=weight_decay)
        self.schedule = warm_cosine(self.optimizer, training.steps, warmup, final)
        self.average = tail_average(self.network, tail) if tail else None


def warm_cosine(optimizer: torch.optim.Optimizer, steps: int, warmup: float, final: float) -> LRScheduler:
    """A rise on a line over the first share `warmup` of the steps, then a cosine down to the share `final` of the peak rate."""
    rising, peak = max(1, round(warmup * steps)) if warmup else 0, optimizer.param_groups[0]["lr"]
    rise = [LinearLR(optimizer, 1 / rising, total_iters=rising - 1)] if rising else []
    fall = CosineAnnealingLR(optimizer, max(1, steps - rising), eta_min=final * peak)
    return SequentialLR(optimizer, [*rise, fall], [rising]) if rise else fall


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
