"""UCI regression: six tables, their standard splits, one hidden layer, `Regression()` as it comes for all of them."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch

from benchmarks.regression import PLAN, Plan, fit
from benchmarks.report import Request, Result, Row, say
from benchmarks.uci_data import FOLDERS, Learnt, asked, load, scores

HIDDEN, HIDDEN_PROTEIN = 50, 100  # as everybody who publishes on these splits
SPLITS, SPLITS_PROTEIN = range(20), range(5)
QUICK_ROWS, QUICK_STEPS = 192, 20
VALIDATION = 0.1  # share of a split's training rows that `uci_validation` scores on


def run(request: Request, validation: bool = False) -> Result:
    """Every table and split: training rows, then root mean squared error and log-likelihood of the test rows.

    With `validation` the test rows stay unseen: a tenth of the training rows is held out and scored, which is how the
    plan was chosen.
    """
    plan = asked_plan(request)
    told = {"plan": plan._asdict(), "scored": "held-out training rows" if validation else "test rows"}
    return Result(told, _rows(request, plan, VALIDATION if validation else 0.0))


def asked_plan(request: Request) -> Plan:
    """The plan of the call: the one for all tables, shortened by --quick."""
    return PLAN._replace(steps=QUICK_STEPS) if request.quick else PLAN


def _rows(request: Request, plan: Plan, held_out: float) -> Iterator[Row]:
    for name in asked(request.net, list(FOLDERS)):
        splits = SPLITS_PROTEIN if name == "protein" else SPLITS
        for split in [seed for seed in request.seeds if seed in splits][: 1 if request.quick else None]:
            data = load(request.data_dir, name, split, held_out, QUICK_ROWS if request.quick else request.limit)
            yield _row(name, split, data, plan, request.epochs)


def _row(name: str, split: int, data: Learnt, plan: Plan, epochs: int | None) -> Row:
    epochs = epochs or plan.epochs(len(data.x))
    started = time.perf_counter()
    fitted = fit(data.x, data.y, HIDDEN_PROTEIN if name == "protein" else HIDDEN, plan, epochs, seed=split)
    seconds = time.perf_counter() - started
    with torch.no_grad():
        found = scores(fitted.likelihood.predictive(fitted.network(data.scored_x)), data)
    case = {"net": name, "limit": len(data.x), "seed": split, "epochs": epochs}
    say(case, f"rmse {found['rmse']:.4f}, log-likelihood {found['log_likelihood']:.4f}, {seconds:.1f} s")
    noise = float(fitted.likelihood.noise_variance)
    return {"method": "gbp", **case, **found, "noise_variance": noise, "train_seconds": seconds}
