"""A race: several methods train one network on the same batches, in turns, so that each meets the machine in the same mood."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.measure import predict, timed
from benchmarks.methods import METHODS
from benchmarks.methods.base import Method, Settings, Training, train
from benchmarks.results import say
from benchmarks.tasks import Trial

TURN = 50  # batches that a method trains before the next has its turn
OWN_SEEDS = 1_000_003  # + seed: with the seed alone, a method that draws weights would draw the network's own again


class Run(NamedTuple):
    """One method with its settings; `make` is that of METHODS unless a benchmark brings its own."""

    name: str
    settings: Settings
    make: Callable[..., Method] | None = None


class Racer:
    """A method in training, with a clock and random numbers of its own: they do not depend on who else takes part.

    `processor_seconds` of training are this process' own: with one thread, what another program on the machine hardly changes.
    """

    def __init__(self, run: Run, trial: Trial) -> None:
        self.run, self.trial, self.passes, self.finish_seconds = run, trial, list[float](), 0.0
        training, begin = make_training(trial), time.process_time()
        self.make_seconds = timed(lambda: setattr(self, "method", made(run, training, trial.seed)))
        self.processor_seconds = time.process_time() - begin
        self.augment = training.augment
        self._random = torch.get_rng_state()

    method: Method

    @property
    def train_seconds(self) -> float:
        return self.make_seconds + sum(self.passes) + self.finish_seconds

    def train(self, batches: tuple[Tensor, ...]) -> None:
        """Learns from a few batches."""
        x, y, augment = self.trial.split.x, self.trial.split.y, self.augment
        self.method.network.train()
        with self._at_work():
            self.passes[-1] += timed(lambda: train(self.method, x, y, batches, augment))

    def finish(self) -> None:
        """The method's work after the last batch."""
        with self._at_work():
            self.finish_seconds = timed(self.method.finish)

    def predict(self, images: Tensor, how: str | None = None) -> Tensor:
        """Log-probabilities of the images; by another of the method's predictives (`Method.predictives`) if it is named."""
        self.method.network.eval()
        log_probabilities = self.method.predictives()[how] if how else self.method.log_probabilities
        with self._own_random():
            return predict(log_probabilities, images)

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        """Training: with the method's own random numbers, by its own clock."""
        begin = time.process_time()
        with self._own_random():
            yield
        self.processor_seconds += time.process_time() - begin

    @contextmanager
    def _own_random(self) -> Iterator[None]:
        torch.set_rng_state(self._random)
        yield
        self._random = torch.get_rng_state()


def race(runs: list[Run], trial: Trial) -> list[Racer]:
    """Trains every run from the same initial weights, in the same order of batches."""
    plan, tell = trial.plan, partial(say, trial.told)
    racers = [Racer(run, trial) for run in runs]
    for epoch in range(plan.epochs):
        _pass(racers, _batches(trial, epoch))
        tell(f"pass {epoch + 1} of {plan.epochs}: " + ", ".join(f"{r.run.name} {r.passes[-1]:.1f} s" for r in racers))
    for racer in racers:
        racer.finish()
    return racers


def make_training(trial: Trial) -> Training:
    """What every method is told: the network with the seed's initial weights, the data, passes and steps."""
    net, plan, split = trial.net, trial.plan, trial.split
    torch.manual_seed(trial.seed)
    return Training(net.make().to(split.x.device), split.x, split.y, plan.epochs, plan.steps(len(split.x)), net.augment)


def made(run: Run, training: Training, seed: int) -> Method:
    """A method at its start, with a network of its own."""
    torch.manual_seed(OWN_SEEDS + seed)
    make = run.make or METHODS[run.name].make
    return make(training._replace(network=copy.deepcopy(training.network)), **run.settings)


def _pass(racers: list[Racer], batches: tuple[Tensor, ...]) -> None:
    for racer in racers:
        racer.passes.append(0.0)
    for start in range(0, len(batches), TURN):
        for racer in racers:
            racer.train(batches[start : start + TURN])


def _batches(trial: Trial, epoch: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(1000 * trial.seed + epoch)
    order = torch.randperm(len(trial.split.x), generator=generator)
    return order.to(trial.split.x.device).split(trial.plan.batch_of(epoch))
