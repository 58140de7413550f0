"""The time of a training step beside that of plain AdamW's on the same network, both measured in turns."""

from __future__ import annotations

import time
from itertools import cycle, islice
from statistics import median

from torch import Tensor

from benchmarks.anynet.cases import Trial
from benchmarks.anynet.entrants import ENTRANTS
from benchmarks.methods import Method
from benchmarks.race import Run, made, make_training

SETTLED = 16  # steps before any is timed: torch_gbp's first ones have a probe each
TURNS, TURN = 9, 8  # how often each is timed, and steps of a turn: of torch_gbp's, two have a probe
QUICK_SETTLED, QUICK_TURNS, QUICK_TURN = 1, 1, 1

Batch = tuple[Tensor, Tensor]


def step_costs(run: Run, baseline: str, trial: Trial, quick: bool) -> dict[str, float]:
    """`step_seconds`, processor time of a step, and `step_ratio`, it as a multiple of the baseline's: medians over the turns."""
    settled, turns = (QUICK_SETTLED, QUICK_TURNS) if quick else (SETTLED, TURNS)
    racers = [_made(run, trial), _made(Run(baseline, ENTRANTS[baseline].defaults, ENTRANTS[baseline].make), trial)]
    batches = _batches(trial)[: QUICK_TURN if quick else None]
    for method in racers:
        _seconds(method, list(islice(cycle(batches), settled)))
    times = [[_seconds(method, batches) for method in racers] for _ in range(turns)]
    return {"step_seconds": median(own for own, _ in times), "step_ratio": median(own / other for own, other in times)}


def _made(run: Run, trial: Trial) -> Method:
    method = made(run, make_training(trial.case.net, trial.plan, trial.split, trial.seed), trial.seed)
    method.network.train()
    return method


def _batches(trial: Trial) -> list[Batch]:
    size = min(trial.plan.batch, len(trial.split.x))
    whole = max(1, len(trial.split.x) // size)
    starts = [size * (turn % whole) for turn in range(TURN)]
    return [(trial.split.x[start : start + size], trial.split.y[start : start + size]) for start in starts]


def _seconds(method: Method, batches: list[Batch]) -> float:
    start = time.process_time()
    for x, y in batches:
        method.step(x, y)
    return (time.process_time() - start) / len(batches)
