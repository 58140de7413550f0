"""The learning rate of every way of giving credit, the method's own included, scored on held-out training images."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from benchmarks.local.methods import METHODS, RATE, RATES, RECIPE
from benchmarks.local.nets import asked_cases, asked_plan
from benchmarks.measure import scores
from benchmarks.race import Run, race
from benchmarks.report import Request, Result, Row, say
from benchmarks.splits import SUBSET_SEED, limited, load_held_out

NET, LIMIT, EPOCHS = "resnet20_cifar10", 2500, 6
QUICK_LIMIT = 32


def small_trial(request: Request) -> Request:
    """The call with the few images and passes of trials on held-out images, where it names none itself."""
    quick = {"limit": request.limit or QUICK_LIMIT}
    usual = {"limit": request.limit or LIMIT, "epochs": request.epochs or EPOCHS}
    return request._replace(net=request.net or NET, **(quick if request.quick else usual))


def run(request: Request) -> Result:
    """All rates of the methods of the call; one seed, the first."""
    request = small_trial(request)
    settings = {**RECIPE, "rates": RATES, "scored": "held-out training images", "subset_seed": SUBSET_SEED}
    return Result(settings, _rows(request))


def _rows(request: Request) -> Iterator[Row]:
    ((name, case),) = asked_cases(request).items()
    plan, seed = asked_plan(case, request), request.seeds[0]
    split = limited(load_held_out(case.task, request), plan.limit)
    told = {"net": name, "data": case.data, "limit": len(split.x), "epochs": plan.epochs, "seed": seed}
    for method in request.methods or METHODS:
        for rate in RATES:  # one after the other, so that every finished rate is kept
            entry = Run(method, {"lr": rate}, METHODS[method])
            (racer,) = race([entry], case.net, plan, split, seed, partial(say, told))
            yield {
                "method": method,
                **told,
                "settings": {"lr": rate},
                **scores(racer.predict(split.scored_x), split.scored_y, {}),
            }


def chosen_rate(searched: list[Row], method: str) -> float:
    """The rate with the best accuracy in the search, else the built-in one.

    >>> rows = [{"method": "backprop", "settings": {"lr": rate}, "accuracy": 50 * rate} for rate in (0.001, 0.01)]
    >>> chosen_rate(rows, "backprop"), chosen_rate(rows, "heads_only")
    (0.01, 0.005)
    """
    own = [row for row in searched if row["method"] == method]
    return max(own, key=lambda row: row["accuracy"])["settings"]["lr"] if own else RATE
