"""A curve with noise that grows to its ends: 90 points, 16 sigmoid units (GBP Learning, appendix C; the published code)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

import torch_gbp as gbp
from benchmarks.report import Request, Result, Row, say
from benchmarks.toys.exact import activations
from benchmarks.toys.learning import START, Pacing, Toy, layer, learn
from benchmarks.toys.scalar_graph import Factors

COUNT, HIDDEN, SIGMA = 90, 16, 0.05  # points; units; deviation of the observations as the network is told
DRAWN, EDGE = 111, 1.1  # inputs of the drawn curves, 0.02 apart; the training range is -1 to 1
# The exact version as in the published code; damping and iterations of the other were chosen on seeds 100 to 102.
PACE = {"graph_exact": Pacing(4000, 0.7, dropout=0.5), "graph": Pacing(1500, 0.5, 0.92)}


class Points(NamedTuple):
    """Training inputs and targets, (90, 1), and the drawn inputs with the true function there, in units of the targets."""

    x: Tensor
    y: Tensor
    drawn: Tensor
    truth: Tensor


def run(request: Request) -> Result:
    """Both methods on every seed, which draws the data and the first weights: error of the curve inside the training range."""
    paces = {method: pacing._asdict() for method, pacing in PACE.items()}
    return Result({"hidden": HIDDEN, "sigma": SIGMA, "start": START, "methods": paces}, _rows(request))


def points(seed: int) -> Points:
    """5 sin(x 5 / 0.75) + 0.15 (10 x)^2, noise of deviation 1.5 + x^2; targets centred, with deviation 0.5."""
    generator = torch.Generator().manual_seed(1000 + seed)
    x = (2 * torch.rand(COUNT, 1, generator=generator, dtype=torch.float64) - 1).sort(0).values
    y = _curve(x) + (1.5 + x.square()) * torch.randn(x.shape, generator=generator, dtype=torch.float64)
    drawn = torch.linspace(-EDGE, EDGE, DRAWN, dtype=torch.float64)[:, None]
    y, truth = ((part - y.mean()) / (2 * y.std(correction=0)) for part in (y, _curve(drawn)))
    return Points(x, y, drawn, truth)


def network(seed: int) -> nn.Sequential:
    """1 - 16 - 1, the sigmoid inside the factor."""
    hidden = layer(1, HIDDEN, 2 * seed, gbp.Prior(variance=6.0**2, bias=9.0), gbp.GBPNoise(0.005, 10.0), gbp.GBPSigmoid())
    last = layer(HIDDEN, 1, 2 * seed + 1, gbp.Prior(variance=1.5**2, bias=9.0), gbp.GBPNoise(0.01, 3.0))
    return nn.Sequential(hidden, last)


def inside(drawn: Tensor) -> Tensor:
    """Which of the drawn inputs are in the training range."""
    return drawn.abs() < 1 + 1e-9


def _curve(x: Tensor) -> Tensor:
    return 5 * torch.sin(x * 5 / 0.75) + 0.15 * (10 * x).square()


def _rows(request: Request) -> Iterator[Row]:
    for seed in request.seeds[: 1 if request.quick else None]:
        data = points(seed)
        fits: dict[str, Tensor] = {}
        for method in request.methods or PACE:
            row, fits[method] = _row(method, seed, data, request)
            if method == "graph" and "graph_exact" in fits:
                row["difference"] = _rms((fits["graph"] - fits["graph_exact"])[inside(data.drawn)])
            say(row, f"{method}: rmse {row['rmse']:.4f}, {row['processor_seconds']:.1f} s of the processor")
            yield row


def _row(method: str, seed: int, data: Points, request: Request) -> tuple[Row, Tensor]:
    def observe(outputs: Tensor) -> Factors:
        return Factors(outputs, lambda value: value[..., 0] - data.y[:, 0], SIGMA)

    toy = Toy(data.x, data.y, gbp.Regression(SIGMA**2), observe, network(seed))
    seconds = learn(method, toy, PACE[method], seed, request.quick)
    fit = activations(toy.network, data.drawn)[-1]
    case = {"method": method, "net": f"1-{HIDDEN}-1", "limit": COUNT, "seed": seed, "epochs": 1}
    told = [round(value, 4) for value in fit.flatten().tolist()]
    return {**case, "rmse": _rms((fit - data.truth)[inside(data.drawn)]), "processor_seconds": seconds, "fit": told}, fit


def _rms(gap: Tensor) -> float:
    return float(gap.square().mean().sqrt())
