"""Basis: a fixed linear map in front of the first layer, to principal directions of its inputs or of their patches."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import FINITE, RATE, require, require_values, shown
from torch_gbp.gaussian import Gaussian
from torch_gbp.layers.incoming import Belief, split

_SMALLEST = 1e-4  # variance, as a share of the largest: what is smaller is not stretched further by a negative power


class Principal(NamedTuple):
    """Mean (d,), and directions (d, k) stretched so that the mean square of the features (x - mean) B is 1."""

    mean: Tensor
    directions: Tensor


def principal(rows: Tensor, explained: float, power: float, where: str) -> Principal:
    """B = U L^power / scale of the rows (n, d) with covariance U L U', as many directions as explain this share of the variance.

    Raises:
        InvalidInput: rows that are not finite, fewer than two, or all alike; a share outside (0, 1], a power that is not finite.
    """
    require_rows(rows, where)
    explained = require("explained", explained, RATE, where, fix="use 1.0 for all directions")
    power = require("power", power, FINITE, where, fix="use a power between -0.5 and 0.5")
    mean = rows.mean(0)
    centred = rows - mean
    variances, directions = torch.linalg.eigh((centred.t() @ centred).double() / len(rows))
    variances, directions = variances.flip(0).clamp_min(0), directions.flip(1)
    share = variances.cumsum(0) / variances.sum()
    kept = int((share < explained).sum()) + 1 if explained < 1 else len(share)
    variances = variances[:kept]
    floor = _SMALLEST * float(variances[0]) if power < 0 else 0.0
    stretch = variances.clamp_min(floor).pow(power)
    scale = (stretch.square() * variances).mean().sqrt()
    found = (directions[:, :kept] * (stretch / scale)).to(rows)
    if not bool(found.isfinite().all()):
        raise InvalidInput(
            "the directions stretched by this power are not finite", where=where, got=f"power {power:g}", fix="use -0.5 to 0.5"
        )
    return Principal(mean, found)


class Basis(nn.Module):
    """Features (x - mean) B of inputs, or of their patches; a factor graph begins at the features."""

    mean: Tensor  # (d,)
    basis: Tensor  # (d, k)

    def __init__(self, width: int, directions: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("basis", torch.zeros(width, directions))

    def take(self, found: Principal) -> None:
        self.mean.copy_(found.mean)
        self.basis.copy_(found.directions)

    def map(self, mean: Tensor, variance: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Mean and variance of the features."""
        raise NotImplementedError

    def send(self, input: Belief, ranks: tuple[int, ...]) -> Belief:
        """The features of a tensor, or their belief for uncertain inputs."""
        features, variance = self.map(*split(input, self, ranks))
        return features if variance is None else Gaussian(features, variance)


def require_rows(rows: Tensor, where: str) -> None:
    """Raises InvalidInput for rows (n, d) that have no principal directions."""
    if not isinstance(rows, Tensor) or rows.ndim < 2:
        raise InvalidInput("inputs must be a tensor (n, ...)", where=where, got=shown(rows), fix="pass the training inputs")
    require_values(rows, where)
    if len(rows) < 2 or not rows.is_floating_point() or not bool(rows.isfinite().all()) or bool((rows == rows[0]).all()):
        raise InvalidInput(
            "two or more different, finite, floating-point inputs are needed",
            where=where,
            got=f"{len(rows)} inputs of {rows.dtype}",
            cause="a single example, raw integer images, missing values, or constant inputs",
            fix="pass the standardised training inputs",
        )
