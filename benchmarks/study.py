"""Studies of a recipe: a table of variants, each with one part changed, in one race, scored on held-out training images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from benchmarks import local_learning
from benchmarks.local_learning import Backprop, Local, Recipe
from benchmarks.measure import scores
from benchmarks.methods.base import Settings
from benchmarks.methods.gbp import GBP
from benchmarks.race import Racer, Run, race
from benchmarks.results import Request, Result, Row, committed, matching
from benchmarks.tasks import SUBSET_SEED, TASKS, Trial, limited, load_held_out
from torch_gbp import AveragedSites, Prior, calibrate
from torch_gbp.local import GradientFeedback, RidgeFeedback, conv_head, heads_only, linear_head, variational


class Study(NamedTuple):
    """What is varied, on what, and what is told of a trained variant.

    Args:
        variants: runs by the name of their rows.
        trials: held-out trials of the call.
        rows: of a trained variant.
        together: all variants of a trial in one race, in turns; else one after the other, and rows that are there are kept.
    """

    variants: Callable[[], Mapping[str, Run]]
    trials: Callable[[Request], Iterator[Trial]]
    rows: Callable[[str, Racer], Iterator[Row]]
    together: bool = True

    def run(self, request: Request) -> Result:
        """All variants on every network and seed of the call."""
        told = {"variants": list(self.variants()), "scored": "held-out training images", "subset_seed": SUBSET_SEED}
        return Result(told, self._rows(request))

    def _rows(self, request: Request) -> Iterator[Row]:
        for trial in self.trials(request):
            for name, racer in self._raced(trial, request):
                yield from self.rows(name, racer)

    def _raced(self, trial: Trial, request: Request) -> Iterator[tuple[str, Racer]]:
        variants = {name: run for name, run in self.variants().items() if name in (request.methods or [name])}
        if self.together:
            yield from zip(variants, race(list(variants.values()), trial), strict=True)
            return
        for name, run in variants.items():
            if not matching(request.done, method=name, **trial.told):
                yield name, race([run], trial)[0]


def _of_tasks(cases: list[tuple[str, str, int | None]], request: Request, told: bool = False) -> Iterator[Trial]:
    """Held-out trials of (task, network, training images); `told`: rows name the task."""
    for data, name, limit in cases:
        if request.net in (None, name) and request.limit in (None, limit):
            task, own = TASKS[data]._replace(ood={}), request._replace(limit=limit)
            plan = task.nets[name].asked(own)[0]
            split = limited(load_held_out(task, own), plan.limit)
            for seed in request.runs:
                yield Trial(name, task.nets[name], plan, split, seed, {"data": data} if told else {})


def _scored(name: str, racer: Racer) -> Iterator[Row]:
    split = racer.trial.split
    yield {"method": name, **racer.trial.told, **scores(racer.predict(split.scored_x), split.scored_y)}


def _gbp(**changed: Settings) -> Run:
    return Run("gbp", changed)


def _store(**changed: Any) -> dict[str, Any]:
    return {"store": AveragedSites(**changed)}


RECIPE = {
    "as shipped": _gbp(),
    "a precision for every weight": _gbp(prior={"covariance": "diagonal"}),
    "a prior that follows the inputs": Run("gbp", {"follow": True}),
    "no trust region": _gbp(optimizer=_store(trust_radius=math.inf)),
    "no warm-up": _gbp(optimizer={"warmup": 0.0}),
    "no warm-up, no trust region": _gbp(optimizer={"warmup": 0.0, **_store(trust_radius=math.inf)}),
    "no average of the means": _gbp(optimizer=_store(tail=0.0)),
    "no average, rate down to 0.025": _gbp(optimizer={"final": 0.025, **_store(tail=0.0)}),
    "rate down to 0.025": _gbp(optimizer={"final": 0.025}),
    "no momentum": _gbp(optimizer=_store(momentum=0.0)),
    **{f"power {power}": _gbp(likelihood={"power": float(power)}) for power in (32, 64, 128, 256)},
    **{f"prior scale {scale}": _gbp(prior={"prior": Prior(scale=scale)}) for scale in (0.03, 0.3)},
    "Bayes' rule: power 1, prior scale 1": _gbp(likelihood={"power": 1.0}, prior={"prior": Prior(scale=1.0)}),
}
_RECIPE_CASES = [("mnist", "mlp", None), ("mnist", "lenet", None), ("lowdata", "mlp", 640), ("lowdata", "lenet", 640)]

POWERS, WIDENINGS, CALIBRATED = (64, 128), (1.0, 2.0, 4.0, 8.0, 16.0), "calibrated"
_WIDENING_CASES: list[tuple[str, str, int | None]] = [
    *(("lowdata", net, 640) for net in ("mlp", "lenet")),
    *((data, net, 20_000) for data in ("mnist", "fashion") for net in ("mlp", "lenet")),
]


def _widened(name: str, racer: Racer) -> Iterator[Row]:
    """A row for every widening and for the one that half of the held-out images favours; the other half is scored."""
    method, split = racer.method, racer.trial.split
    assert isinstance(method, GBP)
    half = len(split.scored_x) // 2
    x, y = split.scored_x[half:], split.scored_y[half:]
    for widening in (*WIDENINGS, None):
        own = (
            widening
            or calibrate(method.network, method.likelihood, [(split.scored_x[:half], split.scored_y[:half])]).variance_factor
        )
        method.likelihood.variance_factor.fill_(own)
        title = CALIBRATED if widening is None else f"widening {widening:g}"
        yield {"method": f"{name}, {title}", **racer.trial.told, **scores(racer.predict(x), y), "widening": own}


NARROW = {"head": partial(conv_head, widest=64, first=2), "weight": 0.1}  # the base of block-local learning


def _local(blocks: int = 4, **changed: Any) -> Callable[..., Local]:
    return partial(Local, blocks=blocks, local_loss=partial(variational, **{**NARROW, **changed}))


LOCAL: dict[str, Callable[..., Recipe]] = {
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


HEADS = {"no_heads": None, "linear_heads": linear_head, "narrow_heads": NARROW["head"], "wide_heads": conv_head}
FEEDBACK = {  # with and without heads, without and with feedback; without both, only the last block learns
    f"{name}{told}": _local(head=head, weight=0.1 if told else 0.0) for name, head in HEADS.items() for told in ("", "_feedback")
}


def _with_costs(name: str, racer: Racer) -> Iterator[Row]:
    for row in _scored(name, racer):
        yield row | local_learning.costs(racer)


def _at_the_searched_rate(variants: Mapping[str, Callable[..., Recipe]]) -> dict[str, Run]:
    chosen = local_learning.CONTEST.choose(committed("local_search"), "", "block_local", local_learning.SEARCH_PLAN.epochs)
    return {name: Run(name, chosen.settings, make) for name, make in variants.items()}


_HELD_OUT = partial(local_learning.trials, held_out=True)
STUDIES = {
    "ablation": Study(lambda: RECIPE, partial(_of_tasks, _RECIPE_CASES), _scored),
    "widening": Study(
        lambda: {f"power {power}": _gbp(likelihood={"power": float(power)}) for power in POWERS},
        partial(_of_tasks, _WIDENING_CASES, told=True),
        _widened,
    ),
    "local_ablation": Study(lambda: _at_the_searched_rate(LOCAL), _HELD_OUT, _with_costs),
    "local_feedback": Study(lambda: _at_the_searched_rate(FEEDBACK), _HELD_OUT, _with_costs, together=False),
}
