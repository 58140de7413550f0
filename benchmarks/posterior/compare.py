"""Every method on every problem: its distance to the sampled reference, near the training inputs and far from them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.posterior import rivals
from benchmarks.posterior.message_passing import joint, shipped, textbook
from benchmarks.posterior.predictive import distances
from benchmarks.posterior.problems import PRIOR_SEED, PROBLEMS, Problem
from benchmarks.posterior.reference import NAME, QUICK, asked_problems, sample
from benchmarks.report import Request, Result, Row, say
from benchmarks.results import committed
from benchmarks.textbook import AVERAGED, PARALLEL, SEQUENTIAL

QUICK_EPOCHS, QUICK_PROBLEMS = 2, ("gap", "moons")  # one of each kind


class Compared(NamedTuple):
    """A row of POSTERIORS: its title, and what it tells at the problem's inputs after so many passes, from a seed."""

    title: str
    tell: Callable[[Problem, int | None, int], Tensor]


POSTERIORS = {
    "gbp_sequential": Compared("torch_gbp, one example after the other", partial(textbook, SEQUENTIAL)),
    "gbp_parallel": Compared("torch_gbp, all examples at once", partial(textbook, PARALLEL)),
    "gbp_averaged": Compared("torch_gbp, one average site", partial(textbook, AVERAGED)),
    "gbp_sequential_joint": Compared("one example after the other, linear response", partial(joint, SEQUENTIAL)),
    "gbp_parallel_joint": Compared("all examples at once, linear response", partial(joint, PARALLEL)),
    "gbp": Compared("torch_gbp as it comes", shipped),
    "vi": Compared("mean-field VI", rivals.mean_field),
    "laplace": Compared("last-layer Laplace", rivals.last_layer),
}


def run(request: Request) -> Result:
    """Distances to the committed reference; --quick samples a short one of its own, to exercise that path too."""
    fittings = {"gbp_sequential": SEQUENTIAL, "gbp_parallel": PARALLEL, "gbp_averaged": AVERAGED}
    settings = {name: fitting.told() for name, fitting in fittings.items()}
    told = {"methods": settings, "prior_seed": PRIOR_SEED, "reference": "a short one" if request.quick else f"{NAME}.json"}
    return Result(told, _rows(request))


def _rows(request: Request) -> Iterator[Row]:
    for name in QUICK_PROBLEMS if request.quick and not request.net else asked_problems(request):
        problem = PROBLEMS[name]()
        truth = _truth(name, problem, request.quick)
        for method, compared in POSTERIORS.items():
            if request.methods is None or method in request.methods:
                for seed in request.seeds[: 1 if request.quick else None]:
                    yield _row(method, compared, name, problem, truth, request, seed)


def _truth(name: str, problem: Problem, quick: bool) -> Tensor:
    rows = [sample(name, problem, QUICK, 0)] if quick else [row for row in committed(NAME) if row["net"] == name]
    if not rows:
        raise SystemExit(f"no reference for {name!r}: run `python -m benchmarks {NAME}` first")
    return torch.tensor(rows[-1]["predictive"], dtype=torch.float64)


def _row(method: str, compared: Compared, name: str, problem: Problem, truth: Tensor, request: Request, seed: int) -> Row:
    epochs = request.epochs or (QUICK_EPOCHS if request.quick else None)
    started = time.perf_counter()
    found = compared.tell(problem, epochs, seed)
    seconds = time.perf_counter() - started
    measured = distances(found, truth, problem.noise_variance is None)
    case = {"net": name, "limit": len(problem.x), "seed": seed, "epochs": epochs}
    say(case, f"{method}: {measured} in {seconds:.1f} s")
    return {"method": method, **case, **measured, "train_seconds": seconds}
