"""The robustness grid: one part of an ordinary script changed at a time, and pairs of parts that were seen to fail together.

The data are small parts of image sets, and the tables that come with scikit-learn.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import sklearn.datasets
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.data.images import load_fashion_mnist, load_mnist

IMAGES = 4000  # of a test set that are scored
SPLIT_SEED = 5
DIGITS_TUNED = 1400  # the first of the shuffled digits chose the defaults (1,000 to learn from, 400 scored): others are scored
INPUTS = {"mean 100": (1.0, 100.0), "x 1e-3": (1e-3, 0.0), "x 1e3": (1e3, 0.0), "mixed scales": (None, 0.0)}


class Case(NamedTuple):
    """One configuration.

    Args:
        part: of the grid, for tables.
        data: name of the set.
        kind: plain, residual, conv (flattened at the end) or pooled (global average pooling).
        depth: hidden layers or blocks.
        width: of each, or channels.
        batch, limit, epochs: rows of a step, rows to learn from (None for all), passes.
        likelihood: softmax, argmax, one-hot; "-" for real targets.
        inputs: as they are, or in other units ("... raw": without `Standardise`).
        scale: factor on real targets.
        relu: ReLU in place of LeakyReLU(0.1).
    """

    part: str
    data: str = "mnist"
    kind: str = "plain"
    depth: int = 2
    width: int = 64
    batch: int = 64
    limit: int | None = None
    epochs: float = 20
    likelihood: str = "softmax"
    inputs: str = ""
    scale: float = 1.0
    relu: bool = False

    @property
    def name(self) -> str:
        """What tells the configuration from all others."""
        usual = Case(self.part)
        told = [f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}" for key, value in self._differing(usual)]
        return " ".join([self.part, *told])

    def _differing(self, usual: Case) -> list[tuple[str, object]]:
        return [(key, value) for key, value in self._asdict().items() if value != getattr(usual, key)]


def cases() -> list[Case]:
    """The whole grid."""
    return list(_cases())


def _cases() -> Iterator[Case]:
    depths = (1, 2, 4, 6, 10, 16)
    for depth, width, batch in product(depths, (16, 64, 256), (32, 128)):
        yield Case("depth", depth=depth, width=width, batch=batch, epochs=10 if width == 256 else 20)
    for depth in depths:
        yield Case("digits", "digits", depth=depth)
        yield Case("relu", "fashion", depth=depth, relu=True)
    for depth, limit, batch in product(depths, (20, 80, 320), (4, 16)):
        yield Case("few", "fashion", depth=depth, limit=limit, batch=batch, epochs=40 if limit < 100 else 15)
    for depth, width in product((1, 2, 4), (4, 1000)):
        yield Case("width", "fashion", depth=depth, width=width, epochs=20 if width == 4 else 6)
    for depth, batch in product((1, 2, 4), (1, 4, 256, 512)):
        yield Case("batch", "fashion", depth=depth, batch=batch, epochs=3 if batch == 1 else 15)
    for depth, width, batch in product((1, 3, 10), (16, 64), (16, 64)):
        yield Case("residual", "fashion", "residual", depth, width, batch, epochs=8)
    for kind, depth, width in product(("conv", "pooled"), (1, 2, 3, 4), (8, 16)):
        yield Case("images", "mnist", kind, depth, width, 32, epochs=6)
    for depth, batch in product((1, 2, 4), (16, 32, 64)):
        yield Case("short", depth=depth, batch=batch, epochs=60 * batch / 1000)
    for likelihood, depth, batch in product(("argmax", "one-hot"), (1, 2, 4), (16, 64)):
        yield Case("likelihood", likelihood=likelihood, depth=depth, batch=batch)
    for data, depth, batch in product(("iris", "wine", "cancer", "moons"), (1, 2, 4), (16, 64)):
        yield Case("tables", data, depth=depth, batch=batch, epochs=40)
    for inputs, likelihood in product(("mean 100", "x 1e-3", "x 1e3", "mixed scales"), ("softmax", "argmax", "one-hot")):
        yield Case("units", "digits", inputs=inputs, likelihood=likelihood)
        yield Case("raw units", "digits", inputs=f"{inputs} raw", likelihood=likelihood)
    for data, depth, scale in product(("diabetes", "friedman1", "friedman2", "friedman3"), (1, 2, 4), (1.0, 1e3)):
        yield Case("regression", data, depth=depth, scale=scale, batch=16, epochs=20, likelihood="-")


class _Residual(nn.Module):
    def __init__(self, width: int, activation: nn.Module) -> None:
        super().__init__()
        self.inside = nn.Sequential(nn.Linear(width, width), activation, nn.Linear(width, width))

    def forward(self, x):
        return x + self.inside(x)


def network(case: Case, inputs: int, outputs: int) -> nn.Sequential:
    """The plain torch network of a configuration."""
    layers, width = list[nn.Module](), case.width
    if case.kind in ("conv", "pooled"):
        side = int(inputs**0.5)
        layers.append(nn.Unflatten(1, (1, side, side)))
        for i in range(case.depth):
            layers += [nn.Conv2d(width if i else 1, width, 3, padding=1), _activation(case)]
        layers += [nn.AdaptiveAvgPool2d(1 if case.kind == "pooled" else 7), nn.Flatten()]
        return nn.Sequential(*layers, nn.Linear(width * (1 if case.kind == "pooled" else 49), outputs))
    if case.kind == "residual":
        blocks = [_Residual(width, _activation(case)) for _ in range(case.depth)]
        return nn.Sequential(nn.Linear(inputs, width), *blocks, nn.Linear(width, outputs))
    for i in range(case.depth):
        layers += [nn.Linear(width if i else inputs, width), _activation(case)]
    return nn.Sequential(*layers, nn.Linear(width, outputs))


def _activation(case: Case) -> nn.Module:
    return nn.ReLU() if case.relu else nn.LeakyReLU(0.1)


class Data(NamedTuple):
    """Rows to learn from and rows to score; labels, or real targets (n, 1). Inputs are standardised by the rows to learn from."""

    x: Tensor
    y: Tensor
    scored_x: Tensor
    scored_y: Tensor

    @property
    def outputs(self) -> int:
        """Classes, or 1."""
        return 1 if self.y.is_floating_point() else int(self.y.max()) + 1


@cache
def load(name: str, folder: Path, seed: int) -> Data:
    """A set by its name; tables are divided anew for every seed, images are not."""
    if name in ("mnist", "fashion"):
        return _images(name, folder)
    if name == "digits":
        x, y = sklearn.datasets.load_digits(return_X_y=True)
        return _divided(x, y, 1000, SPLIT_SEED, DIGITS_TUNED)
    x, y = _TABLES[name](seed)
    return _divided(x, y, len(x) // 2 if len(x) < 1000 else 1000, seed)


def changed(data: Data, inputs: str) -> Data:
    """The same with inputs in other units."""
    scale, shift = INPUTS[inputs]
    factor = torch.logspace(-3, 3, data.x.shape[1]) if scale is None else scale
    return data._replace(x=data.x * factor + shift, scored_x=data.scored_x * factor + shift)


def _images(name: str, folder: Path) -> Data:
    """14 x 14 pixels in 196 columns."""
    images = (load_mnist if name == "mnist" else load_fashion_mnist)(folder)
    x, scored = (F.avg_pool2d(part.float(), 2).flatten(1) for part in (images.train_x, images.test_x[:IMAGES]))
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(SPLIT_SEED))[:1000]
    mean, scale = x[order].mean(), x[order].std()
    return Data((x[order] - mean) / scale, images.train_y[order], (scored - mean) / scale, images.test_y[:IMAGES])


def _divided(x: Any, y: Any, count: int, seed: int, first_scored: int | None = None) -> Data:
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    x, y = torch.as_tensor(x)[order].float(), torch.as_tensor(y)[order]
    y = y.float().view(-1, 1) if y.is_floating_point() else y.long()
    mean, scale = x[:count].mean(0), x[:count].std(0)
    x = (x - mean) / torch.where(scale > 0, scale, 1.0)
    start = count if first_scored is None else first_scored
    return Data(x[:count], y[:count], x[start:], y[start:])


def _bundled(load: Any) -> Any:
    return lambda seed: load(return_X_y=True)


def _made(make: Any, noise: float, **options: Any) -> Any:
    return lambda seed: make(n_samples=3000, noise=noise, random_state=seed, **options)


_TABLES = {
    "iris": _bundled(sklearn.datasets.load_iris),
    "wine": _bundled(sklearn.datasets.load_wine),
    "cancer": _bundled(sklearn.datasets.load_breast_cancer),
    "moons": lambda seed: sklearn.datasets.make_moons(2000, noise=0.2, random_state=seed),
    "diabetes": _bundled(sklearn.datasets.load_diabetes),
    "friedman1": _made(sklearn.datasets.make_friedman1, 1.0),
    "friedman2": _made(sklearn.datasets.make_friedman2, 125.0),
    "friedman3": _made(sklearn.datasets.make_friedman3, 0.1),
}
