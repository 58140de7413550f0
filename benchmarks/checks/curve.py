"""The thesis' curve, learnt by deeper and wider networks (`synthetic`), and covered by the intervals of 100 (`coverage`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Normal

import torch_gbp as gbp
from benchmarks.checks.textbook import PARALLEL, SEQUENTIAL, Fitting, make
from benchmarks.measure import timed
from benchmarks.results import Request, Result, Row, say

NOISE = 0.05  # standard deviation, known to the network
DATA_SEED = 98  # every network sees the same points
DRAWN, QUICK_EPOCHS, QUICK_NETWORKS = 81, 2, 3  # inputs of the drawn predictive
WIDTHS, RANGE, POINTS, INPUTS = [1, 32, 32, 1], (-0.5, 0.5), 200, 41  # of `coverage`: network, data, inputs of each region
REGIONS = {"left": (-20.0, -10.0), "inside": RANGE, "right": (10.0, 20.0)}
LEVELS = torch.linspace(0, 1, 101, dtype=torch.float64)
SIGMAS = {"sigma1": 0.6827, "sigma2": 0.9545, "sigma3": 0.9973}
PREDICTIVES: dict[str, Callable[[gbp.Trainer, Tensor, Tensor], Callable[[Tensor], Any]]] = {
    "gbp": lambda trainer, x, y: trainer.predict,
    "gbp_joint": lambda trainer, x, y: gbp.LinearResponse(trainer.model, trainer.likelihood, x, y).predict,
}


class Scaled(NamedTuple):
    """A network of this size: the widths of its layers, the training points and their range, and the drawn range."""

    title: str
    widths: list[int]
    points: int
    ends: tuple[float, float]
    drawn: tuple[float, float]


def _deep(depth: int) -> Scaled:
    """Depth counts the layers with weights, as the thesis' figure 5.1 does."""
    return Scaled(f"{depth} layers, 16 wide", [1, *[16] * (depth - 1), 1], 200, (0.0, 2.0), (-1.0, 3.0))


def _wide(width: int) -> Scaled:
    return Scaled(f"1 hidden layer of {width}", [1, width, 1], 80, (0.0, 1.0), (-0.5, 1.5))


NETS = {f"depth{depth}": _deep(depth) for depth in range(2, 7)} | {f"width{w}": _wide(w) for w in (4, 16, 32, 64, 128)}


def curve(x: Tensor) -> Tensor:
    """0.5 x + 0.2 sin 2 pi x + 0.3 sin 4 pi x (AMP-BNN thesis, section 5.1)."""
    return 0.5 * x + 0.2 * torch.sin(2 * torch.pi * x) + 0.3 * torch.sin(4 * torch.pi * x)


def points(count: int, low: float, high: float, noise: float = NOISE, seed: int = DATA_SEED) -> tuple[Tensor, Tensor]:
    """Inputs, uniform in the range, and noisy values, both (count, 1)."""
    generator = torch.Generator().manual_seed(seed)
    x = low + (high - low) * torch.rand(count, 1, generator=generator, dtype=torch.float64)
    return x, curve(x) + noise * torch.randn(x.shape, generator=generator, dtype=torch.float64)


def line(low: float, high: float, count: int) -> Tensor:
    """Inputs at even distances, (count, 1)."""
    return torch.linspace(low, high, count, dtype=torch.float64)[:, None]


def run_synthetic(request: Request) -> Result:
    """Every depth and width: error against the curve and log-likelihood of new points, and the predictive to draw."""
    rows = (_synthetic(name, NETS[name], request, seed) for name in request.asked(NETS) for seed in request.runs)
    return Result({"inference": SEQUENTIAL.told(), "data_seed": DATA_SEED, "noise": NOISE}, rows)


def run_coverage(request: Request) -> Result:
    """A row for each network and predictive, told by its seed, and one, "all", for the networks of this call together."""
    told = {"inference": PARALLEL.told(), "data_seed": DATA_SEED, "noise": NOISE, "regions": REGIONS, "inputs": INPUTS}
    return Result(told, _coverage_rows(request))


def _learnt(fitting: Fitting, widths: list[int], case: Row, x: Tensor, y: Tensor) -> tuple[gbp.Trainer, float]:
    """A network whose prior means and order of examples come from the seed, after so many sweeps; and the seconds."""
    trained: list[gbp.Trainer] = []
    model, likelihood = make(widths, case["seed"]), gbp.Regression(NOISE**2)
    seconds = timed(lambda: trained.append(fitting.fit(model, likelihood, x, y, case["epochs"], case["seed"])))
    say(case, f"{seconds:.1f} s")
    return trained[0], seconds


