"""What a method of the comparison is told, what it has to offer, how it is trained, and its row in the table."""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, product
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn

Settings = Mapping[str, Any]
Augment = Callable[[Tensor], Tensor]
"""A batch of inputs -> the batch that is trained on, by draws from torch's global generator."""
STATISTICS, CHUNK = 10_000, 250  # training examples from which statistics of a normalisation are renewed, so many at a time


class Training(NamedTuple):
    """What a method is told before it trains: the plain network, the data, how long it will train, and what changes a batch."""

    network: nn.Module
    x: Tensor
    y: Tensor
    epochs: int
    steps: int
    augment: Augment | None = None


class Method:
    """A network in training by one method, a batch at a time."""

    network: nn.Module

    def step(self, x: Tensor, y: Tensor) -> None:
        """Learns from one batch."""
        raise NotImplementedError

    def finish(self) -> None:
        """Work after the last batch; it counts as training."""

    def log_probabilities(self, x: Tensor) -> Tensor:
        """Log-probabilities (n, classes), normalised."""
        raise NotImplementedError

    def predictives(self) -> dict[str, Callable[[Tensor], Tensor]]:
        """Other log-probabilities that the same training gives, by the name of their rows."""
        return {}

    def stored(self) -> Iterator[Tensor]:
        """Tensors that are there before the first step; the optimizer's state is made in it."""
        yield from chain(self.network.parameters(), self.network.buffers())

    def trained_at_a_time(self) -> Method:
        """The part whose training needs memory at a time: all of it, unless parts are trained one after the other."""
        return self


class Entrant(NamedTuple):
    """A row of METHODS.

    Args:
        title: its name in tables and figures.
        make: the method from its `Training` and its settings.
        defaults: settings where no search has chosen any.
        grid: settings to search among; empty for a method that is used as it comes.
        borrows: the method whose chosen settings are taken instead of a search of its own, or beside one for what it adds.
        package: the import name of the package it needs, see `rival`.
        chosen_by: the score on held-out examples by which its settings are chosen: the smallest, of accuracy the largest.
    """

    title: str
    make: Callable[..., Method]
    defaults: Settings = {}
    grid: Sequence[Settings] = ()
    borrows: str | None = None
    package: str | None = None
    chosen_by: str = "nll"

    @property
    def lends(self) -> bool:
        """Whether its search needs nobody else's: such searches come first."""
        return bool(self.grid) and self.borrows is None


class MissingPackage(ImportError):
    """A rival's package is not there, or does not import."""


def rival(package: str) -> Any:
    """A rival's package, imported when the rival runs, so that everybody else runs without it.

    Raises:
        MissingPackage: not installed, or it does not import here.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # their use of deprecated torch functions is their affair
            return importlib.import_module(package)
    except ImportError as error:
        raise MissingPackage(f"{error}; the rivals' packages come with: pip install 'torch-gbp[benchmarks]'") from error


def train(method: Method, x: Tensor, y: Tensor, batches: Iterable[Tensor], augment: Augment | None = None) -> None:
    """A step for each batch, which is told by its rows."""
    for index in batches:
        method.step(x[index] if augment is None else augment(x[index]), y[index])


def grid(**axes: Sequence[Any]) -> list[Settings]:
    """Every combination of the settings' values.

    >>> grid(lr=(1, 2), weight_decay=(0,))
    [{'lr': 1, 'weight_decay': 0}, {'lr': 2, 'weight_decay': 0}]
    """
    return [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]


def log_softmax(outputs: Tensor) -> Tensor:
    """Log-probabilities (n, classes) of all labels, whatever the axes before the classes'."""
    return torch.log_softmax(outputs.flatten(0, -2), 1)


def log_mean(samples: Iterable[Tensor]) -> Tensor:
    """Log of the mean of probabilities given by their logs.

    >>> log_mean([torch.tensor([0.2]).log(), torch.tensor([0.4]).log()]).exp()
    tensor([0.3000])
    """
    stacked = torch.stack(list(samples))
    return stacked.logsumexp(0) - math.log(len(stacked))


def renew_statistics(network: nn.Module, training: Training) -> None:
    """The running statistics of BatchNorm as they are at the network's present weights, for weights that are averages."""
    if normalises(network):
        update_bn(statistics_batches(training), network)


def normalises(network: nn.Module) -> bool:
    """Whether a network has BatchNorm."""
    return any(isinstance(module, _BatchNorm) for module in network.modules())


def statistics_batches(training: Training) -> Iterator[Tensor]:
    """Training examples from which statistics are renewed, changed as in training."""
    index = torch.randperm(len(training.x))[:STATISTICS].to(training.x.device).split(CHUNK)
    change = training.augment or nn.Identity()
    return (change(training.x[chunk]) for chunk in index)
