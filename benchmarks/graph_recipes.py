"""How a deep factor graph passes over images once: its network, its batches, and the pace of their iterations."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import torch_gbp as gbp
from torch_gbp.inference.schedule import Schedule

SIGMA = 0.01  # standard deviation of the factors between layers
START = 0.1  # standard deviation of the dense layer's random weights at the first linearisation
PIXELS, PATCHES = 0.1, 0.03  # of the filters' prior and of their random start: on pixels, on patches' features of mean square 1
FILTERS, KERNEL, UPPER, CLASSES = 16, 5, 3, 10  # the kernel of a convolution on pixels, and of those above it
STEP = 2  # between the pool's windows


class Pacing(NamedTuple):
    """How often the messages of a batch are iterated, and how they are damped."""

    iterations: int
    damping: float
    weight_damping: float


class Net(NamedTuple):
    """What differs between networks: behind wide windows maxima are alike over more positions, and there are fewer of them."""

    window: int = 2  # rows and columns of the pool's windows
    length: float = 1.0  # of the smooth prior of the dense weights, in positions behind the pool
    dense_deviation: float = 0.15  # of that prior
    first: Pacing | None = None  # in place of the recipe's: windows that overlap answer alike, and weights overshoot
    later: Pacing | None = None
    forming: int | None = None  # images of the first pace, and of a batch, in place of the recipe's
    batch: int | None = None
    upper_deviation: float = 0.1  # of the prior of filters above the first ones, and of their random start
    depth: int = 2  # layers with weights: the dense one alone, or behind so many convolutions less one

    def told(self) -> dict[str, Any]:
        """For the settings of a result file."""
        return {**self._asdict(), "first": self.first and self.first._asdict(), "later": self.later and self.later._asdict()}


_UPPER_PACE: dict[str, Any] = {"first": Pacing(300, 0.9, 0.98), "later": Pacing(60, 0.9, 0.98), "forming": 100, "batch": 100}
NETS = {
    "mnist": Net(),
    "mnist_wide": Net(8, 2.0, 0.25, first=Pacing(64, 0.65, 0.8)),
    "fashion": Net(),
    "cifar10": Net(),
    "mnist_depth1": Net(length=2.0, dense_deviation=0.005, depth=1),
    "mnist_depth3": Net(depth=3, **_UPPER_PACE),
    "mnist_depth4": Net(depth=4, **_UPPER_PACE),
}


class Recipe(NamedTuple):
    """One pass: `first` is the pace of the first `forming` images, while filters take their shape, `later` of the others.

    `label_sigma` is the standard deviation of one-hot labels about the class probabilities, by data: the more often classes
    are confused, the wider. `logit_sigma` is that of the logits' prior. `basis` puts the filters into the basis of the patches'
    principal directions (`PatchBasis`), `smooth` makes the prior of the dense weights smooth over neighbouring positions
    (`CosineBasis`), `shared` gives an input's weights to all classes one variance, `joint` gives each filter one joint Gaussian.
    """

    first: Pacing
    later: Pacing
    batch: int
    label_sigma: dict[str, float]
    logit_sigma: float
    forming: int = 1000
    basis: bool = False
    smooth: bool = False
    shared: bool = False
    joint: bool = False
    schedule: Schedule = gbp.LayerSweeps()

    def told(self) -> dict[str, Any]:
        """For the settings of a result file."""
        paces = {"first": self.first._asdict(), "later": self.later._asdict()}
        return {**self._asdict(), **paces, "schedule": type(self.schedule).__name__}


SUMMED = Pacing(32, 0.65, 0.92)  # filters on pixels: their messages overshoot, so they are damped
LATER = Pacing(16, 0.65, 0.6)
JOINT = Pacing(16, 0.5, 0.5)  # joint filters need less damping, so fewer iterations; each takes longer
NARROW = {"label_sigma": dict.fromkeys(NETS, 0.01), "logit_sigma": 2.0}
WIDER = {"label_sigma": {**dict.fromkeys(NETS, 0.1), "cifar10": 0.15}, "logit_sigma": 6.0}
BASES: dict[str, Any] = {"basis": True, "smooth": True, "shared": True}
RECIPES = {  # chosen on held-out training images, see benchmarks/README.md
    "graph": Recipe(Pacing(32, 0.65, 0.6), Pacing(10, 0.65, 0.6), 250, **WIDER, **BASES),
    "graph_random": Recipe(Pacing(512, 0.65, 0.8), Pacing(160, 0.65, 0.8), 250, **WIDER, **BASES, schedule=gbp.RandomLayers()),
    "graph_pixels": Recipe(SUMMED, LATER, 50, **NARROW),
    "graph_joint": Recipe(JOINT, JOINT, 50, **NARROW, joint=True),
}


def learned(recipe: Recipe, name: str, x: Tensor, y: Tensor) -> tuple[nn.Module, gbp.SquaredSoftmax]:
    """The network and the likelihood, after every batch was seen once; the name is one of `NETS`."""
    net = NETS[name]
    model = behind_basis(x, recipe, net) if recipe.basis else network(x.shape[1:], recipe, net)
    likelihood = gbp.SquaredSoftmax(recipe.label_sigma[name])
    propagate = gbp.MessagePassing(model.parameters(), num_data=len(x), store=gbp.Filtering(), epochs=None)
    paces, forming = (net.first or recipe.first, net.later or recipe.later), net.forming or recipe.forming
    first, later = (_inference(recipe.schedule, pacing, net.depth > 2) for pacing in paces)
    for batch in torch.arange(len(x)).split(net.batch or recipe.batch):
        (first if batch[0] < forming else later)(model, likelihood, propagate, x[batch], y[batch])
    return model, likelihood


def _inference(schedule: Schedule, pacing: Pacing, from_start: bool) -> gbp.Inference:
    damping, count = gbp.Damping(pacing.damping, pacing.weight_damping, from_start=from_start), pacing.iterations
    return gbp.Inference(count, damping=damping, schedule=schedule, check=count, approximation="linearised", exchange=False)


def behind_basis(x: Tensor, recipe: Recipe, net: Net = NETS["mnist"]) -> nn.Sequential:
    """The network with its filters in the basis of these images' patches."""
    basis = gbp.PatchBasis.fit(x, KERNEL)
    return nn.Sequential(basis, *network(basis(x[:1]).shape[1:], recipe, net, kernel=1, deviation=PATCHES))


