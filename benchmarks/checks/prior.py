"""The prior predictive against depth and width: how wide are the outputs before any data (`prior_predictive`)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import nn

import torch_gbp as gbp
from benchmarks.checks.textbook import SLOPE
from benchmarks.results import Request, Result, Row, say
from torch_gbp.weights.variances import first_layer, offset_scaled, variance_preserving

DEPTHS, WIDTHS, WIDTH, DEPTH = (1, 2, 4, 6, 8, 10), (4, 16, 64, 256), 100, 3  # hidden layers, units; where the other varies
INPUTS, POINTS, NETWORKS, QUICK = 10, 50, 60, 3  # standard normal inputs; networks drawn one by one
PRIORS = {  # the first layer's prior, and that of the others; their means are the random start, but the default's, which are 0
    "published": (gbp.Prior(first_layer, scale=1.0, mean="start"), gbp.Prior(offset_scaled, scale=1.0, mean="start")),
    "corrected": (gbp.Prior(first_layer, scale=1.0, mean="start"), gbp.Prior(variance_preserving, scale=1.0, mean="start")),
    "default": (gbp.Prior(start_deviation=0.0), gbp.Prior(start_deviation=0.0)),
}
TITLES = {"published": "published code's", "corrected": "corrected derivation", "default": "torch_gbp's default"}


def run(request: Request) -> Result:
    """A row for every prior, depth and width: deviations by moments and of drawn networks."""
    told = {"inputs": INPUTS, "points": POINTS, "networks": NETWORKS}
    return Result(told, (row for prior in request.methods or PRIORS for row in _rows(prior, request)))


def _rows(prior: str, request: Request) -> Iterator[Row]:
    shapes = [*(("depth", depth, WIDTH) for depth in DEPTHS), *(("width", DEPTH, width) for width in WIDTHS)]
    for varied, depth, width in shapes[:QUICK] if request.quick else shapes:
        for seed in request.runs:
            told = {"net": f"{varied} {depth} x {width}", "limit": POINTS, "seed": seed, "epochs": 0}
            row = {"method": prior, **told, "varied": varied, "depth": depth, "width": width, **_wide(prior, depth, width, seed)}
            say(told, f"{prior}: {row['deviation']:.3g}")
            yield row


@torch.no_grad()
def _wide(prior: str, depth: int, width: int, seed: int) -> Row:
    """Root of the mean variance of the output about its own mean at each input: by one forward pass, and of networks drawn."""
    torch.manual_seed(seed)
    model, x = make(prior, depth, width), torch.randn(POINTS, INPUTS, dtype=torch.float64)
    belief = model(x)
    outputs = torch.stack([gbp.sample(model)(x) for _ in range(NETWORKS if width <= WIDTH else NETWORKS // 3)])
    return {"deviation": float(belief.variance.mean().sqrt()), "drawn_deviation": float(outputs.var(0).mean().sqrt())}


def make(prior: str, depth: int, width: int) -> nn.Sequential:
    """So many hidden layers of this width, one output."""
    layers: list[nn.Module] = []
    for place, (fan_in, fan_out) in enumerate(itertools.pairwise([INPUTS, *[width] * depth, 1])):
        own = PRIORS[prior][min(place, 1)]
        layers += [gbp.GBPLinear(fan_in, fan_out, dtype=torch.float64, prior=own, covariance="diagonal"), gbp.GBPLeakyReLU(SLOPE)]
    return nn.Sequential(*layers[:-1])
