"""The table of engines: networks of every layer, likelihoods, engines, stores, and which of them refuse each other, and why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import torch_gbp as gbp
from torch_gbp.errors import Diverged, GBPError, ImproperMarginal, InvalidInput, MissingRule
from torch_gbp.likelihoods import Likelihood
from torch_gbp.optim.stores import Store

EXAMPLES, SIDE = 4, 4
PLAIN = "plain sweep"


def _image(*layers: nn.Module, width: int) -> Callable[[int], nn.Module]:
    """Images through these layers, flattened to `width`, and a linear head."""
    return lambda outputs: nn.Sequential(*layers, nn.Flatten(), gbp.GBPLinear(width, outputs))


def _flat(*layers: nn.Module, width: int, **options: Any) -> Callable[[int], nn.Module]:
    """Flat inputs through these layers and a linear head."""
    return lambda outputs: nn.Sequential(*layers, gbp.GBPLinear(width, outputs, **options))


def _noisy(build: Callable[[int], nn.Module]) -> Callable[[int], nn.Module]:
    """With noise at the end."""
    return lambda outputs: nn.Sequential(build(outputs), gbp.GBPNoise(0.1, prior_sigma=5.0))


class Skip(nn.Module):
    """h + f(h): a network with a forward of its own."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.first, self.inner, self.head = gbp.GBPLinear(16, 3), gbp.GBPLinear(3, 3), gbp.GBPLinear(3, outputs)

    def forward(self, x: Tensor) -> gbp.Gaussian:
        h = self.first(x)
        return self.head(h + self.inner(h))


