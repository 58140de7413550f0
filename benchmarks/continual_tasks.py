"""Tasks that come one after the other, never to return: permuted pixels, pairs of classes, rotating images, sorted batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.tasks import SUBSET_SEED

PIXELS, CLASSES, HIDDEN = 784, 10, (256, 256)
HELD_OUT = 6000  # of the training images, for the search
TURN = 180.0  # degrees over a whole stream


class Part(NamedTuple):
    """Examples that are seen together; `head` is the one that answers for them."""

    x: Tensor
    y: Tensor
    head: int = 0


class Task(NamedTuple):
    """What comes at one time, and what is asked of it in the end."""

    train: Part
    test: Part


class Data(NamedTuple):
    """Standardised images (n, 784) and their labels, to learn from and to be scored on."""

    x: Tensor
    y: Tensor
    test_x: Tensor
    test_y: Tensor

    def limited(self, train: int | None, test: int | None) -> Data:
        return Data(self.x[:train], self.y[:train], self.test_x[:test], self.test_y[:test])


class Scenario(NamedTuple):
    """A sequence of tasks.

    Args:
        tasks: (data, seed) -> the tasks, in order.
        heads: outputs of each head.
        passes, batch: over every task.
        drifting: what was learnt becomes wrong; every task is scored as it comes, before it is learnt.
        joins: the tasks are parts of one, which could be shuffled.
        examples: how many come in all.
    """

    title: str
    data: str
    tasks: Callable[[Data, int], Iterator[Task]]
    heads: tuple[int, ...] = (CLASSES,)
    passes: int = 1
    batch: int = 128
    drifting: bool = False
    joins: bool = False
    examples: int = 0


def held_out(data: Data) -> Data:
    """Training images alone, some of them to be scored on, for a search."""
    order = torch.randperm(len(data.x), generator=torch.Generator().manual_seed(SUBSET_SEED))
    size = min(HELD_OUT, len(order) // 2)
    test, train = order[:size], order[size:]
    return Data(data.x[train], data.y[train], data.x[test], data.y[test])


def permuted(data: Data, seed: int, tasks: int = 10) -> Iterator[Task]:
    """All classes, the pixels in another order in every task but the first."""
    generator = torch.Generator().manual_seed(1000 + seed)
    for task in range(tasks):
        order = torch.randperm(PIXELS, generator=generator) if task else torch.arange(PIXELS)
        yield Task(Part(data.x[:, order], data.y), Part(data.test_x[:, order], data.test_y))


def split(data: Data, seed: int, heads: bool = False) -> Iterator[Task]:
    """Two classes at a time; with `heads` a task is told, and its head has to tell those two apart."""
    for task in range(CLASSES // 2):
        parts = [_pair(x, y, task, heads) for x, y in ((data.x, data.y), (data.test_x, data.test_y))]
        yield Task(*parts)


def stream(data: Data, seed: int, parts: int = 60) -> Iterator[Task]:
    """The images as they lie in the file, a few at a time, each seen once."""
    for x, y in zip(data.x.chunk(parts), data.y.chunk(parts), strict=True):
        yield Task(Part(x, y), Part(data.test_x, data.test_y))


def rotated(data: Data, seed: int, parts: int = 40) -> Iterator[Task]:
    """A stream whose images turn on by an angle each time; scored on images turned as far."""
    generator = torch.Generator().manual_seed(2000 + seed)
    for part, (x, y) in enumerate(zip(data.x.chunk(parts), data.y.chunk(parts), strict=True)):
        angle = TURN * part / parts
        drawn = torch.randint(len(data.test_x), (min(1000, len(data.test_x)),), generator=generator)
        yield Task(Part(_turned(x, angle), y), Part(_turned(data.test_x[drawn], angle), data.test_y[drawn]))


def _pair(x: Tensor, y: Tensor, task: int, heads: bool) -> Part:
    own = (y // 2) == task
    return Part(x[own], y[own] % 2, task) if heads else Part(x[own], y[own])


def _turned(x: Tensor, degrees: float) -> Tensor:
    angle = torch.tensor(degrees).deg2rad()
    cos, sin = angle.cos(), angle.sin()
    rotation = torch.stack([torch.stack([cos, -sin, cos * 0]), torch.stack([sin, cos, cos * 0])]).expand(len(x), 2, 3)
    images = x.view(-1, 1, 28, 28)
    border = float(x.min())  # what lies outside is as the background
    grid = F.affine_grid(rotation, list(images.shape), align_corners=False)
    return F.grid_sample(images - border, grid, align_corners=False).add(border).flatten(1)


def multi(data: Data, seed: int) -> Iterator[Task]:
    """Pairs of classes, each with a head of its own."""
    return split(data, seed, heads=True)


PAIRS = (2,) * (CLASSES // 2)
SCENARIOS = {
    "permuted": Scenario("permuted MNIST, 10 tasks", "mnist", permuted),
    "split_multi": Scenario("split MNIST, a head for each pair", "mnist", multi, PAIRS, batch=32),
    "split_single": Scenario("split MNIST, one head", "mnist", split, batch=32, joins=True),
    "fashion_multi": Scenario("split FashionMNIST, a head for each pair", "fashion", multi, PAIRS, batch=32),
    "fashion_single": Scenario("split FashionMNIST, one head", "fashion", split, batch=32, joins=True),
    "stream": Scenario("MNIST, 60 parts of a stream", "mnist", stream, batch=32, joins=True),
    "rotation": Scenario("MNIST turning by 180 degrees, 40 parts", "mnist", rotated, batch=32, drifting=True),
}
