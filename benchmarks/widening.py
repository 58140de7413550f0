"""Two powers of the likelihood, each network trained once and its held-out predictions taken with several widenings."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from torch import Tensor

from benchmarks.measure import predict, scores
from benchmarks.methods.gbp import GBP
from benchmarks.race import Run, race
from benchmarks.report import Request, Result, Row, say
from benchmarks.splits import SUBSET_SEED, Split, limited, load_held_out
from benchmarks.tasks import TASKS, asked_plans
from torch_gbp import calibrate

CASES = (
    ("lowdata", "mlp", 640),
    ("lowdata", "lenet", 640),
    ("mnist", "mlp", 20_000),
    ("mnist", "lenet", 20_000),
    ("fashion", "mlp", 20_000),
    ("fashion", "lenet", 20_000),
)
POWERS = (64.0, 128.0)
WIDENINGS = (1.0, 2.0, 4.0, 8.0, 16.0)
CALIBRATED = "calibrated"


def run(request: Request) -> Result:
    """Every case with both powers; one half of the held-out images calibrates, the other is scored."""
    settings = {"powers": POWERS, "widenings": WIDENINGS, "scored": "half of the held-out training images"}
    return Result({**settings, "subset_seed": SUBSET_SEED}, _rows(request))


def _rows(request: Request) -> Iterator[Row]:
    for data, net, limit in CASES:
        if request.net in (None, net):
            for seed in request.seeds[: 1 if request.quick else None]:
                yield from _case(data, net, request._replace(limit=limit), seed)


def _case(data: str, title: str, request: Request, seed: int) -> Iterator[Row]:
    task = TASKS[data]._replace(ood={})
    net, split = task.nets[title], load_held_out(task, request)
    plan = asked_plans(net, request)[0]
    split = limited(split, plan.limit)
    case: Row = {"net": title, "data": data, "limit": len(split.x), "seed": seed, "epochs": plan.epochs}
    runs = [Run("gbp", {"likelihood": {"power": power}}) for power in POWERS]
    for power, racer in zip(POWERS, race(runs, net, plan, split, seed, partial(say, case)), strict=True):
        assert isinstance(racer.method, GBP)
        for name, widening, found in _scored(racer.method, split):
            yield {"method": f"power {power:g}, {name}", **case, **found, "widening": widening}


def _scored(method: GBP, split: Split) -> Iterator[tuple[str, float, dict[str, float]]]:
    """Name, widening and scores, for every widening and for the one that the other half of the images favours."""
    half = len(split.scored_x) // 2
    x, y = split.scored_x[half:], split.scored_y[half:]
    for widening in WIDENINGS:
        yield f"widening {widening:g}", widening, _scores(method, widening, x, y)
    chosen = calibrate(method.network, method.likelihood, [(split.scored_x[:half], split.scored_y[:half])])
    yield CALIBRATED, chosen.widening, _scores(method, chosen.widening, x, y)


def _scores(method: GBP, widening: float, x: Tensor, y: Tensor) -> dict[str, float]:
    method.likelihood.widening.fill_(widening)
    return scores(predict(method, x), y, {})
