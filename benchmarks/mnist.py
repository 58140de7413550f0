"""MNIST with the MLP 784-256-256-10 and LeNet-5: message passing beside AdamW, same batches, same run.

`mnist` trains on all training images and scores the test images. `mnist_validation` is how the settings
below were chosen: it scores a grid of settings on 6,000 held-out training images, never on the MNIST test images.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.measure import peak_memory_mb, predict, predict_seconds, scores, timed
from benchmarks.methods import METHODS, Method, Task
from benchmarks.report import COSTS, Request, Result
from lightning_modules.data.image_modules import Normaliser
from lightning_modules.data.images import load_fashion_mnist, load_mnist
from lightning_modules.networks import lenet5, mlp

BATCH, FIRST_PASS_BATCH = 64, 32  # the first pass goes in smaller steps, for every method
TURN = 50  # batches that a method trains before the other has its turn
VALIDATION = 6000
SUBSET_SEED = 123  # the same images of a --limit for every method and seed
NETS: dict[str, Callable[[], nn.Module]] = {"mlp": mlp, "lenet": lenet5}
EPOCHS = {"mlp": 8, "lenet": 5}

# Chosen by `python -m benchmarks mnist_validation` (benchmarks/results/mnist_validation.json).
SETTINGS: dict[str, dict[str, dict[str, float]]] = {
    "mlp": {"gbp": {"power": 128, "prior_scale": 0.1, "lr": 0.4, "warmup": 0.2}, "adamw": {"lr": 1e-3}},
    "lenet": {"gbp": {"power": 64, "prior_scale": 0.1, "lr": 0.4, "warmup": 0.2}, "adamw": {"lr": 3e-3}},
}
_RECIPE = {"lr": 0.4, "warmup": 0.2}
GRID: dict[str, list[dict[str, float]]] = {
    "gbp": [{"power": p, "prior_scale": c, **_RECIPE} for p, c in ((32, 0.1), (64, 0.1), (64, 0.3), (128, 0.1))],
    "adamw": [{"lr": lr} for lr in (5e-4, 1e-3, 2e-3, 3e-3)],
}


class Split(NamedTuple):
    """Training and scored images, and the images the network has never seen the like of."""

    x: Tensor
    y: Tensor
    scored_x: Tensor
    scored_y: Tensor
    ood: Tensor


class Run(NamedTuple):
    """One method with its settings."""

    name: str
    settings: dict[str, float]


def test(request: Request) -> Result:
    """The benchmark: both methods with their chosen settings, scored on the test images."""
    data = _limit(_full(request), request)
    runs = {net: [Run(name, SETTINGS[net][name]) for name in METHODS] for net in _nets(request)}
    return Result(_settings(SETTINGS), [row for net in runs for row in _rows(request, net, runs[net], data)])


def validate(request: Request) -> Result:
    """The search: every setting of the grid, scored on held-out training images."""
    full = _full(request)
    order = torch.randperm(len(full.x), generator=torch.Generator().manual_seed(SUBSET_SEED))
    held, rest = order[:VALIDATION], order[VALIDATION:]
    data = Split(full.x[rest], full.y[rest], full.x[held], full.y[held], full.ood)
    runs = [Run(name, settings) for name in METHODS for settings in GRID[name]]
    rows = [row for net in _nets(request) for row in _rows(request, net, runs, _limit(data, request))]
    for row, run in zip(rows, runs * (len(rows) // len(runs)), strict=True):
        row["method"] += " " + " ".join(f"{key}={value:g}" for key, value in run.settings.items())
        for cost in COSTS:  # a search says nothing about costs
            del row[cost]
    return Result(_settings(GRID), rows)


def _rows(request: Request, net: str, runs: list[Run], data: Split) -> Iterator[dict[str, Any]]:
    for seed in request.seeds:
        yield from _train_all(request, net, runs, data, seed)


def _train_all(request: Request, net: str, runs: list[Run], data: Split, seed: int) -> Iterator[dict[str, Any]]:
    """Trains the methods in turns of a few batches, so that each meets the machine in the same mood."""
    epochs = request.epochs or (2 if request.quick else EPOCHS[net])
    torch.manual_seed(seed)
    plain = NETS[net]()
    steps = sum(-(-len(data.x) // _batch(epoch)) for epoch in range(epochs))
    task = Task(plain, len(data.x), epochs, steps)
    methods = [_make(run, task, seed) for run in runs]
    seconds: list[list[float]] = [[] for _ in runs]
    for epoch in range(epochs):
        order = torch.randperm(len(data.x), generator=torch.Generator().manual_seed(1000 * seed + epoch))
        batches = order.split(_batch(epoch))
        for passes in seconds:
            passes.append(0.0)
        for start in range(0, len(batches), TURN):
            for method, passes in zip(methods, seconds, strict=True):
                passes[-1] += timed(lambda: _train(method, data, batches[start : start + TURN]))  # noqa: B023
    for run, method, passes in zip(runs, methods, seconds, strict=True):
        row = {"method": run.name, "net": net, "limit": len(data.x), "seed": seed, "epochs": epochs}
        row |= scores(predict(method, data.scored_x), data.scored_y, predict(method, data.ood))
        row |= {"train_seconds": sum(passes), "pass_seconds": median(passes[1:] or passes)}
        row |= {"predict_seconds": predict_seconds(method, data.scored_x)}
        row |= {"peak_memory_mb": peak_memory_mb(_make(run, task, seed), data.x[:BATCH], data.y[:BATCH])}
        print(row, flush=True)
        yield row


def _make(run: Run, task: Task, seed: int) -> Method:
    torch.manual_seed(seed)
    return METHODS[run.name](task._replace(network=copy.deepcopy(task.network)), **run.settings)


def _train(method: Method, data: Split, batches: tuple[Tensor, ...]) -> None:
    method.network.train()
    for index in batches:
        method.step(data.x[index], data.y[index])


def _batch(epoch: int) -> int:
    return FIRST_PASS_BATCH if epoch == 0 else BATCH


def _nets(request: Request) -> list[str]:
    return [request.net] if request.net else list(NETS)


def _full(request: Request) -> Split:
    """All images, every set standardised by the statistics of the training images."""
    images, fashion = load_mnist(request.data_dir), load_fashion_mnist(request.data_dir)
    standardise = Normaliser(images.train_x)
    train, test, ood = (standardise(x) for x in (images.train_x, images.test_x, fashion.test_x))
    return Split(train, images.train_y, test, images.test_y, ood)


def _limit(data: Split, request: Request) -> Split:
    """The first images of a fixed shuffle; --quick also scores fewer."""
    limit = request.limit or (1280 if request.quick else len(data.x))
    keep = torch.randperm(len(data.x), generator=torch.Generator().manual_seed(SUBSET_SEED))[:limit]
    scored = 1000 if request.quick else len(data.scored_x)
    return Split(data.x[keep], data.y[keep], data.scored_x[:scored], data.scored_y[:scored], data.ood[:scored])


def _settings(methods: dict[str, Any]) -> dict[str, Any]:
    return {"methods": methods, "batch": BATCH, "first_pass_batch": FIRST_PASS_BATCH, "subset_seed": SUBSET_SEED}
