"""The comparison: every way of giving credit on the same network, batches and recipe, scored on the test images."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch.nn.functional as F
from torch import Tensor

from benchmarks.local.methods import METHODS, RECIPE, Local, Recipe
from benchmarks.local.nets import Case, asked_cases, asked_plan
from benchmarks.local.search import chosen_rate
from benchmarks.measure import peak_memory_mb, scores
from benchmarks.race import Racer, Run, made, make_training, race
from benchmarks.report import Request, Result, Row, say
from benchmarks.results import committed
from benchmarks.splits import SUBSET_SEED, Split, limited, load
from benchmarks.tasks import Plan
from torch_gbp.local import KeptBytes


def run(request: Request) -> Result:
    """All methods, or those that the call names, on every network, each with the rate of its search."""
    searched = committed("local_search")
    rates = {name: chosen_rate(searched, name) for name in METHODS if name in (request.methods or METHODS)}
    runs = [Run(name, {"lr": rate}, METHODS[name]) for name, rate in rates.items()]
    plans = {name: asked_plan(case, request)._asdict() for name, case in asked_cases(request).items()}
    return Result({**RECIPE, "lr": rates, "plans": plans, "subset_seed": SUBSET_SEED}, _rows(runs, request))


def _rows(runs: list[Run], request: Request) -> Iterator[Row]:
    for name, case in asked_cases(request).items():
        plan = asked_plan(case, request)
        split = limited(load(case.task, request), plan.limit)
        for seed in request.seeds[: 1 if request.quick else None]:
            yield from raced(runs, {"net": name, "data": case.data, "seed": seed}, case, plan, split)


def raced(runs: list[Run], told: Row, case: Case, plan: Plan, split: Split) -> Iterator[Row]:
    """A row for each run: what it is, its scores, its training time and what it keeps in memory."""
    told = {**told, "limit": len(split.x), "epochs": plan.epochs}
    for racer in race(runs, case.net, plan, split, told["seed"], partial(say, told)):
        assert isinstance(racer.method, Recipe)
        blocks = len(racer.method.network.blocks) if isinstance(racer.method, Local) else 1
        found = scores(racer.predict(split.scored_x), split.scored_y, {})
        yield {"method": racer.run.name, "blocks": blocks, **told, **found, **_costs(racer, case, plan, split, told["seed"])}


def _costs(racer: Racer, case: Case, plan: Plan, split: Split, seed: int) -> Row:
    new = made(racer.run, make_training(case.net, plan, split, seed), seed)
    x, y = split.x[: plan.batch], split.y[: plan.batch]
    peak = peak_memory_mb(new, x, y)
    return {"train_seconds": racer.train_seconds, "peak_memory_mb": peak, "activation_mb": _kept_bytes(new, x, y) / 1e6}


def _kept_bytes(method: object, x: Tensor, y: Tensor) -> int:
    """What is kept for a backward pass: of backpropagation all of it, of blocks the most that one of them keeps."""
    assert isinstance(method, Recipe)
    x = method.laid_out(x.clone())
    if not isinstance(method, Local):
        with KeptBytes(method.network.parameters()) as kept:
            F.cross_entropy(method.network(x), y)
        return kept.bytes
    most = 0
    for k in range(len(method.network.blocks)):
        with KeptBytes(method.network.parameters()) as kept:
            output, _ = method.network.local_terms(k, x, y)
        x, most = output.detach(), max(most, kept.bytes)
    return most
