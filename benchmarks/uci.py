"""UCI regression: six tables, their standard splits, one hidden layer, one recipe for all and none searched per table."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from benchmarks.regression import RECIPE, Recipe, fit
from benchmarks.report import Request, Result, Row, say
from lightning_modules.data.tables import Scaler, Table, load_uci

FOLDERS = {
    "boston": "bostonHousing",
    "energy": "energy",
    "kin8nm": "kin8nm",
    "wine": "wine-quality-red",
    "yacht": "yacht",
    "protein": "protein-tertiary-structure",
}
HIDDEN, HIDDEN_PROTEIN = 50, 100  # as everybody who publishes on these splits
SPLITS, SPLITS_PROTEIN = range(20), range(5)
QUICK_ROWS, QUICK_STEPS = 192, 20
VALIDATION = 0.1  # share of a split's training rows that `uci_validation` scores on


def run(request: Request, validation: bool = False) -> Result:
    """Every table and split: training rows, then root mean squared error and log-likelihood of the test rows.

    With `validation` the test rows stay unseen: a tenth of the training rows is held out and scored, which is how the
    recipe was chosen.
    """
    recipe = asked_recipe(request)
    told = {"recipe": recipe._asdict(), "scored": "held-out training rows" if validation else "test rows"}
    return Result(told, _rows(request, recipe, validation))


def asked_recipe(request: Request) -> Recipe:
    """The recipe of the call: the one for all tables, shortened by --quick."""
    return RECIPE._replace(steps=QUICK_STEPS) if request.quick else RECIPE


def _rows(request: Request, recipe: Recipe, validation: bool) -> Iterator[Row]:
    if request.net not in (None, *FOLDERS):
        raise SystemExit(f"no table {request.net!r} in this benchmark: use {', '.join(FOLDERS)}")
    for name in [request.net] if request.net else FOLDERS:
        splits = SPLITS_PROTEIN if name == "protein" else SPLITS
        for split in [seed for seed in request.seeds if seed in splits][: 1 if request.quick else None]:
            table = load_uci(request.data_dir, FOLDERS[name], split)
            train, scored = _parts(table, split, validation)
            limit = QUICK_ROWS if request.quick else request.limit
            yield _row(name, split, table, train[:limit], scored, recipe, request.epochs)


def _parts(table: Table, split: int, validation: bool) -> tuple[Tensor, Tensor]:
    """The rows to train on and those to score."""
    if not validation:
        return table.train, table.test
    order = torch.randperm(len(table.train), generator=torch.Generator().manual_seed(split))
    held_out = round(VALIDATION * len(order))
    return table.train[order[held_out:]], table.train[order[:held_out]]


def _row(name: str, split: int, table: Table, train: Tensor, scored: Tensor, recipe: Recipe, epochs: int | None) -> Row:
    inputs, targets = Scaler.fit(table.x[train]), Scaler.fit(table.y[train])
    x, y = inputs(table.x[train]).float(), targets(table.y[train]).float()
    epochs = epochs or recipe.epochs(len(x))
    started = time.perf_counter()
    fitted = fit(x, y, HIDDEN_PROTEIN if name == "protein" else HIDDEN, recipe, epochs, seed=split)
    seconds = time.perf_counter() - started
    with torch.no_grad():
        predictive = fitted.likelihood.predictive(fitted.network(inputs(table.x[scored]).float()))
    found = scores(predictive, targets, table.y[scored])
    case = {"net": name, "limit": len(x), "seed": split, "epochs": epochs}
    say(case, f"rmse {found['rmse']:.4f}, log-likelihood {found['log_likelihood']:.4f}, {seconds:.1f} s")
    noise = float(fitted.likelihood.noise_variance)
    return {"method": "gbp", **case, **found, "noise_variance": noise, "train_seconds": seconds}


def scores(predictive: Any, targets: Scaler, y: Tensor) -> dict[str, float]:
    """Root mean squared error and mean log-likelihood in the targets' own units, from a standardised predictive.

    >>> standard = torch.distributions.Normal(torch.zeros(1, 1), torch.ones(1, 1))
    >>> found = scores(standard, Scaler(torch.tensor([5.0]), torch.tensor([2.0])), torch.tensor([[7.0]]))
    >>> found["rmse"], round(found["log_likelihood"], 4)  # log N(7; 5, 4)
    (2.0, -2.1121)
    """
    mean = predictive.mean.double() * targets.std + targets.mean
    own = torch.distributions.Normal(mean, predictive.stddev.double() * targets.std)
    return {"rmse": float((mean - y).square().mean().sqrt()), "log_likelihood": float(own.log_prob(y).mean())}
