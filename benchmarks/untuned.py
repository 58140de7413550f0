"""How much a method asks of whoever chooses its rate: scores at a tenth to ten times of the usual one, no search: `untuned`.

Every method has its usual settings; its rate alone is multiplied, and the schedule that comes with the method stays. torch_gbp's
rate is a share of the way to the new belief, so it ends at 1: with its usual 0.4 the multiples 3 and 10 are both 1. Biases that
the means sweep leaves plain have their rate multiplied as it is.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from benchmarks.measure import fit_temperature, scores, tempered_scores
from benchmarks.methods import METHODS, gbp, installed
from benchmarks.methods.base import Entrant, Settings
from benchmarks.methods.gradient import WARMUP
from benchmarks.portions import Portion, of_task, of_untouched
from benchmarks.race import Racer, Run, race
from benchmarks.results import Request, Result, Row, key
from benchmarks.tasks import SUBSET_SEED, Trial

MULTIPLES = (0.1, 0.3, 1.0, 3.0, 10.0)
SCORED = 2000  # test examples, the first ones
_RISING = {"warmup": WARMUP}
ENTRANTS: dict[str, Entrant] = {  # rivals: the built-in settings of the comparisons, with a warm-up for AdamW too
    "gbp": gbp.SOFTMAX,
    "gbp_means": gbp.MEANS,
    "adamw": METHODS["adamw"]._replace(defaults={**METHODS["adamw"].defaults, **_RISING}),
    "adamw_tail": METHODS["adamw_tail"]._replace(
        title="AdamW, warm end, tail average", defaults={**METHODS["adamw_tail"].defaults, **_RISING}
    ),
    "sgd_momentum": METHODS["sgd_momentum"]._replace(title="SGD with momentum, warm end, tail average"),
    "ivon": METHODS["ivon"],
    "vi": METHODS["vi"],
}
PORTIONS: dict[str, Portion] = {
    "mlp_few": of_task("lowdata", "mlp", 640, (40,)),
    "lenet": of_task("lowdata", "lenet", 2560, (6,)),
    "digits": of_untouched("digits", 15),
    "cancer": of_untouched("cancer", 40),
    "fashion_mlp": of_task("fashion", "mlp", 5120, (4,)),
}


class Spread(NamedTuple):
    """Scores of a method at all multiples: the middle one, and the worst, the largest."""

    median: float
    worst: float


def spread(values: Sequence[float]) -> Spread:
    """Median and maximum.

    >>> spread([0.3, 0.9, 0.2, 0.4, 0.5])
    Spread(median=0.4, worst=0.9)
    """
    return Spread(statistics.median(values), max(values))


def run(request: Request) -> Result:
    """A row for every network, seed, method and multiple of its rate."""
    asked = {name: PORTIONS[name].title for name in request.asked(PORTIONS)}
    return Result({"portions": asked, "multiples": MULTIPLES, "scored": SCORED, "subset_seed": SUBSET_SEED}, rows(request))


def rows(request: Request) -> Iterator[Row]:
    """One method after the other, its multiples in one race; those that the result file has are left alone."""
    for name in request.asked(PORTIONS):
        for trial in PORTIONS[name].trials(name, request, held_out=False):
            for method in installed(request.methods or list(ENTRANTS), ENTRANTS):
                if not _there(trial, method, request):
                    runs = [Run(method, at(ENTRANTS[method], multiple), ENTRANTS[method].make) for multiple in MULTIPLES]
                    for multiple, racer in zip(MULTIPLES, race(runs, trial), strict=True):
                        yield _row(racer, trial, multiple)


def _there(trial: Trial, method: str, request: Request) -> bool:
    """Whether the result file has every multiple of this method."""
    wanted = [key({"method": method, **trial.told, "settings": {"multiple": own}}) for own in MULTIPLES]
    done = [key(row) for row in request.done]
    return all(own in done for own in wanted)


def at(entrant: Entrant, multiple: float) -> Settings:
    """The usual settings with a multiple of the usual rate."""
    usual = entrant.defaults
    return {**usual, "lr": multiple * usual["lr"]} if "lr" in usual else {**usual, "rate": multiple}


def _row(racer: Racer, trial: Trial, multiple: float) -> Row:
    """Scores at temperature 1, and at the temperature that is best on the scored examples: no held-out one does better."""
    logs, labels = racer.predict(trial.split.scored_x[:SCORED]), trial.split.scored_y[:SCORED]
    told = {"method": racer.run.name, **trial.told, "settings": {"multiple": multiple}, "chosen": dict(racer.run.settings)}
    best = tempered_scores(logs, labels, fit_temperature(logs, labels))
    return {**told, **scores(logs, labels), **best, "train_seconds": racer.train_seconds}
