"""The rivals' search: every setting of a method's grid, scored on held-out training images, and a temperature for each.

A method without a grid, torch_gbp among them, has nothing to choose: it trains once, for the temperature alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from benchmarks.choice import choose
from benchmarks.measure import scores
from benchmarks.methods import METHODS, Settings, installed
from benchmarks.race import Run, race
from benchmarks.report import Request, Result, Row, say
from benchmarks.results import committed, merged
from benchmarks.splits import SUBSET_SEED, Split, limited, load_held_out
from benchmarks.tasks import TASKS, Net, Plan, asked_nets, search_plan
from benchmarks.temperature import fit_temperature, tempered_scores

QUICK_SETTINGS = 2  # of each grid


def run(name: str, request: Request) -> Result:
    """Those of the methods of the call; one seed, the first."""
    asked = installed(request.methods or list(METHODS))
    methods = sorted(asked, key=lambda method: not METHODS[method].grid)  # lenders of settings before borrowers
    grids = {method: METHODS[method].grid for method in methods if METHODS[method].grid}
    return Result({"grids": grids, "subset_seed": SUBSET_SEED}, _rows(name, methods, request))


def _rows(name: str, methods: list[str], request: Request) -> Iterator[Row]:
    task, searched = TASKS[name], committed(f"{name}_search")
    data = load_held_out(task, request)
    for title in asked_nets(task, request):
        net = task.nets[title]
        plan = search_plan(task, net, request)
        split = limited(data, plan.limit)
        case = {"net": title, "limit": len(split.x), "seed": request.seeds[0], "epochs": plan.epochs}
        for method in methods:  # one setting after the other, so that every finished one is kept
            for settings in _grid(method, request) or [choose(searched, title, method, plan.epochs).settings]:
                row = _row(Run(method, settings), case, net, plan, split)
                searched = merged(searched, row)
                yield row


def _grid(method: str, request: Request) -> list[Settings]:
    return list(METHODS[method].grid)[: QUICK_SETTINGS if request.quick else None]


def _row(entry: Run, case: Row, net: Net, plan: Plan, split: Split) -> Row:
    (racer,) = race([entry], net, plan, split, case["seed"], partial(say, case))
    logs, labels = racer.predict(split.scored_x), split.scored_y
    temperature = fit_temperature(logs, labels)
    found = scores(logs, labels, {}) | {"temperature": temperature} | tempered_scores(logs, labels, temperature)
    return {"method": entry.name, **case, "settings": dict(entry.settings), **found}
