"""InputBasis: a prior of the first layer that follows the covariance of the inputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from torch_gbp.errors import InvalidInput
from torch_gbp.gaussian import Gaussian
from torch_gbp.layers.base import Belief, require_features, split

EXPLAINED, POWER = 0.97, 0.25  # chosen on validation data, see benchmarks/README.md


class InputBasis(nn.Module):
    """Fixed map of flat inputs to their principal directions, f = (x - mean) B with B = U L^power / scale.

    C = U L U' is the covariance of the training inputs, cut to the directions that explain most of it, and the scale
    makes the mean square of f 1. Independent weights W' on f are weights W = W' B' on x with a prior covariance
    B B', proportional to C^(2 power): a weight is free to vary where the inputs do, so neighbouring pixels get similar
    weights, and the marginals are independent along directions in which the inputs are uncorrelated. What lies outside
    the kept directions is not seen, so OOD inputs are recognised less well than with a prior for every input.

    Args:
        in_features: width of the inputs.
        out_features: number of directions kept.

    Shape: input (*, in_features), a tensor or a Gaussian; output the same kind, (*, out_features).

    Raises:
        InvalidInput: wrong width; inputs to fit that are not finite, fewer than two, or all alike.

    >>> x = torch.randn(100, 5) @ torch.randn(5, 5)
    >>> f = InputBasis.fit(x)(x)
    >>> round(f.square().mean().item(), 4)
    1.0
    """

    mean: Tensor
    basis: Tensor

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(in_features))
        self.register_buffer("basis", torch.zeros(in_features, out_features))

    @classmethod
    def fit(cls, inputs: Tensor, explained: float = EXPLAINED, power: float = POWER) -> InputBasis:
        """The basis of training inputs (n, ...), flattened: as many directions as explain this share of the variance."""
        rows = inputs.detach().flatten(1)
        _check(rows)
        mean = rows.mean(0)
        centred = rows - mean
        variances, directions = torch.linalg.eigh((centred.t() @ centred).double() / len(rows))
        variances, directions = variances.flip(0).clamp_min(0), directions.flip(1)
        share = variances.cumsum(0) / variances.sum()
        kept = min(int((share < explained).sum()) + 1, len(share))  # the last share may round to less than 1
        stretch = variances[:kept] ** power
        scale = (stretch.square() * variances[:kept]).mean().sqrt()
        made = cls(rows.shape[1], kept).to(rows)
        made.mean.copy_(mean)
        made.basis.copy_(directions[:, :kept] * (stretch / scale))
        return made

    def forward(self, input: Belief) -> Belief:
        mean, variance = split(input, self, tuple(range(1, 9)))
        require_features(mean.shape[-1], len(self.mean), "features", self)
        features = (mean - self.mean) @ self.basis
        return features if variance is None else Gaussian(features, variance @ self.basis.square())

    def extra_repr(self) -> str:
        return f"in_features={self.basis.shape[0]}, out_features={self.basis.shape[1]}"


def _check(rows: Tensor) -> None:
    if len(rows) < 2 or not rows.is_floating_point() or not bool(rows.isfinite().all()) or bool((rows == rows[0]).all()):
        raise InvalidInput(
            "two or more different, finite, floating-point inputs are needed",
            where="InputBasis.fit",
            got=f"{len(rows)} inputs of {rows.dtype}",
            cause="a single example, raw integer images, missing values, or constant inputs",
            fix="pass the standardised training inputs",
        )
