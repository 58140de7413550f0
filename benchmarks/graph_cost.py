"""What an iteration of the deep factor graph costs: time beside its matrix products and convolutions alone, memory by edges."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import torch_gbp as gbp
from benchmarks.graph_recipes import CLASSES, FILTERS, RECIPES, SIGMA, SUMMED, network
from benchmarks.markdown import NOT_RUN, grid, number
from benchmarks.measure import timed
from benchmarks.memory import PeakMemory
from benchmarks.report import Request, Result, Row, say

KERNELS = (3, 5, 7, 9)  # sides of the filters; the more weights a filter has, the more edges
SHAPE, BATCH = (1, 28, 28), 50
ITERATIONS, REPEATS = 16, 9
EDGE_BYTES = 16  # of two messages of two float32 each, if they were kept
PRODUCTS = {"mm", "bmm", "addmm", "baddbmm", "mv", "addmv", "convolution", "convolution_backward"}


class Products(TorchDispatchMode):
    """Takes down all matrix products and convolutions inside, so that they can be done again alone."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in PRODUCTS:
            self.calls.append((func, args, kwargs or {}))
        return func(*args, **(kwargs or {}))

    def again(self) -> None:
        """Does them once more, and nothing else."""
        for func, args, kwargs in self.calls:
            func(*args, **kwargs)


def run(request: Request) -> Result:
    """A row for each size of the filters, on random images; times are medians, whole iterations and products in turns."""
    told = {"shape": SHAPE, "batch": BATCH, "filters": FILTERS, "pacing": SUMMED._asdict(), "edge_bytes": EDGE_BYTES}
    return Result({**told, "repeats": REPEATS}, _rows(request))


def _rows(request: Request) -> Iterator[Row]:
    for seed in request.seeds[: 1 if request.quick else None]:
        for kernel in KERNELS[: 2 if request.quick else None]:
            told = {"method": "graph", "net": f"{kernel} x {kernel}", "limit": BATCH, "seed": seed, "epochs": 1}
            found = _cost(kernel, seed, 2 if request.quick else REPEATS)
            say(told, f"iteration {found['iteration_ms']:.1f} ms, its products {found['products_ms']:.1f} ms")
            yield {**told, **found}


def _cost(kernel: int, seed: int, repeats: int) -> Row:
    torch.manual_seed(seed)
    x, y = torch.rand(BATCH, *SHAPE), torch.randint(CLASSES, (BATCH,))
    graph = _begun(kernel, x, y)
    _iterate(graph, ITERATIONS)  # energies of the first few are out of bounds
    with torch.no_grad(), Products() as products:
        _iterate(graph, 1)
    times = [(timed(lambda: _iterate(graph, ITERATIONS)) / ITERATIONS, timed(products.again)) for _ in range(repeats)]
    whole, alone = (1000 * median(column) for column in zip(*times, strict=True))
    with PeakMemory([x]) as memory:
        _iterate(_begun(kernel, x, y), ITERATIONS)
    edges = edges_of(kernel)
    costs = {"iteration_ms": whole, "products_ms": alone, "ratio": whole / alone}
    return {**costs, "edges": edges, "peak_memory_mb": memory.megabytes, "edges_mb": edges * EDGE_BYTES / 1e6}


def _begun(kernel: int, x: Tensor, y: Tensor) -> gbp.FactorGraph:
    model, options = (
        network(x.shape[1:], RECIPES["graph_pixels"], kernel=kernel),
        {"approximation": "linearised", "exchange": False},
    )
    return gbp.FactorGraph(model, x, gbp.SquaredSoftmax(SIGMA), y, **options)  # type: ignore[arg-type]


def _iterate(graph: gbp.FactorGraph, iterations: int) -> None:
    graph.infer(iterations, gbp.Damping(SUMMED.damping, SUMMED.weight_damping), check=iterations)


def edges_of(kernel: int) -> int:
    """Edges between a factor and a variable that is not observed, for a batch.

    A convolution's factor touches its weights, its bias and its output; a pool's one window and its output; a dense one its
    inputs, as many weights, its bias and its output.

    >>> edges_of(5)
    15322600
    """
    side = SHAPE[1] - kernel + 1
    pooled = FILTERS * (side // 2) ** 2
    convolution = FILTERS * side**2 * (SHAPE[0] * kernel**2 + 2)
    return BATCH * (convolution + 5 * pooled + CLASSES * (2 * pooled + 2))


def table(rows: list[Row]) -> str:
    """A line for each size of the filters."""
    if not rows:
        return NOT_RUN
    nets = list(dict.fromkeys(row["net"] for row in rows))
    headings = ["filters", "edges", "iteration", "its products and convolutions", "ratio", "peak memory", "messages on all edges"]
    return grid(headings, [_line([row for row in rows if row["net"] == net]) for net in nets])


def _line(rows: list[Row]) -> list[str]:
    columns = [("iteration_ms", 1, " ms"), ("products_ms", 1, " ms"), ("ratio", 2, ""), ("peak_memory_mb", 1, " MB")]
    cells = [number(rows, key, digits, 1, key.endswith("_ms"), unit) for key, digits, unit in columns]
    return [rows[0]["net"], f"{rows[0]['edges']:,}", *cells, f"{rows[0]['edges_mb']:.1f} MB"]
