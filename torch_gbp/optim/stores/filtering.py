"""Filtering: the posterior becomes the next prior."""

from __future__ import annotations

import torch
from torch import Tensor

from torch_gbp.errors.checks import SHARE, require
from torch_gbp.gaussian import Message
from torch_gbp.optim.stores.base import State, Step, Store, write
from torch_gbp.weights.parameter import GaussianParameter


class Filtering(Store):
    """The posterior becomes the next prior: one pass, streams, continual learning.

    R <- R_p + G,  m <- (R_p m_p + g + G m) / R,  with (m_p, R_p) the marginal, drawn towards the first prior by
    forget: sigma_p = f sigma_0 + (1 - f) sigma, m_p = f m_0 + (1 - f) m. The rate is not used. The message (g, G) is what the
    batch said to the marginal before it was drawn: exactly the posterior from the drawn prior where a batch's message to one
    weight does not depend on the marginals of the others.
    The first batch meets the first prior, wherever the means start (`GaussianParameter.batch_prior`). Around 0 all hidden units
    are alike: where batches say little beside the prior, give a deep network `Prior(mean="start")`.
    Source: GBP Learning (arXiv 2311.14649) section 3.4 and eq. 27 to 29.

    Args:
        forget: f in [0, 1); 0 keeps everything.
    """

    cavity = True
    way_out = 'use prior=Prior(mean="start") in the layers (here means start at the prior, all alike), or AveragedSites'

    def __init__(self, forget: float = 0.0) -> None:
        self.forget = require("forget", forget, SHARE, "Filtering", fix="use 0")

    def commit(self, marginal: GaussianParameter, state: State, message: Message, step: Step) -> None:
        natural = Message.centred(*message.tempered(step.message_weight), marginal.mean)
        write(marginal, self._prior(marginal) * natural)

    def precision_after(self, marginal: GaussianParameter, state: State, message: Message, step: Step) -> Tensor:
        return self._prior(marginal).precision + step.message_weight * message.precision

    def _prior(self, marginal: GaussianParameter) -> Message:
        before = marginal.batch_prior()
        if not self.forget:
            return before
        deviation = torch.lerp(before.precision.rsqrt(), marginal.floor.rsqrt(), self.forget)
        precision = deviation.square().reciprocal()
        mean = self.forget * marginal.centre + (1 - self.forget) * before.information / before.precision
        return Message(precision * mean, precision)