def _synthetic(name: str, net: Scaled, request: Request, seed: int) -> Row:
    epochs = request.epochs or (QUICK_EPOCHS if request.quick else SEQUENTIAL.epochs)
    x, y = points(request.limit or net.points, *net.ends)
    case = {"method": "gbp", "net": name, "limit": len(x), "seed": seed, "epochs": epochs}
    trainer, seconds = _learnt(SEQUENTIAL, net.widths, case, x, y)
    predict: Callable[[Tensor], Any] = trainer.predict
    inside, drawn = line(*net.ends, DRAWN), predict(line(*net.drawn, DRAWN))
    new_x, new_y = points(net.points, *net.ends, seed=DATA_SEED + 1)
    scores = {
        "rmse": float((predict(inside).mean - curve(inside)).square().mean().sqrt()),
        "log_likelihood": float(predict(new_x).log_prob(new_y).mean()),
    }
    return {**case, **scores, "train_seconds": seconds, "mean": rounded(drawn.mean), "deviation": rounded(drawn.stddev)}


def _coverage_rows(request: Request) -> Iterator[Row]:
    epochs = request.epochs or (QUICK_EPOCHS if request.quick else PARALLEL.epochs)
    case = {"net": "-".join(map(str, WIDTHS)), "limit": request.limit or POINTS, "epochs": epochs}
    found: list[Row] = []
    for seed in request.seeds[: QUICK_NETWORKS if request.quick else None]:
        for row in _covered_by({**case, "seed": seed}):
            found.append(row)
            yield row
    for method in PREDICTIVES:
        own = [row for row in found if row["method"] == method]
        yield {"method": method, **case, "seed": "all", "networks": len(own), **summary(own)}


def _covered_by(case: Row) -> Iterator[Row]:
    """The level at which each input's interval begins to cover the curve, of one network, by each predictive."""
    x, y = points(case["limit"], *RANGE)
    trainer, seconds = _learnt(PARALLEL, WIDTHS, case, x, y)
    for method, predictive in PREDICTIVES.items():
        predict, inputs = predictive(trainer, x, y), {name: line(*ends, INPUTS) for name, ends in REGIONS.items()}
        needed = {name: rounded(needed_level(predict(own), curve(own))) for name, own in inputs.items()}
        yield {"method": method, **case, "needed": needed, "train_seconds": seconds}


def needed_level(found: Normal, truth: Tensor) -> Tensor:
    """The smallest p whose interval [cdf^-1(1/2 - p/2), cdf^-1(1/2 + p/2)] holds the truth.

    >>> needed_level(Normal(0.0, 1.0), torch.tensor([0.0, -1.0]))
    tensor([0.0000, 0.6827])
    """
    return (2 * found.cdf(truth) - 1).abs()


def coverage(rows: list[Row], region: str) -> Tensor:
    """Share of networks whose interval of each level covers the curve: the median over the region's inputs, (101,)."""
    return (_needed(rows, region) <= LEVELS[:, None, None]).double().mean(1).median(1).values


def summary(rows: list[Row]) -> Row:
    """Correlation of level and coverage, overall (the left and right medians together) and for each side; coverage of
    1, 2 and 3 sigma in each region."""
    curves = {region: coverage(rows, region) for region in REGIONS}
    found: Row = {"correlation": correlation(LEVELS.repeat(2), torch.cat([curves["left"], curves["right"]]))}
    found |= {f"correlation_{side}": correlation(LEVELS, curves[side]) for side in ("left", "right")}
    for name, level in SIGMAS.items():
        shares = {region: (_needed(rows, region) <= level).double().mean(0) for region in REGIONS}
        found |= {f"{name}_{region}": float(share.median()) for region, share in shares.items()}
    return found | {"coverage": {region: rounded(own) for region, own in curves.items()}}


def correlation(x: Tensor, y: Tensor) -> float:
    """Pearson's; 0 for a coverage that is the same at all levels, which tells nothing of the level.

    >>> correlation(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([1.0, 3.0, 5.0]))
    1.0
    """
    return float(torch.corrcoef(torch.stack([x, y])).nan_to_num()[0, 1])


def rounded(values: Tensor) -> list[float]:
    """Four digits after the point, so that the file stays small."""
    return [round(value, 4) for value in values.flatten().tolist()]


def _needed(rows: list[Row], region: str) -> Tensor:
    return torch.tensor([row["needed"][region] for row in rows], dtype=torch.float64)
