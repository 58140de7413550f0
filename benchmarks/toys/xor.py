"""XOR: four points, eight hidden units, two classes (GBP Learning, appendix C; the settings of the published code)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

import torch_gbp as gbp
from benchmarks.report import Request, Result, Row, say
from benchmarks.toys.exact import activations
from benchmarks.toys.learning import START, Pacing, Toy, layer, learn
from torch_gbp.factors import leaky_relu
from torch_gbp.scalar_graph import Factors

HIDDEN, SIGMA, SIDE, EDGE = 8, 0.1, 20, 1.2  # noise of every factor; the grid, and half its width
# The exact version as in the published code; the damping of the other was chosen on seeds 100 to 105.
PACE = {"graph_exact": Pacing(600, 0.7), "graph": Pacing(600, 0.9)}
POINTS = torch.tensor([[-1.0, -1.0], [1.0, 1.0], [1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
LABELS = torch.tensor([0, 0, 1, 1])


def run(request: Request) -> Result:
    """Both methods on every seed: points learned, and the classes of a grid."""
    paces = {method: pacing._asdict() for method, pacing in PACE.items()}
    return Result({"hidden": HIDDEN, "sigma": SIGMA, "start": START, "methods": paces}, _rows(request))


def network(seed: int) -> nn.Sequential:
    """2 - 8 - 2, LeakyReLU of slope 0.2 inside the factor."""
    bend = gbp.GBPLeakyReLU(0.2, rule=leaky_relu.LINEARISED)
    own: dict[str, Any] = {"noise": SIGMA, "prior": gbp.Prior(variance=3.0**2, bias=1.0)}
    hidden = layer(2, HIDDEN, 2 * seed, activation=bend, activation_sigma=5.0, **own)
    return nn.Sequential(hidden, layer(HIDDEN, 2, 2 * seed + 1, activation_sigma=2.0, **own))


def grid() -> Tensor:
    """The inputs of the drawn map, (400, 2), the first coordinate slowest."""
    steps = torch.linspace(-EDGE, EDGE, SIDE, dtype=torch.float64)
    return torch.cartesian_prod(steps, steps)


def _observe(outputs: Tensor) -> Factors:
    """Of two classes the residuals of the softmax are r and -r, so both together are one factor of deviation sigma / sqrt 2."""
    target = LABELS.double()
    return Factors(outputs, lambda value: torch.sigmoid(value[..., 1] - value[..., 0]) - target, SIGMA / 2**0.5)


def _rows(request: Request) -> Iterator[Row]:
    for seed in request.seeds[: 1 if request.quick else None]:
        maps: dict[str, Tensor] = {}
        for method in request.methods or PACE:
            row, maps[method] = _row(method, seed, request)
            if method == "graph" and "graph_exact" in maps:
                row["disagreement"] = float((maps["graph"] != maps["graph_exact"]).double().mean())
            say(row, f"{method}: {row['corners']} of 4 points, {row['processor_seconds']:.1f} s of the processor")
            yield row


def _row(method: str, seed: int, request: Request) -> tuple[Row, Tensor]:
    """A result row and the classes of the grid; `accuracy` is the grid's, against the class of the nearest point."""
    toy = Toy(POINTS, LABELS, gbp.SquaredSoftmax(SIGMA), _observe, network(seed))
    seconds = learn(method, toy, PACE[method], seed, request.quick)
    found, drawn = (activations(toy.network, x)[-1].argmax(1) for x in (POINTS, grid()))
    truth = (grid().prod(1) < 0).long()
    scores = {"corners": int((found == LABELS).sum()), "accuracy": float((drawn == truth).double().mean())}
    case = {"method": method, "net": f"2-{HIDDEN}-2", "limit": len(POINTS), "seed": seed, "epochs": 1}
    told = ["".join(map(str, line)) for line in drawn.view(SIDE, SIDE).tolist()]
    return {**case, **scores, "processor_seconds": seconds, "map": told}, drawn
