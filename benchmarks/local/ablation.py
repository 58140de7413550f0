"""What each part of block-local learning contributes: a base with one part changed, scored on held-out training images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from benchmarks.local.comparison import raced
from benchmarks.local.methods import RECIPE, Backprop, Local, Recipe
from benchmarks.local.nets import asked_cases, asked_plan
from benchmarks.local.search import chosen_rate, small_trial
from benchmarks.race import Run
from benchmarks.report import Request, Result, Row
from benchmarks.results import committed
from benchmarks.splits import SUBSET_SEED, limited, load_held_out
from torch_gbp.local import GradientFeedback, RidgeFeedback, conv_head, heads_only, linear_head, variational

NARROW = {"head": partial(conv_head, widest=64, first=2), "weight": 0.1}  # the base


def _local(blocks: int = 4, **settings: object) -> Callable[..., Recipe]:
    return partial(Local, blocks=blocks, local_loss=partial(variational, **{**NARROW, **settings}))  # type: ignore[arg-type]


VARIANTS: dict[str, Callable[..., Recipe]] = {
    "as shipped": partial(Local, local_loss=variational),
    "base: narrow heads, 4 blocks": _local(),
    "1 block (backpropagation)": Backprop,
    "2 blocks": _local(2),
    "8 blocks": _local(8),
    "no feedback": partial(Local, local_loss=partial(heads_only, head=NARROW["head"])),
    "no prediction": _local(head=None, weight=1.0),
    "linear heads": _local(head=linear_head),
    "heads twice as wide": _local(head=partial(conv_head, widest=128, first=2)),
    "heads as shipped": _local(head=conv_head),
    "feedback 5 times as strong": _local(weight=0.5),
    "feedback with the sign of the released code": _local(weight=-0.1),
    "feedback of the batch alone": _local(feedback=partial(RidgeFeedback, decay=0.0)),
    "feedback learnt by gradient": _local(feedback=GradientFeedback),
    "variance of beta 4 times that of alpha": _local(beta_variance=4.0),
    "variance of beta a quarter of that of alpha": _local(beta_variance=0.25),
}


def run(request: Request) -> Result:
    """Every variant on one network, all variants in one race."""
    rate = chosen_rate(committed("local_search"), "block_local")
    settings = {**RECIPE, "lr": rate, "scored": "held-out training images", "subset_seed": SUBSET_SEED}
    return Result(settings, _rows(small_trial(request), rate))


def _rows(request: Request, rate: float) -> Iterator[Row]:
    runs = [Run(name, {"lr": rate}, make) for name, make in VARIANTS.items()]
    ((name, case),) = asked_cases(request).items()
    plan = asked_plan(case, request)
    split = limited(load_held_out(case.task, request), plan.limit)
    for seed in request.seeds[: 1 if request.quick else None]:
        yield from raced(runs, {"net": name, "data": case.data, "seed": seed}, case, plan, split)
