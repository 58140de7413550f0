"""The configurations: one part of an ordinary script changed at a time, and pairs of parts that were seen to fail together."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

from torch import nn


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
