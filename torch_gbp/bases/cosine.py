"""CosineBasis: a smooth prior for the weights of a linear layer behind feature maps."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from torch_gbp.bases.basis import Basis
from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import DEVIATION_OR_0, Range, require, require_count, require_like, require_pair
from torch_gbp.layers.incoming import Belief, require_features
from torch_gbp.layers.pooling import Size

_SMOOTHNESS = Range("above -1 and finite", lambda value: -1 < value < math.inf)
LENGTH, SMOOTHNESS = 1.0, 0.0  # chosen on validation data, see benchmarks/README.md


class CosineBasis(Basis):
    """Fixed map of flattened feature maps to cosine features of each map, f_c = a_c B, B = D diag(s).

    D has the cosines of h x w positions as columns (the orthonormal DCT-II), and s_k the prior deviation along the one with
    frequency w_k in radians per position,

        s_k^2 = S(w_k) / mean S,    S(w) = (1 + length^2 |w|^2)^-(smoothness + 1),    w_k = (pi k_1 / h, pi k_2 / w)

    Independent weights W' on f are weights W = W' B' on the maps with prior covariance B B', mirrored at the borders: weights
    of neighbouring positions are alike, as their activations are. In the plane, S with a smoothness above 0 is the spectrum of
    Matern's covariance; on a grid 0 and less are proper too. In a factor graph it may stand behind other layers, right in front
    of a GBPLinear with joint factors; the messages to the maps are then those of the weights W. In a forward pass the
    features' variances are taken as independent.

    Args:
        channels: number of feature maps.
        size: rows and columns of a map.
        length: correlation length in positions; 0 gives all directions the same prior.
        smoothness: how fast the prior falls with the frequency, above -1.

    Shape: input (*, channels h w), a tensor or a Gaussian; output the same.

    Raises:
        InvalidInput: wrong width; length negative, smoothness not above -1, or either not finite; sizes below 1.

    Source: the spectrum, Whittle 1954 and Matern 1960, see Lindgren, Rue & Lindstrom 2011; on cosines, our own.

    >>> import torch
    >>> basis = CosineBasis(2, 3)
    >>> (basis(torch.ones(1, 18)) > 1e-3).nonzero()[:, 1].tolist()  # constant maps have one feature each
    [0, 9]
    """

    def __init__(self, channels: int, size: Size, length: float = LENGTH, smoothness: float = SMOOTHNESS) -> None:
        where = "CosineBasis"
        rows, columns = require_pair("size", size, where)
        channels = require_count("channels", channels, where, fix="use the channels of the maps before nn.Flatten")
        length = require("length", length, DEVIATION_OR_0, where, fix="use length=0.0 for a prior that is not smooth")
        smoothness = require("smoothness", smoothness, _SMOOTHNESS, where, fix="use smoothness=0.0")
        super().__init__(rows * columns, rows * columns)
        self.channels, self.size, self.length, self.smoothness = channels, (rows, columns), length, smoothness
        self.basis.copy_(_stretched((rows, columns), length, smoothness))
        if not bool(self.basis.isfinite().all()):
            raise InvalidInput(
                "the prior's spectrum is not finite", where=where, got=f"length={length}, smoothness={smoothness}", fix="use less"
            )

    def forward(self, input: Belief) -> Belief:
        return self.send(input, tuple(range(1, 9)))

    def map(self, mean: Tensor, variance: Tensor | None) -> tuple[Tensor, Tensor | None]:
        require_features(mean.shape[-1], self.channels * len(self.basis), "features", self)
        require_like(mean, self.basis, self)
        return self._each(mean, self.basis), None if variance is None else self._each(variance, self.basis.square())

    def pull(self, weight: Tensor) -> Tensor:
        """W = W' B', the same weights (o, channels h w) on the maps themselves."""
        return self._each(weight, self.basis.t())

    def _each(self, rows: Tensor, matrix: Tensor) -> Tensor:
        """The matrix for each map."""
        return (rows.unflatten(-1, (self.channels, len(matrix))) @ matrix).flatten(-2)

    def extra_repr(self) -> str:
        return f"channels={self.channels}, size={self.size}, length={self.length}, smoothness={self.smoothness}"


def _stretched(size: tuple[int, int], length: float, smoothness: float) -> Tensor:
    """B (h w, h w), positions and frequencies row by row."""
    (rows, tall), (columns, wide) = (_cosines(side) for side in size)
    spectrum = (1 + length**2 * (tall.square()[:, None] + wide.square())).pow(-(smoothness + 1)).flatten()
    return torch.kron(rows, columns) * (spectrum / spectrum.mean()).sqrt()


def _cosines(side: int) -> tuple[Tensor, Tensor]:
    """Orthonormal cosines, a column for each frequency, and the frequencies in radians per position."""
    steps = torch.arange(side, dtype=torch.float64)
    frequencies = math.pi * steps / side
    waves = torch.cos((steps[:, None] + 0.5) * frequencies)
    return waves / waves.norm(dim=0), frequencies
