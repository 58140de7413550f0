"""Continual learning: tasks that come once, in order; every method meets the same tasks, and is asked about all in the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import mean

import torch

from benchmarks.continual_learners import Learner
from benchmarks.continual_methods import ENTRANTS, OF_ONE
from benchmarks.continual_tasks import SCENARIOS, Data, Part, Scenario, Task, held_out
from benchmarks.measure import timed
from benchmarks.methods.base import Settings
from benchmarks.results import Request, Result, Row, committed, matching
from lightning_modules.data.image_modules import Normaliser
from lightning_modules.data.images import load_fashion_mnist, load_mnist

QUICK = 300  # images of each kind with --quick
SEARCHED = 10_000  # training images in the search
CHUNK = 1000
BY_HAND = {("permuted", "gbp"): {"strength": 15.0}}  # the better of 7 and 15 on held-out images


def run(request: Request, search: bool = False) -> Result:
    """Every scenario, seed and method; the search has every setting of a method, on held-out training images."""
    settings = {"optimizer of the rivals": "Adam, rate 1e-3", "scored": "held-out training images" if search else "test images"}
    return Result(settings, _rows(request, search))


def _rows(request: Request, search: bool) -> Iterator[Row]:
    for name in request.asked(SCENARIOS):
        scenario = SCENARIOS[name]._replace(**{"passes": request.epochs} if request.epochs else {})
        data = _load(scenario, request, search)
        for seed in request.runs[: 1 if search else None]:
            for method in request.methods or _fitting(scenario):
                for chosen in tried(scenario, method) if search else [choose(name, method)]:
                    told = {"method": method, "net": name, "limit": len(data.x), "seed": seed, "epochs": scenario.passes}
                    yield {**told, "settings": dict(chosen), **score(scenario, method, chosen, data, seed)}


def tried(scenario: Scenario, method: str) -> Sequence[Settings]:
    """What a search tries of a method."""
    entrant = ENTRANTS[method]
    return entrant.drifting if scenario.drifting else entrant.grid


def _fitting(scenario: Scenario) -> list[str]:
    """Some have one head, and want tasks that fit together."""
    return [name for name in ENTRANTS if name not in OF_ONE or scenario.joins]


def choose(name: str, method: str) -> Settings:
    """The settings with the best accuracy in the search for this scenario, else those by hand, else a method's defaults."""
    rows = matching(committed("continual_search"), net=name, method=method)
    return max(rows, key=lambda row: row["accuracy"])["settings"] if rows else BY_HAND.get((name, method), {})


def score(scenario: Scenario, method: str, settings: Settings, data: Data, seed: int) -> Row:
    """Average accuracy over the tasks when all are through, and how much of each was forgotten since it was learnt."""
    torch.manual_seed(seed)
    learner = ENTRANTS[method].make(scenario._replace(examples=len(data.x)), **settings)
    tasks, first, seconds = list[Task](), list[float](), 0.0
    for task in scenario.tasks(data, seed):
        if scenario.drifting and tasks:
            first.append(accuracy(learner, task.test))
        tasks.append(task)
        learn = partial(learner.learn, task.train, scenario.passes, min(scenario.batch, len(task.train.x)))
        seconds += timed(learn)
        if not scenario.drifting and _own(tasks):
            first.append(accuracy(learner, task.test))
    seconds += timed(partial(learner.finish, scenario.passes, scenario.batch))
    if scenario.drifting:
        return {"accuracy": mean(first), "train_seconds": seconds}
    last = [accuracy(learner, task.test) for task in _own(tasks)]
    print(f"{method} {dict(settings)}: {[round(value, 4) for value in last]}", flush=True)
    if len(last) == 1:
        return {"accuracy": last[0], "train_seconds": seconds}
    forgotten = mean(max(0.0, a - b) for a, b in zip(first, last, strict=True))
    return {"accuracy": mean(last), "lowest": min(last), "forgotten": forgotten, "train_seconds": seconds}


def _own(tasks: list[Task]) -> list[Task]:
    """Tasks with different tests: a stream has one."""
    return tasks if len({id(task.test.x) for task in tasks}) == len(tasks) else tasks[-1:]


@torch.no_grad()
def accuracy(learner: Learner, part: Part) -> float:
    """Share of the examples whose most probable class is right."""
    learner.network.eval()
    found = [learner.log_probabilities(x, part.head).argmax(1) for x in part.x.split(CHUNK)]
    learner.network.train()
    return float((torch.cat(found) == part.y).double().mean())


def _load(scenario: Scenario, request: Request, search: bool) -> Data:
    data = _images(scenario.data, request.data_dir)
    data = held_out(data).limited(SEARCHED, None) if search else data
    return data.limited(QUICK if request.quick else request.limit, QUICK if request.quick else None)


def _images(name: str, folder: Path) -> Data:
    images = {"mnist": load_mnist, "fashion": load_fashion_mnist}[name](folder)
    standardise = Normaliser(images.train_x)
    x, test_x = standardise(images.train_x).flatten(1), standardise(images.test_x).flatten(1)
    return Data(x, images.train_y, test_x, images.test_y)
