"""Latent: an input that is not, or not everywhere, observed."""

from __future__ import annotations

import torch
from torch import Tensor

from torch_gbp.errors import InvalidInput
from torch_gbp.gaussian import Message
from torch_gbp.nodes.variable import Variable, normal_prior


class Latent:
    """An input of a factor graph with a prior N(mean, sigma^2), observed exactly where `known` is True.

    Args:
        mean: prior mean where unknown, value where known; of the input's shape, with the batch axis.
        sigma: standard deviation of the prior, a number or a tensor that broadcasts to `mean`; None for no prior.
        known: True where `mean` is the observed value, of the input's shape; None for nowhere.

    Missing pixels: `Latent(images, 1.0, known=mask)`. Codes of a generative network: `Latent(torch.zeros(n, 8), 1.0)`.

    Raises:
        InvalidInput: shapes that do not fit, values that are not finite, deviations that are not positive.

    >>> Latent(torch.zeros(2, 3), 1.0).variable().belief()[1].shape
    torch.Size([2, 3])
    """

    def __init__(self, mean: Tensor, sigma: float | Tensor | None = 1.0, known: Tensor | None = None) -> None:
        if known is not None and (known.shape != mean.shape or known.dtype != torch.bool):
            raise InvalidInput(
                "`known` must be a mask of the input's shape",
                where="Latent",
                got=f"{known.dtype} {tuple(known.shape)}, inputs {tuple(mean.shape)}",
                fix="use known=mask.expand_as(mean), of dtype bool",
            )
        if not mean.is_floating_point() or not bool(mean.isfinite().all()):
            raise InvalidInput(
                "means and values must be finite floating-point numbers",
                where="Latent",
                got=str(mean.dtype),
                cause="missing values that are marked by NaN",
                fix="put any number there, and mark the observed ones in `known`",
            )
        self.mean, self.known = mean, known
        self.sigma = None if sigma is None else torch.as_tensor(sigma, dtype=mean.dtype, device=mean.device)

    def __len__(self) -> int:
        return len(self.mean)

    @property
    def anchored(self) -> bool:
        """Whether every entry has a prior or is observed."""
        return self.sigma is not None or (self.known is not None and bool(self.known.all()))

    def variable(self) -> Variable:
        """The variable at the bottom of a graph."""
        prior = None if self.sigma is None else normal_prior(self.mean, self.sigma.expand_as(self.mean))
        if prior is None:
            prior = Message(torch.zeros_like(self.mean), torch.ones_like(self.mean))  # everything is observed
        return Variable(prior, self.mean if self.known is not None else None, self.known)
