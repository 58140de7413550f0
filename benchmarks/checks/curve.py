"""The thesis' curve, learnt by deeper and wider networks (`synthetic`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

import torch_gbp as gbp
from benchmarks.checks.textbook import SEQUENTIAL, Fitting, make
from benchmarks.measure import timed
from benchmarks.results import Request, Result, Row, say

NOISE = 0.05  # standard deviation, known to the network
DATA_SEED = 98  # every network sees the same points
DRAWN, QUICK_EPOCHS = 81, 2  # inputs of the drawn predictive


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


def rounded(values: Tensor) -> list[float]:
    """Four digits after the point, so that the file stays small."""
    return [round(value, 4) for value in values.flatten().tolist()]
