"""UCI regression: six tables, their standard splits, one hidden layer, `Regression()` as it comes for all of them.

Only batches and passes are chosen here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import torch_gbp as gbp
from benchmarks.measure import timed
from benchmarks.methods.base import train
from benchmarks.methods.gbp import MessagePassed
from benchmarks.results import Request, Result, Row, say
from lightning_modules.data.tables import Scaler, load_uci
from torch_gbp.metrics import regression_scores

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


class Plan(NamedTuple):
    """How long a table is learnt, and in which steps; the same numbers for all of them.

    Args:
        batches: batches of a pass, unless they would be smaller than `batch`.
        batch: smallest batch.
        steps: of the whole training; a pass is never broken off.
    """

    batches: int = 50
    batch: int = 16
    steps: int = 4000

    def batch_of(self, rows: int) -> int:
        """Rows of a step. The step of all weights together is stable if a pass has about as many steps as an output has
        weights; more steps a pass only cost time.

        >>> PLAN.batch_of(300), PLAN.batch_of(40_000)
        (16, 800)
        """
        return max(self.batch, math.ceil(rows / self.batches))

    def epochs(self, rows: int) -> int:
        """Passes."""
        return math.ceil(self.steps / math.ceil(rows / self.batch_of(rows)))


PLAN = Plan()


class Learnt(NamedTuple):
    """One split of a table.

    Args:
        x, y: training rows, standardised, float32.
        scored_x: rows to score, standardised as the training rows are, float32.
        scored_y: their targets as they are.
        targets: what standardised the targets.
    """

    x: Tensor
    y: Tensor
    scored_x: Tensor
    scored_y: Tensor
    targets: Scaler


def run(request: Request, validation: bool = False) -> Result:
    """Every table and split: training rows, then root mean squared error and log-likelihood of the test rows.

    With `validation` the test rows stay unseen: a tenth of the training rows is held out and scored, which is how the
    plan was chosen.
    """
    plan = PLAN._replace(steps=QUICK_STEPS) if request.quick else PLAN
    told = {"plan": plan._asdict(), "scored": "held-out training rows" if validation else "test rows"}
    return Result(told, _rows(request, plan, VALIDATION if validation else 0.0))


def _rows(request: Request, plan: Plan, held_out: float) -> Iterator[Row]:
    for name in request.asked(FOLDERS):
        splits = SPLITS_PROTEIN if name == "protein" else SPLITS
        for split in [seed for seed in request.runs if seed in splits]:
            data = load(request.data_dir, name, split, held_out, QUICK_ROWS if request.quick else request.limit)
            yield _row(name, split, data, plan, request.epochs or plan.epochs(len(data.x)))


def _row(name: str, split: int, data: Learnt, plan: Plan, epochs: int) -> Row:
    fitted: list[MessagePassed] = []
    hidden = HIDDEN_PROTEIN if name == "protein" else HIDDEN
    seconds = timed(lambda: fitted.append(fit(data.x, data.y, hidden, plan, epochs, seed=split)))
    likelihood: Any = fitted[0].likelihood
    with torch.no_grad():
        found = scores(likelihood.predictive(fitted[0].network(data.scored_x)), data)
    case = {"net": name, "limit": len(data.x), "seed": split, "epochs": epochs}
    say(case, f"rmse {found['rmse']:.4f}, log-likelihood {found['log_likelihood']:.4f}, {seconds:.1f} s")
    return {"method": "gbp", **case, **found, "noise_variance": float(likelihood.noise_variance), "train_seconds": seconds}


def fit(x: Tensor, y: Tensor, hidden: int, plan: Plan, epochs: int, seed: int) -> MessagePassed:
    """Message passing with no setting but the number of passes."""
    torch.manual_seed(seed)
    network = nn.Sequential(gbp.GBPLinear(x.shape[1], hidden), gbp.GBPLeakyReLU(0.1), gbp.GBPLinear(hidden, y.shape[1]))
    propagate = gbp.MessagePassing(network.parameters(), len(x), epochs=epochs, report_every=0)
    method = MessagePassed(network, gbp.Regression().fit_targets(y), propagate)
    for _ in range(epochs):
        train(method, x, y, torch.randperm(len(x)).split(plan.batch_of(len(x))))
    return method


def load(folder: Path, name: str, split: int, held_out: float = 0.0, limit: int | None = None) -> Learnt:
    """A split of a table; with `held_out` that share of its training rows is scored, and its test rows stay unseen."""
    table = load_uci(folder, FOLDERS[name], split)
    rows, scored = (table.train, table.test) if not held_out else _divided(table.train, held_out, split)
    rows = rows[:limit]
    inputs, targets = Scaler.fit(table.x[rows]), Scaler.fit(table.y[rows])
    learnt = inputs(table.x[rows]).float(), targets(table.y[rows]).float()
    return Learnt(*learnt, inputs(table.x[scored]).float(), table.y[scored], targets)


def scores(predictive: Any, data: Learnt) -> dict[str, float]:
    """Root mean squared error and mean log-likelihood in the targets' own units, from a standardised predictive.

    >>> standard, none = torch.distributions.Normal(torch.zeros(1, 1), torch.ones(1, 1)), torch.empty(0)
    >>> scaler = Scaler(torch.tensor([5.0]), torch.tensor([2.0]))
    >>> found = scores(standard, Learnt(none, none, none, torch.tensor([[7.0]]), scaler))
    >>> found["rmse"], round(found["log_likelihood"], 4)  # log N(7; 5, 4)
    (2.0, -2.1121)
    """
    scaler, y = data.targets, data.scored_y
    mean = predictive.mean.double() * scaler.std + scaler.mean
    return regression_scores(mean, (predictive.stddev.double() * scaler.std).square(), y)


def _divided(rows: Tensor, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Rows to train on, and a share of them to score."""
    order = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))]
    count = round(share * len(order))
    return order[count:], order[:count]
