"""Processor times of single layers in float32 and float64 (the thesis' table 5.4), and step and memory of its largest network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import torch_gbp as gbp
from benchmarks.checks.thesis_nets import NETS
from benchmarks.measure import peak_memory_mb, processor_seconds
from benchmarks.methods import METHODS as ALL
from benchmarks.methods.base import Training
from benchmarks.results import Request, Result, Row, say
from torch_gbp.gaussian import Gaussian

EXAMPLES, REPEATS, QUICK = 10, 15, 1
LARGEST, BATCH, STEPS = "mlp2000", 64, 10
DTYPES = {"float32": torch.float32, "float64": torch.float64}
RIVALS = ("gbp_onehot", "gbp", "adamw")


class Layer(NamedTuple):
    """A layer of table 5.4: what makes it, the shape of an example, and whether its inputs are known."""

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    known: bool = False


LAYERS = {
    "first linear": Layer(lambda: gbp.GBPLinear(784, 1000), (784,), known=True),
    "linear": Layer(lambda: gbp.GBPLinear(784, 1000), (784,)),
    "LeakyReLU": Layer(lambda: gbp.GBPLeakyReLU(0.1), (784,)),
    "first convolution": Layer(lambda: gbp.GBPConv2d(4, 8, 5), (4, 28, 28), known=True),
    "convolution": Layer(lambda: gbp.GBPConv2d(4, 8, 5), (4, 28, 28)),
    "max-pool": Layer(lambda: gbp.GBPMaxPool2d(2), (4, 28, 28)),
}
SIGNALS: dict[str, Callable[[], gbp.Likelihood]] = {
    "regression": lambda: gbp.Regression(0.01),
    "softmax": gbp.Softmax,
    "argmax": gbp.Argmax,
}
OUTPUTS = 100


def run(request: Request) -> Result:
    """A row for every layer and precision, and one for each method on the largest network."""
    return Result({"examples": EXAMPLES, "repeats": REPEATS, "batch": BATCH}, _rows(request))


def _rows(request: Request) -> Iterator[Row]:
    repeats = QUICK if request.quick else REPEATS
    for name in (*LAYERS, *SIGNALS):
        for precision, dtype in DTYPES.items():
            step = _layer_step(name, dtype) if name in LAYERS else _signal_step(name, dtype)
            step()
            told = {"net": name, "limit": EXAMPLES, "seed": 0, "epochs": 0}
            row = {"method": precision, **told, "milliseconds": 1e3 * median(processor_seconds(step) for _ in range(repeats))}
            say(told, f"{precision}: {row['milliseconds']:.2f} ms")
            yield row
    for method in RIVALS:
        yield _largest(method, request)


def _layer_step(name: str, dtype: torch.dtype) -> Callable[[], object]:
    """Messages of ten examples through the layer and back, all at once."""
    layer, mean = LAYERS[name].make().to(dtype), torch.randn(EXAMPLES, *LAYERS[name].shape, dtype=dtype)

    def step() -> None:
        own = mean.clone().requires_grad_(not LAYERS[name].known)
        variance = torch.ones_like(mean).requires_grad_(not LAYERS[name].known)
        belief = layer(own if LAYERS[name].known else Gaussian(own, variance))
        (belief.mean.sum() + belief.variance.sum()).backward()

    return step


def _signal_step(name: str, dtype: torch.dtype) -> Callable[[], object]:
    """What the targets of ten examples say to their outputs."""
    likelihood, mean = SIGNALS[name](), torch.randn(EXAMPLES, OUTPUTS, dtype=dtype)
    y: Tensor = torch.randn(EXAMPLES, OUTPUTS, dtype=dtype) if name == "regression" else torch.arange(EXAMPLES)
    return lambda: likelihood(Gaussian(mean.clone().requires_grad_(), torch.ones_like(mean).requires_grad_()), y)


def _largest(name: str, request: Request) -> Row:
    """Time and memory of a step of the network of 5.6 million weights, in float32 and batches of 64."""
    x, y = torch.randn(BATCH, 1, 28, 28), torch.arange(BATCH) % 10

    def made() -> Any:
        torch.manual_seed(0)
        return ALL[name].make(Training(NETS[LARGEST].make(), x, y, STEPS, STEPS), **ALL[name].defaults)

    method = made()
    method.network.train()
    seconds = [processor_seconds(lambda: method.step(x, y)) for _ in range(2 if request.quick else STEPS)]
    told = {"net": LARGEST, "limit": BATCH, "seed": 0, "epochs": 0}
    row = {"method": name, **told, "milliseconds": 1e3 * median(seconds), "peak_memory_mb": peak_memory_mb(made(), x, y)}
    say(told, f"{name}: {row['milliseconds']:.0f} ms, {row['peak_memory_mb']:.0f} MB")
    return row
