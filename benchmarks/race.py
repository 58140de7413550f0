"""A race: several methods train one network on the same batches, in turns, so that each meets the machine in the same mood."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.measure import predict, timed
from benchmarks.methods import METHODS, Method, Settings, Training
from benchmarks.methods.base import Augment
from benchmarks.splits import Split
from benchmarks.tasks import Net, Plan

TURN = 50  # batches that a method trains before the next has its turn
OWN_SEEDS = 1_000_003  # + seed: with the seed alone, a method that draws weights would draw the network's own again


class Run(NamedTuple):
    """One method with its settings; `make` is that of METHODS unless a benchmark brings its own."""

    name: str
    settings: Settings
    make: Callable[..., Method] | None = None


class Racer:
    """A method in training, with a clock and random numbers of its own: they do not depend on who else takes part."""

    def __init__(self, run: Run, training: Training, seed: int) -> None:
        self.run, self.passes, self.finish_seconds, self.augment = run, list[float](), 0.0, training.augment
        start = time.perf_counter()
        self.method = made(run, training, seed)
        self.make_seconds = time.perf_counter() - start
        self._random = torch.get_rng_state()

    @property
    def train_seconds(self) -> float:
        return self.make_seconds + sum(self.passes) + self.finish_seconds

    def train(self, split: Split, batches: tuple[Tensor, ...]) -> None:
        """Learns from a few batches."""
        with self._own_random():
            self.passes[-1] += timed(lambda: _train(self.method, split, batches, self.augment))

    def finish(self) -> None:
        """The method's work after the last batch."""
        with self._own_random():
            self.finish_seconds = timed(self.method.finish)

    def predict(self, images: Tensor) -> Tensor:
        """Log-probabilities of the images."""
        with self._own_random():
            return predict(self.method, images)

    @contextmanager
    def _own_random(self) -> Iterator[None]:
        torch.set_rng_state(self._random)
        yield
        self._random = torch.get_rng_state()


def race(runs: list[Run], net: Net, plan: Plan, split: Split, seed: int, say: Callable[[str], None]) -> list[Racer]:
    """Trains every run from the same initial weights, in the same order of batches."""
    training = make_training(net, plan, split, seed)
    racers = [Racer(run, training, seed) for run in runs]
    for epoch in range(plan.epochs):
        _pass(racers, split, _batches(len(split.x), plan, seed, epoch))
        say(f"pass {epoch + 1} of {plan.epochs}: " + ", ".join(f"{r.run.name} {r.passes[-1]:.1f} s" for r in racers))
    for racer in racers:
        racer.finish()
    return racers


def make_training(net: Net, plan: Plan, split: Split, seed: int) -> Training:
    """What every method is told: the network with the seed's initial weights, the data, passes and steps."""
    torch.manual_seed(seed)
    return Training(net.make(), split.x, split.y, plan.epochs, plan.steps(len(split.x)), net.augment)


def made(run: Run, training: Training, seed: int) -> Method:
    """A method at its start, with a network of its own."""
    torch.manual_seed(OWN_SEEDS + seed)
    make = run.make or METHODS[run.name].make
    return make(training._replace(network=copy.deepcopy(training.network)), **run.settings)


def _pass(racers: list[Racer], split: Split, batches: tuple[Tensor, ...]) -> None:
    for racer in racers:
        racer.passes.append(0.0)
    for start in range(0, len(batches), TURN):
        for racer in racers:
            racer.train(split, batches[start : start + TURN])


def _batches(size: int, plan: Plan, seed: int, epoch: int) -> tuple[Tensor, ...]:
    order = torch.randperm(size, generator=torch.Generator().manual_seed(1000 * seed + epoch))
    return order.split(plan.batch_of(epoch))


def _train(method: Method, split: Split, batches: tuple[Tensor, ...], augment: Augment | None = None) -> None:
    method.network.train()
    for index in batches:
        x = split.x[index]
        method.step(x if augment is None else augment(x), split.y[index])
