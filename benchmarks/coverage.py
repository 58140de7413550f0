"""How often the credible intervals of 100 networks cover the curve, inside the training range and far outside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Normal

import torch_gbp as gbp
from benchmarks.curves import DATA_SEED, NOISE, curve, learn, line, points
from benchmarks.report import Request, Result, Row, say
from benchmarks.textbook import PARALLEL

NET, WIDTHS = "1-32-32-1", [1, 32, 32, 1]
RANGE, POINTS = (-0.5, 0.5), 200
REGIONS = {"left": (-20.0, -10.0), "inside": RANGE, "right": (10.0, 20.0)}
INPUTS = 41  # of each region
LEVELS = torch.linspace(0, 1, 101, dtype=torch.float64)
SIGMAS = {"sigma1": 0.6827, "sigma2": 0.9545, "sigma3": 0.9973}
QUICK_NETWORKS, QUICK_EPOCHS = 3, 2

Predict = Callable[[Tensor], Any]
PREDICTIVES: dict[str, Callable[[gbp.Trainer, Tensor, Tensor], Predict]] = {
    "gbp": lambda trainer, x, y: trainer.predict,
    "gbp_joint": lambda trainer, x, y: gbp.LinearResponse(trainer.model, trainer.likelihood, x, y).predict,
}


def run(request: Request) -> Result:
    """A row for each network and predictive, told by its seed, and one, "all", for the networks of this call together."""
    told = {"inference": PARALLEL.told(), "data_seed": DATA_SEED, "noise": NOISE, "regions": REGIONS, "inputs": INPUTS}
    return Result(told, _rows(request))


def _rows(request: Request) -> Iterator[Row]:
    networks = request.seeds[: QUICK_NETWORKS if request.quick else None]
    epochs = request.epochs or (QUICK_EPOCHS if request.quick else PARALLEL.epochs)
    case = {"net": NET, "limit": request.limit or POINTS, "epochs": epochs}
    found: list[Row] = []
    for seed in networks:
        for row in _learnt({**case, "seed": seed}):
            found.append(row)
            yield row
    for method in PREDICTIVES:
        own = [row for row in found if row["method"] == method]
        yield {"method": method, **case, "seed": "all", "networks": len(own), **summary(own)}


def _learnt(case: Row) -> Iterator[Row]:
    """The level at which each input's interval begins to cover the curve, of one network, by each predictive."""
    x, y = points(case["limit"], *RANGE)
    started = time.perf_counter()
    trainer = learn(PARALLEL, WIDTHS, x, y, case["epochs"], case["seed"])
    seconds = time.perf_counter() - started
    say(case, f"{seconds:.1f} s")
    for method, predictive in PREDICTIVES.items():
        predict = predictive(trainer, x, y)
        needed = {name: _needed(predict(line(*ends, INPUTS)), line(*ends, INPUTS)) for name, ends in REGIONS.items()}
        yield {"method": method, **case, "needed": needed, "train_seconds": seconds}


def _needed(found: Normal, x: Tensor) -> list[float]:
    return [round(p, 4) for p in needed_level(found, curve(x)).flatten().tolist()]


def needed_level(found: Normal, truth: Tensor) -> Tensor:
    """The smallest p whose interval [cdf^-1(1/2 - p/2), cdf^-1(1/2 + p/2)] holds the truth.

    >>> needed_level(Normal(0.0, 1.0), torch.tensor([0.0, -1.0]))
    tensor([0.0000, 0.6827])
    """
    return (2 * found.cdf(truth) - 1).abs()


def coverage(rows: list[Row], region: str) -> Tensor:
    """Share of networks whose interval of each level covers the curve: the median over the region's inputs, (101,)."""
    needed = torch.tensor([row["needed"][region] for row in rows], dtype=torch.float64)
    return (needed <= LEVELS[:, None, None]).double().mean(1).median(1).values


def summary(rows: list[Row]) -> Row:
    """Correlation of level and coverage, overall (the left and right medians together) and for each side; coverage of
    1, 2 and 3 sigma in each region."""
    curves = {region: coverage(rows, region) for region in REGIONS}
    sides = [curves["left"], curves["right"]]
    found: Row = {"correlation": correlation(LEVELS.repeat(2), torch.cat(sides))}
    found |= {f"correlation_{side}": correlation(LEVELS, curves[side]) for side in ("left", "right")}
    for name, level in SIGMAS.items():
        found |= {f"{name}_{region}": _covered(rows, region, level) for region in REGIONS}
    return found | {"coverage": {region: [round(p, 4) for p in own.tolist()] for region, own in curves.items()}}


def correlation(x: Tensor, y: Tensor) -> float:
    """Pearson's; 0 for a coverage that is the same at all levels, which tells nothing of the level.

    >>> correlation(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([1.0, 3.0, 5.0]))
    1.0
    """
    return float(torch.corrcoef(torch.stack([x, y])).nan_to_num()[0, 1])


def _covered(rows: list[Row], region: str, level: float) -> float:
    needed = torch.tensor([row["needed"][region] for row in rows], dtype=torch.float64)
    return float((needed <= level).double().mean(0).median())
