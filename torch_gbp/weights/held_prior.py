"""HeldPrior: the part of a marginal that holds its prior, and answers for it.

The buffers `prior_precision` and `prior_mean` are the prior's Gaussian message: once and for all, or, where the prior `adapts`,
until the next step. Stores, checks and inference ask for `floor`, `centre`, `prior_message` and `batch_prior`.
"""

from __future__ import annotations

from enum import IntEnum

import torch
from torch import Tensor, nn

from torch_gbp.errors import InvalidInput
from torch_gbp.gaussian import Message
from torch_gbp.weights.priors import Prior


class Start(IntEnum):
    """What the weights of a run start from."""

    NEW = 0  # nothing known
    KNOWN = 1  # weights that have learnt something
    PRIOR = 2  # such weights, which are the prior's mean too


class HeldPrior:
    """The prior N(prior_mean, 1 / prior_precision) of a marginal's weights, and what of the marginal is not the prior's."""

    mean: nn.Parameter
    precision: nn.Parameter
    prior: Prior
    prior_precision: Tensor
    prior_mean: Tensor | None
    surplus = 0.0  # part of the precision that nobody has learnt: an optimizer anneals it away
    advances = 0  # how often the posterior became the prior

    def averaged(self, values: Tensor) -> Tensor:
        """The mean of what is there for each weight, over the weights that share a precision."""
        raise NotImplementedError

    @property
    def floor(self) -> Tensor:
        """The prior's precision as the marginal's is stored, which is at least that much: a shared one is a mean."""
        return self.as_stored(self.prior_precision)

    @property
    def centre(self) -> Tensor:
        """The prior mean."""
        return self.mean.new_zeros(()) if self.prior_mean is None else self.prior_mean

    def as_stored(self, precision: Tensor) -> Tensor:
        """Precisions of weights, as the marginal stores its own."""
        return self.averaged(precision) if precision.shape == self.mean.shape != self.precision.shape else precision

    def prior_message(self) -> Message:
        """The prior as a message: (R0 m0, R0), R0 as the marginal's precision is stored."""
        return Message(self.floor * self.centre.expand_as(self.mean), self.floor)

    def set_prior_precision(self, precision: Tensor) -> None:
        """Takes another precision of the prior, one for the tensor or one for each weight."""
        if precision.shape == self.prior_precision.shape:
            self.prior_precision.copy_(precision.detach())
        else:
            self.prior_precision = precision.detach().clone()

    def batch_prior(self) -> Message:
        """The prior of the next batch, R as it is stored: the weights' own prior while nothing was learnt, else the marginal.

        Nothing was learnt where the precision is the prior's. The mean that is stored there, a random or a pretrained
        start, is only where the first linearisation is.
        """
        mean, precision = self.mean.detach(), self.precision.detach()
        return Message(precision * torch.where(precision == self.floor, self.centre, mean), precision)

    def fresh(self) -> bool:
        """Whether nothing was learnt yet: the precision is the prior's, no posterior of earlier tasks, and the surplus."""
        return self.prior_precision.ndim == 0 and bool((self.precision == self.floor + self.surplus).all())

    def without_surplus(self) -> Tensor:
        """The precision that prior and messages give: exactly the prior's where there were none, else at least that."""
        prior = self.floor
        rest = torch.maximum(self.precision - self.surplus, prior)  # a difference may round to less than the prior
        return torch.where(self.precision == prior + self.surplus, prior, rest)


def mean_of(prior: Prior, like: Tensor) -> Tensor | None:
    """The mean of a prior for weights of this shape; None for 0, and for a random start that is yet to be drawn.

    Raises:
        InvalidInput: a given mean of another shape.
    """
    if prior.given is None:
        return None
    mean = torch.as_tensor(prior.given).detach().to(like)
    if mean.ndim and mean.shape != like.shape:
        got = f"{tuple(mean.shape)}, the weights have {tuple(like.shape)}"
        raise InvalidInput("the prior mean has another shape", where="Prior.mean", got=got, fix="use the weights' shape")
    return mean.expand_as(like).clone()
