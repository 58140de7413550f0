"""Time and memory of a training step on the device at hand, beside AdamW's: `step_times`.

The networks of `anynet` in their batches, in which calls take longer than arithmetic on a GPU, and networks for photographs, in
which they do not. Inputs are noise; times are of a clock, in turns.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.anynet import CASES, HALF_SHAPE, HalfPrecision
from benchmarks.measure import Batch, step_seconds
from benchmarks.methods.base import Method, Settings, Training
from benchmarks.methods.gbp import MeansSweep
from benchmarks.methods.gradient import AdamW
from benchmarks.results import Request, Result, Row, say
from benchmarks.text import CONTEXT
from examples.networks import CIFAR_SHAPE, MNIST_SHAPE, SYMBOLS

EXAMPLES, PASSES, BATCHES, CLASSES = 50_000, 10, 8, 10
PHOTOGRAPHS, BATCH = (3, 224, 224), 64
METHODS: dict[str, tuple[Callable[..., Method], Settings]] = {
    "adamw": (AdamW, {"lr": 1e-3, "weight_decay": 0.01}),
    "gbp": (MeansSweep, {"samples": False}),
}
SHAPES = {"MNIST": MNIST_SHAPE, "CIFAR-10": CIFAR_SHAPE, "CIFAR-10, 16 x 16": HALF_SHAPE}


class Timed(NamedTuple):
    """A network, and the size of a step: images of a shape, or windows of characters where there is none."""

    make: Callable[[], nn.Module]
    batch: int
    shape: tuple[int, ...] | None


def large(name: str) -> Callable[[], nn.Module]:
    """A torchvision network under bfloat16 autocast, not trained; torchvision is imported when it is made."""

    def make() -> nn.Module:
        from torchvision import models

        return HalfPrecision(models.get_model(name, weights=None))

    return make


NETS = {  # those for FashionMNIST are those for MNIST
    name: Timed(case.net.make, case.net.plans[0].batch, SHAPES.get(case.data))
    for name, case in CASES.items()
    if case.data != "FashionMNIST"
}
LARGE = {name: Timed(large(name), BATCH, PHOTOGRAPHS) for name in ("resnet50", "vit_b_16")}


def run(request: Request) -> Result:
    """A row for every network and method; the large ones on a GPU alone, or if they are asked for."""
    nets = NETS | (LARGE if request.device != "cpu" or request.net in LARGE else {})
    name = torch.cuda.get_device_name(request.device) if request.device != "cpu" else "CPU, one thread"
    told = {"device": name, "examples": EXAMPLES, "torch": torch.__version__}
    return Result(told, (row for net in request.asked(nets) for row in _rows(net, nets[net], request)))


def _rows(net: str, timed: Timed, request: Request) -> Iterator[Row]:
    torch.manual_seed(0)
    network, batches = timed.make().to(request.device), _batches(timed, request.device)
    training = Training(network, batches[0][0], torch.zeros(()).expand(EXAMPLES), PASSES, PASSES * EXAMPLES // timed.batch)
    methods: dict[str, Method] = {}
    memory: dict[str, float] = {}
    for name, (make, settings) in METHODS.items():
        methods[name], memory[name] = _measured(lambda m=make, s=settings: m(_own(training), **s), batches, request.device)
    times = step_seconds(list(methods.values()), batches, request.quick)
    told = {"net": net, "limit": timed.batch, "seed": 0, "epochs": 0}
    weights = sum(parameter.numel() for parameter in network.parameters())
    for i, name in enumerate(methods):
        ratio = median(turn[i] / turn[0] for turn in times)
        row = {"method": name, **told, "weights": weights, "step_seconds": median(turn[i] for turn in times), "step_ratio": ratio}
        say(told, f"{name}: {1e3 * row['step_seconds']:.2f} ms, {ratio:.2f}x, {memory[name]:.0f} MB")
        yield row | ({} if math.isnan(memory[name]) else {"peak_memory_mb": memory[name]})


def _own(training: Training) -> Training:
    return training._replace(network=copy.deepcopy(training.network))


def _batches(timed: Timed, device: str) -> list[Batch]:
    """Inputs and labels of a few steps."""

    def draw() -> tuple[Tensor, Tensor]:
        if timed.shape is None:
            return torch.randint(SYMBOLS, (timed.batch, CONTEXT)), torch.randint(SYMBOLS, (timed.batch, CONTEXT))
        return torch.randn(timed.batch, *timed.shape), torch.randint(CLASSES, (timed.batch,))

    return [(x.to(device), y.to(device)) for x, y in (draw() for _ in range(BATCHES))]


def _measured(make: Callable[[], Method], batches: Sequence[Batch], device: str) -> tuple[Method, float]:
    """The method, and the most memory of a GPU in MB that it and two of its steps had; NaN without one."""
    if device == "cpu":
        return make(), math.nan
    cuda: Any = torch.cuda
    cuda.synchronize()
    before = cuda.memory_allocated()
    cuda.reset_peak_memory_stats()
    method = make()
    for x, y in batches[:2]:
        method.step(x, y)
    cuda.synchronize()
    return method, (cuda.max_memory_allocated() - before) / 1e6
