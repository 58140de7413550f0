"""The thesis' curve learnt by deeper and by wider networks: the predictive inside the training range and beside it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple

from benchmarks.curves import DATA_SEED, NOISE, curve, learn, line, points, predictive
from benchmarks.report import Request, Result, Row, say
from benchmarks.textbook import SEQUENTIAL

DRAWN = 81  # inputs of the drawn predictive
QUICK_EPOCHS = 2


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


def run(request: Request) -> Result:
    """Every depth and width: error against the curve and log-likelihood of new points, and the predictive to draw."""
    return Result({"inference": SEQUENTIAL.told(), "data_seed": DATA_SEED, "noise": NOISE}, _rows(request))


def _rows(request: Request) -> Iterator[Row]:
    if request.net not in (None, *NETS):
        raise SystemExit(f"no network {request.net!r} in this benchmark: use {', '.join(NETS)}")
    for name in [request.net] if request.net else NETS:
        for seed in request.seeds[: 1 if request.quick else None]:
            yield _row(name, NETS[name], request, seed)


def _row(name: str, net: Scaled, request: Request, seed: int) -> Row:
    epochs = request.epochs or (QUICK_EPOCHS if request.quick else SEQUENTIAL.epochs)
    x, y = points(request.limit or net.points, *net.ends)
    started = time.perf_counter()
    trainer = learn(SEQUENTIAL, net.widths, x, y, epochs, seed)
    seconds = time.perf_counter() - started
    inside, drawn = line(*net.ends, DRAWN), predictive(trainer, line(*net.drawn, DRAWN))
    new_x, new_y = points(net.points, *net.ends, seed=DATA_SEED + 1)
    scores = {
        "rmse": float((predictive(trainer, inside).mean - curve(inside)).square().mean().sqrt()),
        "log_likelihood": float(predictive(trainer, new_x).log_prob(new_y).mean()),
    }
    case = {"net": name, "limit": len(x), "seed": seed, "epochs": epochs}
    say(case, f"{scores} in {seconds:.1f} s")
    lines = {"mean": drawn.mean.flatten().tolist(), "deviation": drawn.stddev.flatten().tolist()}
    told = {key: [round(value, 4) for value in values] for key, values in lines.items()}
    return {"method": "gbp", **case, **scores, "train_seconds": seconds, **told}
