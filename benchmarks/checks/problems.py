"""The five problems: at most 200 points, a few hundred weights, inputs like the training ones and inputs far from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from sklearn.datasets import load_diabetes, load_iris, make_moons
from torch import Tensor, nn

from benchmarks.checks.curve import line, points
from benchmarks.checks.textbook import SLOPE, make
from lightning_modules.data.tables import Scaler
from torch_gbp.weights.parameter import GaussianParameter

SCORED = 20  # inputs of either kind that the predictives are compared at
FAR = 3.0  # factor that takes standardised inputs far from the training ones
PRIOR_SEED = 0  # of the prior means: random, which breaks the symmetry of the hidden units for every method alike


class Problem(NamedTuple):
    """Data, network and noise; all methods share them.

    Args:
        x, y: training inputs (n, d), and targets (n, 1) or labels (n,).
        near, far: inputs (20, d) to compare at, on and off the training range.
        widths: of the layers, inputs and outputs included.
        noise_variance: of a regression; None for classes.
    """

    x: Tensor
    y: Tensor
    near: Tensor
    far: Tensor
    widths: tuple[int, ...]
    noise_variance: float | None = None

    @property
    def inputs(self) -> Tensor:
        """Near inputs, then far ones."""
        return torch.cat([self.near, self.far])


def _wave() -> Problem:
    """A curve that two hidden layers can follow; far: up to four times the range."""
    x, y = points(60, -0.5, 0.5, noise=0.1, seed=1)
    return Problem(x, y, line(-0.5, 0.5, SCORED), _sides(0.75, 2.0), (1, 16, 16, 1), 0.01)


def _gap() -> Problem:
    """A curve seen on two intervals; far: between them and outside."""
    generator = torch.Generator().manual_seed(2)
    distance = 0.5 + torch.rand(80, 1, generator=generator, dtype=torch.float64)
    x = torch.where(torch.rand(distance.shape, generator=generator) < 0.5, distance, -distance)
    y = torch.sin(3 * x) + 0.1 * torch.randn(x.shape, generator=generator, dtype=torch.float64)
    far = torch.cat([line(-0.3, 0.3, SCORED // 2), _sides(2.0, 4.0)[::2]])
    return Problem(x, y, _sides(0.5, 1.5), far, (1, 32, 1), 0.01)


def _diabetes() -> Problem:
    """Ten measurements of 150 patients, standardised; half of the progression's variance is noise."""
    x, y = (torch.from_numpy(np.asarray(part)) for part in load_diabetes(return_X_y=True))
    x, near = _shuffled(x, 150)
    y, _ = _shuffled(y[:, None], 150)
    return _standardised(x, Scaler.fit(y)(y), near, (10, 20, 1), 0.5)


def _moons() -> Problem:
    """Two interleaved half circles with noise."""
    x, y = make_moons(100 + SCORED, noise=0.25, random_state=3)
    return _standardised(torch.from_numpy(x[:100]), torch.from_numpy(y[:100]), torch.from_numpy(x[100:]), (2, 24, 2))


def _iris() -> Problem:
    """Three kinds of flowers."""
    x, y = (torch.from_numpy(np.asarray(part)) for part in load_iris(return_X_y=True))
    x, near = _shuffled(x, 100)
    return _standardised(x, _shuffled(y, 100)[0], near, (4, 20, 3))


PROBLEMS: dict[str, Callable[[], Problem]] = {"wave": _wave, "gap": _gap, "diabetes": _diabetes, "moons": _moons, "iris": _iris}


def network(problem: Problem) -> nn.Sequential:
    """The problem's GBP layers, their prior the one that all methods share."""
    return make(problem.widths, PRIOR_SEED)


def marginals(layers: nn.Sequential) -> list[GaussianParameter]:
    """Weights and biases in the order of the layers."""
    return [own for own in layers.modules() if isinstance(own, GaussianParameter)]


def plain(problem: Problem) -> nn.Sequential:
    """The torch network of the same widths, its weights at the prior means."""
    pairs = zip(problem.widths, problem.widths[1:], strict=False)
    made = [part for pair in pairs for part in (nn.Linear(*pair, dtype=torch.float64), nn.LeakyReLU(SLOPE))][:-1]
    twin = nn.Sequential(*made)
    with torch.no_grad():
        for parameter, prior in zip(twin.parameters(), marginals(network(problem)), strict=True):
            parameter.copy_(prior.mean)
    return twin


def _sides(low: float, high: float) -> Tensor:
    """Half of the points on each side of 0."""
    right = torch.linspace(low, high, SCORED // 2, dtype=torch.float64)
    return torch.cat([-right.flip(0), right])[:, None]


def _shuffled(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The first `count` rows of a fixed shuffle, and the `SCORED` after them."""
    order = torch.randperm(len(values), generator=torch.Generator().manual_seed(4))
    return values[order[:count]], values[order[count : count + SCORED]]


def _standardised(x: Tensor, y: Tensor, near: Tensor, widths: tuple[int, ...], noise: float | None = None) -> Problem:
    scale = Scaler.fit(x)
    return Problem(scale(x), y, scale(near), FAR * scale(near), widths, noise)
