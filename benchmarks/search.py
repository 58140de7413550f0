"""The rivals' search: every setting of a method's grid, scored on held-out training images; torch_gbp takes no part."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from benchmarks.measure import scores
from benchmarks.methods import METHODS, Settings, installed
from benchmarks.race import Run, race
from benchmarks.report import Request, Result, Row, say
from benchmarks.splits import SUBSET_SEED, Split, limited, load_held_out
from benchmarks.tasks import TASKS, Net, Plan, Task, asked_nets, search_plan

QUICK_SETTINGS = 2  # of each grid


def run(name: str, request: Request) -> Result:
    """The searches of the methods of the call that have a grid; one seed, the first."""
    methods = installed([method for method in request.methods or METHODS if METHODS[method].grid])
    runs = [Run(method, settings) for method in methods for settings in _grid(method, request)]
    settings = {"grids": {method: METHODS[method].grid for method in methods}, "subset_seed": SUBSET_SEED}
    return Result(settings, _rows(TASKS[name], runs, request))


def _grid(method: str, request: Request) -> list[Settings]:
    return list(METHODS[method].grid)[: QUICK_SETTINGS if request.quick else None]


def _rows(task: Task, runs: list[Run], request: Request) -> Iterator[Row]:
    data = load_held_out(task, request)
    for name in asked_nets(task, request):
        net = task.nets[name]
        plan = search_plan(task, net, request)
        split = limited(data, plan.limit)
        case = {"net": name, "limit": len(split.x), "seed": request.seeds[0], "epochs": plan.epochs}
        for entry in runs:  # one after the other, so that every finished setting is kept
            yield _row(entry, case, net, plan, split)


def _row(entry: Run, case: Row, net: Net, plan: Plan, split: Split) -> Row:
    (racer,) = race([entry], net, plan, split, case["seed"], partial(say, case))
    found = scores(racer.predict(split.scored_x), split.scored_y, {})
    return {"method": entry.name, **case, "settings": dict(entry.settings), **found}
