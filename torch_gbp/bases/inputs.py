"""InputBasis: a prior of the first linear layer that follows the covariance of the inputs."""

from __future__ import annotations

from torch import Tensor

from torch_gbp.bases.basis import Basis, principal, require_rows
from torch_gbp.errors.checks import require_count, require_like
from torch_gbp.layers.incoming import Belief, require_features

EXPLAINED, POWER = 0.97, 0.25  # chosen on validation data, see benchmarks/README.md


class InputBasis(Basis):
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

    >>> import torch
    >>> x = torch.randn(100, 5) @ torch.randn(5, 5)
    >>> f = InputBasis.fit(x)(x)
    >>> round(f.square().mean().item(), 4)
    1.0
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        fix = "use InputBasis.fit(x_train)"
        inputs = require_count("in_features", in_features, "InputBasis", fix=fix)
        super().__init__(inputs, require_count("out_features", out_features, "InputBasis", fix=fix))

    @classmethod
    def fit(cls, inputs: Tensor, explained: float = EXPLAINED, power: float = POWER) -> InputBasis:
        """The basis of training inputs (n, ...), flattened: as many directions as explain this share of the variance."""
        require_rows(inputs, "InputBasis.fit")
        rows = inputs.detach().flatten(1)
        found = principal(rows, explained, power, "InputBasis.fit")
        made = cls(*found.directions.shape).to(rows.device, rows.dtype)
        made.take(found)
        return made

    def forward(self, input: Belief) -> Belief:
        return self.send(input, tuple(range(1, 9)))

    def map(self, mean: Tensor, variance: Tensor | None) -> tuple[Tensor, Tensor | None]:
        require_features(mean.shape[-1], len(self.mean), "features", self)
        require_like(mean, self.basis, self)
        return (mean - self.mean) @ self.basis, None if variance is None else variance @ self.basis.square()

    def extra_repr(self) -> str:
        return f"in_features={self.basis.shape[0]}, out_features={self.basis.shape[1]}"
