"""Networks drawn around one training: dropout left on, and a Gaussian through the weights that SGD passes (SWAG)."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from torch.optim.lr_scheduler import LambdaLR

from benchmarks.methods.base import Entrant, Training, grid, log_mean, log_softmax, renew_statistics
from benchmarks.methods.gradient import TAIL, WARMUP, AdamW, Descent
from benchmarks.methods.last_layer import replace

DROPOUT_SAMPLES, SWAG_SAMPLES = 32, 30
RANK, COLLECTED, SNAPSHOTS = 20, 0.25, 40  # of SWAG: kept deviations, the last share of the steps, weights taken in it
SWAG_FINAL = 0.5  # share of the peak rate at which it stays while weights are taken


class Dropout(AdamW):
    """AdamW with dropout before every linear layer but the network's first, left on to predict: 32 masks.

    Args:
        rate: share of the values that are dropped.
        settings: as `AdamW`.

    Source: Gal and Ghahramani 2016.
    """

    def __init__(self, training: Training, *, rate: float, **settings: float) -> None:
        add_dropout(training.network, rate)
        super().__init__(training, **settings)

    def log_probabilities(self, x: Tensor) -> Tensor:
        for module in self.network.modules():
            if isinstance(module, nn.Dropout):
                module.train()
        return log_mean(log_softmax(self.network(x)) for _ in range(DROPOUT_SAMPLES))


class AveragedDropout(AdamW):
    """AdamW on the network of `Dropout`, in which nothing is dropped to predict: with a tail average, one network predicts."""

    def __init__(self, training: Training, *, rate: float, **settings: float) -> None:
        add_dropout(training.network, rate)
        super().__init__(training, **settings)


def add_dropout(network: nn.Module, rate: float) -> None:
    """Dropout before every linear layer, in place; the network's first layer reads the inputs as they are."""
    layers = [module for module in network.modules() if isinstance(module, (nn.Linear, nn.Conv2d))]
    for layer in layers[1:]:
        if isinstance(layer, nn.Linear):
            replace(network, layer, nn.Sequential(nn.Dropout(rate), layer))


class SWAG(Descent):
    """SGD with momentum at a rate that stays high, and a Gaussian through the weights it passes; 30 draws of them predict.

    With the mean m and the variances s^2 of 40 weights from the last quarter of the steps, and the deviations D (20 of them) from
    the running mean: w = m + (s z_1 + D z_2 / sqrt(19)) / sqrt(2). Statistics of BatchNorm are renewed for every draw.

    Args:
        lr: peak learning rate.
        weight_decay: part of the gradient.

    Source: Maddox et al. 2019, "A simple baseline for Bayesian uncertainty in deep learning", equation 1 and algorithm 1; there a
    snapshot is taken after every pass, of which there are too few here.
    """

    def __init__(self, training: Training, *, lr: float, weight_decay: float) -> None:
        self.training, weights = training, training.network.parameters()
        optimizer = torch.optim.SGD(weights, lr=lr, momentum=0.9, weight_decay=weight_decay)
        schedule = LambdaLR(optimizer, lambda step: share_of_rate(step, training.steps))
        super().__init__(training.network, optimizer, schedule=schedule)
        begin = math.floor((1 - COLLECTED) * training.steps)
        self.taken_at = set(torch.linspace(begin, training.steps, SNAPSHOTS + 1).long()[1:].tolist())
        self.count, self.steps_done = 0, 0
        self.mean = torch.zeros_like(parameters_to_vector(training.network.parameters()))
        self.square, self.deviations = torch.zeros_like(self.mean), self.mean.new_zeros(RANK, len(self.mean))

    def step(self, x: Tensor, y: Tensor) -> None:
        super().step(x, y)
        self.steps_done += 1
        if self.steps_done in self.taken_at:
            self.take(parameters_to_vector(self.network.parameters()).detach())

    def take(self, weights: Tensor) -> None:
        """The weights enter mean and square; their deviation from the running mean takes the place of the oldest one."""
        self.count += 1
        self.mean.lerp_(weights, 1 / self.count)
        self.square.lerp_(weights.square(), 1 / self.count)
        self.deviations[self.count % RANK] = weights - self.mean

    def draw(self) -> Tensor:
        """Weights from the Gaussian, a vector."""
        std, kept = (self.square - self.mean.square()).clamp_min(0).sqrt(), min(self.count, RANK)
        turn = torch.randn(RANK) @ self.deviations / math.sqrt(max(1, kept - 1))  # deviations that are not there yet are 0
        return self.mean + (std * torch.randn_like(std) + turn) / math.sqrt(2)

    def finish(self) -> None:
        """The networks that predict are drawn once."""
        self.drawn = [self._network_of(self.draw()) for _ in range(SWAG_SAMPLES)]

    def log_probabilities(self, x: Tensor) -> Tensor:
        return log_mean(log_softmax(functional_call(self.network, state, (x,))) for state in self.drawn)

    def stored(self) -> Iterator[Tensor]:
        yield from super().stored()
        yield from (self.mean, self.square, self.deviations)

    def _network_of(self, weights: Tensor) -> dict[str, Tensor]:
        vector_to_parameters(weights, self.network.parameters())
        renew_statistics(self.network, self.training)
        return {name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()}


def share_of_rate(step: int, steps: int) -> float:
    """The rate's share of its peak: a rise on a line, a cosine, and a last quarter at a half.

    >>> [round(share_of_rate(step, 100), 2) for step in (0, 4, 5, 40, 75, 99)]
    [0.2, 1.0, 1.0, 0.75, 0.5, 0.5]
    """
    rising, end = max(1, round(WARMUP * steps)), (1 - COLLECTED) * steps
    if step < rising:
        return (step + 1) / rising
    done = min(1.0, (step - rising) / max(1.0, end - rising))
    return SWAG_FINAL + (1 - SWAG_FINAL) * (1 + math.cos(math.pi * done)) / 2


_DROPOUT_GRID = grid(lr=(1e-3, 2e-3), weight_decay=(0.01,), rate=(0.05, 0.1, 0.2, 0.5))
_SWAG_GRID = grid(lr=(0.01, 0.02, 0.05, 0.1), weight_decay=(1e-4, 1e-3))
MC_DROPOUT = Entrant("MC dropout", Dropout, {"lr": 1e-3, "weight_decay": 0.01, "rate": 0.1}, _DROPOUT_GRID)
DROPOUT_TAIL = Entrant(
    "AdamW, dropout, warm end, tail average, temperature",
    AveragedDropout,
    {"lr": 1e-3, "weight_decay": 0.01, "rate": 0.1, **TAIL},
    [{**own, **TAIL} for own in _DROPOUT_GRID],
    chosen_by="nll_tempered",
)
BY_SWAG = Entrant("SWAG", SWAG, {"lr": 0.05, "weight_decay": 1e-4}, _SWAG_GRID)
