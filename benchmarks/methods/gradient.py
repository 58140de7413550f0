"""Gradient descent on a loss of the plain network: AdamW and SGD, with a schedule of the rate and averaged weights.

AdamW and momentum also enter with what torch_gbp has built in: a rate that ends warm, and the average of the last weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR
from torch.optim.swa_utils import AveragedModel

from benchmarks.methods.base import Entrant, Method, Training, grid, log_softmax, renew_statistics

WARMUP = 0.05  # of the steps
Loss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(outputs: Tensor, y: Tensor) -> Tensor:
    """The mean cross-entropy of all labels; outputs (..., classes), labels (...)."""
    return F.cross_entropy(outputs.flatten(0, -2), y.flatten())


class Descent(Method):
    """The plain network, any torch optimizer, a loss (outputs, targets), and the schedule of the rate if it has one."""

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss: Loss = cross_entropy,
        schedule: LRScheduler | None = None,
    ) -> None:
        self.network, self.optimizer, self.loss, self.schedule = network, optimizer, loss, schedule

    def step(self, x: Tensor, y: Tensor) -> None:
        self.optimizer.zero_grad()
        self.loss(self.network(x), y).backward()
        self.optimizer.step()
        if self.schedule is not None:
            self.schedule.step()

    def log_probabilities(self, x: Tensor) -> Tensor:
        return log_softmax(self.network(x))


class Scheduled(Descent):
    """Descent on the cross-entropy, its rate on a warm cosine, the last weights averaged.

    Args:
        optimizer: made from the parameters.
        lr: peak learning rate; the optimizer's own settings beside it.
        final: share of the peak rate that is left at the end.
        tail: share of the steps, the last ones, over which weights are averaged; 0 for the last weights.
        warmup: share of the steps, the first ones, over which the rate rises.
    """

    def __init__(
        self,
        training: Training,
        optimizer: Callable[..., torch.optim.Optimizer],
        *,
        final: float = 0.0,
        tail: float = 0.0,
        warmup: float = 0.0,
        **settings: float,
    ) -> None:
        made = optimizer(training.network.parameters(), **settings)
        super().__init__(training.network, made, schedule=warm_cosine(made, training.steps, warmup, final))
        self.training, self.average = training, tail_average(self.network, tail) if tail else None

    def step(self, x: Tensor, y: Tensor) -> None:
        super().step(x, y)
        if self.average is not None:
            self.average.update_parameters(self.network)

    def finish(self) -> None:
        """The average predicts."""
        if self.average is not None:
            self.network = self.average.module
            renew_statistics(self.network, self.training)

    def stored(self) -> Iterator[Tensor]:
        yield from super().stored()
        if self.average is not None:
            yield from self.average.parameters()


class AdamW(Scheduled):
    """AdamW, its learning rate falling on a cosine; settings as `Scheduled` and `torch.optim.AdamW`."""

    def __init__(self, training: Training, **settings: float) -> None:
        super().__init__(training, torch.optim.AdamW, **settings)


class Momentum(Scheduled):
    """SGD with momentum 0.9: a linear warm-up over the first steps, then a cosine; the weight decay is part of the gradient."""

    def __init__(self, training: Training, **settings: float) -> None:
        super().__init__(training, torch.optim.SGD, momentum=0.9, **{"warmup": WARMUP, **settings})


class SGD(Descent):
    """Plain gradient descent: no momentum, no weight decay, constant rate. The thesis' own rate is 1e-3."""

    def __init__(self, training: Training, *, lr: float) -> None:
        super().__init__(training.network, torch.optim.SGD(training.network.parameters(), lr=lr))


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
TAIL = {"final": 0.4, "tail": 0.125}  # torch_gbp's own
_TAIL_GRID = {name: (value,) for name, value in TAIL.items()}
_LIKE_OURS = "warm end, tail average, temperature"
_ADAMW, _SGD = {"lr": 1e-3, "weight_decay": 0.01}, {"lr": 0.05, "weight_decay": 1e-4}
ADAMW = Entrant("AdamW", AdamW, _ADAMW, grid(**_RATES))
ADAMW_TAIL = Entrant(f"AdamW, {_LIKE_OURS}", AdamW, _ADAMW | TAIL, grid(**_RATES, **_TAIL_GRID), chosen_by="nll_tempered")
SGD_PLAIN = Entrant("SGD", SGD, {"lr": 0.1}, grid(lr=(1e-3, 3e-3, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5)))
SGD_MOMENTUM = Entrant(
    f"SGD with momentum, {_LIKE_OURS}", Momentum, _SGD | TAIL, grid(**_MOMENTUM_RATES, **_TAIL_GRID), chosen_by="nll_tempered"
)