class Attention(nn.Module):
    """Four tokens that look at each other, beside a skip connection, and their mean."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.first, self.joint = gbp.GBPLinear(4, 3), gbp.GBPLinear(3, 9)
        self.mix, self.head = gbp.GBPLinear(3, 3), gbp.GBPLinear(3, outputs)

    def forward(self, x: Tensor) -> gbp.Gaussian:
        h = self.first(x.unflatten(1, (4, 4)))
        seen = nn.functional.scaled_dot_product_attention(*self.joint(h).chunk(3, -1))
        return self.head(torch.mean(h + self.mix(seen), 1))


def _conv(**options: Any) -> gbp.GBPConv2d:
    return gbp.GBPConv2d(1, 2, 3, **options)  # 4 x 4 images -> (2, 2, 2)


def _hidden() -> gbp.GBPLinear:
    return gbp.GBPLinear(16, 3)


NETWORKS: dict[str, Callable[[], Callable[[int], nn.Module]]] = {
    "linear, shared": lambda: _flat(width=16),
    "linear, diagonal": lambda: _flat(width=16, covariance="diagonal"),
    "linear, full": lambda: _noisy(_flat(width=16, covariance="full")),
    "conv, shared": lambda: _image(_conv(), width=8),
    "conv, diagonal": lambda: _image(_conv(covariance="diagonal"), width=8),
    "conv, full": lambda: _image(_conv(covariance="full"), gbp.GBPNoise(0.1), width=8),
    "transposed conv": lambda: _image(gbp.GBPConvTranspose2d(1, 2, 2), width=50),
    "max-pool": lambda: _image(_conv(), gbp.GBPMaxPool2d(2), width=2),
    "avg-pool": lambda: _image(_conv(), gbp.GBPAvgPool2d(2), width=2),
    "adaptive pool": lambda: _image(_conv(), gbp.GBPAdaptiveAvgPool2d(1), width=2),
    "upsample": lambda: _image(_conv(), gbp.GBPUpsample(scale_factor=2), width=32),
    "leaky relu": lambda: _flat(_hidden(), gbp.GBPLeakyReLU(0.1), width=3),
    "relu": lambda: _flat(_hidden(), gbp.GBPReLU(), width=3),
    "gelu": lambda: _flat(_hidden(), gbp.GBPActivation(nn.GELU()), width=3),
    "sigmoid": lambda: _flat(_hidden(), gbp.GBPSigmoid(), width=3),
    "input basis": lambda: _flat(gbp.InputBasis.fit(_fitted().flatten(1), 1.0), width=16),
    "patch basis": lambda: _image(gbp.PatchBasis.fit(_fitted(), 2, explained=1.0), gbp.GBPConv2d(4, 2, 1), width=18),
    "cosine basis": lambda: _flat(gbp.CosineBasis(1, SIDE), width=16),
    "cosine basis behind": lambda: _flat(gbp.GBPLinear(16, 4), gbp.CosineBasis(1, 2), width=4, covariance="full"),
    "noise inside": lambda: _flat(_hidden(), gbp.GBPLeakyReLU(0.1), gbp.GBPNoise(0.1, prior_sigma=2.0), width=3),
    "functions": lambda: _flat(_hidden(), nn.GELU(), width=3),
    "skip connection": lambda: Skip,
    "attention": lambda: Attention,
}
IMAGES = [name for name in NETWORKS if any(kind in name for kind in ("conv", "pool", "upsample", "patch"))]
NONLINEAR = ("functions", "attention")  # whose moment maps need not carry messages in a plain sweep
LIKELIHOODS: dict[str, tuple[Callable[[], Likelihood], int]] = {  # and the number of outputs
    "Softmax": (lambda: gbp.Softmax(power=1), 3),
    "Softmax, automatic power": (gbp.Softmax, 3),
    "IntegratedSoftmax": (lambda: gbp.IntegratedSoftmax(power=1), 3),
    "Argmax": (lambda: gbp.Argmax(noise_variance=1.0, power=1), 3),
    "PairwiseArgmax": (lambda: gbp.PairwiseArgmax(power=1), 3),
    "OneHotRegression": (lambda: gbp.OneHotRegression(power=1), 3),
    "SquaredSoftmax": (lambda: gbp.SquaredSoftmax(0.3), 3),
    "Regression": (lambda: gbp.Regression(0.5), 2),
    "Regression, learned noise": (lambda: gbp.Regression(0.5, learn_noise=True), 2),
    "HeteroscedasticRegression": (gbp.HeteroscedasticRegression, 2),
}
SCHEDULES: dict[str, Callable[[], Any]] = {
    "AllAtOnce": gbp.AllAtOnce,
    "ExampleByExample": gbp.ExampleByExample,
    "LayerSweeps": gbp.LayerSweeps,
    "RandomLayers": gbp.RandomLayers,
}
STORES: dict[str, Callable[[], Store]] = {
    "AveragedSites": lambda: gbp.AveragedSites(anneal=False),  # so that a visit which is refused leaves the start
    "BatchSites": gbp.BatchSites,
    "Filtering": gbp.Filtering,
}


def _fitted() -> Tensor:
    return torch.randn(40, 1, SIDE, SIDE)


def data(network: str, likelihood: str) -> tuple[Tensor, Tensor]:
    """Images, or flat inputs, and targets as the likelihood wants them."""
    x = torch.randn(EXAMPLES, 1, SIDE, SIDE)
    x = x if network in IMAGES else x.flatten(1)
    if "Heteroscedastic" in likelihood:
        return x, torch.randn(EXAMPLES, 1)
    return x, torch.randn(EXAMPLES, 2) if "Regression" in likelihood and "OneHot" not in likelihood else torch.arange(
        EXAMPLES
    ) % 3


def learn(network: nn.Module, likelihood: Likelihood, schedule: str, store: str, x: Tensor, y: Tensor, iterations: int) -> Any:
    """One visit to the only batch, from any engine; returns the optimizer."""
    propagate = gbp.MessagePassing(network.named_parameters(), len(x), store=STORES[store](), epochs=None)
    with propagate.visit(0, x, y):
        if schedule == PLAIN:
            propagate.zero_grad()
            likelihood(network(x), y).backward()
            propagate.step()
        else:
            damping = 0.0 if schedule == "ExampleByExample" else 0.5
            iterations = 4 * iterations if schedule == "RandomLayers" and iterations > 1 else iterations  # until all were drawn
            gbp.Inference(iterations, damping=damping, schedule=SCHEDULES[schedule]())(network, likelihood, propagate, x, y)
    return propagate


Refusals = list[tuple[type[GBPError], str]]
_TRUNCATED = [(Diverged, "the energy diverged"), (ImproperMarginal, "no finite precision")]


def refusals(network: str, likelihood: str, engine: str) -> tuple[Refusals, Refusals]:
    """The errors, one of which must come, and those that may come, with a part of their text."""
    if engine == PLAIN and network in NONLINEAR:
        return [], [(MissingRule, "has no message rule")]
    graph = engine in ("AllAtOnce", "LayerSweeps", "RandomLayers")
    if engine == "ExampleByExample" and "automatic" in likelihood:
        return [(InvalidInput, "exact messages need a likelihood power of 1")], []
    if engine == "ExampleByExample" and network == "transposed conv":
        return [(MissingRule, "no exact scalar messages")], []
    if graph and likelihood == "HeteroscedasticRegression":  # all images at once overshoot a log variance
        return [], _TRUNCATED[:1]
    if graph and "automatic" in likelihood:  # 64 times the evidence of four examples wants more damping
        return [], _TRUNCATED[:1]
    # A truncated Gaussian has no density where the label's output is not the largest, and no precision far from the boundary.
    return [], _TRUNCATED if likelihood == "Argmax" and (graph or engine == "ExampleByExample") else []
