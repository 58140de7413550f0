"""Few passes and what they cost: `onepass`, every example seen once, and `cost`, NLL against the seconds of training.

The rivals' 8 settings are searched for every network and number of passes, and chosen by NLL at a held-out temperature.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from benchmarks.contest import Contest
from benchmarks.methods import gbp
from benchmarks.methods.base import Entrant, Settings, grid
from benchmarks.methods.gradient import TAIL, WARMUP, AdamW, Momentum
from benchmarks.portions import Portion, of_task
from benchmarks.race import Racer
from benchmarks.results import Request, Row
from benchmarks.tasks import Trial

COLD: Settings = {"final": 0.0, "tail": 0.0}  # a cosine down to 0, the last weights
RATES: Mapping[str, tuple[float, ...]] = {"adamw": (1e-3, 2e-3, 4e-3, 8e-3), "sgd_momentum": (0.02, 0.05, 0.1, 0.2)}
USUAL = 1  # of these settings, where none were searched


def entrants(adamw: list[Settings], momentum: list[Settings]) -> dict[str, Entrant]:
    """Both sweeps of torch_gbp as they come, AdamW and SGD with momentum by these settings; all four rise first."""
    return {
        "gbp": gbp.SOFTMAX,
        "gbp_means": gbp.MEANS,
        "adamw": Entrant("AdamW", AdamW, adamw[USUAL], adamw, chosen_by="nll_tempered"),
        "sgd_momentum": Entrant("SGD with momentum", Momentum, momentum[USUAL], momentum, chosen_by="nll_tempered"),
    }


def both_ends(lr: tuple[float, ...], weight_decay: float) -> list[Settings]:
    """Every rate with a cosine to 0 and with the warm end and average that torch_gbp has built in."""
    return [{**own, **end} for own in grid(lr=lr, weight_decay=(weight_decay,), warmup=(WARMUP,)) for end in (COLD, TAIL)]


def warm_end(lr: tuple[float, ...], weight_decay: tuple[float, ...]) -> list[Settings]:
    """Every rate and weight decay with the warm end and average: with several passes over few images decay matters more."""
    return [{**own, **TAIL} for own in grid(lr=lr, weight_decay=weight_decay, warmup=(WARMUP,))]


def costs(racer: Racer, request: Request) -> Row:
    """Wall seconds of a training, and processor seconds, which tell the same when the machine is busy."""
    return {"train_seconds": racer.train_seconds, "processor_seconds": racer.processor_seconds}


ONCE: dict[str, Portion] = {
    "mnist_conv": of_task("mnist", "onepass", None, (1,), search=20_000),
    "mnist_mlp": of_task("mnist", "mlp", None, (1,), search=20_000),
    "mnist_lenet": of_task("mnist", "lenet", None, (1,), search=20_000),
    "fashion_mlp": of_task("fashion", "mlp", None, (1,), search=20_000),
    "fashion_lenet": of_task("fashion", "lenet", None, (1,), search=20_000),
}
COSTS: dict[str, Portion] = {
    f"{task}_{net}": of_task(task, net, 10_000, (1, 2, 4, 8), search=10_000)
    for task in ("mnist", "fashion")
    for net in ("mlp", "lenet")
}


def _contest(name: str, portions: dict[str, Portion], methods: dict[str, Entrant]) -> Contest:
    def trials(request: Request, held_out: bool) -> Iterator[Trial]:
        for own in request.asked(portions):
            yield from portions[own].trials(own, request, held_out)

    def told(request: Request) -> Row:
        return {"portions": {own: portions[own]._replace(source=None)._asdict() for own in request.asked(portions)}}

    return Contest(name, trials, methods, costs, told, together=False)


ONEPASS = _contest("onepass", ONCE, entrants(both_ends(RATES["adamw"], 0.01), both_ends(RATES["sgd_momentum"], 1e-4)))
COST = _contest("cost", COSTS, entrants(warm_end(RATES["adamw"], (0.1, 1.0)), warm_end(RATES["sgd_momentum"], (1e-3, 1e-2))))
