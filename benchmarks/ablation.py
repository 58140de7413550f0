"""What each part of the default recipe contributes: torch_gbp with one part changed, scored on held-out training images."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

from benchmarks.measure import scores
from benchmarks.methods import Settings
from benchmarks.race import Run, race
from benchmarks.report import Request, Result, Row, say
from benchmarks.splits import SUBSET_SEED, limited, load_held_out
from benchmarks.tasks import TASKS, asked_plans
from torch_gbp import AveragedSites, Prior

CASES = (("mnist", "mlp", None), ("mnist", "lenet", None), ("lowdata", "mlp", 640), ("lowdata", "lenet", 640))
VARIANTS: dict[str, Settings] = {
    "as shipped": {},
    "a precision for every weight": {"prior": {"covariance": "diagonal"}},
    "a prior that follows the inputs": {"follow": True},
    "no trust region": {"optimizer": {"store": AveragedSites(trust=math.inf)}},
    "no warm-up": {"optimizer": {"warmup": 0.0}},
    "no warm-up, no trust region": {"optimizer": {"warmup": 0.0, "store": AveragedSites(trust=math.inf)}},
    "no average of the means": {"optimizer": {"store": AveragedSites(tail=0.0)}},
    "no average, rate down to 0.025": {"optimizer": {"final": 0.025, "store": AveragedSites(tail=0.0)}},
    "rate down to 0.025": {"optimizer": {"final": 0.025}},
    "no momentum": {"optimizer": {"store": AveragedSites(momentum=0.0)}},
    "power 32": {"likelihood": {"power": 32.0}},
    "power 64": {"likelihood": {"power": 64.0}},
    "power 128": {"likelihood": {"power": 128.0}},
    "power 256": {"likelihood": {"power": 256.0}},
    "prior scale 0.03": {"prior": {"prior": Prior(scale=0.03)}},
    "prior scale 0.3": {"prior": {"prior": Prior(scale=0.3)}},
    "Bayes' rule: power 1, prior scale 1": {"likelihood": {"power": 1.0}, "prior": {"prior": Prior(scale=1.0)}},
}


def run(request: Request) -> Result:
    """Every variant on every case, all variants in one race."""
    return Result({"variants": list(VARIANTS), "scored": "held-out training images", "subset_seed": SUBSET_SEED}, _rows(request))


def _rows(request: Request) -> Iterator[Row]:
    for name, net, limit in CASES:
        if request.net in (None, net) and (request.limit is None or request.limit == limit):
            for seed in request.seeds[: 1 if request.quick else None]:
                yield from _race(name, net, request._replace(limit=limit), seed)


def _race(name: str, title: str, request: Request, seed: int) -> Iterator[Row]:
    task = TASKS[name]
    net, data = task.nets[title], load_held_out(task, request)
    plan = asked_plans(net, request)[0]
    split = limited(data, plan.limit)
    case = {"net": title, "limit": len(split.x), "seed": seed, "epochs": plan.epochs}
    racers = race([Run("gbp", settings) for settings in VARIANTS.values()], net, plan, split, seed, partial(say, case))
    for variant, racer in zip(VARIANTS, racers, strict=True):
        yield {"method": variant, **case, **scores(racer.predict(split.scored_x), split.scored_y, {})}
