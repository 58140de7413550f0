"""Training of a perceptron on a table, with random numbers of its own."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from torch_gbp import Gaussian, GBPLeakyReLU, GBPLinear, Trainer
from torch_gbp.likelihoods import Likelihood
from torch_gbp.sklearn.settings import Settings

SLOPE = 0.1  # of the rectifiers below 0


class Shuffled:
    """Batches of (input, target) rows in another order in every pass; a DataLoader that fetches no row by itself."""

    def __init__(self, x: Tensor, y: Tensor, batch_size: int) -> None:
        self.dataset, self.batch_size = TensorDataset(x, y), batch_size

    def __len__(self) -> int:
        return -(-len(self.dataset) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        for rows in torch.randperm(len(self.dataset)).split(self.batch_size):
            yield self.dataset[rows]  # type: ignore[index]  # TensorDataset takes several rows at once


def perceptron(widths: tuple[int, ...]) -> nn.Sequential:
    """Linear layers with Gaussian weights from width to width, leaky rectifiers between them, in single precision."""
    layers: list[Any] = [GBPLinear(*ends, dtype=torch.float32) for ends in pairwise(widths)]
    between = [part for layer in layers[:-1] for part in (layer, GBPLeakyReLU(SLOPE))]
    return nn.Sequential(*between, layers[-1])


def trained(
    x: Tensor, y: Tensor, outputs: int, likelihood: Likelihood, settings: Settings, seed: int, verbose: bool
) -> nn.Sequential:
    """The network after message passing over standardised rows, in double precision for its predictions.

    The likelihood learns beside it. Training is in single precision, whatever torch's default; predictions are in double, in
    which a row's does not depend on the rows that are predicted with it. torch's own random numbers stay where they were.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = perceptron((x.shape[1], *settings.hidden, outputs))
        options: dict[str, Any] = {"lr": settings.lr, "progress": verbose, "num_data": len(x)}
        Trainer(network, likelihood.float(), settings.epochs, **options).fit(Shuffled(x, y, settings.batch_size))
    if likelihood.learns:
        with torch.no_grad():
            found: Gaussian = network(x)
            likelihood.learn(*found, y, seen=True, share=1.0)  # at the averaged means, which are new to it
    likelihood.double()
    return network.double().eval()
