"""The UCI tables as a benchmark learns them: rows to train on and to score, and the scores in the targets' units."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_modules.data.tables import Scaler, load_uci

FOLDERS = {
    "boston": "bostonHousing",
    "energy": "energy",
    "kin8nm": "kin8nm",
    "wine": "wine-quality-red",
    "yacht": "yacht",
    "protein": "protein-tertiary-structure",
}


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


def load(folder: Path, name: str, split: int, held_out: float = 0.0, limit: int | None = None) -> Learnt:
    """A split of a table; with `held_out` that share of its training rows is scored, and its test rows stay unseen."""
    table = load_uci(folder, FOLDERS[name], split)
    train, scored = (table.train, table.test) if not held_out else _divided(table.train, held_out, split)
    train = train[:limit]
    inputs, targets = Scaler.fit(table.x[train]), Scaler.fit(table.y[train])
    rows = inputs(table.x[train]).float(), targets(table.y[train]).float()
    return Learnt(*rows, inputs(table.x[scored]).float(), table.y[scored], targets)


def asked(name: str | None, names: list[str]) -> list[str]:
    """The tables of the call: one, or all."""
    if name not in (None, *names):
        raise SystemExit(f"no table {name!r} in this benchmark: use {', '.join(names)}")
    return [name] if name else names


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
    own = torch.distributions.Normal(mean, predictive.stddev.double() * scaler.std)
    return {"rmse": float((mean - y).square().mean().sqrt()), "log_likelihood": float(own.log_prob(y).mean())}


def _divided(rows: Tensor, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Rows to train on, and a share of them to score."""
    order = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))]
    count = round(share * len(order))
    return order[count:], order[:count]
