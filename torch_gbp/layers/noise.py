"""GBPNoise: Gaussian noise and a prior on activations."""

from __future__ import annotations

from torch import Tensor, nn

from torch_gbp.autograd.bridge import factor
from torch_gbp.errors import MissingRule
from torch_gbp.errors.checks import DEVIATION, DEVIATION_OR_0, name_of, require
from torch_gbp.factors import unary
from torch_gbp.factors.unary import UnaryOptions
from torch_gbp.gaussian import Gaussian
from torch_gbp.layers.base import GaussianLayer
from torch_gbp.layers.incoming import Belief

_UNARY = factor(unary.RULE)


class GBPNoise(GaussianLayer):
    """Noisy copy y = z + e, e ~ N(0, sigma^2), with a prior y ~ N(0, prior_sigma^2) of its own (factors/unary.py).

    In iterated inference it and the layers before it are one factor: the activations behind a linear layer and an activation are
    variables of their own, which the factor y = f(W a + b) + e ties to the input with the strength 1 / sigma^2.

    Args:
        sigma: standard deviation of the noise; 0 for none.
        prior_sigma: standard deviation of the prior of what comes out, around 0; None for none.

    Shape: any, output as input. Units: deviations as the variable.

    Raises:
        InvalidInput: a noise that is negative, a prior deviation that is not positive, or one that is not finite.

    Source: GBP Learning (arXiv 2311.14649), noisy layers and unary factors.

    >>> import torch
    >>> GBPNoise(2.0)(Gaussian(torch.tensor([1.0]), torch.tensor([1.0])))
    Gaussian(mean=tensor([1.]), variance=tensor([5.]))
    """

    def __init__(self, sigma: float = 0.0, prior_sigma: float | None = None) -> None:
        super().__init__()
        self.sigma = require("sigma", sigma, DEVIATION_OR_0, "GBPNoise", fix="use sigma=0.0 for an exact factor")
        if prior_sigma is not None:
            prior_sigma = require("prior_sigma", prior_sigma, DEVIATION, "GBPNoise", fix="use None for no prior")
        self.prior_sigma = prior_sigma

    def to_torch(self) -> nn.Module:
        """The identity: the mean of the noise is 0."""
        return nn.Identity()

    def plain(self, input: Tensor) -> Tensor:
        """The mean of the noise is 0; a prior moves the mean by how uncertain it is, which a tensor does not say."""
        if self.prior_sigma is not None:
            raise MissingRule(
                "a prior of activations has no plain function",
                where=name_of(self),
                got=f"prior_sigma={self.prior_sigma}",
                fix="leave means_sweep() out",
            )
        return input

    def carried(self, input: Belief) -> Gaussian:
        precision = 0.0 if self.prior_sigma is None else self.prior_sigma**-2
        return Gaussian(*_UNARY(UnaryOptions(self.sigma**2, precision), *self.accept(input, tuple(range(9)))))

    def extra_repr(self) -> str:
        return f"sigma={self.sigma}, prior_sigma={self.prior_sigma}"
