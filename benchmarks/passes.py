"""Few passes and what they cost: `onepass`, every example seen once, and `cost`, NLL against the seconds of training.

The rivals' settings are searched for every network and number of passes, and chosen by NLL at a held-out temperature.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.contest import Contest
from benchmarks.methods.base import Entrant, Settings, grid
from benchmarks.methods.gbp import MEANS, SOFTMAX
from benchmarks.methods.gradient import TAIL, WARMUP, AdamW, Momentum
from benchmarks.portions import Portion, of_task
from benchmarks.race import Racer
from benchmarks.results import Request, Row
from benchmarks.tasks import Trial

COLD: Settings = {"final": 0.0, "tail": 0.0}  # a cosine down to 0, the last weights
USUAL = 1  # of a grid, where none was searched


def entrants(adamw: list[Settings], momentum: list[Settings]) -> dict[str, Entrant]:
    """Both sweeps of torch_gbp as they come, AdamW and SGD with momentum by these settings; all four rise first."""
    return {
        "gbp": SOFTMAX,
        "gbp_means": MEANS,
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
    "mnist_lenet": of_task("mnist", "lenet", 20_000, (1,), search=20_000),
    "fashion_mlp": of_task("fashion", "mlp", None, (1,), search=20_000),
    "fashion_lenet": of_task("fashion", "lenet", 20_000, (1,), search=20_000),
}
COSTS: dict[str, Portion] = {
    f"{task}_{net}": of_task(task, net, 10_000, passes, search=10_000)
    for net, passes in (("mlp", (1, 2, 4, 8)), ("lenet", (1, 2, 4)))
    for task in ("mnist", "fashion")
}


def _contest(name: str, portions: dict[str, Portion], methods: dict[str, Entrant]) -> Contest:
    def trials(request: Request, held_out: bool) -> Iterator[Trial]:
        for own in request.asked(portions):
            yield from portions[own].trials(own, request, held_out)

    def told(request: Request) -> Row:
        return {"portions": {own: portions[own]._replace(source=None)._asdict() for own in request.asked(portions)}}

    return Contest(name, trials, methods, costs, told, together=False)


_OF_ONE = entrants(both_ends((2e-3, 4e-3, 8e-3, 0.016), 0.01), both_ends((0.02, 0.035, 0.05, 0.07), 1e-4))
_OF_SEVERAL = entrants(
    warm_end((1e-3, 2e-3, 4e-3, 8e-3), (0.1, 1.0)) + warm_end((2e-3, 4e-3), (0.01,)),
    warm_end((0.01, 0.02, 0.035, 0.05), (1e-3, 1e-2)) + warm_end((0.05, 0.07), (1e-4,)),
)
ONEPASS, COST = _contest("onepass", ONCE, _OF_ONE), _contest("cost", COSTS, _OF_SEVERAL)
