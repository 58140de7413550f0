"""The prior variance's formulas beside each other, as shipped and under Bayes' rule, scored on held-out training images."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from benchmarks.measure import scores
from benchmarks.methods import Settings
from benchmarks.race import Run, race
from benchmarks.report import Request, Result, Row, say
from benchmarks.splits import SUBSET_SEED, limited, load_held_out
from benchmarks.tasks import TASKS, Plan, asked_plans
from torch_gbp import Prior
from torch_gbp.weights import variances

NET = "mlp"
PLANS = (Plan(60, 640, 16, 16), Plan(16, 5000, 32, 32))
FORMULAS = {"code": variances.offset_scaled, "thesis": variances.fan_in_scaled, "corrected": variances.variance_preserving}
BAYES: Settings = {"likelihood": {"power": 1.0}}
VARIANTS: dict[str, Settings] = {
    **{f"{name}, as shipped": {"prior": {"prior": Prior(variance=formula)}} for name, formula in FORMULAS.items()},
    **{f"{name}, scale 1, power 1": BAYES | {"prior": {"prior": Prior(variance=f, scale=1.0)}} for name, f in FORMULAS.items()},
    "code, random prior means": {"prior": {"prior": Prior(mean="start")}},
    "code, scale 1, power 1, random prior means": BAYES | {"prior": {"prior": Prior(scale=1.0, mean="start")}},
}


def run(request: Request) -> Result:
    """Every variant on 640 and on 5,000 images, all variants in one race."""
    return Result({"variants": list(VARIANTS), "scored": "held-out training images", "subset_seed": SUBSET_SEED}, _rows(request))


def _rows(request: Request) -> Iterator[Row]:
    task = TASKS["mnist"]
    net, data = task.nets[NET]._replace(plans=PLANS), load_held_out(task, request)
    for plan in asked_plans(net, request):
        split = limited(data, plan.limit)
        for seed in request.seeds[: 1 if request.quick else None]:
            case = {"net": NET, "limit": len(split.x), "seed": seed, "epochs": plan.epochs}
            racers = race([Run("gbp", s) for s in VARIANTS.values()], net, plan, split, seed, partial(say, case))
            for variant, racer in zip(VARIANTS, racers, strict=True):
                yield {"method": variant, **case, **scores(racer.predict(split.scored_x), split.scored_y, {})}