def network(
    shape: torch.Size, recipe: Recipe, net: Net = NETS["mnist"], kernel: int = KERNEL, deviation: float = PIXELS
) -> nn.Sequential:
    """Convolutions, dense: 16 filters, LeakyReLU of slope 0.2 inside the factor, max-pool; the published noises and priors."""
    layers, channels, side = list[nn.Module](), shape[0], shape[-1]
    for place in range(net.depth - 1):
        own = (kernel, deviation, net.window) if place == 0 else (UPPER, net.upper_deviation, 2)
        layers, channels = [*layers, *_stage(channels, recipe, *own)], FILTERS
        side = pooled(side - own[0] + 1, own[2])
    prior = gbp.Prior(net.dense_deviation**2, start_deviation=START, bias=0.1**2)
    dense = gbp.GBPLinear(channels * side**2, CLASSES, prior=prior, covariance="shared_full" if recipe.shared else "full")
    smooth = [gbp.CosineBasis(channels, side, net.length)] if recipe.smooth else []
    return nn.Sequential(*layers, nn.Flatten(), *smooth, dense, gbp.GBPNoise(SIGMA, recipe.logit_sigma))


def _stage(channels: int, recipe: Recipe, kernel: int, deviation: float, window: int) -> list[nn.Module]:
    """A convolution with its activation and pool."""
    prior = gbp.Prior(deviation**2, start_deviation=deviation, bias=0.1**2)
    filters = gbp.GBPConv2d(channels, FILTERS, kernel, prior=prior, covariance="full" if recipe.joint else "diagonal")
    bend, pool, inner = gbp.GBPLeakyReLU(0.2), gbp.GBPMaxPool2d(window, STEP), gbp.GBPNoise(SIGMA, 3.0)
    return [filters, bend, inner, pool, inner]


def pooled(side: int, window: int) -> int:
    """Rows or columns behind the pool."""
    return (side - window) // STEP + 1
