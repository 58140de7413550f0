"""Filtering: the posterior becomes the next prior."""

from __future__ import annotations

import torch
from torch import Tensor

from torch_gbp.errors import InvalidInput
from torch_gbp.gaussian import Message
from torch_gbp.parameter import GaussianParameter
from torch_gbp.stores.base import State, Step, Store, natural, write


class Filtering(Store):
    """The posterior becomes the next prior: one pass, streams, continual learning.

    R <- R_p + G,  m <- (R_p m_p + g + G m) / R,  with (m_p, R_p) the marginal, drawn towards the first prior by
    forget: sigma_p = f sigma_0 + (1 - f) sigma, m_p = f m_0 + (1 - f) m. The rate is not used. The message (g, G) is what the
    batch said to the marginal before it was drawn: exactly the posterior from the drawn prior where a batch's message to one
    weight does not depend on the marginals of the others.
    Source: GBP Learning (arXiv 2311.14649) section 3.4 and eq. 27 to 29.

    Args:
        forget: f in [0, 1); 0 keeps everything.
    """

    cavity = True

    def __init__(self, forget: float = 0.0) -> None:
        if not 0 <= forget < 1:
            raise InvalidInput("forget must be in [0, 1)", where="Filtering", got=repr(forget), fix="use 0")
        self.forget = forget

    def commit(self, marginal: GaussianParameter, state: State, message: Message, step: Step) -> None:
        said = Message.centred(*message.tempered(step.scale), marginal.mean)
        write(marginal, self._prior(marginal) * said)

    def foresee(self, marginal: GaussianParameter, state: State, message: Message, step: Step) -> Tensor:
        return self._prior(marginal).precision + step.scale * message.precision

    def _prior(self, marginal: GaussianParameter) -> Message:
        if not self.forget:
            return natural(marginal)
        first = 0.0 if marginal.prior_mean is None else marginal.prior_mean
        deviation = torch.lerp(marginal.precision.rsqrt(), marginal.prior_precision.rsqrt(), self.forget)
        precision = deviation.square().reciprocal()
        fresh = marginal.precision == marginal.prior_precision  # still the first prior; its mean may be a random start
        mean = torch.where(fresh, marginal.mean, self.forget * first + (1 - self.forget) * marginal.mean)
        return Message(precision * mean, precision)
